"""A model server ends with its supervisor, however that ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import httpx
import pytest

from serving.models import image_model
from serving.running import wait_until
from tidegauge.links.processes import free_port
from tidegauge.serving import parent

SUPERVISOR = """
import os, subprocess, sys, threading
command = [sys.executable, "-m", "tidegauge.serving", *sys.argv[1:], "--parent-pid", str(os.getpid())]
started = []
# As under `tidegauge up`, a thread starts the server; its end must not end the server.
thread = threading.Thread(target=lambda: started.append(subprocess.Popen(command, start_new_session=True)))
thread.start(); thread.join()
print(started[0].pid, flush=True)
sys.stdin.read()
"""


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_the_server_ends_when_its_supervisor_dies(tmp_path, how):
    port = free_port()
    flags = ["--model-dir", str(image_model(tmp_path)), "--port", str(port)]
    with subprocess.Popen(
        [sys.executable, "-c", SUPERVISOR, *flags], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as supervisor:
        pid = int(supervisor.stdout.readline())

        def ready() -> bool:
            try:
                return httpx.get(f"http://127.0.0.1:{port}/v2/health/ready", trust_env=False).is_success
            except httpx.TransportError:
                return False

        wait_until(ready)
        assert alive(pid)
        supervisor.send_signal(how)
        supervisor.wait(10)
    wait_until(lambda: not alive(pid), 5)


def test_a_parent_that_is_gone_already_is_noticed_at_once():
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    noticed = threading.Event()
    parent.watch_parent(ended.pid, noticed.set)
    assert noticed.wait(5)


def test_without_pidfd_the_parent_is_polled(monkeypatch):
    monkeypatch.delattr(os, "pidfd_open")
    monkeypatch.setattr(parent, "_POLL_SECONDS", 0.01)
    parents = iter([7, 7, 1])
    monkeypatch.setattr(os, "getppid", lambda: next(parents))
    noticed = threading.Event()
    parent.watch_parent(7, noticed.set)
    assert noticed.wait(5)
