"""Settings: access tokens and channels, as pages."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from fastapi.testclient import TestClient

from parts_receivers import Receiver, http_receiver
from tidegauge.app import build_services, create_app
from tidegauge.domain.alert import Alert, AlertRule, Condition
from tidegauge.domain.channel import ChannelKind
from tidegauge.domain.deployment import Deployment, DeploymentState, Origin
from tidegauge.domain.identity import new_id
from tidegauge.domain.metrics import MetricType
from tidegauge.domain.monitor import Monitor, MonitorState
from tidegauge.domain.monitor_config import MonitorConfig
from tidegauge.domain.status import Status
from tidegauge.domain.users import Role, Scope, User
from tidegauge.links.channels import alertmanager, mail, webhook
from tidegauge.services.bundle import Services
from tidegauge.settings import load_settings
from tidegauge.ui.pages.channels import SETTINGS

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
EVIL = "<script>alert(1)</script>"
TOKENS, CHANNELS = "/settings/developer", "/settings/notifications"
MAIL = {"settings.host": "127.0.0.1", "settings.from": "a@example.org", "settings.to": "b@example.org"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    services = build_services(load_settings(tmp_path_factory.mktemp("home"), {"port": 1}, {}))
    origin = {"Origin": "http://testserver"}
    with TestClient(create_app(services), follow_redirects=False, headers=origin) as client:
        services.people.first_start()
        yield client


@pytest.fixture
def pages(server: TestClient) -> Iterator[TestClient]:
    """A browser of the operator's, in a home without anything."""
    people, database = services_of(server).people, services_of(server).database
    server.secret = people.issue_for("operator", "test")  # type: ignore[attr-defined]
    server.post("/sign-in", data={"token": server.secret})  # type: ignore[attr-defined]
    yield server
    server.cookies.clear()
    for rows in (database.channels, database.tokens, database.deployments):
        rows.delete_where()
    database.users.delete_where(name="other")


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with http_receiver() as made:
        yield made


def services_of(pages: TestClient) -> Services:
    return pages.app.state.services


def other_user(pages: TestClient) -> User:
    return services_of(pages).database.users.add(User(new_id(), "other", Role.USER, NOW))


def make_channel(pages: TestClient, secret: str = "", url: str = "https://example.org/hook") -> str:
    channels = services_of(pages).channels
    return channels.create("operator", "ward", ChannelKind.WEBHOOK, {"url": url}, secret).id


@pytest.mark.parametrize("path", [TOKENS, f"{TOKENS}/new", CHANNELS, f"{CHANNELS}/new"])
def test_strangers_are_sent_to_the_sign_in(pages: TestClient, path: str) -> None:
    pages.cookies.clear()
    answer = pages.get(path)
    assert (answer.status_code, answer.headers["location"]) == (303, f"/sign-in?next={path}")


def test_a_token_is_shown_once_and_signs_in(pages: TestClient) -> None:
    shown = pages.post(f"{TOKENS}/new", data={"name": "notebook"})
    secret = re.search(r'id="secret" type="text" value="(tg_[^"]+)"', shown.text)
    assert secret
    assert services_of(pages).people.authenticate(secret[1]).token.name == "notebook"
    listed = pages.get(TOKENS).text
    assert "notebook" in listed
    assert secret[1] not in listed


def test_a_token_without_a_name_is_refused_at_the_field(pages: TestClient) -> None:
    answer = pages.post(f"{TOKENS}/new", data={"name": " "})
    assert answer.status_code == 422
    assert "Name is empty; say what the token is for." in answer.text
    assert 'aria-invalid="true"' in answer.text


def test_tokens_are_searched_and_sorted(pages: TestClient) -> None:
    for name in ("zebra", "aardvark"):
        pages.post(f"{TOKENS}/new", data={"name": name})
    page = pages.get(f"{TOKENS}?sort=name").text
    assert page.index("aardvark") < page.index("zebra")
    assert "zebra" not in pages.get(f"{TOKENS}?q=aard").text
    assert "No token has “none such”" in pages.get(f"{TOKENS}?q=none such").text


