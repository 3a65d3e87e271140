"""The audit log: every change by itself, no secret, nothing ever changed."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from fastapi import Depends
from fastapi.testclient import TestClient
from sqlalchemy import delete, text, update
from sqlalchemy.exc import DatabaseError

from parts_pages import START, add_deployment
from parts_routes import routes_of
from tidegauge.app import build_services, create_app
from tidegauge.domain.audit import AuditEntry, ExportFormat, Outcome
from tidegauge.domain.identity import new_id
from tidegauge.domain.users import Role, Scope, User
from tidegauge.services import lockout
from tidegauge.services.auditing import AuditFilter, Auditing, Deed
from tidegauge.services.bundle import Services
from tidegauge.settings import load_settings
from tidegauge.storage.database import Database
from tidegauge.storage.tables import audit_entries
from tidegauge.web.access import OPEN, signed_in

OWN = "tide and moon and stars"


@dataclass
class House:
    client: TestClient
    services: Services
    tokens: dict[str, str]

    def ask(self, method: str, path: str, who: str = "operator", **options: Any) -> Any:
        headers = {"Origin": "http://testserver"}
        if who:
            headers["Authorization"] = f"Bearer {self.tokens.get(who, who)}"
        return self.client.request(method, path, headers=headers, follow_redirects=False, **options)

    def entries(self) -> list[AuditEntry]:
        """Return all entries, oldest first."""
        return list(self.services.database.audit.all())[::-1]

    def since(self, before: list[AuditEntry]) -> list[AuditEntry]:
        return self.entries()[len(before) :]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    home: Path = tmp_path_factory.mktemp("home")
    services = build_services(load_settings(home, {"port": 1}, {}))
    app = create_app(services)

    @app.post("/api/v1/breaks", dependencies=[Depends(signed_in)])
    def breaks() -> None:
        raise RuntimeError("a mistake of ours")

    with (
        pytest.MonkeyPatch.context() as patch,
        TestClient(app, raise_server_exceptions=False) as client,
    ):
        for name in ("FREE_PAIR", "FREE_ADDRESS", "FREE_NAME", "FREE_TOKENS"):
            patch.setattr(lockout, name, 1_000_000)
        operator = services.people.first_start()
        assert operator
        ada = services.database.users.add(User(new_id(), "ada", Role.USER, START))
        yield House(client, services, {"operator": operator, "ada": services.people.issue(ada, "test")[1]})


def test_every_route_that_changes_something_is_written_down_by_itself(house: House) -> None:
    """Of a new route, too: its address alone decides; what goes to models, IDEs and the log is left out."""
    written = left_out = 0
    for route in routes_of(house.client.app):  # type: ignore[arg-type]
        for method in sorted(set(route.methods) - {"GET", "HEAD"}):
            path = re.sub(r"{(\w+)(:\w+)?}", "x", route.path)
            before = house.entries()
            house.ask(method, path, json={})
            found = house.since(before)
            if path.startswith(("/serve/", "/jupyter/")) or path.endswith("/events"):
                left_out += 1
                assert found == [], path
                continue
            if route.openapi_extra == OPEN:  # a sign-in, where a name or a token came with it
                assert len(found) <= 1, path
                continue
            written += 1
            assert [(e.who, e.method, e.action) for e in found] == [("operator", method, route.path)], path
            assert found[0].address == "testclient"
    assert written > 80
    assert left_out == 7


def test_who_what_when_from_where_with_what_and_how_it_ended(house: House) -> None:
    before = house.entries()
    made = house.ask("POST", "/api/v1/code", json={"name": "mine", "source": {"type": "upload"}}).json()
    house.ask("POST", "/api/v1/code", json={"name": "mine", "source": {"type": "upload"}})
    house.ask("DELETE", "/api/v1/code/mine", "ada")
    house.ask("DELETE", "/api/v1/code/mine")
    house.ask("POST", "/api/v1/breaks")
    created, twice, theirs, deleted, broken = house.since(before)
    assert created.who == "operator"
    assert created.means == "token"
    assert created.credential.endswith(" first start")
    assert (created.action, created.subject) == ("/api/v1/code", f"name=mine id={made['id']}")
    assert (created.status, created.outcome) == (201, Outcome.DONE)
    assert (twice.status, twice.outcome, twice.subject) == (409, Outcome.REFUSED, "")
    assert (theirs.who, theirs.status, theirs.subject) == ("ada", 404, "name=mine")
    assert (deleted.method, deleted.action, deleted.subject) == ("DELETE", "/api/v1/code/{name}", "name=mine")
    assert (broken.status, broken.outcome) == (500, Outcome.FAILED)


def test_forms_say_where_they_led(house: House) -> None:
    before = house.entries()
    form = {"name": "by-form", "source.type": "upload"}
    assert house.ask("POST", "/models/new", data=form).status_code == 303
    (entry,) = house.since(before)
    assert (entry.action, entry.subject, entry.status) == ("/models/new", "-> /models/by-form", 303)


def test_what_a_change_of_people_was_is_told_by_both_doors(house: House) -> None:
    before = house.entries()
    house.ask("POST", "/users/new", data={"name": "gus", "role": "operator"})
    house.ask("POST", "/users/gus/role")
    house.ask("PATCH", "/api/v1/users/gus", json={"role": "operator", "disabled": True})
    house.ask("POST", "/users/gus/access")
    house.ask("DELETE", "/api/v1/users/gus?heir=ada")
    house.ask("POST", "/settings/developer/new", data={"name": "notebook", "scope": "read"})
    house.ask("POST", "/api/v1/tokens", json={"name": "script", "scope": "link"})
    subjects = [re.sub(r"id=\S+", "id=...", entry.subject) for entry in house.since(before)]
    assert subjects == [
        "name=gus role=operator",
        "name=gus role=user -> /users/gus",
        "name=gus role=operator disabled=true name=gus id=...",
        "name=gus disabled=false -> /users/gus",
        "name=gus heir=ada",
        "name=notebook id=... scope=read",
        "scope=link name=script id=...",
    ]


def test_reading_is_not_written_down(house: House) -> None:
    before = house.entries()
    for path in ("/", "/users", "/api/v1/users", "/api/v1/audit", "/api/v1/deployments/none"):
        house.ask("GET", path)
    house.ask("POST", "/api/v1/code", "", json={})  # nobody
    house.ask("POST", "/models/new", "", data={})
    assert house.since(before) == []


def test_sign_ins_and_failures_are_written_down(house: House) -> None:
    invitation = house.services.accounts.create("eve")
    before = house.entries()
    chosen = {"name": "eve", "password": invitation.password, "chosen": OWN, "again": OWN}
    house.ask("POST", "/sign-in", "", data={"name": "eve", "password": invitation.password})
    house.ask("POST", "/sign-in/password", "", data=chosen)
    house.client.cookies.clear()
    house.ask("POST", "/sign-in", "", data={"name": "eve", "password": OWN})
    house.ask("POST", "/sign-out", "")
    house.client.cookies.clear()
    house.ask("POST", "/sign-in", "", data={"name": "eve", "password": "wrong"})
    house.ask("POST", "/sign-in", "", data={"name": "my-password-by-mistake", "password": "eve"})
    house.ask("POST", "/sign-in", "", data={"token": house.tokens["ada"]})
    house.client.cookies.clear()
    house.ask("POST", "/sign-in", "", data={"token": "tg_wrong"})
    house.ask("POST", "/api/v1/sign-in", "", json={"name": "eve", "password": OWN})
    house.ask("GET", "/api/v1/me", "tg_wrong")
    assert [(e.who, e.means, e.action, e.status) for e in house.since(before)] == [
        ("eve", "password", "/sign-in", 303),
        ("eve", "password", "/sign-in/password", 303),
        ("eve", "password", "/sign-in", 303),
        ("eve", "session", "/sign-out", 303),
        ("eve", "password", "/sign-in", 401),
        ("", "password", "/sign-in", 401),
        ("ada", "token", "/sign-in", 303),
        ("", "token", "/sign-in", 401),
        ("eve", "password", "/api/v1/sign-in", 201),
        ("", "", "/api/v1/me", 401),
    ]


def test_no_secret_and_no_id_of_a_deleted_event_is_in_it(house: House) -> None:
    services = house.services
    deployment = add_deployment(services, "for-canaries")
    canary = "canary-4711"
    made = [
        house.ask("POST", "/api/v1/users", json={"name": "finn"}).json()["password"],
        house.ask("POST", "/api/v1/users/finn/password").json()["password"],
        house.ask("POST", "/api/v1/tokens", json={"name": "t"}).json()["secret"],
        house.ask("POST", f"/api/v1/deployments/{deployment.id}/tokens", json={"name": "u"}).json()["secret"],
    ]
    settings = {"url": "https://example.org/hook"}
    body = {"name": "ward", "kind": "webhook", "settings": settings, "secret": canary}
    assert house.ask("POST", "/api/v1/channels", json=body).status_code == 201
    house.ask("PUT", "/api/v1/me/password", json={"chosen": f"{canary} and a password"})
    house.ask("POST", "/sign-in", "", data={"name": canary, "password": canary})
    house.ask("GET", "/api/v1/me", f"tg_{canary}")
    house.ask("DELETE", f"/api/v1/deployments/{deployment.id}/events/{canary}")
    house.ask("POST", "/settings/developer/new", data={"name": "by form"})
    with services.database.engine.connect() as connection:
        written = str(connection.execute(text("SELECT * FROM audit_entries")).all())
    assert "/api/v1/deployments/{deployment_id}/events/{event_id:path}" in written
    for secret in (canary, *made, *house.tokens.values()):
        assert secret not in written


def test_it_is_read_filtered_and_exported_by_operators_alone(house: House) -> None:
    house.ask("POST", "/api/v1/code", "ada", json={"name": "Not A Name", "source": {"type": "upload"}})
    for path in ("/api/v1/audit", "/api/v1/audit/export", "/audit", "/audit/export"):
        assert house.ask("GET", path, "ada").status_code == 403, path
        assert house.ask("GET", path).status_code == 200, path
    listed = house.ask("GET", "/api/v1/audit?who=ada&outcome=refused&limit=1").json()
    assert [(e["who"], e["outcome"]) for e in listed["items"]] == [("ada", "refused")]
    assert house.ask("GET", "/api/v1/audit?q=/api/v1/tokens&limit=1").json()["items"]
    assert house.ask("GET", "/api/v1/audit?end=2020-01-01T00:00:00Z").json()["items"] == []
    assert house.ask("GET", "/api/v1/audit?outcome=none").status_code == 422
    entries = house.entries()
    rows = list(csv.DictReader(io.StringIO(house.ask("GET", "/api/v1/audit/export").text)))
    lines = [json.loads(line) for line in house.ask("GET", "/audit/export?format=jsonl").text.splitlines()]
    assert [row["id"] for row in rows] == [line["id"] for line in lines] == [e.id for e in entries[::-1]]
    seen, cursor = [], ""
    while True:
        page = house.ask("GET", f"/api/v1/audit?limit=7&cursor={cursor}").json()
        seen += [item["id"] for item in page["items"]]
        cursor = page["cursor"]
        if not cursor:
            break
    assert seen == [entry.id for entry in entries[::-1]]


def test_the_page_filters_and_says_what_is_wrong(house: House) -> None:
    page = house.ask("GET", "/audit?who=ada").text
    assert "POST /api/v1/code" in page
    assert 'href="/audit/export?who=ada&amp;format=csv"' in page
    assert ">operator</td>" not in page
    wrong = house.ask("GET", "/audit?start=soon")
    assert (wrong.status_code, "write a time such as" in wrong.text) == (422, True)
    assert "No entry is like that." in house.ask("GET", "/audit?q=none-such").text


def test_a_token_that_may_do_nothing_is_named(house: House) -> None:
    people = house.services.people
    _, secret = people.issue(people.owner("operator"), "narrow", Scope.LINK)
    before = house.entries()
    house.ask("POST", "/api/v1/code", secret, json={})
    (entry,) = house.since(before)
    assert (entry.who, entry.status, entry.credential.split(" ")[1]) == ("operator", 403, "narrow")


def noted(database: Database) -> Auditing:
    auditing = Auditing(database, lambda: START)
    auditing.note(Deed("10.0.0.1", "POST", "=cmd()", "a\nb" + "x" * 1000, 200), None)
    return auditing


def test_the_database_refuses_every_change_of_an_entry(database: Database) -> None:
    noted(database)
    changes = [update(audit_entries).values(who="eve"), delete(audit_entries)]
    if database.engine.dialect.name == "postgresql":
        changes.append(text("TRUNCATE audit_entries"))  # type: ignore[arg-type]
    for change in changes:
        with (
            pytest.raises(DatabaseError, match="only added to"),
            database.engine.begin() as connection,
        ):
            connection.execute(change)
    assert len(list(database.audit.all())) == 1
    assert not hasattr(database.audit, "delete")
    assert not hasattr(database.audit, "update")


def test_what_others_sent_is_short_on_one_line_and_no_formula(database: Database) -> None:
    auditing = noted(database)

    (entry,) = database.audit.all()
    assert ("\n" in entry.subject, len(entry.subject)) == (False, 500)
    exported = b"".join(auditing.export(ExportFormat.CSV, "", AuditFilter())).decode()
    (row,) = csv.DictReader(io.StringIO(exported))
    assert row["action"] == "'=cmd()"


def test_a_log_that_cannot_be_written_is_told_with_the_entry(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    auditing = Auditing(database, lambda: START)
    with database.engine.begin() as connection:
        connection.execute(text("DROP TABLE audit_entries"))
    auditing.note(Deed("10.0.0.1", "POST", "/api/v1/code", "name=x", 201), None)
    assert "The audit log could not be written" in caplog.text
    assert "/api/v1/code" in caplog.text
