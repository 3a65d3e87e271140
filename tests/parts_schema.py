"""Requests that schemathesis draws from the OpenAPI document, sent to a cluster that has one of everything.

They come with the token of an operator made for it (``TESTER``). What is drawn is brought to life: most of
all ids, names and times are those of things that there are, since a random one is answered 404 and nothing
else. What would end the run, or leave the machine, is kept from it so:

- Reading goes first, then changes, then reading again, then deletions, the deepest paths first. The tester's
  own user and token are never among the known ones, and an answer 401 is a fault, so a token that was lost
  could not make it look well.
- Users that are disabled, invited or deleted are made for it.
- URLs that are drawn lead nowhere: sources are an upload or a small folder of the run, and channels ask a
  receiver on this machine. The only cluster that is linked is this one.
- There is no code, so no pipeline is run and no candidate trained.
"""

from __future__ import annotations

import contextlib
import random
import re
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from parts import CLASSES, image
from parts_receivers import http_receiver
from parts_server import Server
from parts_watched import START, monitored
from tidegauge.client import Client
from tidegauge.client.connection import Connection
from tidegauge.domain.users import Role

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
TESTER = "tester"
_SIGN_IN = "POST /api/v1/sign-in"
_PARAMETER = re.compile(r"([\w.-]+|\})/\{(\w+)\}")
_ALIVE = 0.8  # share of what is drawn that is replaced by what there is
_SECONDS = 60.0  # that an answer may take
_WINDOW = timedelta(minutes=5)


@dataclass
class Known:
    """What there is, by the names that paths and bodies have for it."""

    paths: dict[str, list[str]]  # by parameter, with the part of the path before it where that tells more
    fields: dict[str, list[Any]]
    source: dict[str, Any]


@dataclass
class Found:
    """What came of the requests."""

    sent: Counter[str] = field(default_factory=Counter)  # by operation
    statuses: Counter[int] = field(default_factory=Counter)
    succeeded: Counter[str] = field(default_factory=Counter)  # by operation
    faults: dict[tuple[str, str], str] = field(default_factory=dict)  # by operation and kind: the first one
    slowest: tuple[float, str] = (0.0, "")


def furnish(operator: Client, folder: Path, receiver: str) -> tuple[str, Known]:
    """Make the tester, and one of everything for them; ``receiver`` takes webhooks. Returns their token."""
    invited = operator.users.create(TESTER, Role.OPERATOR)
    secret = operator.sign_in(TESTER, invited.password, chosen="a long enough password").secret
    with Client(operator.url, secret) as client:
        return secret, _furnish(client, folder, receiver)