def test_names_of_tokens_are_text(pages: TestClient) -> None:
    shown = pages.post(f"{TOKENS}/new", data={"name": EVIL}).text
    for text in (shown, pages.get(TOKENS).text):
        assert EVIL not in text
        assert "&lt;script&gt;" in text


def test_a_revoked_token_is_refused(pages: TestClient) -> None:
    people = services_of(pages).people
    token = people.issue_named(people.owner("operator"), "notebook")
    assert "signs you out" not in pages.get(f"{TOKENS}/{token.id}/revoke").text
    assert pages.post(f"{TOKENS}/{token.id}/revoke").headers["location"] == TOKENS
    pages.cookies.clear()
    assert (
        pages.get("/api/v1/monitors", headers={"Authorization": f"Bearer {token.secret}"}).status_code == 401
    )


def test_revoking_the_token_in_use_signs_out_and_says_so(pages: TestClient) -> None:
    mine = services_of(pages).people.authenticate(pages.secret).token  # type: ignore[attr-defined]
    assert "revoking it signs you out" in pages.get(f"{TOKENS}/{mine.id}/revoke").text
    answer = pages.post(f"{TOKENS}/{mine.id}/revoke", headers={"HX-Request": "true"})
    assert answer.headers["hx-redirect"] == "/sign-in"
    assert pages.get(TOKENS).status_code == 303


def test_anothers_token_is_not_found(pages: TestClient) -> None:
    people = services_of(pages).people
    token = people.issue_named(other_user(pages), "theirs")
    assert "theirs" not in pages.get(TOKENS).text
    assert pages.get(f"{TOKENS}/{token.id}/revoke").status_code == 404
    assert pages.post(f"{TOKENS}/{token.id}/revoke").status_code == 404
    assert people.authenticate(token.secret)


def test_tokens_for_reporting_events_are_told_apart(pages: TestClient) -> None:
    people = services_of(pages).people
    token, _ = people.issue(people.owner("operator"), "inference log", Scope.INGEST, "some-deployment")
    assert 'href="/deployments/some-deployment"' in pages.get(TOKENS).text
    assert "until the deployment is started again" in pages.get(f"{TOKENS}/{token.id}/revoke").text


def test_every_kind_has_the_settings_that_its_link_knows() -> None:
    for kind, link in (
        (ChannelKind.MAIL, mail),
        (ChannelKind.WEBHOOK, webhook),
        (ChannelKind.ALERTMANAGER, alertmanager),
    ):
        assert set(SETTINGS[kind]) == set(link._KNOWN)


def test_an_empty_list_says_what_to_do_first(pages: TestClient) -> None:
    assert "Press + Channel, send a test" in pages.get(CHANNELS).text


def test_a_channel_is_made_of_the_fields_of_its_kind(pages: TestClient) -> None:
    fields = {"name": "ward", "kind": "webhook", "settings.url": "https://example.org/hook", "secret": "k"}
    answer = pages.post(f"{CHANNELS}/new", data={**MAIL, **fields})
    channel = services_of(pages).channels.get("operator", "ward")
    assert answer.headers["location"] == f"{CHANNELS}/{channel.id}"
    assert channel.settings == {"url": "https://example.org/hook"}
    page = pages.get(f"{CHANNELS}/{channel.id}").text
    assert "set, never shown" in page
    assert "Nothing was sent yet" in page


def test_a_wrong_channel_comes_back_with_its_errors_and_what_was_typed(pages: TestClient) -> None:
    fields = {"name": "Ward 7", "kind": "mail", "settings.port": "seven", "settings.user": "me"}
    answer = pages.post(f"{CHANNELS}/new", data={**MAIL, **fields, "settings.to": "nobody"})
    assert answer.status_code == 422
    for part in (
        "Port is &#39;seven&#39;; give a whole number.",
        "To has &#39;nobody&#39;, which is no mail address",
        "Secret is empty; give the password of the user.",
        'value="seven"',
        'value="nobody"',
        'value="Ward 7"',
        '<option value="mail" selected>',
    ):
        assert part in answer.text


