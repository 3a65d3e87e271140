"""Requests that Tidegauge itself makes of a model server: answered, and no traffic."""

from __future__ import annotations

import os

import numpy as np
import pytest

from serving.models import image_model
from serving.running import receiving, serving, wait_until
from tidegauge.serving.bodies import PROBE

PREDICT = "/v1/models/scan:predict"
BODY = {"inputs": np.zeros((1, 8, 8, 1), int).tolist()}


@pytest.fixture
def folder(tmp_path):
    return image_model(tmp_path / "scan")


def ask(served, receiver, **headers):
    """Ask with these headers, then without: what was logged before that must have come by then."""
    answer = served.http.post(PREDICT, json=BODY, headers=headers)
    served.http.post(PREDICT, json=BODY, headers={"ce-id": "last"})
    wait_until(lambda: any(event.id == "last" for event in receiver.events))
    return answer


def test_a_probe_under_a_supervisor_is_answered_and_neither_logged_nor_counted(folder, tmp_path):
    with receiving() as receiver:
        flags = ("--log-url", receiver.url, "--parent-pid", str(os.getpid()))
        with serving(folder, tmp_path, *flags) as served:
            answer = ask(served, receiver, **{PROBE: "1"})
            assert len(answer.json()["outputs"][0]) == 2
            assert {event.id for event in receiver.events} == {"last"}
            assert served.counts()["served"] == 1


def test_a_refused_probe_is_told_why_and_not_logged(folder, tmp_path):
    with receiving() as receiver:
        flags = ("--log-url", receiver.url, "--parent-pid", str(os.getpid()))
        with serving(folder, tmp_path, *flags) as served:
            refused = served.http.post(PREDICT, json={"inputs": [1]}, headers={PROBE: "1"})
            assert (refused.status_code, "shape" in refused.json()["error"]) == (400, True)
            ask(served, receiver, **{PROBE: "1"})
            assert {event.id for event in receiver.events} == {"last"}


def test_no_client_of_a_server_of_its_own_stays_out_of_the_log(folder, tmp_path):
    with receiving() as receiver, serving(folder, tmp_path, "--log-url", receiver.url) as served:
        ask(served, receiver, **{PROBE: "1", "ce-id": "first"})
        assert {event.id for event in receiver.events} == {"first", "last"}
