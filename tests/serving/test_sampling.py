"""A part of the inferences is logged, and says what it stands for."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from serving.models import image_model
from serving.running import receiving, serving, wait_until
from serving.test_log import NOW, PIXELS, PREDICT, logging_to
from serving.test_recorder import log_url, recording
from tidegauge.domain.deployment import Deployment, DeploymentState, Origin
from tidegauge.domain.events import SAMPLED_RATE
from tidegauge.domain.sampled import LEAST
from tidegauge.errors import FieldError, InvalidInputError
from tidegauge.serving.exchange import Exchange
from tidegauge.serving.sampling import Sampling

IDS = [f"request-{number}" for number in range(80)]


def exchange(id_: str, status: int = 200) -> Exchange:
    return Exchange(id_, NOW, 1500, status, {"x": np.zeros(1)}, {"y": np.zeros(1)}, {"ward": "east"})


def deployment(share: float) -> Deployment:
    running = DeploymentState.RUNNING
    made = Deployment("d1", "d1", "ada", "", "", 0, True, Origin.EXTERNAL, running, running, NOW, "")
    return replace(made, sampling=share)


def taken(share: float, ids: list[str]) -> list[str]:
    return [id_ for id_ in ids if Sampling(share).take(exchange(id_))]


@pytest.mark.parametrize(("share", "every"), [(0.1, 10), (0.34, 3), (0.01, 100), (0.7, 1), (0.999, 1)])
def test_one_request_in_so_many_is_taken_whatever_its_id_looks_like(share: float, every: int) -> None:
    for name in ("{}", "00000000-0000-7000-8000-{:012d}"):
        found = taken(share, [name.format(number) for number in range(20_000)])
        expected = 20_000 / every
        assert abs(len(found) - expected) < 4 * expected**0.5
    kept = Sampling(share).take(exchange(found[0]))
    assert kept is not None
    assert kept.attributes == {"ward": "east", SAMPLED_RATE: every}


def test_failed_requests_are_all_taken_and_stand_for_themselves() -> None:
    for status in (400, 422, 503):
        for id_ in IDS:
            kept = Sampling(0.01).take(exchange(id_, status))
            assert kept is not None
            assert kept.attributes[SAMPLED_RATE] == 1


def test_without_sampling_nothing_is_said() -> None:
    assert Sampling(1.0).take(exchange("a")) == exchange("a")


@pytest.mark.parametrize("share", [0.0, -1.0, 5e-324, 1e-10, 1.01, float("nan"), float("inf")])
def test_a_share_that_cannot_be_is_refused_by_one_sentence(share: float) -> None:
    with pytest.raises(InvalidInputError) as raised:
        Sampling(share)
    said = f"sampling is {share:g}; give the share that is logged, from 0.000001 to 1."
    assert list(raised.value.errors) == [FieldError("sampling", said)]
    assert list(deployment(share).errors()) == [FieldError("sampling", said)]


@pytest.mark.parametrize("share", [0.01, 0.1, 0.3, 0.4, 0.7, 1.0])
def test_events_say_what_an_external_deployment_of_the_same_share_takes_them_for(share: float) -> None:
    ids = (f"request-{number}" for number in itertools.count())
    kept = next(filter(None, map(Sampling(share).take, map(exchange, ids))))
    assert deployment(share).weight == kept.attributes.get(SAMPLED_RATE, 1)


def test_the_least_share_makes_a_rate_that_an_event_can_say() -> None:
    assert deployment(LEAST).weight == 1_000_000 < 2**31
    assert not list(deployment(LEAST).errors())


def test_a_model_server_and_a_recorder_before_one_log_the_same_part(tmp_path) -> None:
    """And both halves of it, with what they stand for; a client cannot say otherwise."""
    folder = image_model(tmp_path / "scan")
    expected = taken(0.25, IDS)
    with (
        receiving() as own,
        receiving() as recorded,
        serving(folder, tmp_path, *logging_to(own.url), "--sampling", "0.25") as served,
        recording(f"http://127.0.0.1:{served.port}", log_url(recorded.url), sampling=0.25) as client,
    ):
        for id_ in IDS:
            headers = {"ce-id": id_, "ce-sampledrate": "7"}
            assert client.post(PREDICT, json={"inputs": PIXELS.tolist()}, headers=headers).status_code == 200
        assert client.post(PREDICT, json={"nothing": 1}, headers={"ce-id": "bad"}).status_code == 400
        for receiver in (own, recorded):
            wait_until(lambda receiver=receiver: len(receiver.events) >= 2 * len(expected) + 2)
            counts = Counter((event.id, event.sampled_rate) for event in receiver.events)
            assert counts == {("bad", 1): 2, **{(id_, 4): 2 for id_ in expected}}
