from __future__ import annotations

import json

import pytest

from cli_runs import Run
from retraining_parts import Place, build
from tidegauge.client import Client


@pytest.fixture(scope="module")
def place(server: Client, tmp_path_factory: pytest.TempPathFactory) -> Place:
    made = build(server, tmp_path_factory.mktemp("retraining"))
    made.send(20)
    return made


def test_from_the_empty_list_to_a_promotion(run: Run, place: Place) -> None:
    empty = run("monitor", "retrainings", "tiny")
    assert "start one with: tidegauge monitor retrain tiny" in empty.err
    nothing = run("monitor", "retraining", "tiny")
    assert nothing.code != 0
    assert "The monitor 'tiny' has no retraining" in nothing.err

    done = run(
        "monitor", "retrain", "tiny", "--pipeline", "mine", "--held-out", "held-out:v1", "--note", "new"
    )
    assert done.code == 0, done.err
    assert "waiting" in done.out
    assert "chest v2: chest v1 and" in done.err
    assert "On held-out v1 the candidate is surely better" in done.err
    assert "tidegauge monitor promote tiny" in done.err

    asked = run("monitor", "promote", "tiny")
    assert asked.code != 0
    assert "'tiny' will serve tiny v2 in place of v1, and evidence begins again." in asked.err
    shown = json.loads(run("monitor", "promote", "tiny", "--yes", "--note", "good", "--json").out)
    assert (shown["state"], shown["candidate"]) == ("promoted", 2)
    rows = json.loads(run("monitor", "retrainings", "tiny", "--json").out)
    assert [row["state"] for row in rows] == ["promoted"]
    lineage = json.loads(run("dataset", "show", "chest", "--json").out)["versions"][0]["meta"]["lineage"]
    assert lineage["retraining"] == shown["id"]


def test_a_retraining_that_fails_is_exit_1_and_refusing_it_is_too_late(run: Run, place: Place) -> None:
    place.send(10, seed=2, name="later")
    failed = run("monitor", "retrain", "tiny", "--pipeline", "mine:absent.py")
    assert failed.code == 1
    assert "The retraining failed: The pipeline run failed: file is 'absent.py'" in failed.err
    assert failed.err.count("'absent.py'") == 1
    assert run("monitor", "retraining", "tiny").code == 0
    late = run("monitor", "refuse", "tiny")
    assert "The retraining is failed; there is nothing to refuse." in late.err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--held-out", "held-out"), "--held-out is 'held-out'; give a Dataset and its version"),
        (("--parameter", "a=b"), "--pipeline is missing"),
        (("--margin", "0.7"), "margin is 0.7; give a number from 0 to 0.5."),
    ],
)
def test_what_is_wrong_is_said(run: Run, place: Place, arguments: tuple[str, ...], sentence: str) -> None:
    outcome = run("monitor", "retrain", "tiny", *arguments)
    assert outcome.code == 2
    assert sentence in outcome.err


def test_an_alert_can_retrain(run: Run, place: Place) -> None:
    done = run(
        "alert", "add", "tiny", "drift", "--on", "evidence", "--retrain", "--held-out", "held-out:1", "--json"
    )
    rule = json.loads(done.out)["rule"]
    assert rule["retrain"]["held_out"] == {"dataset": "held-out", "version": 1}
    assert (rule["retrain"]["promote"], rule["retrain"]["pause_hours"]) == ("ask", 24.0)
