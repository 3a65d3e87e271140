"""``tidegauge up`` as a child of the demo, with tokens issued beforehand."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

from tidegauge.app import open_database, utc_now
from tidegauge.client import Client
from tidegauge.domain.cluster import absence
from tidegauge.domain.identity import new_id
from tidegauge.domain.users import Role, User
from tidegauge.errors import ConflictError, UnavailableError
from tidegauge.links.authority import Authority
from tidegauge.services.people import OPERATOR, People
from tidegauge.settings import Settings, load_settings


class ServerProcess:
    """A server that ends with the demo; ``token`` is its operator's."""

    def __init__(
        self, home: Path, port: int, *, role: str | None = None, tls: Authority | None = None
    ) -> None:
        """Start it in ``home``; with ``tls`` it is asked by https. Wait until it is ready, then ask it."""
        flags = {"port": port, "role": role}
        if tls is not None:
            flags |= {"tls_certificate": str(tls.certificate), "tls_key": str(tls.key)}
        self._settings = load_settings(home, flags)
        self._ca = str(tls.ca) if tls else None
        self.url = self._settings.address
        self.token = _token(self._settings, OPERATOR)
        options = [
            text
            for name, value in flags.items()
            if value is not None
            for text in (f"--{name.replace('_', '-')}", str(value))
        ]
        self._log = home / "server.log"
        with self._log.open("ab") as output:
            self._child = subprocess.Popen(
                [sys.executable, "-m", "tidegauge", "up", "--home", str(home), *options],
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is for the demo, which then ends the server in order
            )

    @property
    def home(self) -> Path:
        return self._settings.home

    def check(self, path: str) -> None:
        """Raise ConflictError where a cluster of this role does not have what lies at ``path``."""
        if sentence := absence(self._settings.role, path):
            raise ConflictError(sentence)

    def client(self, user: str = OPERATOR) -> Client:
        """Return a client of a user, who is made where there is none of this name."""
        token = self.token if user == OPERATOR else _token(self._settings, user)
        return Client(self.url, token, ca=self._ca)

    def wait_ready(self) -> None:
        with self.client() as client:
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline and self._child.poll() is None:
                try:
                    client.request("GET", "/readyz")
                except UnavailableError:
                    time.sleep(0.1)
                else:
                    return
        raise UnavailableError(f"The server did not start:\n{self._log.read_text()[-2000:]}")

    def stop(self) -> None:
        self._child.send_signal(signal.SIGTERM)
        try:
            self._child.wait(60)
        except subprocess.TimeoutExpired:
            self._child.kill()


def _token(settings: Settings, name: str) -> str:
    """Return a new token of a user, straight from the database of a home."""
    database = open_database(settings)
    try:
        people = People(database, utc_now)
        first = people.first_start()
        if name == OPERATOR and first:
            return first
        if database.users.find(name=name) is None:
            database.users.add(User(new_id(), name, Role.USER, utc_now()))
        return people.issue_for(name, "demo")
    finally:
        database.close()
