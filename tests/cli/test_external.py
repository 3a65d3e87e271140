"""Deployments of other servers by command, from registering to the first event, as the manual says."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import polars as pl

from cli_runs import Run, environment
from parts import running_server
from tidegauge.client import Client

PAGE = Path(__file__).resolve().parents[2] / "docs" / "external.md"


def registered(run: Run, name: str, *options: str) -> dict[str, Any]:
    done = run("deployment", "register", name, *options, "--json")
    assert done.code == 0, done.err
    return dict(json.loads(done.out))


def test_the_script_of_the_manual_reports(tmp_path: Path) -> None:
    (script,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (tmp_path / "script.py").write_text(script)
    with running_server(tmp_path / "home") as client:
        made = client.deployments.register("scripted", classes=("sick", "well"))
        token = client.deployments.create_token("scripted", "script")
        env = environment(EVENTS_URL=client.deployments.events_url(made), EVENTS_TOKEN=token.secret)
        subprocess.run([sys.executable, tmp_path / "script.py"], check=True, env=env, timeout=60)
    files = sorted((tmp_path / "home" / "store" / made.id / "log").rglob("*.parquet"))
    log = pl.read_parquet(files).sort("time")
    assert [kind.rpartition(".")[2] for kind in log["type"]] == ["request", "response"]
    assert log["event_id"].n_unique() == 1
    assert log["latency_us"].to_list() == [None, 1800]


def test_a_token_in_the_url_is_enough_and_is_revoked(run: Run, server: Client) -> None:
    registered(run, "logged", "--service", "chest", "--namespace", "ward")
    made = server.deployments.get("logged")
    token = json.loads(run("deployment", "token", "create", "logged", "kserve", "--json").out)
    url = server.deployments.events_url(made).replace("://", f"://kserve:{token['secret']}@")
    headers = {
        "ce-specversion": "1.0",
        "ce-id": "1",
        "ce-source": "http://localhost:9081/",
        "ce-type": "org.kubeflow.serving.inference.request",
        "Content-Type": "application/json",
    }
    assert httpx.post(url, headers=headers, json={"instances": [[1]]}).status_code == 202
    listed = json.loads(run("deployment", "token", "list", "logged", "--json").out)
    assert [(item["name"], item["secret"]) for item in listed] == [("kserve", "")]
    assert run("deployment", "token", "revoke", "logged", "kserve").code == 2  # asks, and nobody is there
    assert run("deployment", "token", "revoke", "logged", "kserve", "--yes").code == 0
    assert httpx.post(url, headers=headers, json={"instances": [[1]]}).status_code == 401
    assert run("deployment", "token", "revoke", "logged", "kserve", "--yes").code == 3


def test_a_token_is_printed_alone(run: Run) -> None:
    registered(run, "printed")
    done = run("deployment", "token", "create", "printed", "script")
    assert done.code == 0
    assert done.out.startswith("tg_")
    assert "shown once" in done.err


def test_what_is_told_is_changed_and_bounds_are_taken_back(run: Run, server: Client) -> None:
    registered(run, "told", "--keep-days", "30", "--sampling", "0.5")
    given = ("--keep-days", "all", "--keep-bytes", "1000000", "--sampling", "0.1", "--classes", "a,b")
    assert run("deployment", "update", "told", *given).code == 0
    found = server.deployments.get("told")
    assert (found.keep_days, found.keep_bytes, found.sampling, found.classes) == (0, 10**6, 0.1, ("a", "b"))
    assert run("deployment", "update", "told", "--keep-days", "default").code == 0
    assert server.deployments.get("told").keep_days is None


def test_what_is_refused_says_why(run: Run) -> None:
    registered(run, "refused")
    for arguments, code, said in (
        (("register", "other", "--sampling", "7"), 2, "sampling is 7; give the share"),
        (("register", "refused"), 5, "choose another name"),
        (("update", "refused", "--keep-days", "soon"), 2, "keep_days is 'soon'; give a number"),
        (("stop", "refused"), 5, "its server is not ours"),
        (("update", "refused"), 2, "Nothing to change"),
        (("token", "create", "refused", "inference log"), 2, "choose another name"),
    ):
        done = run("deployment", *arguments)
        assert done.code == code, done.err
        assert said in done.err
    assert "Predict URL: unknown" in run("deployment", "show", "refused").out
