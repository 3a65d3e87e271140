from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from cli_runs import Run
from parts import CLASSES, SIDE, image, write_images, write_model
from tidegauge.client import Client
from tidegauge.domain.images import encode_png


def test_the_whole_way_on_the_command_line(run: Run, tmp_path: Path) -> None:
    images = str(write_images(tmp_path / "images", 6))
    assert run("dataset", "create", "chest", "--folder", images).code == 0
    version = json.loads(run("dataset", "add-version", "chest", "--json").out)
    assert (version["files"], version["classes"]) == (12, list(CLASSES))
    assert run("model", "create", "tiny").code == 0
    assert run("model", "add-version", "tiny", str(write_model(tmp_path / "model"))).code == 0
    made = json.loads(run("deployment", "create", "tiny", "--model", "tiny", "--version", "1", "--json").out)
    assert made["state"] == "running"

    picture = tmp_path / "bright.png"
    picture.write_bytes(encode_png(image("PNEUMONIA", np.random.default_rng(0))))
    (answer,) = json.loads(run("deployment", "predict", "tiny", str(picture), "--json").out)
    assert answer["prediction"] == "PNEUMONIA"

    size = str(SIDE)
    created = run(
        "monitor", "create", "tiny", "--height", size, "--width", size, "--train-dataset", "chest", "--json"
    )
    assert json.loads(created.out)["state"] == "ready"  # the prediction output is inferred
    (feature,) = json.loads(run("monitor", "features", "tiny", "--json").out)
    assert (feature["name"], feature["kind"]) == ("prediction", "prediction_output")
    assert "prediction_output" in run("monitor", "features", "tiny").out
    assert (
        json.loads(run("monitor", "remove-feature", "tiny", "prediction", "--json").out)["state"] == "pending"
    )
    assert json.loads(run("monitor", "add-feature", "tiny", "prediction", "--json").out)["state"] == "ready"
    thresholds = tmp_path / "threshold.json"
    thresholds.write_text('{"image": {"type": "drift", "soft": 0.42, "hard": 0.55}}')
    assert "0.42" in run("monitor", "thresholds", "tiny", str(thresholds)).out
    assert run("alert", "add", "tiny", "accuracy", "accuracy", "<", "0.85").code == 0
    assert "accuracy < 0.85" in run("alert", "list", "tiny").out
    assert run("monitor", "start", "tiny").code == 0
    window = ("--from", "2026-03-01T12:00Z", "--to", "2026-03-01T12:05Z")
    assert json.loads(run("monitor", "run", "tiny", *window, "--json").out)["status"] == "unknown"
    assert len(json.loads(run("monitor", "runs", "tiny", "--json").out)) == 1
    assert "active" in run("monitor", "list").out

    refused = run("deployment", "delete", "tiny", "--yes")
    assert refused.code == 5
    assert "has a monitor" in refused.err
    assert run("monitor", "stop", "tiny").code == 0
    unsure = run("monitor", "delete", "tiny")
    assert unsure.code == 2
    assert "its 1 runs" in unsure.err
    assert "--yes" in unsure.err
    for noun in ("monitor", "deployment", "model"):
        assert run(noun, "delete", "tiny", "--yes").code == 0
    assert json.loads(run("deployment", "list", "--json").out) == []


def test_listings_are_json_and_nothing_else(run: Run) -> None:
    for noun in ("code", "model", "pipeline", "deployment", "monitor"):
        assert json.loads(run(noun, "list", "--json").out) == []


def test_an_empty_listing_says_what_to_do_first(run: Run) -> None:
    outcome = run("code", "list")
    assert (outcome.code, outcome.out) == (0, "")
    assert "tidegauge code create NAME" in outcome.err


@pytest.mark.parametrize(
    ("arguments", "environment", "code", "sentence"),
    [
        (("dataset", "show", "none"), {}, 3, "There is no dataset 'none'."),
        (("dataset", "create", "No Good"), {}, 2, "name is 'No Good'"),
        (("dataset", "list"), {"TIDEGAUGE_TOKEN": "tg_wrong"}, 4, "token is missing or not valid"),
        (("dataset", "list"), {"TIDEGAUGE_URL": "http://127.0.0.1:1"}, 6, "does not answer"),
        (("monitor", "run", "x", "--from", "noon", "--to", "1"), {}, 2, "--from is 'noon'"),
        (("pipeline", "run"), {}, 2, "Missing option"),
    ],
)
def test_errors_are_a_sentence_and_an_exit_code(
    run: Run, arguments: tuple[str, ...], environment: dict[str, str], code: int, sentence: str
) -> None:
    outcome = run(*arguments, **environment)
    assert outcome.code == code
    assert sentence in outcome.err
    assert outcome.out == ""


def test_login_keeps_the_token_for_later(run: Run, server: Client, tmp_path: Path) -> None:
    nobody = {"TIDEGAUGE_URL": "", "TIDEGAUGE_TOKEN": ""}
    assert run("login", "--url", server.url, "--token", "tg_wrong", **nobody).code == 4
    assert run("login", "--url", server.url, "--token", server.token, **nobody).code == 0
    saved = tmp_path / "tidegauge" / "credentials.toml"
    assert saved.stat().st_mode & 0o777 == 0o600
    assert run("dataset", "list", "--json", **nobody).code == 0
    assert run("logout", **nobody).code == 0
    assert not saved.exists()


def test_doctor_tells_what_is_there(run: Run, tmp_path: Path) -> None:
    outcome = run("doctor", "--home", str(tmp_path / "home"), "--json")
    checks = {check["name"]: check for check in json.loads(outcome.out)}
    assert outcome.code == 0
    assert checks["database"]["ok"]
    assert checks["home is writable"]["ok"]


def test_doctor_names_what_is_missing(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    outcome = run("doctor", "--home", str(tmp_path / "file"))
    assert outcome.code == 1
    assert "home is writable" in outcome.err


def test_a_lost_token_is_issued_anew_on_the_spot(run: Run, server: Client, tmp_path: Path) -> None:
    home = str(tmp_path / "home")
    first, second = (run("token", "--home", home).out.strip() for _ in range(2))
    assert first.startswith("tg_")
    assert first != second


def test_completion_is_offered(run: Run) -> None:
    assert "--install-completion" in run("--help").out
    assert run("--version").out.startswith("tidegauge ")
