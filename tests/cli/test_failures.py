"""What fails is exit 1, and says what and where to look."""

from __future__ import annotations

import json
from pathlib import Path

from cli_runs import Run
from parts import UNSERVABLE, write_images, write_model
from tidegauge.client import Client

PIPELINE = """
import sys
from tidegauge.steps import step

arguments = dict(zip(sys.argv[2::2], sys.argv[3::2]))
with step("train"):
    print("epochs", arguments["--epochs"])
    if arguments["--epochs"] == "0":
        sys.exit("no epochs, no model")
    while arguments["--epochs"] == "forever":
        pass
"""


def prepare(server: Client, tmp_path: Path) -> None:
    """Create what a pipeline run needs."""
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "pipeline.py").write_text(PIPELINE)
    server.code.create("tiny")
    server.code.add_version("tiny", tmp_path / "code")
    server.datasets.create("tiny", folder=write_images(tmp_path / "images", 2))
    server.datasets.add_version("tiny")
    server.models.create("tiny")


def test_pipeline_runs(run: Run, server: Client, tmp_path: Path) -> None:
    prepare(server, tmp_path)
    names = ("--code", "tiny", "--dataset", "tiny", "--model", "tiny", "--deployment", "tiny")

    good = run("pipeline", "run", *names, "--parameter", "epochs=2", "--json")
    assert good.code == 0
    ended = json.loads(good.out)
    assert (ended["state"], ended["steps"][0]["name"]) == ("succeeded", "train")
    assert "train: succeeded" in good.err
    assert "epochs 2" in run("pipeline", "log", ended["id"]).out

    bad = run("pipeline", "run", *names, "--parameter", "epochs=0")
    assert bad.code == 1
    assert "The pipeline run failed: no epochs, no model" in bad.err
    assert "tidegauge pipeline log" in bad.err
    assert "train: failed" in bad.err

    begun = run("pipeline", "run", *names, "--parameter", "epochs=forever", "--no-wait", "--json")
    run_id = json.loads(begun.out)["id"]
    assert json.loads(run("pipeline", "cancel", run_id, "--json").out)["state"] == "cancelled"
    assert run("pipeline", "cancel", run_id).code == 5
    assert [r["state"] for r in json.loads(run("pipeline", "list", "--json").out)] == [
        "cancelled",
        "failed",
        "succeeded",
    ]
    unpaired = run("pipeline", "run", *names, "--parameter", "epochs")
    assert (unpaired.code, unpaired.out) == (2, "")
    assert "--parameter is 'epochs'; give name=value." in unpaired.err


def test_a_model_that_cannot_be_served(run: Run, server: Client, tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model")
    (folder / "model.onnx").write_bytes(UNSERVABLE)
    server.models.create("broken")
    server.models.add_version("broken", folder)
    made = run("deployment", "create", "broken", "--model", "broken", "--version", "1")
    assert made.code == 1
    assert "The deployment 'broken' has failed" in made.err
    assert "broken" in run("deployment", "list").out
    assert run("deployment", "log", "broken").out != ""
    assert json.loads(run("deployment", "stop", "broken", "--json").out)["wanted"] == "stopped"
    assert run("deployment", "update", "broken").code == 2


def test_an_import_that_fails(run: Run, tmp_path: Path) -> None:
    assert run("model", "create", "empty").code == 0
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "readme.txt").write_text("no model here")
    failed = run("model", "add-version", "empty", str(tmp_path / "empty"), "--json")
    assert (failed.code, failed.out) == (1, "")
    assert "has no model.onnx" in failed.err
    assert "failed" in run("model", "show", "empty").out


