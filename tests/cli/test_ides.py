"""IDEs by command; JupyterLab is stopped before it answers."""

from __future__ import annotations

import json
from pathlib import Path

from cli_runs import Run
from tidegauge.client import Client


def test_an_ide_is_made_listed_stopped_and_deleted(run: Run, server: Client, tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("1\n")
    server.code.create("labs")
    assert "make one with: tidegauge ide create" in run("ide", "list").err
    done = run("ide", "create", "lab", "--code", "labs")
    assert (done.code, done.err.strip()) == (2, "The code 'labs' has no version that is ready.")
    server.code.add_version("labs", tmp_path)
    done = run("ide", "create", "lab", "--code", "labs", "--no-wait", "--json")
    made = json.loads(done.out)
    assert f"Open it at {server.url}/jupyter/{made['id']}/lab" in done.err
    assert run("ide", "create", "lab", "--code", "labs", "--no-wait").code == 5
    assert json.loads(run("ide", "stop", "lab", "--json").out)["state"] == "stopped"
    assert [ide["name"] for ide in json.loads(run("ide", "list", "--json").out)] == ["lab"]
    assert run("ide", "delete", "lab").code == 2
    assert run("ide", "delete", "lab", "--yes").code == 0
    assert run("ide", "show", "lab").code == 3