def _furnish(client: Client, folder: Path, receiver: str) -> Known:
    monitor = monitored(client, folder)
    deployment = client.deployments.get("tiny")
    rng = np.random.default_rng(0)
    for number, label in enumerate(CLASSES * 4):
        body = {"instances": image(label, rng)[np.newaxis].tolist()}
        client.deployments.predict(deployment, body, event_id=f"e{number}", time=START + _WINDOW * 1.5)
    client.deployments.put_labels("tiny", "labels.csv", [{"event_id": "e1", "label": "NORMAL"}])
    client.monitors.post_labels("tiny", [{"event_id": "e0", "label": "NORMAL"}])
    run = client.monitors.run(monitor, START + _WINDOW, START + 2 * _WINDOW)
    alert = client.monitors.add_alert(monitor, "low", "accuracy", "<", 0.9)
    rest = client.monitors.add_maintenance(monitor, START, START + _WINDOW, "rest")
    hook = client.channels.create("hook", "webhook", {"url": receiver})
    client.code.create("notebooks")
    others = [
        client.deployments.register(name, classes=("NORMAL", "PNEUMONIA")) for name in ("other", "spare")
    ]
    watched = client.monitors.create("other", {})
    for name in ("ward", "leaver"):
        client.users.create(name)
    tokens = [client.tokens.create(f"token-{number}").id for number in range(3)]
    ingest = client.deployments.create_token("tiny", "ingest")
    link = client.tokens.create("link", "link").secret
    client.clusters.add("itself", client.url, link)
    exported = Connection(client.url, link)
    manifest = exported.json("GET", f"/api/v1/link/deployments/{deployment.id}/model/manifest")
    exported.close()
    deployments = ["tiny", deployment.id, *(one.id for one in others)]
    monitors = ["tiny", monitor, watched.id]
    names = [f"thing-{number}" for number in range(20)]
    repositories = {"code": ["notebooks"], "datasets": ["chest"], "models": ["tiny"]}
    shared = {**repositories, "deployments": deployments, "monitors": monitors}
    moments = [str(START + _WINDOW * count) for count in range(4)]
    return Known(
        {
            "deployment_id": deployments,
            "monitor_id": monitors,
            "number": ["1"],
            "runs/run_id": [run.id],
            "event_id": [f"e{number}" for number in range(8)],
            "index": ["0"],
            "alert_id": [alert.id],
            "maintenance_id": [rest.id],
            "channel_id": ["hook", hook.id],
            "cluster": ["itself"],
            "token": [*tokens, ingest.id],
            "users/name": ["ward", "leaver"],
            "schema/name": ["prediction"],
            "livedata/name": ["labels.csv"],
            "digest": _digests(manifest),
            "path": ["v1/models/tiny", "v1/models/tiny:predict", "v2/health/ready", "v2/models/tiny"],
            "file": ["labels.csv", "more.csv"],
            **{f"{noun}/name": found for noun, found in repositories.items()},
            **{f"{noun}/key": found for noun, found in shared.items()},
        },
        {
            "name": [*names, "tiny"],
            "deployment": deployments,
            "model": ["tiny"],
            "dataset": ["chest"],
            "code": ["notebooks"],
            "version": [1],
            "cluster": ["itself"],
            "namespace": [TESTER, ""],
            "url": [receiver, client.url],
            "token": [link],
            "start": moments[:2],
            "end": moments[2:],
            "until": moments,
            "event_id": ["e0", "e1", "new"],
            "event_ids": [["e2"], ["e3", "e4"]],
            "channels": [["hook"]],
            "password": ["a long enough password", ""],
            "chosen": ["a long enough password"],
            "heir": ["ward"],
        },
        {"type": "folder", "url": str(folder / "model"), "branch": "", "sub_path": ""},
    )


def _digests(value: Any) -> list[str]:
    """Return what looks like the hash of a file, wherever it stands."""
    if isinstance(value, dict):
        return [found for part in value.values() for found in _digests(part)]
    if isinstance(value, list):
        return [found for part in value for found in _digests(part)]
    return [value] if isinstance(value, str) and re.fullmatch(r"[0-9a-f]{64}", value) else []


def _can_be_wrong(operation: Any) -> bool:
    """Tell whether anything breaks the schema of what an operation takes; any text is a fine path."""
    return bool(list(operation.body) or list(operation.query))


