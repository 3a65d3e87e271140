"""Single sign-on, against a real provider over HTTP."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from fastapi.testclient import TestClient

from parts_oidc import CLIENT, SECRET, OidcProvider, new_key, oidc_provider, shared_key
from tidegauge.app import build_services, create_app
from tidegauge.domain.identity import new_id
from tidegauge.domain.single_sign_on import Claimed, GroupRules, read_groups
from tidegauge.domain.users import Role, User
from tidegauge.errors import InvalidInputError
from tidegauge.links.oidc import _Kept
from tidegauge.services.bundle import Services
from tidegauge.settings import Settings, load_settings

LEAVE = "/sign-in/provider"


@dataclass
class House:
    provider: OidcProvider
    services: Services
    browser: TestClient

    def leave(self, next_: str = "/code") -> str:
        """Press the button; return the address at which the provider sends the browser back."""
        away = self.browser.get(LEAVE, params={"next": next_})
        assert away.status_code == 303, away.text
        back = httpx.get(away.headers["location"])
        assert back.status_code == 302, back.text
        return str(back.headers["location"])

    def sign_in(self) -> Any:
        return self.browser.get(self.leave())

    def who(self) -> str | None:
        """Return who the browser is signed in as."""
        answer = self.browser.get("/api/v1/me")
        return answer.json()["name"] if answer.status_code == 200 else None

    def user(self, name: str) -> User:
        found = self.services.database.users.find(name=name)
        assert found
        return found


def settings_of(home: Path, provider: OidcProvider, **more: str) -> Settings:
    given = {
        "port": 1,
        "oidc_issuer": provider.issuer,
        "oidc_client_id": CLIENT,
        "oidc_client_secret": SECRET,
        "oidc_operator_groups": "it",
        "oidc_label": "the clinic",
        **more,
    }
    return load_settings(home, given, {})


@pytest.fixture(scope="module")
def provider() -> Iterator[OidcProvider]:
    with oidc_provider() as running:
        yield running


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, provider: OidcProvider) -> Iterator[House]:
    services = build_services(settings_of(tmp_path_factory.mktemp("home"), provider))
    origin = {"Origin": "http://testserver"}
    with TestClient(create_app(services), follow_redirects=False, headers=origin) as browser:
        services.people.first_start()
        yield House(provider, services, browser)


@pytest.fixture
def house(server: House) -> Iterator[House]:
    """A cluster with nobody but its operator, and a provider that behaves."""
    vars(server.provider).update(vars(OidcProvider(server.provider.issuer, new_key())))
    asked = server.services.single_sign_on._provider  # type: ignore[union-attr]
    asked._metadata, asked._keys = _Kept(), _Kept()  # type: ignore[attr-defined]
    yield server
    server.browser.cookies.clear()
    users = server.services.database.users
    server.services.accounts.enable(server.user("operator"))
    for user in users.where():
        if user.name != "operator":
            users.delete(user.id)


def test_the_first_sign_in_makes_a_user_and_the_next_finds_it(house: House) -> None:
    assert "Sign in with the clinic" in house.browser.get("/sign-in").text
    house.provider.person = {"sub": "4711", "preferred_username": "Ada.Lovelace", "groups": ["ward"]}
    answer = house.sign_in()
    assert (answer.status_code, answer.headers["location"]) == (303, "/code")
    assert house.who() == "ada-lovelace"
    assert house.user("ada-lovelace").role is Role.USER
    house.browser.cookies.clear()
    house.provider.person["preferred_username"] = "married-now"
    house.sign_in()
    assert house.who() == "ada-lovelace"
    assert house.services.database.users.count() == 2
    (session, _) = house.services.database.sessions.where(user_id=house.user("ada-lovelace").id)
    assert session.means == "provider"


def test_who_was_deleted_comes_back_as_somebody_else(house: House) -> None:
    house.sign_in()
    assert house.who() == "ada"
    house.services.accounts.delete(house.user("ada"))
    house.browser.cookies.clear()
    house.sign_in()
    assert house.who() == "ada-2"
    former = house.services.database.former_users
    former.delete_where(name="ada")  # the other tests' ada


def test_roles_follow_groups_at_each_sign_in(house: House) -> None:
    house.provider.person["groups"] = ["it", "ward"]
    house.sign_in()
    assert house.user("ada").is_operator
    house.provider.person["groups"] = ["ward"]
    house.sign_in()
    assert not house.user("ada").is_operator


def test_the_last_operator_stays_one_whatever_the_groups_say(house: House) -> None:
    house.provider.person["groups"] = ["it"]
    house.sign_in()
    house.services.accounts.disable(house.user("operator"))
    house.provider.person["groups"] = []
    assert house.sign_in().status_code == 303
    assert house.user("ada").is_operator


def test_groups_may_stand_at_the_userinfo_endpoint(house: House) -> None:
    house.provider.userinfo = {"groups": ["it"]}
    house.sign_in()
    assert house.user("ada").is_operator
    house.provider.userinfo = {"groups": ["it"], "sub": "somebody-else"}
    assert house.sign_in().status_code == 401


def test_only_allowed_groups_get_in_and_sessions_of_others_end(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = GroupRules(read_groups("ward 7, ward 8"), read_groups("it"))
    monkeypatch.setattr(house.services.single_sign_on, "_rules", rules)
    house.provider.person["groups"] = ["ward 7"]
    house.sign_in()
    assert house.who() == "ada"
    house.provider.person["groups"] = ["kitchen"]
    refused = house.sign_in()
    assert (refused.status_code, "None of your groups" in refused.text) == (403, True)
    assert house.who() is None
    house.provider.person = {"sub": "2", "preferred_username": "bob", "groups": ["it"]}
    assert house.sign_in().status_code == 303


def test_nobody_takes_an_account_over_by_its_name(house: House) -> None:
    invitation = house.services.accounts.create("ada", Role.OPERATOR)
    house.sign_in()
    assert house.who() == "ada-2"
    assert not house.user("ada-2").is_operator
    house.provider.person = {"sub": "another", "preferred_username": "ada"}
    house.sign_in()
    assert house.who() == "ada-3"
    house.provider.person = {"sub": "root", "preferred_username": "operator"}
    house.sign_in()
    assert house.who() == "operator-2"
    assert invitation.user.id == house.user("ada").id


def test_a_disabled_user_stays_out(house: House) -> None:
    house.sign_in()
    house.services.accounts.disable(house.user("ada"))
    refused = house.sign_in()
    assert (refused.status_code, "is disabled" in refused.text) == (403, True)
    assert house.who() is None


@pytest.mark.parametrize(
    "claims",
    [
        {"nonce": "another"},
        {"nonce": None},
        {"aud": "another-client"},
        {"aud": [CLIENT, "another-client"]},  # without azp
        {"aud": [CLIENT, "another-client"], "azp": "another-client"},
        {"aud": None},
        {"iss": "https://evil.example"},
        {"exp": int(time.time()) - 3600},
        {"exp": None},
        {"iat": int(time.time()) + 3600},
        {"sub": None},
        {"at_hash": "d3Jvbmc"},
    ],
)
def test_an_id_token_whose_claims_do_not_hold_is_refused(house: House, claims: dict[str, Any]) -> None:
    house.provider.claims = claims
    answer = house.sign_in()
    assert answer.status_code == 401
    assert "The provider&#39;s answer does not hold; sign in again from the beginning." in answer.text
    assert house.who() is None
    assert house.services.database.users.count() == 1


def test_an_id_token_that_another_key_signed_is_refused(house: House) -> None:
    house.provider.signed_by = new_key()
    assert house.sign_in().status_code == 401
    house.provider.signed_by, house.provider.algorithm = shared_key(), "HS256"
    assert house.sign_in().status_code == 401
    assert house.who() is None


def test_an_id_token_without_a_signature_is_refused(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    signed = OidcProvider._id_token

    def unsigned(self: OidcProvider, nonce: str) -> str:
        _, payload, _ = signed(self, nonce).split(".")
        return f"eyJhbGciOiJub25lIn0.{payload}."

    monkeypatch.setattr(OidcProvider, "_id_token", unsigned)
    assert house.sign_in().status_code == 401


def test_a_new_key_of_the_provider_is_fetched(house: House) -> None:
    house.sign_in()
    provider = house.services.single_sign_on._provider  # type: ignore[union-attr]
    provider._keys.at -= 60  # type: ignore[attr-defined]
    house.provider.key = new_key()
    assert house.sign_in().status_code == 303


def test_a_state_is_good_once(house: House) -> None:
    back = house.leave()
    state = house.browser.cookies["tidegauge_state"]
    assert house.browser.get(back).status_code == 303
    house.browser.cookies.clear()
    house.browser.cookies.set("tidegauge_state", state, path=LEAVE)
    replayed = house.browser.get(back)
    assert (replayed.status_code, "has been used or is too old" in replayed.text) == (401, True)


def test_a_state_of_another_browser_is_refused(house: House) -> None:
    """Else somebody could be signed in as the attacker, and leave there what is theirs."""
    back = house.leave()
    house.browser.cookies.clear()
    assert house.browser.get(back).status_code == 401
    mine = parse_qs(urlsplit(house.leave()).query)["state"][0]
    theirs = parse_qs(urlsplit(back).query)["state"][0]
    assert house.browser.get(back.replace(theirs, f"{mine}x")).status_code == 401
    assert house.browser.get(f"{LEAVE}/callback").status_code == 401


def test_a_state_gets_too_old(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    back = house.leave()
    sign_on = house.services.single_sign_on
    now = house.services.people._now()
    monkeypatch.setattr(sign_on, "_now", lambda: now + timedelta(minutes=11))
    assert house.browser.get(back).status_code == 401


def test_a_code_that_another_was_given_is_refused(house: House) -> None:
    """Its verifier is not the one that this browser's request was bound to."""
    first, second = house.leave(), house.leave()
    stolen = parse_qs(urlsplit(first).query)["code"][0]
    own = parse_qs(urlsplit(second).query)["code"][0]
    assert house.browser.get(second.replace(own, stolen)).status_code == 401


