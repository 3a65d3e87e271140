"""Every route, tried with everything that is not enough for it; ``answers.txt`` is what they all answered.

A new route is found by itself: it fails here until its line stands in the table, and for good where it lets
somebody in. ``TIDEGAUGE_WRITE_ANSWERS=1`` writes the table; read what changed in it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import delete

from parts_pages import START, add_monitor
from parts_routes import routes_of
from tidegauge.app import build_services, create_app
from tidegauge.domain.alert import Alert, AlertRule, Condition
from tidegauge.domain.catalogue import Repository, RepositoryKind, Source, SourceType, Version, VersionState
from tidegauge.domain.channel import Channel, ChannelKind
from tidegauge.domain.content import ContentForm
from tidegauge.domain.ide import Framework, Ide, IdeState
from tidegauge.domain.identity import new_id
from tidegauge.domain.metrics import MetricType
from tidegauge.domain.pipeline import PipelineRun, PipelineState
from tidegauge.domain.users import Role, Scope, User
from tidegauge.services.bundle import Services
from tidegauge.settings import load_settings
from tidegauge.storage import tables
from tidegauge.ui.site import Page
from tidegauge.web.access import OPEN, linked, operating, reader
from tidegauge.web.credentials import COLLECTOR

ANSWERS = Path(__file__).with_name("answers.txt")
STRANGERS = ("nobody", "malformed", "expired", "revoked", "disabled")
SCOPES = ("ingest", "link", "read")  # tokens of who owns the things, good for something else
OTHERS = ("user",)  # somebody else, with a token that is good for everything
WHO = (*STRANGERS, *SCOPES, *OTHERS)
#: What has a parameter and is nobody's own.
COMMON = re.compile(r"/help/|/static/|/settings/account/sessions/")  # of sessions, one's own alone are found


_SPAN = {"start": "2026-03-01T12:00:00Z", "end": "2026-03-01T13:00:00Z"}
#: Bodies that are right, by the end of the path: a wrong one is refused before it is known whose it is.
BODIES: dict[str, Any] = {
    "/erasures": {"event_ids": ["x"]},
    "}/tokens": {"name": "t"},
    "/accept": _SPAN,
    "/backfill": _SPAN,
    "/maintenance": _SPAN,
    "}/runs": _SPAN,
    "/labels": {"labels": [{"event_id": "x", "label": "a"}]},
}


@dataclass(frozen=True)
class Route:
    method: str
    path: str
    is_open: bool
    is_page: bool
    needs: frozenset[Any]  # the functions that it depends on

    @property
    def line(self) -> str:
        return f"{self.method} {self.path}"


def dependencies(route: Any) -> frozenset[Any]:
    found = set()
    waiting = [route.dependant]
    while waiting:
        one = waiting.pop()
        found.add(one.call)
        waiting += one.dependencies
    return frozenset(found)


class Tried:
    """A server with the things of Ada, and what each route answered to whom."""

    def __init__(self, services: Services, client: TestClient) -> None:
        self.services, self.client = services, client
        self.routes = sorted(self._routes(), key=lambda route: (route.path, route.method))
        people = services.people
        people.first_start()
        ada, bob, gone = (self._add_user(name) for name in ("ada", "bob", "gone"))
        self.things = self._add_things("ada")
        yesterday = datetime.now(UTC) - timedelta(days=1)
        revoked, revoked_secret = people.issue(ada, "revoked")
        people.revoke(revoked.id)
        self.secrets = {
            "nobody": "",
            "malformed": "tg_malformed \u00e9",
            "expired": people.issue(ada, "expired", expires_at=yesterday)[1],
            "revoked": revoked_secret,
            "disabled": people.issue(gone, "disabled")[1],
            "ingest": people.issue(ada, "ingest", Scope.INGEST, self.things["deployment_id"])[1],
            "link": people.issue(ada, "link", Scope.LINK)[1],
            "read": people.issue(ada, "read", Scope.READ)[1],
            "user": people.issue(bob, "write")[1],
            "owner": people.issue(ada, "write")[1],
        }
        services.database.users.update(gone.id, disabled_at=yesterday)
        self.answers = {
            (route, who): self._ask(route, who)
            for route in self.routes
            for who in WHO
            if self._is_tried(route, who)
        }

    def _routes(self) -> Iterator[Route]:
        for route in routes_of(self.client.app):  # type: ignore[arg-type]
            plain = getattr(route, "original_route", route)
            for method in sorted(route.methods - {"HEAD"}):
                is_open = route.openapi_extra == OPEN
                yield Route(method, route.path, is_open, isinstance(plain, Page), dependencies(route))

    def _add_user(self, name: str) -> User:
        return self.services.database.users.add(User(new_id(), name, Role.USER, START))

    def _add_things(self, owner: str) -> dict[str, str]:
        """Add one of everything that belongs to somebody; return its id by the parameter that names it."""
        database = self.services.database
        monitor = add_monitor(self.services, "hers", owner)
        rule = AlertRule("low", MetricType.PERFORMANCE, (Condition(name="accuracy", bound=1),))
        alert = database.alerts.add(Alert(new_id(), monitor.id, "low", rule, START))
        settings = {"url": "http://192.0.2.1/"}
        channel = database.channels.add(Channel(new_id(), owner, "c", ChannelKind.WEBHOOK, settings, START))
        run = database.pipeline_runs.add(
            PipelineRun(new_id(), owner, "p.py", "c", 1, "d", 1, "m", "", PipelineState.SUCCEEDED, START)
        )
        framework, stopped = Framework.NONE, IdeState.STOPPED
        ide = database.ides.add(
            Ide(new_id(), owner, "hers", "c", 1, framework, "", "", stopped, stopped, START)
        )
        made = {
            "ide_id": ide.id,
            "monitor_id": monitor.id,
            "deployment_id": monitor.deployment_id,
            "alert_id": alert.id,
            "channel_id": channel.id,
            "run_id": run.id,
        }
        for kind in RepositoryKind:
            form = ContentForm.FILES
            repository = database.repositories.add(
                Repository(new_id(), kind, "hers", owner, Source(SourceType.UPLOAD), form, START)
            )
            database.versions.add(Version(new_id(), repository.id, 1, VersionState.READY, START, form=form))
            made[kind.plural] = repository.id
        token, _ = self.services.people.issue(
            database.users.find(name=owner),
            "events",
            Scope.INGEST,
            monitor.deployment_id,  # type: ignore[arg-type]
        )
        return {**made, "token": token.id, "token_id": token.id}

    @staticmethod
    def _is_tried(route: Route, who: str) -> bool:
        if who == "read":
            return route.method != "GET"  # to read is what it is for
        if who == "user":  # what has no parameter is their own, unless it is the operators'
            return route.method == "GET" or "{" in route.path or operating in route.needs
        return True

    def _filled(self, path: str) -> str:
        section = next((part for part in path.split("/") if part not in ("", "api", "v1")), "")
        by_name = {
            "deployments": self.things["deployment_id"],
            "monitors": self.things["monitor_id"],
            "pipeline-runs": self.things["run_id"],
            "users": "ada",
            "help": "workflow.svg",
        }
        values = {**self.things, "number": "1", "index": "0", "file": "a.csv", "path": "v1/models/hers"}
        values["name"] = self.things.get(section) or by_name.get(section, "hers")
        values["key"] = values["name"]
        if path == "/help/{name:path}":
            values["name"] = "workflow"
        return re.sub(r"{(\w+)(:\w+)?}", lambda found: values.get(found[1], "x"), path)

    def _ask(self, route: Route, who: str) -> str:
        with self.services.database.engine.begin() as connection:
            connection.execute(delete(tables.attempts))  # or all would have to wait before long
        headers: dict[str, str | bytes] = {"Origin": "http://testserver"}
        if secret := self.secrets[who]:
            headers["Authorization"] = f"Bearer {secret}".encode()
        right = next((body for end, body in BODIES.items() if route.path.endswith(end)), {})
        body: dict[str, Any] = {} if route.method == "GET" else {"json": right}
        if route.path.endswith("/report"):
            body["params"] = _SPAN
        if route.path.endswith("/events") and route.method == "POST" and route.path.startswith(COLLECTOR):
            headers["Content-Type"] = "application/cloudevents+json"
            source = f"/deployments/{self.things['deployment_id']}"
            body = {"json": {"specversion": "1.0", "id": who, "source": source, "type": "t", "data": {}}}
        answer = self.client.request(route.method, self._filled(route.path), headers=headers, **body)
        if answer.status_code == 303:
            to = answer.headers["location"].partition("?")[0]
            return "303" if to == "/sign-in" else f"303{to}"
        return str(answer.status_code)

    def table(self) -> str:
        width = max(len(route.line) for route in self.routes)
        head = f"{'':{width}}  {'  '.join(f'{who:>9}' for who in WHO)}"
        lines = [head.rstrip()]
        for route in self.routes:
            cells = (self.answers.get((route, who), "-") for who in WHO)
            row = f"{route.line:{width}}  {'  '.join(f'{cell:>9}' for cell in cells)}"
            lines.append(f"{row}{'  open' if route.is_open else ''}")
        return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def tried(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tried]:
    home: Path = tmp_path_factory.mktemp("routes") / "home"
    services = build_services(load_settings(home, {"port": 1}, {}))
    with TestClient(create_app(services), raise_server_exceptions=False, follow_redirects=False) as client:
        client.app.state.ending.set()  # type: ignore[attr-defined]  # streams end at once
        yield Tried(services, client)


def refused(route: Route, answer: str) -> bool:
    """Tell whether nothing was done; the collector says of each event of a batch that it is not taken."""
    return answer == ("422" if route.line == "POST /v1/events" else "403")


def wrong(tried: Tried, who: tuple[str, ...], is_right: Any) -> list[str]:
    return [
        f"{route.line} answers {answer} to {asker}"
        for (route, asker), answer in tried.answers.items()
        if asker in who and not is_right(route, answer)
    ]


def test_every_route_was_tried(tried: Tried) -> None:
    assert len(tried.routes) > 250
    assert all((route, who) in tried.answers for route in tried.routes for who in STRANGERS)
    assert {route.line for route in tried.routes} >= {
        "GET /healthz",
        "POST /v1/events",
        "GET /monitors/{monitor_id}",
    }
    plain = [route for route in tried.routes if "{" in route.path and route.is_page]
    assert len(plain) > 50


def test_strangers_get_in_nowhere(tried: Tried) -> None:
    def is_right(route: Route, answer: str) -> bool:
        if route.is_open:
            return answer[0] in "234"
        return answer in ("401", "303") if route.is_page else answer == "401"

    assert wrong(tried, STRANGERS, is_right) == []


def test_few_routes_are_open(tried: Tried) -> None:
    assert len([route for route in tried.routes if route.is_open]) < 20


def test_a_token_that_only_reads_changes_nothing(tried: Tried) -> None:
    def is_right(route: Route, answer: str) -> bool:
        return route.is_open or reader in route.needs or refused(route, answer)

    assert wrong(tried, ("read",), is_right) == []


def test_a_token_for_events_is_good_for_the_collector_alone(tried: Tried) -> None:
    def is_right(route: Route, answer: str) -> bool:
        return route.is_open or route.path.startswith(COLLECTOR) or answer == "403"

    assert wrong(tried, ("ingest",), is_right) == []


def test_a_token_for_links_is_good_for_links_alone(tried: Tried) -> None:
    def is_right(route: Route, answer: str) -> bool:
        return route.is_open or linked in route.needs or refused(route, answer)

    assert wrong(tried, ("link",), is_right) == []


def test_what_is_somebody_elses_is_not_there(tried: Tried) -> None:
    def is_right(route: Route, answer: str) -> bool:
        own = "{" not in route.path or COMMON.match(route.path)
        return bool(own) or route.is_open or answer in ("403", "404", "422")

    assert wrong(tried, OTHERS, is_right) == []


def test_what_is_for_operators_is_for_no_user(tried: Tried) -> None:
    of_operators = [route for route in tried.routes if operating in route.needs]
    assert len(of_operators) > 5
    for route in of_operators:
        assert tried.answers[route, "user"] == "403", route.line


def test_nothing_breaks(tried: Tried) -> None:
    assert wrong(tried, WHO, lambda _route, answer: answer[0] != "5") == []


def test_nothing_of_hers_was_changed(tried: Tried) -> None:
    database = tried.services.database
    assert database.monitors.get(tried.things["monitor_id"]).owner == "ada"
    assert database.deployments.count(owner="ada") == 1
    assert database.repositories.count(owner="ada") == 3
    assert database.channels.count(owner="ada") == 1
    assert database.users.count() == 4
    headers = {"Authorization": f"Bearer {tried.secrets['owner']}"}
    for path in (f"monitors/{tried.things['monitor_id']}", "code/hers", "deployments/hers", "channels/c"):
        assert tried.client.get(f"/api/v1/{path}", headers=headers).status_code == 200, path


def test_the_answers_are_those_of_the_table(tried: Tried) -> None:
    table = tried.table()
    if os.environ.get("TIDEGAUGE_WRITE_ANSWERS"):
        ANSWERS.write_text(table)
    known = ANSWERS.read_text().splitlines()
    found = table.splitlines()
    news = [line for line in found if line not in known] + [
        f"gone: {line}" for line in known if line not in found
    ]
    assert news == [], "look at these; TIDEGAUGE_WRITE_ANSWERS=1 writes them down"


def test_a_route_without_a_rule_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TIDEGAUGE_WRITE_ANSWERS", raising=False)
    services = build_services(load_settings(tmp_path / "home", {"port": 1}, {}))
    app = create_app(services)
    app.add_api_route("/api/v1/forgotten", lambda: {"all": "secrets"})
    with TestClient(app, raise_server_exceptions=False, follow_redirects=False) as client:
        client.app.state.ending.set()  # type: ignore[attr-defined]
        found = Tried(services, client)
    with pytest.raises(AssertionError, match="GET /api/v1/forgotten answers 200 to nobody"):
        test_strangers_get_in_nowhere(found)
    with pytest.raises(AssertionError, match="forgotten"):
        test_the_answers_are_those_of_the_table(found)