class Trial:
    """The operations of a cluster's own document, asked with a token."""

    def __init__(self, url: str, token: str, known: Known, seed: int) -> None:
        self.found = Found()
        self._url = url
        self._known = known
        self._seed = seed
        self._headers = {"Authorization": f"Bearer {token}"}
        self._session = requests.Session()
        document = self._session.get(f"{url}/api/v1/openapi.json", timeout=_SECONDS).json()
        self._schema = schemathesis.openapi.from_dict(document)
        self._schema.config.generation.with_security_parameters = False  # it has one
        self.operations = [one.ok() for one in self._schema.get_all_operations()]

    def close(self) -> None:
        self._session.close()

    def run(self, wanted: int) -> Found:
        """Send as many requests as wanted, and some more."""
        each = 1 + wanted // len(self.operations)
        reading = [one for one in self.operations if one.method == "get"]
        deleting = [one for one in self.operations if one.method == "delete"]
        deleting.sort(key=lambda one: one.path.count("/"), reverse=True)
        changing = [one for one in self.operations if one not in reading and one not in deleting]
        half = each // 2
        for operations, count in ((reading, half), (changing, each), (reading, half), (deleting, each)):
            for operation in operations:
                self._ask(operation, count)
        while self.found.sent.total() < wanted:  # some have no more than a few ways to be asked
            for operation in changing + reading:
                self._ask(operation, each // 4 + 1)
        return self.found

    def _ask(self, operation: Any, count: int) -> None:
        self._seed += 1
        rng = random.Random(self._seed)
        corners = list(
            self._schema.iter_coverage_cases(
                operation,
                generation_modes=list(GenerationMode),
                generation_config=self._schema.config.generation_for(),
            )
        )
        for case in rng.sample(corners, min(len(corners), count // 3)):
            self._send(case, rng)
        left = max(1, count - min(len(corners), count // 3))
        modes = list(GenerationMode) if _can_be_wrong(operation) else [GenerationMode.POSITIVE]
        for mode in modes:

            @seed(self._seed)
            @given(case=operation.as_strategy(generation_mode=mode))
            @settings(
                max_examples=left // len(modes) + 1,
                deadline=None,
                database=None,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            def send(case: Case[Any]) -> None:
                self._send(case, rng)

            with contextlib.suppress(Unsatisfiable):  # any bytes are a fine body
                send()

    def _send(self, case: Case[Any], rng: random.Random) -> None:
        self._enliven(case, rng)
        name = case.operation.label
        self.found.sent[name] += 1
        begun = time.monotonic()
        try:
            answer = case.call(self._url, self._session, self._headers, timeout=_SECONDS)
        except requests.RequestException as error:
            self._note(name, type(error).__name__, f"{error}: {case!r}")
            return
        self.found.slowest = max(self.found.slowest, (time.monotonic() - begun, f"{name} {case!r}"[:300]))
        status = answer.status_code
        self.found.statuses[status] += 1
        self.found.succeeded[name] += status < 300
        if status == 401 and name != _SIGN_IN:
            self._note(name, "the token is not good any more", repr(case))
        try:
            case.validate_response(answer, CHECKS, headers=self._headers)
        except FailureGroup as failures:
            for failure in failures.exceptions:
                kind = f"{failure.title} {status}" if status >= 500 else str(failure.title)
                self._note(name, kind, f"{failure}\n{case!r}\n{answer.content[:500]!r}")

    def _note(self, operation: str, kind: str, told: str) -> None:
        self.found.faults.setdefault((operation, kind), told[:2500])

    def _enliven(self, case: Case[Any], rng: random.Random) -> None:
        """Put what there is in the place of most of what was drawn."""
        for before, name in _PARAMETER.findall(case.path):
            values = self._known.paths.get(f"{before}/{name}") or self._known.paths.get(name)
            if values and name in case.path_parameters and rng.random() < _ALIVE:
                case.path_parameters[name] = rng.choice(values)
        for name, values in self._known.fields.items():
            if name in case.query and rng.random() < _ALIVE:
                case.query[name] = rng.choice(values)
        if isinstance(case.body, dict):
            self._enliven_fields(case.body, rng)

    def _enliven_fields(self, body: dict[str, Any], rng: random.Random) -> None:
        for name, value in body.items():
            if name == "source" and isinstance(value, dict):
                body[name] = (
                    dict(self._known.source) if rng.random() < _ALIVE else {**value, "type": "upload"}
                )
            elif name in self._known.fields and rng.random() < _ALIVE:
                body[name] = rng.choice(self._known.fields[name])
            elif isinstance(value, dict):
                self._enliven_fields(value, rng)
            elif isinstance(value, list):
                for part in value:
                    if isinstance(part, dict):
                        self._enliven_fields(part, rng)


@contextlib.contextmanager
def trial(folder: Path, seed: int, *flags: str) -> Iterator[tuple[Trial, Server]]:
    """Run a server in a process of its own, furnish it, and be ready to try it."""
    server = Server(folder / "home", *flags)
    with http_receiver() as receiver, server.start() as operator:
        try:
            token, known = furnish(operator, folder, receiver.url)
            with contextlib.closing(Trial(operator.url, token, known, seed)) as made:
                yield made, server
        finally:
            server.process.terminate()
            server.process.wait(60)