def test_a_change_keeps_the_secret_unless_one_is_given(pages: TestClient) -> None:
    channels, stored = f"{CHANNELS}/{make_channel(pages, secret='key')}", services_of(pages).database.channels
    form = pages.get(f"{channels}/change").text
    assert "Leave empty to keep it" in form
    assert "(hidden)" not in form
    assert 'value="https://example.org/hook"' in form
    new = {"settings.url": "https://example.org/other", "secret": ""}
    assert pages.post(f"{channels}/change", data=new).headers["location"] == channels
    assert stored.find(name="ward").secret == "key"
    assert stored.find(name="ward").settings == {"url": "https://example.org/other"}
    pages.post(f"{channels}/change", data={**new, "forget": "true"})
    assert stored.find(name="ward").secret == ""
    refused = pages.post(f"{channels}/change", data={**new, "settings.url": "file:///x"})
    assert "URL is no http or https URL" in refused.text
    assert 'value="file:///x"' in refused.text


def test_a_test_that_gets_through_is_said_in_words(pages: TestClient, receiver: Receiver) -> None:
    channel = make_channel(pages, url=receiver.url)
    path = f"{CHANNELS}/{channel}"
    assert "Send test" in pages.get(f"{path}/test").text
    answer = pages.post(f"{path}/test")
    assert answer.status_code == 200
    assert "The test got through" in answer.text
    assert len(receiver.requests) == 1
    assert "Tidegauge: test" in pages.get(f"{path}?state=sent").text
    assert "There is none in this state." in pages.get(f"{path}?state=dropped").text


def test_a_test_that_fails_says_why(pages: TestClient) -> None:
    channel = make_channel(pages, url="http://127.0.0.1:1/")
    answer = pages.post(f"{CHANNELS}/{channel}/test")
    assert answer.status_code == 503
    assert "The channel &#39;ward&#39; does not work" in answer.text
    assert "Send test again" in answer.text


def test_a_failing_channel_says_since_when_and_why(pages: TestClient) -> None:
    channel = make_channel(pages)
    services_of(pages).database.channels.update(channel, failing_since=NOW, message=EVIL)
    for page in (pages.get(CHANNELS).text, pages.get(f"{CHANNELS}/{channel}").text):
        assert "failing" in page
        assert "2026-03-01 12:00 UTC" in page
        assert EVIL not in page


def test_a_channel_in_use_is_not_deleted_and_names_its_alerts(pages: TestClient) -> None:
    database = services_of(pages).database
    running = DeploymentState.RUNNING
    database.deployments.add(
        Deployment("d", "xray", "operator", "m", "m", 1, True, Origin.EXTERNAL, running, running, NOW, "")
    )
    database.monitors.add(
        Monitor("m", "d", "xray", "operator", MonitorState.READY, Status.UNKNOWN, MonitorConfig(), 1, NOW)
    )
    rule = AlertRule("low", MetricType.DRIFT, (Condition(name="image", bound=1),), channels=("ward",))
    database.alerts.add(Alert("a", "m", "low", rule, NOW))
    channel = make_channel(pages)
    assert "xray/low" in pages.get(f"{CHANNELS}/{channel}/delete").text
    answer = pages.post(f"{CHANNELS}/{channel}/delete")
    assert answer.status_code == 409
    assert "xray/low" in answer.text
    database.alerts.delete("a")
    assert "This cannot be undone" in pages.get(f"{CHANNELS}/{channel}/delete").text
    assert pages.post(f"{CHANNELS}/{channel}/delete").headers["location"] == CHANNELS
    assert database.channels.find(name="ward") is None


@pytest.mark.parametrize("verb", ["", "/change", "/delete", "/test"])
def test_anothers_channel_is_not_found(pages: TestClient, verb: str) -> None:
    url = {"url": "https://example.org/hook"}
    theirs = services_of(pages).channels.create("other", "theirs", ChannelKind.WEBHOOK, url)
    assert pages.get(f"{CHANNELS}/{theirs.id}{verb}").status_code == 404
    if verb:
        assert pages.post(f"{CHANNELS}/{theirs.id}{verb}").status_code == 404
