"""IDEs: one JupyterLab process each, started again when it dies, and stopped when nobody uses it."""

from __future__ import annotations

import logging
import secrets
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from threading import Lock
from typing import Any

import httpx

from tidegauge.domain.catalogue import RepositoryKind
from tidegauge.domain.ide import Framework, Ide, IdeRequest, IdeState
from tidegauge.domain.identity import new_id
from tidegauge.domain.users import Principal, Scope, User
from tidegauge.errors import (
    ConflictError,
    ForbiddenError,
    InvalidInputError,
    NotFoundError,
    TidegaugeError,
    UnavailableError,
)
from tidegauge.links import jupyter
from tidegauge.links.processes import Process, free_port, tail
from tidegauge.services.catalogue import Catalogue
from tidegauge.services.deaths import Deaths
from tidegauge.services.people import People
from tidegauge.services.rounds import Rounds
from tidegauge.storage.database import Database
from tidegauge.storage.rows import Page, Query

_log = logging.getLogger(__name__)

_POLL_SECONDS = 0.5
_ACTIVITY_SECONDS = 20.0  # between two looks at whether it is used
_START_SECONDS = 120.0
_FAILED_AFTER = 3  # deaths before it ever answered; it is tried again all the same
_CLOSED = "This IDE is {owner}'s: only {owner} may open it. An operator sees and stops the IDEs of others."
_NO_WRITING = "An IDE runs code that changes things; open it with a sign-in, or a token of the scope write."


@dataclass
class _Running:
    """A JupyterLab process and what it was started for."""

    process: Process
    door: jupyter.Door
    owner: str
    started: float
    ready: bool = False
    looked: float = 0.0


