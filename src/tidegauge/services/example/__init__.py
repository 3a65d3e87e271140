"""The example, created by the server for who asks: phantoms, a model trained on them, and a drift."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from threading import Event, Lock, Thread

import orjson
from pydantic import TypeAdapter

from tidegauge.client import Client, wait_for
from tidegauge.domain.catalogue import Version
from tidegauge.domain.monitor import Monitor
from tidegauge.domain.pipeline import PipelineRun
from tidegauge.errors import ConflictError, TidegaugeError, UnavailableError
from tidegauge.services.example.data import KINDS, find_data
from tidegauge.services.example.play import CancelledError, Cycle, Example, Step, Teller, missing, name_of
from tidegauge.services.people import People

NAME = name_of(synthetic=True)
_SEED = 1
_START_SECONDS = 60.0  # until this server listens, when it takes an example up again
_CLOSE_SECONDS = 10.0
_log = logging.getLogger(__name__)


class ExampleState(StrEnum):
    NONE = "none"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True)
class ExampleStatus:
    """How far the example of a person is; ``detail`` says more of the step that is under way."""

    owner: str
    state: ExampleState = ExampleState.NONE
    step: Step | None = None
    detail: str = ""
    message: str = ""
    pipeline_run: str = ""
    monitor: str = ""
    began_at: datetime | None = None
    ended_at: datetime | None = None

    @property
    def steps(self) -> list[tuple[Step, str]]:
        """Every step with its state, in the words of pipeline runs."""
        order = list(Step)
        place = order.index(self.step) if self.step else 0
        if self.state is ExampleState.DONE:
            place = len(order)
        now = {
            ExampleState.RUNNING: "running",
            ExampleState.FAILED: "failed",
            ExampleState.CANCELLED: "cancelled",
        }.get(self.state, "waiting")
        states = ["succeeded"] * place + [now] + ["waiting"] * len(order)
        return list(zip(order, states, strict=False))


_STATUS = TypeAdapter(ExampleStatus)


class Examples:
    """Creates the example in the background, acting for a person over HTTP as a client of theirs would.

    How far it is stands in a file for each person, so that a server that was killed goes on where it was:
    what is there already is used.
    """

    def __init__(self, home: Path, address: str, people: People, now: Callable[[], datetime]) -> None:
        self._folder = home / "example"
        self._address = address
        self._people = people
        self._now = now
        self._lock = Lock()
        self._threads: dict[str, Thread] = {}
        self._cancelled: set[str] = set()
        self._closing = Event()

    def start_up(self) -> None:
        """Go on with what a crash or a stop interrupted."""
        for file in self._folder.glob("*.json") if self._folder.exists() else ():
            status = self.status(file.stem)
            if status.state is ExampleState.RUNNING:
                self._people.revoke_named(_token_name(status.owner))
                self._begin(status.owner)

    def close(self) -> None:
        self._closing.set()
        for thread in list(self._threads.values()):
            thread.join(_CLOSE_SECONDS)

    @staticmethod
    def missing() -> list[str]:
        """Return the packages without which no example can be created here."""
        return missing()

    def status(self, owner: str) -> ExampleStatus:
        try:
            return _STATUS.validate_json(self._file(owner).read_bytes())
        except (FileNotFoundError, ValueError):
            return ExampleStatus(owner)

    def create(self, owner: str) -> ExampleStatus:
        """Begin to create the example, or go on with one that failed; one person's at a time."""
        absent = missing()
        if absent:
            raise UnavailableError(
                f"The example trains a model, for which {' and '.join(absent)} must be installed on the "
                "server: pip install 'tidegauge[train]'"
            )
        with self._lock:
            under_way = [name for name, thread in self._threads.items() if thread.is_alive()]
            if owner in under_way:
                return self.status(owner)
            if under_way:
                raise ConflictError(
                    "The example of somebody else is being created; try again in two minutes."
                )
            status = ExampleStatus(owner, ExampleState.RUNNING, began_at=self._now())
            self._save(status)
            self._begin(owner)
            return status

    def cancel(self, owner: str) -> None:
        """End what is under way, soon; what was made so far stays, and is used when it is asked for again."""
        if self.status(owner).state is not ExampleState.RUNNING:
            raise ConflictError("The example is not being created now.")
        self._cancelled.add(owner)

    def _begin(self, owner: str) -> None:
        self._cancelled.discard(owner)
        thread = Thread(target=self._run, args=(owner,), name=f"example of {owner}", daemon=True)
        self._threads[owner] = thread
        thread.start()

    def _run(self, owner: str) -> None:
        try:
            monitor = self._play(owner)
            self._note(owner, state=ExampleState.DONE, monitor=monitor.id, detail="", ended_at=self._now())
        except CancelledError:
            if not self._closing.is_set():  # else it goes on at the next start
                self._end(owner, ExampleState.CANCELLED, "")
        except TidegaugeError as error:
            if not self._closing.is_set():
                self._end(owner, ExampleState.FAILED, error.message.splitlines()[0])
        except Exception as error:
            # A mistake of ours: nothing may stand as running for ever.
            _log.exception("the example of %s failed", owner)
            self._end(owner, ExampleState.FAILED, f"{type(error).__name__}: {error}")

    def _play(self, owner: str) -> Monitor:
        """Play the example with a token that lives as long as this takes."""
        token, secret = self._people.issue(self._people.owner(owner), _token_name(owner))
        try:
            with (
                tempfile.TemporaryDirectory(prefix="tidegauge-example-") as scratch,
                Client(self._address, secret) as client,
            ):
                self._wait_for_server(client)
                data = find_data(None, Path(scratch), _SEED)
                return Example(client, data, _Noting(self, owner), _SEED, again=True).play()
        finally:
            self._people.revoke(token.id)

    def check(self, owner: str) -> None:
        """Raise CancelledError where nobody wants more of it."""
        if self._closing.is_set() or owner in self._cancelled:
            raise CancelledError("Cancelled.")

    def _wait_for_server(self, client: Client) -> None:
        def answers() -> bool:
            if self._closing.is_set():
                raise CancelledError("The server was stopped.")
            try:
                client.request("GET", "/readyz")
            except UnavailableError:
                return False
            return True

        wait_for(answers, bool, "The server", _START_SECONDS)

    def _end(self, owner: str, state: ExampleState, message: str) -> None:
        self._note(owner, state=state, message=message, ended_at=self._now())

    def _note(self, owner: str, **changes: object) -> None:
        self._save(replace(self.status(owner), **changes))  # type: ignore[arg-type]

    def _save(self, status: ExampleStatus) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        beside = self._file(status.owner).with_suffix(".new")
        beside.write_bytes(orjson.dumps(status))
        beside.replace(self._file(status.owner))

    def _file(self, owner: str) -> Path:
        return self._folder / f"{owner}.json"


class _Noting(Teller):
    """Notes how far the example of a person is, and ends it when it is cancelled."""

    def __init__(self, examples: Examples, owner: str) -> None:
        self._examples = examples
        self._owner = owner

    def began(self, step: Step) -> None:
        self._tell(step=step, detail="")

    def ended(self, step: Step, seconds: float) -> None:  # noqa: ARG002 - of the one that began last
        self._examples.check(self._owner)

    def imported(self, dataset: Version) -> None:
        self._tell(detail=f"{dataset.files} images")

    def followed(self, run: PipelineRun) -> None:
        self._tell(pipeline_run=run.id, detail=run.progress or run.state.value)

    def looked(self, cycle: Cycle, number: int) -> None:
        self._tell(detail=f"window {number} of {len(KINDS)}, {cycle.kind}: drift {cycle.run.drift.value}")

    def _tell(self, **changes: object) -> None:
        self._examples.check(self._owner)
        self._examples._note(self._owner, **changes)  # noqa: SLF001 - its own part


def _token_name(owner: str) -> str:
    return f"example of {owner}"
