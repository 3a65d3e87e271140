"""Child processes: model servers, pipeline runs and IDEs of this machine."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

_STOP_SECONDS = 15.0
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class Process:
    """A child in its own process group, its output appended to a log file."""

    def __init__(
        self,
        command: Sequence[str],
        log: Path,
        environment: Mapping[str, str],
        folder: Path | None = None,
        *,
        inherit: bool = True,
    ) -> None:
        """Start it in ``folder``; it has this environment beside the server's, which it may ``inherit``."""
        log.parent.mkdir(parents=True, exist_ok=True)
        self.log = log
        with log.open("ab") as output:
            self._child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=folder,
                env={**(os.environ if inherit else {}), **environment},
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def exit_code(self) -> int | None:
        """The exit code, or None while it runs."""
        return self._child.poll()

    def wait(self, seconds: float) -> int | None:
        """Wait at most so long; return the exit code, or None if it still runs."""
        try:
            return self._child.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def terminate(self) -> None:
        """Ask it and its children to end."""
        self._signal(signal.SIGTERM)

    def stop(self) -> None:
        """Ask it to end, wait, and kill what is left."""
        self.terminate()
        if self.wait(_STOP_SECONDS) is None:
            self._signal(signal.SIGKILL)
            self._child.wait()

    def last_line(self) -> str:
        """Return the last line of its log that says something."""
        lines = tail(self.log, 4096).strip().splitlines()
        return lines[-1].strip() if lines else ""

    def _signal(self, number: signal.Signals) -> None:
        try:
            os.killpg(self._child.pid, number)
        except ProcessLookupError:
            return


def tail(log: Path, size: int = 65536) -> str:
    """Return the last ``size`` bytes of a log as text, without its colours; empty if there is none."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - size))
            return _COLOUR.sub("", file.read().decode(errors="replace"))
    except FileNotFoundError:
        return ""


def free_port() -> int:
    """Return a TCP port of the loopback address that is free now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def port_is_free(port: int) -> bool:
    """Tell whether nothing listens on this TCP port of the loopback address."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
