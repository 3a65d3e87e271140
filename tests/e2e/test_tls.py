"""``tidegauge up`` by https: what asks it from outside, and what it asks of itself."""

from __future__ import annotations

import ssl
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from cli_runs import environment, start
from parts import SIDE, write_model
from parts_visits import eventually
from tidegauge.cli.demo_server import ServerProcess
from tidegauge.client import Client
from tidegauge.errors import InvalidInputError, UnavailableError
from tidegauge.links.authority import make_authority
from tidegauge.links.processes import free_port


def test_a_server_with_a_certificate_serves_logs_and_is_found_by_its_own(tmp_path: Path) -> None:
    tls = make_authority(tmp_path / "tls")
    trusted = ssl.create_default_context(cafile=str(tls.ca))
    server = ServerProcess(tmp_path / "home", free_port(), tls=tls)
    try:
        server.wait_ready()
        with server.client() as client:
            client.models.create("tiny")
            client.models.add_version("tiny", write_model(tmp_path / "model"))
            client.deployments.create("tiny", "tiny", 1)
            deployment = client.deployments.wait("tiny")
            for _ in range(3):
                client.deployments.predict(deployment, {"instances": [[[[0.0]] * SIDE] * SIDE]})
            client.deployments.wait("tiny")
            # its model server reports to it, whatever name the certificate has
            eventually(lambda: client.deployments.captures("tiny").total.captured, lambda n: n == 3)
        with Client(server.url, server.token) as stranger, pytest.raises(UnavailableError, match="answer"):
            stranger.me()
        env = environment(TIDEGAUGE_URL=server.url, TIDEGAUGE_TOKEN=server.token, TIDEGAUGE_CA=str(tls.ca))
        out, _ = start("deployment", "list", env=env).communicate(timeout=60)
        assert "tiny" in out
        signed = httpx.post(
            f"{server.url}/sign-in",
            data={"token": server.token},
            headers={"Origin": server.url},
            verify=trusted,
            trust_env=False,
        )
        assert signed.status_code == 303, signed.text
        assert "secure" in signed.headers["set-cookie"].lower()
    finally:
        server.stop()


def test_a_pair_that_cannot_be_used_is_told_in_a_sentence(tmp_path: Path) -> None:
    one, other = make_authority(tmp_path / "one"), make_authority(tmp_path / "other")
    command = [sys.executable, "-m", "tidegauge", "up", "--home", str(tmp_path / "home")]
    for certificate, key, said in (
        (one.certificate, other.key, "cannot be used"),
        (tmp_path / "none.pem", one.key, "cannot be used"),
        (one.certificate, "", "tls_key is missing"),
    ):
        options = ["--tls-certificate", str(certificate), *(["--tls-key", str(key)] if key else [])]
        done = subprocess.run([*command, *options], capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 2
        assert said in " ".join(done.stderr.split())
        assert "Traceback" not in done.stderr
    with pytest.raises(InvalidInputError, match="ca is '/nowhere'"):
        Client("https://127.0.0.1:1", "tg_x", ca="/nowhere")
