"""``tidegauge up`` as a user starts it, to be killed."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

from tidegauge.client import Client
from tidegauge.errors import TidegaugeError
from tidegauge.links.processes import free_port


class Server:
    """``tidegauge up`` in a process that can be killed."""

    def __init__(self, home: Path, *flags: str) -> None:
        self.home = home
        self.flags = flags
        self.port = free_port()
        self.token = ""

    def start(self) -> Client:
        command = [
            sys.executable,
            "-m",
            "tidegauge",
            "up",
            "--home",
            str(self.home),
            "--port",
            str(self.port),
            *self.flags,
        ]
        self.log = self.home.with_suffix(f".{time.monotonic_ns()}.log")
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        found = None
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and self.process.poll() is None:
            found = re.search(r"tg_[\w-]+", self.log.read_text())
            self.token = self.token or (found.group() if found else "")
            client = Client(f"http://127.0.0.1:{self.port}", self.token)
            try:
                client.me()
            except TidegaugeError:
                client.close()
                time.sleep(0.1)
                continue
            return client
        raise AssertionError(self.log.read_text())