def test_what_the_provider_refuses_or_another_answers_signs_nobody_in(house: House) -> None:
    back = house.leave()
    state = parse_qs(urlsplit(back).query)["state"][0]
    denied = house.browser.get(f"{LEAVE}/callback?state={state}&error=access_denied")
    assert (denied.status_code, "has signed nobody in" in denied.text) == (401, True)
    mixed = house.leave().replace("127.0.0.1", "127.0.0.2")
    assert house.browser.get(mixed).status_code == 401


def test_a_provider_that_takes_secrets_in_the_body_alone(house: House) -> None:
    house.provider.methods = ("client_secret_post",)
    assert house.sign_in().status_code == 303


@pytest.mark.parametrize(
    "metadata",
    [{"issuer": "https://evil.example"}, {"token_endpoint": None}, {"jwks_uri": 7}],
)
def test_a_provider_that_says_wrong_things_of_itself_is_not_asked(
    house: House, metadata: dict[str, Any]
) -> None:
    house.provider.metadata = metadata
    answer = house.browser.get(LEAVE)
    assert answer.status_code == 503
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("next_", ["//evil.example", "https://evil.example"])
def test_it_leads_nowhere_else(house: House, next_: str) -> None:
    assert house.browser.get(house.leave(next_)).headers["location"] == "/"