class Ides:
    """Makes the JupyterLabs that run those that are wanted, and writes down what is so."""

    def __init__(
        self,
        database: Database,
        catalogue: Catalogue,
        people: People,
        home: Path,
        address: str,
        idle: timedelta | None,
        now: Callable[[], datetime],
    ) -> None:
        """``address`` is what kernels ask the server by; ``idle``: after so long unused, one is stopped."""
        self._database = database
        self._catalogue = catalogue
        self._people = people
        self._home = home
        self._address = address
        self._idle = idle
        self._now = now
        self._running: dict[str, _Running] = {}
        self._deaths = Deaths()
        self._lock = Lock()
        failure = "the supervision of IDEs failed for a moment"
        self._rounds = Rounds("ides", _POLL_SECONDS, self._look_at_all, failure, at_once=True)
        self._http = httpx.Client(timeout=2.0, trust_env=False)

    def start(self) -> None:
        """Begin to run what is wanted; what a crash has left is taken back first."""
        for ide in self._database.ides.where():
            self._people.revoke_ide(ide.id)
        wanted = {"wanted": IdeState.RUNNING}
        self._database.ides.update_where({"wanted": IdeState.STOPPED}, state=IdeState.STOPPED)
        self._database.ides.update_where(wanted, state=IdeState.STARTING, message="")
        self._rounds.start()

    def close(self) -> None:
        """End every JupyterLab; the next start runs those that are wanted again."""
        if self._rounds.is_closing:
            return
        self._rounds.close()
        with self._lock:
            for running in self._running.values():
                running.process.terminate()
            for id_, running in self._running.items():
                running.process.stop()
                self._people.revoke_ide(id_)
                self._database.ides.update(id_, state=IdeState.STOPPED)
            self._running.clear()
        self._http.close()

    @staticmethod
    def missing() -> str:
        """Say what is missing for there to be IDEs; empty where nothing is."""
        return "" if jupyter.is_installed() else jupyter.MISSING

    @staticmethod
    def note(ide: Ide) -> str:
        """Say where an IDE has another framework than was asked for; it has what the server has."""
        if ide.framework is Framework.NONE:
            return ""
        found = jupyter.version_of(ide.framework)
        asked = f"{ide.framework.value} {ide.framework_version}"
        if not found:
            return f"{asked} was asked for, and the server has none: pip install 'tidegauge[train]' there."
        if not f"{found}.".startswith(f"{ide.framework_version}."):
            return f"{asked} was asked for; the server has {found}, which its kernels use."
        return ""

    def create(self, caller: Principal, request: IdeRequest) -> Ide:
        """Make an IDE with the newest version of a Code, and start it.

        Raises InvalidInputError with every field that is wrong, UnavailableError without JupyterLab.
        """
        request.check()
        self._check_installed()
        try:
            code = self._catalogue.get(RepositoryKind.CODE, caller.name, request.code)
            version = self._catalogue.version(code)
        except NotFoundError as error:
            raise InvalidInputError.of("code", error.message) from error
        ide = self._database.ides.add(
            Ide(
                id=new_id(),
                owner=caller.name,
                name=request.name,
                code=code.name,
                code_version=version.number,
                framework=request.framework,
                framework_version=request.framework_version,
                image=request.image,
                wanted=IdeState.RUNNING,
                state=IdeState.STARTING,
                created_at=self._now(),
                **_started_by(caller),
            )
        )
        self._rounds.kick()
        return ide

    def page(self, caller: Principal, query: Query) -> Page[Ide]:
        """List the IDEs of a person; operators see everybody's."""
        return self._database.ides.page(query, **({} if caller.is_operator else {"owner": caller.name}))

    def get(self, caller: Principal, name_or_id: str) -> Ide:
        """Return an IDE of the caller's own, by name or id; ForbiddenError to operators for another's."""
        found = self._database.ides.find_by(name_or_id, "id", "name", owner=caller.name)
        if found is not None:
            return found
        other = self._other(caller, name_or_id)
        if other is not None:
            raise ForbiddenError(_CLOSED.format(owner=other.owner))
        raise NotFoundError(f"There is no IDE {name_or_id!r}.")

    def get_to_stop(self, caller: Principal, name_or_id: str) -> Ide:
        """Return an IDE of the caller's own, or for an operator anybody's by its id."""
        return self._other(caller, name_or_id) or self.get(caller, name_or_id)

    def run(self, caller: Principal, ide: Ide) -> Ide:
        """Start one that is stopped, with the files that it has."""
        self._check_installed()
        if ide.wanted is not IdeState.RUNNING:
            self._deaths.forget(ide.id)
            self._database.ides.update(
                ide.id,
                wanted=IdeState.RUNNING,
                state=IdeState.STARTING,
                message="",
                used_at=None,
                **_started_by(caller),
            )
            self._rounds.kick()
        return self._database.ides.get(ide.id)

    def halt(self, ide: Ide, by: Principal) -> Ide:
        """Stop one with its kernels; its files stay."""
        message = "" if by.name == ide.owner else f"The operator {by.name} has stopped it."
        with self._lock:
            self._database.ides.update(
                ide.id, wanted=IdeState.STOPPED, state=IdeState.STOPPED, message=message
            )
            self._end(ide.id)
        return self._database.ides.get(ide.id)

    def delete(self, ide: Ide) -> None:
        """Stop one, and delete it with the files of its workspace."""
        with self._lock:
            self._database.ides.update(ide.id, wanted=IdeState.STOPPED)
            self._end(ide.id)
            self._database.ides.delete(ide.id)
        shutil.rmtree(self._folder(ide.id), ignore_errors=True)
        self._log_file(ide.id).unlink(missing_ok=True)

    def log(self, ide: Ide) -> str:
        """Return the end of what its process has written."""
        return tail(self._log_file(ide.id))

    def door(self, caller: Principal, id_: str) -> tuple[Ide, jupyter.Door]:
        """Return where the JupyterLab of the caller's own IDE answers.

        Raises ForbiddenError for a token that only reads, since code that runs there does more; ConflictError
        for one that is stopped, UnavailableError for one that is yet to answer.
        """
        ide = self.get(caller, id_)
        if ide.id != id_:
            raise NotFoundError(f"There is no IDE with the id {id_!r}.")
        if caller.scope is not Scope.WRITE:
            raise ForbiddenError(_NO_WRITING)
        running = self._running.get(ide.id)
        if ide.wanted is not IdeState.RUNNING:
            raise ConflictError(f"The IDE {ide.name!r} is stopped; start it first.")
        if running is None or not running.ready or running.owner != caller.name:
            raise UnavailableError(f"The IDE {ide.name!r} is {ide.state.value}; try again in some seconds.")
        return ide, running.door

    def _other(self, caller: Principal, id_: str) -> Ide | None:
        """Return the IDE of somebody else where an operator names it by its id."""
        found = self._database.ides.find(id=id_) if caller.is_operator else None
        return found if found is not None and found.owner != caller.name else None

    def _check_installed(self) -> None:
        if sentence := self.missing():
            raise UnavailableError(sentence)

    def _look_at_all(self) -> None:
        with self._lock:  # also around the query: what was stopped meanwhile must not start
            for ide in self._database.ides.where():
                self._look(ide)

    def _look(self, ide: Ide) -> None:
        running = self._running.get(ide.id)
        owner = self._database.users.find(name=ide.owner)
        if running and (running.owner != ide.owner or ide.wanted is not IdeState.RUNNING):
            self._end(ide.id)
            running = None
        if ide.wanted is not IdeState.RUNNING or owner is None or self._rounds.is_closing:
            return
        if owner.disabled_at:
            self._rest(ide, f"{ide.owner} is disabled; it starts again when {ide.owner} is enabled.")
        elif self._has_ended(ide):
            self._stop(ide, "The token that it was started by has ended; start it again.")
        elif running is None:
            if self._deaths.may_start(ide.id):
                self._launch(ide, owner)
        elif running.process.exit_code is not None:
            del self._running[ide.id]
            reason = running.process.last_line() or f"exit code {running.process.exit_code}"
            self._postpone(ide, f"JupyterLab ended: {reason}")
        elif not running.ready or time.monotonic() - running.looked > _ACTIVITY_SECONDS:
            self._ask(ide, running)

    def _has_ended(self, ide: Ide) -> bool:
        """Tell whether the token that it was started by has run out, or was revoked."""
        if ide.until and self._now() >= ide.until:
            return True
        return bool(ide.token_id) and self._database.tokens.find(id=ide.token_id) is None

    def _launch(self, ide: Ide, owner: User) -> None:
        folder = self._folder(ide.id)
        try:
            self._check_installed()
            # Once: what its owner does there stays.
            place = folder / "files" / "workspace" / ide.code
            self._catalogue.lay_out(RepositoryKind.CODE, ide.owner, ide.code, ide.code_version, place)
        except (TidegaugeError, OSError) as error:
            self._postpone(ide, f"It could not be started: {error}")
            return
        self._people.revoke_ide(ide.id)
        _, secret = self._people.issue(owner, f"IDE {ide.name}", Scope.WRITE, ide.id, ide.until)
        environment = {"TIDEGAUGE_URL": self._address, "TIDEGAUGE_TOKEN": secret}
        door = jupyter.Door(free_port(), secrets.token_urlsafe(32))
        process = jupyter.start(ide, folder, door, self._log_file(ide.id), environment)
        self._running[ide.id] = _Running(process, door, ide.owner, time.monotonic())
        self._note(ide, IdeState.STARTING)

    def _ask(self, ide: Ide, running: _Running) -> None:
        """Ask whether it answers and is used, and stop it where it was not for too long."""
        found = jupyter.activity(self._http, ide, running.door)
        running.looked = time.monotonic()
        if found is None:
            if not running.ready and running.looked - running.started > _START_SECONDS:
                running.process.terminate()
            return
        if not running.ready:
            running.ready = True
            self._deaths.forget(ide.id)
        unused = self._now() - found.used_at
        if self._idle and unused >= self._idle and not found.busy:
            minutes = round(self._idle.total_seconds() / 60)
            self._stop(ide, f"It was stopped after {minutes} minutes without use; its files are kept.")
            return
        self._note(ide, IdeState.RUNNING, used_at=found.used_at)

    def _stop(self, ide: Ide, message: str) -> None:
        """Want it no longer, and say why."""
        self._end(ide.id)
        self._database.ides.update(
            ide.id, {"wanted": ide.wanted}, wanted=IdeState.STOPPED, state=IdeState.STOPPED, message=message
        )

    def _rest(self, ide: Ide, message: str) -> None:
        """Stop its process while it stays wanted."""
        self._end(ide.id)
        self._note(ide, IdeState.STOPPED, message=message)

    def _end(self, id_: str) -> None:
        running = self._running.pop(id_, None)
        self._deaths.forget(id_)
        if running:
            running.process.stop()
        self._people.revoke_ide(id_)

    def _postpone(self, ide: Ide, message: str) -> None:
        """Count a death, and wait longer after each before the next start."""
        deaths, pause = self._deaths.count(ide.id)
        self._people.revoke_ide(ide.id)
        state = IdeState.FAILED if deaths >= _FAILED_AFTER else IdeState.STARTING
        self._note(ide, state, message=message, restarts=ide.restarts + 1)
        _log.warning("IDE %s of %s: %s; next start in %.1f s", ide.name, ide.owner, message, pause)

    def _note(self, ide: Ide, state: IdeState, **changes: object) -> None:
        changes.setdefault("message", "" if state is IdeState.RUNNING else ide.message)
        if state is not ide.state or any(getattr(ide, name) != value for name, value in changes.items()):
            # Not where what is wanted has changed meanwhile.
            self._database.ides.update(ide.id, {"wanted": ide.wanted}, state=state, **changes)

    def _folder(self, id_: str) -> Path:
        return self._home / "ide" / id_

    def _log_file(self, id_: str) -> Path:
        return self._home / "logs" / f"ide-{id_}.log"


def _started_by(caller: Principal) -> dict[str, Any]:
    """Return the token of who asks, and when it ends: what is made by it may not act for them any longer."""
    token = caller.token
    return {"until": token.expires_at, "token_id": token.id} if token else {"until": None, "token_id": None}
