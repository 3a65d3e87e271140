"""200 clients at once on PostgreSQL: events, pages and the API, of several people.

    python benchmarks/clients.py            five minutes
    python benchmarks/clients.py --quick    within a minute

A server in a process of its own, on a PostgreSQL of its own. Ten people have a deployment and a monitor
each, with a day of windows. A client sends its next request as soon as it has the answer, without a pause.
Answers 429 and 503 are back-pressure only where their body is a problem document that says so and there is a
Retry-After; whatever else was not to be expected is an error. In the end every event that was acknowledged
has to be in the log.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import itertools
import json
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from tidegauge import threads

threads.use_one()
sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))

import orjson
import pyarrow.dataset as ds

import report_rows
from _shared import Claim, report
from parts import postgres
from parts_server import Server
from tidegauge.app import build_services
from tidegauge.domain.events import BATCH_CONTENT_TYPE, REQUEST_TYPE, RESPONSE_TYPE
from tidegauge.domain.identity import new_id
from tidegauge.domain.monitor_config import DriftConfig
from tidegauge.domain.users import Role, Scope, User
from tidegauge.services.baselines import Baseline, Baselines
from tidegauge.services.tallying import Tallying
from tidegauge.settings import load_settings
from tidegauge.web.credentials import COOKIE

PEOPLE = 10
CLIENTS = {"ingest": 80, "pages": 60, "API, reading": 40, "API, changing": 20}
WINDOWS = 288  # of each monitor
BATCH = 10  # events in a request
BASELINE = Baseline(None, (), {"NORMAL": 50, "PNEUMONIA": 50}, ("NORMAL", "PNEUMONIA"), "PNEUMONIA")
_PRESSURE = {429: "Too many requests", 503: "Unavailable"}
_TAKEN = 202  # of events
_SECONDS = 60.0  # that an answer may take
_SHOWN = 10  # errors
_PAGES = (
    "/", "/monitors", "/monitors/{monitor}", "/monitors/{monitor}/alerts", "/monitors/{monitor}/thresholds",
    "/deployments", "/deployments/{name}", "/datasets", "/models", "/settings/developer", "/help",
)  # fmt: skip
_READ = (
    "/api/v1/me", "/api/v1/status", "/api/v1/tokens", "/api/v1/deployments", "/api/v1/deployments/{name}",
    "/api/v1/deployments/{name}/inference-log", "/api/v1/deployments/{name}/captures", "/api/v1/monitors",
    "/api/v1/monitors/{monitor}", "/api/v1/monitors/{monitor}/series",
    "/api/v1/monitors/{monitor}/alert-events", "/api/v1/monitors/{monitor}/maintenance", "/api/v1/datasets",
)  # fmt: skip


@dataclass(frozen=True)
class Person:
    """Who has a deployment and its monitor, both called ``name``."""

    name: str
    token: str
    ingest: str
    deployment: str
    monitor: str


@dataclass(frozen=True)
class Asked:
    """A request and the status that it is to have."""

    method: str
    path: str
    expected: int
    body: Any = None
    media_type: str = "application/json"


@dataclass
class Tally:
    """What one client has seen."""

    latencies: list[float] = field(default_factory=list)
    held_back: Counter[int] = field(default_factory=Counter)  # by status
    errors: list[str] = field(default_factory=list)
    acknowledged: int = 0  # events


_Made = dict[str, Any]
#: Yields requests, and is sent what each of them was answered.
Script = Generator[Asked, _Made, None]


class Client:
    """One connection of a person: sends what ``requests`` yields, and sends its answer back into it."""

    def __init__(self, port: int, headers: dict[str, str], script: Script) -> None:
        self.tally = Tally()
        self._port = port
        self._headers = headers
        self._script = script
        self._connection = self._connect()

    def run(self, until: float) -> None:
        """Ask until the monotonic clock says ``until``."""
        made: _Made = {}
        asked = next(self._script)
        while time.monotonic() < until:
            made = self._ask(asked)
            asked = self._script.send(made)

    def _ask(self, asked: Asked) -> _Made:
        body = asked.body if isinstance(asked.body, bytes) else orjson.dumps(asked.body)
        headers = dict(self._headers)
        if asked.body is not None:
            headers["Content-Type"] = asked.media_type
        begun = time.perf_counter()
        try:
            self._connection.request(
                asked.method, asked.path, body if asked.body is not None else None, headers
            )
            answer = self._connection.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException) as error:
            self.tally.errors.append(f"{asked.method} {asked.path}: {error!r}")
            self._connection.close()
            self._connection = self._connect()
            return {}
        self.tally.latencies.append(time.perf_counter() - begun)
        if answer.status == asked.expected:
            value = orjson.loads(content) if content[:1] in (b"{", b"[") else {}
            found: _Made = value if isinstance(value, dict) else {}
            if answer.status == _TAKEN:
                self.tally.acknowledged += found["accepted"]
            return found
        if _is_pressure(answer, content):
            self.tally.held_back[answer.status] += 1
        else:
            told = content[:300].decode(errors="replace")
            self.tally.errors.append(f"{asked.method} {asked.path}: {answer.status} {told}")
        return {}

    def _connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self._port, timeout=_SECONDS)


def _is_pressure(answer: http.client.HTTPResponse, content: bytes) -> bool:
    """Tell whether an answer says on purpose to come again later."""
    if answer.status not in _PRESSURE or answer.headers.get_content_type() != "application/problem+json":
        return False
    return "retry-after" in answer.headers and json.loads(content)["title"] == _PRESSURE[answer.status]


def inference(person: Person, name: str, values: list[float]) -> list[_Made]:
    """Return the events of a request and of its answer."""
    shared = {
        "specversion": "1.0",
        "id": name,
        "source": f"/deployments/{person.deployment}",
        "datacontenttype": "application/json",
    }
    return [
        {**shared, "type": REQUEST_TYPE, "data": {"instances": [values]}},
        {**shared, "type": RESPONSE_TYPE, "data": {"predictions": [[0.25, 0.75]]}},
    ]


def ingesting(person: Person, number: int) -> Script:
    """Batches of small inferences, none of which came before."""
    for count in itertools.count():
        events = [
            event
            for place in range(BATCH // 2)
            for event in inference(person, f"{number}-{count}-{place}", [place, count, 0.5, 1.5])
        ]
        path = f"/v1/deployments/{person.deployment}/events" if count % 2 else "/v1/events"
        yield Asked("POST", path, _TAKEN, events, BATCH_CONTENT_TYPE)


def reading(paths: tuple[str, ...]) -> Callable[[Person, int], Script]:
    """Some addresses, in an order of each client's own."""

    def script(person: Person, number: int) -> Script:
        order = random.Random(number)
        while True:
            yield Asked("GET", order.choice(paths).format(**vars(person)), 200)

    return script