def test_it_is_in_the_audit_log_without_its_secrets(house: House) -> None:
    back = house.leave()
    house.browser.get(back)
    house.provider.claims = {"nonce": "another"}
    house.sign_in()
    entries = [e for e in house.services.database.audit.all() if e.means == "provider"][:2]
    assert [(e.who, e.action, e.outcome) for e in entries] == [
        ("", f"{LEAVE}/callback", "refused"),
        ("ada", f"{LEAVE}/callback", "done"),
    ]
    secrets = parse_qs(urlsplit(back).query)
    for entry in entries:
        assert secrets["code"][0] not in str(entry)
        assert secrets["state"][0] not in str(entry)


def test_a_provider_that_is_away_is_told_on_the_page(tmp_path: Path) -> None:
    flags = {"port": 1, "oidc_issuer": "http://127.0.0.1:1", "oidc_client_id": CLIENT}
    services = build_services(load_settings(tmp_path, flags, {}))
    with TestClient(create_app(services), follow_redirects=False) as browser:
        answer = browser.get(LEAVE)
    assert (answer.status_code, "does not answer; try again soon" in answer.text) == (503, True)


def test_without_a_provider_there_is_no_button_and_no_way(tmp_path: Path) -> None:
    services = build_services(load_settings(tmp_path, {"port": 1}, {}))
    with TestClient(create_app(services), follow_redirects=False) as browser:
        assert "Sign in with" not in browser.get("/sign-in").text
        assert browser.get(LEAVE).status_code == 404
        assert browser.get(f"{LEAVE}/callback?code=a&state=b").status_code == 404


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"oidc_issuer": "http://idp.example"}, "oidc_issuer"),
        ({"oidc_issuer": "idp.example"}, "oidc_issuer"),
        ({"oidc_issuer": "https://idp.example", "oidc_client_id": ""}, "oidc_client_id"),
    ],
)
def test_settings_that_cannot_work_refuse_to_start(
    tmp_path: Path, changes: dict[str, str], field: str
) -> None:
    with pytest.raises(InvalidInputError) as caught:
        load_settings(tmp_path, {"oidc_client_id": "x", **changes}, {})
    assert [error.field for error in caught.value.errors] == [field]


def test_the_secret_comes_from_a_file_and_shows_nowhere(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("hidden\n")
    flags = {"oidc_issuer": "https://idp.example", "oidc_client_id": "x"}
    settings = load_settings(tmp_path, {**flags, "oidc_client_secret_file": str(tmp_path / "secret")}, {})
    assert settings.oidc_secret == "hidden"
    with pytest.raises(InvalidInputError, match="cannot be read"):
        _ = load_settings(tmp_path, {**flags, "oidc_client_secret_file": "/none"}, {}).oidc_secret
    assert "hidden" not in repr(load_settings(tmp_path, {**flags, "oidc_client_secret": "hidden"}, {}))


def test_two_first_sign_ins_at_once_make_one_user(house: House) -> None:
    sign_on = house.services.single_sign_on
    assert sign_on
    claimed = Claimed("https://idp.example", new_id(), "twin", ())
    with ThreadPoolExecutor(4) as pool:
        made = {user.id for user in pool.map(lambda _: sign_on._user(claimed), range(4))}
    assert len(made) == 1