def test_files_that_are_left_out_are_named(run: Run, tmp_path: Path) -> None:
    folder = write_images(tmp_path / "images", 2)
    (folder / "NORMAL" / "cut.png").write_bytes(b"\x89PNG cut off")
    assert run("dataset", "create", "holes", "--folder", str(folder)).code == 0
    added = run("dataset", "add-version", "holes")
    assert added.code == 0
    assert "NORMAL/cut.png" in added.out
    assert "1 problems" in added.err

    target = tmp_path / "again"
    done = run("dataset", "download", "holes", "1", str(target))
    assert (done.code, done.out) == (0, "")
    assert len(list(target.glob("*/*.png"))) == 4
    shown = json.loads(run("dataset", "show", "holes", "--json").out)
    assert shown["versions"][0]["files"] == 4
    (tmp_path / "file").write_text("in the way")
    blocked = run("dataset", "download", "holes", "1", str(tmp_path / "file"))
    assert (blocked.code, "File exists" in blocked.err) == (1, True)


def deploy(server: Client, name: str, tmp_path: Path) -> None:
    server.models.create(name)
    server.models.add_version(name, write_model(tmp_path / "model"))
    server.deployments.create(name, name, 1)


def test_every_wrong_field_has_its_line(run: Run, server: Client, tmp_path: Path) -> None:
    deploy(server, "wrong", tmp_path)
    config = tmp_path / "config.json"
    config.write_text('{"frequency_minutes": 0, "time_zone": "Mars/Base"}')
    refused = run("monitor", "create", "wrong", "-f", str(config))
    assert refused.code == 2
    assert refused.err.splitlines() == [
        "frequency_minutes is 0; give a whole number from 1 to 1440.",
        "time_zone is 'Mars/Base'; use an IANA name such as Europe/Berlin.",
    ]
    config.write_text("[]")
    assert "must be a JSON object" in run("monitor", "create", "wrong", "-f", str(config)).err
    config.write_text("{")
    assert "is not valid JSON" in run("monitor", "create", "wrong", "-f", str(config)).err
    half = run("monitor", "create", "wrong", "--height", "200")
    assert (half.code, "drift.image.width" in half.err) == (2, True)


def test_configure_keeps_what_is_not_given(run: Run, server: Client, tmp_path: Path) -> None:
    deploy(server, "served", tmp_path)
    size = ("--height", "32", "--width", "32")
    made = json.loads(run("monitor", "create", "served", *size, "--performance", "--json").out)
    assert (made["state"], made["message"]) == ("init", "The configuration lacks drift.train_data.")
    none = run("monitor", "configure", "served", "--train-dataset", "absent")
    assert none.code == 3

    server.datasets.create("two", folder=write_images(tmp_path / "images", 8))
    unready = run("monitor", "configure", "served", "--train-dataset", "two")
    assert (unready.code, "tidegauge dataset add-version two" in unready.err) == (3, True)
    server.datasets.add_version("two")
    server.datasets.add_version("two")
    changed = run("monitor", "configure", "served", "--train-dataset", "two", "--frequency", "10", "--json")
    config = json.loads(changed.out)["config"]
    assert config["drift"]["image"]["height"] == 32
    assert config["drift"]["train_data"] == {"dataset": "two", "version": 2, "images_saved_as": None}
    assert (config["frequency_minutes"], config["performance"]["enabled"]) == (10, True)
    off = json.loads(run("monitor", "configure", "served", "--no-drift", "--json").out)
    assert off["config"]["drift"]["enabled"] is False

    assert run("alert", "add", "served", "slow", "latency_p95", ">", "0.5", "--type", "health").code == 0
    (alert,) = json.loads(run("alert", "list", "served", "--json").out)
    asked = run("alert", "delete", "served", alert["id"])
    assert (asked.code, "'slow' (latency_p95 > 0.5) and its 0 firings" in asked.err) == (2, True)
    assert run("alert", "delete", "served", "other").code == 3
    assert run("alert", "delete", "served", alert["id"], "--yes").code == 0
    assert "tidegauge alert add served" in run("alert", "list", "served").err
    assert "no alert has fired" in run("alert", "events", "served").err.lower()
    assert "frequency_minutes" in run("monitor", "show", "served").out