def changing(person: Person, number: int) -> Script:
    """Make, change and delete one thing after the other; what was not made is not changed."""
    monitor = f"/api/v1/monitors/{person.monitor}"
    for count in itertools.count():
        name = f"c{number}-{count}"
        token = yield Asked("POST", "/api/v1/tokens", 201, {"name": name, "days": 1})
        if token:
            yield Asked("DELETE", f"/api/v1/tokens/{token['id']}", 204)
        rule = {
            "name": name,
            "type": "performance",
            "conditions": [{"name": "accuracy", "operator": "<", "bound": 0.8}],
        }
        alert = yield Asked("POST", f"{monitor}/alerts", 201, rule)
        if alert:
            changed = {**rule, "breaches": 2}
            yield Asked("PUT", f"{monitor}/alerts/{alert['id']}", 200, changed)
            yield Asked("DELETE", f"{monitor}/alerts/{alert['id']}", 204)
        now = datetime.now(UTC)
        span = {"start": now.isoformat(), "end": (now + timedelta(hours=1)).isoformat(), "reason": name}
        rest = yield Asked("POST", f"{monitor}/maintenance", 201, span)
        if rest:
            yield Asked("DELETE", f"{monitor}/maintenance/{rest['id']}", 204)
        event = f"{name}-event"
        if (yield Asked("POST", "/v1/events", _TAKEN, inference(person, event, [1.0]), BATCH_CONTENT_TYPE)):
            label = {"event_id": event, "label": "NORMAL"}
            yield Asked("POST", f"/v1/deployments/{person.deployment}/labels", 201, {"labels": [label]})
        dataset = {"name": name, "source": {"type": "upload"}}
        if (yield Asked("POST", "/api/v1/datasets", 201, dataset)):
            yield Asked("POST", f"/api/v1/datasets/{name}/share", 200)
            yield Asked("DELETE", f"/api/v1/datasets/{name}", 204)


def fill(home: Path, url: str) -> tuple[str, list[Person]]:
    """Write the people and what they have; return the operator's token, too."""
    now = datetime.now(UTC)
    report_rows.START = (now - timedelta(days=1)).replace(minute=0, second=0, microsecond=0)
    services = build_services(load_settings(home, {"port": 1, "database_url": url}, {}), lambda: now)
    operator = services.people.first_start() or ""
    found = []
    for number in range(PEOPLE):
        name = f"person-{number}"
        user = services.database.users.add(User(new_id(), name, Role.USER, now))
        monitor = report_rows.add_monitor(services.database, name, name)
        config = replace(monitor.config, drift=DriftConfig())
        kept = Baselines(services.store).keep(monitor.id, BASELINE)
        services.database.monitors.update(monitor.id, config=config, baseline=kept)
        report_rows.add_span(services.database, monitor, WINDOWS, drift_from=0.9)
        tallying = Tallying(services.database)
        with services.database.transaction():
            for run in services.monitors.runs(monitor, None, None):
                tallying.tallied(monitor, run, None)
                services.history.note(services.database.monitors.get(monitor.id), run)
        token = services.people.issue(user, "bench")[1]
        ingest = services.people.issue(user, "ingest", Scope.INGEST, monitor.deployment_id)[1]
        found.append(Person(name, token, ingest, monitor.deployment_id, monitor.id))
    services.collector.close()
    services.database.close()
    return operator, found


def sign_in(port: int, token: str) -> str:
    """Sign in as a browser does; return the cookie."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_SECONDS)
    headers = {
        "Content-Type": "application/x-www-form-urlencoded",
        "Origin": f"http://127.0.0.1:{port}",
    }
    connection.request("POST", "/sign-in", urlencode({"token": token}), headers)
    answer = connection.getresponse()
    connection.close()
    cookie = (answer.headers["set-cookie"] or "").partition(";")[0]
    if not cookie.startswith(COOKIE):
        sys.exit(f"The sign-in was answered {answer.status}.")
    return cookie


def load(port: int, people: list[Person], seconds: float) -> tuple[dict[str, list[Tally]], float]:
    """Let all clients ask at once; return what they saw, by kind, and how long it took in seconds."""
    scripts = {
        "ingest": ingesting,
        "pages": reading(_PAGES),
        "API, reading": reading(_READ),
        "API, changing": changing,
    }
    clients: dict[str, list[Client]] = {kind: [] for kind in CLIENTS}
    for kind, count in CLIENTS.items():
        for number in range(count):
            person = people[number % len(people)]
            if kind == "pages":
                headers = {"Cookie": sign_in(port, person.token)}
            else:
                secret = person.ingest if kind == "ingest" else person.token
                headers = {"Authorization": f"Bearer {secret}"}
            clients[kind].append(Client(port, headers, scripts[kind](person, number)))
    begun = time.monotonic()
    every = [client for some in clients.values() for client in some]
    running = [threading.Thread(target=client.run, args=(begun + seconds,)) for client in every]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    took = time.monotonic() - begun
    return {kind: [client.tally for client in some] for kind, some in clients.items()}, took


def stored(home: Path, people: list[Person]) -> int:
    """Return how many events the logs have, by plain Parquet."""
    folders = [home / "store" / person.deployment / "log" for person in people]
    return sum(ds.dataset(folder).count_rows() for folder in folders if folder.exists())


def claim(kind: str, tallies: list[Tally], took: float) -> Claim:
    latencies = sorted(latency for tally in tallies for latency in tally.latencies)
    errors = sum(len(tally.errors) for tally in tallies)
    held_back: Counter[int] = sum((tally.held_back for tally in tallies), Counter())
    if not latencies:
        return Claim(kind, "nothing was answered", "no error", holds=False)
    half, most = (latencies[int(len(latencies) * share)] * 1e3 for share in (0.5, 0.99))
    measured = f"{len(latencies) / took:.0f}/s, p50 {half:.0f} ms, p99 {most:.0f} ms"
    measured += "".join(f", {count} times {status}" for status, count in sorted(held_back.items()))
    return Claim(
        f"{kind}: {len(tallies)} clients", f"{measured}, {errors} errors", "no error", holds=not errors
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    seconds = 20.0 if args.quick else 300.0
    with contextlib.ExitStack() as stack:
        url = f"{stack.enter_context(postgres())}/postgres"
        home = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "home"
        operator, people = fill(home, url)
        server = Server(home, "--database-url", url)
        server.token = operator
        try:
            server.start().close()
            seen, took = load(server.port, people, seconds)
        finally:
            server.process.terminate()
            server.process.wait(120)  # it writes what it has
        found = stored(home, people)
        logged = server.log.read_text().count("Traceback (most recent call last)")
    errors = [error for tallies in seen.values() for tally in tallies for error in tally.errors]
    for error in errors[:_SHOWN]:
        print(error, file=sys.stderr)
    every = [tally for tallies in seen.values() for tally in tallies]
    acknowledged = sum(tally.acknowledged for tally in every)
    answers = sum(len(tally.latencies) for tally in every)
    return report(
        f"{sum(CLIENTS.values())} clients at once on PostgreSQL, {took:.0f} s",
        [
            *(claim(kind, tallies, took) for kind, tallies in seen.items()),
            Claim("all of them", f"{answers} answers, {answers / took:.0f}/s", "for information", holds=True),
            Claim(
                "events in the log of acknowledged",
                f"{found} of {acknowledged}",
                "all",
                found == acknowledged > 0,
            ),
            Claim("exceptions in the server's log", f"{logged}", "0", not logged),
        ],
    )


if __name__ == "__main__":
    sys.exit(main())
