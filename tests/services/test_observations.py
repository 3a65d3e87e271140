from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import orjson
import pytest

from tidegauge.domain.events import HEADER_LENGTH, LATENCY_US, REQUEST_TYPE, RESPONSE_TYPE, STATUS, Event
from tidegauge.domain.monitor_config import ImageShape
from tidegauge.domain.tensors import encode_binary
from tidegauge.services.observations import observe

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SHAPE = ImageShape(8, 9)
CLASSES = ("NORMAL", "PNEUMONIA")
IMAGE = np.arange(72, dtype=np.uint8).reshape(8, 9, 1)


def event(id_: str, type_: str, data: Any, **extensions: int) -> Event:
    body = data if isinstance(data, bytes) else orjson.dumps(data, option=orjson.OPT_SERIALIZE_NUMPY)
    return Event(id_, "/test", type_, NOW, "application/json", body, extensions)


def request(id_: str, images: Any) -> Event:
    return event(id_, REQUEST_TYPE, {"inputs": {"input_1": images}})


def response(id_: str, scores: Any, status: int = 200) -> Event:
    return event(id_, RESPONSE_TYPE, {"outputs": scores}, **{STATUS: status, LATENCY_US: 1500})


def test_a_pair_becomes_an_observation_per_image() -> None:
    events = [response("a", [[0.2, 0.8], [0.9, 0.1]]), request("a", np.stack([IMAGE, 255 - IMAGE]))]
    seen = observe(events, SHAPE, CLASSES)
    assert [(o.index, o.prediction, o.confidence) for o in seen.observations] == [
        (0, "PNEUMONIA", 0.8),
        (1, "NORMAL", 0.9),
    ]
    np.testing.assert_array_equal(seen.observations[1].image, 255 - IMAGE)
    assert [(answer.status, answer.latency_ms) for answer in seen.answers] == [(200, 1.5)]
    assert seen.problems == ()


def test_compact_binary_tensors_come_back_as_they_were() -> None:
    body, length = encode_binary({"input_1": IMAGE[np.newaxis].astype(np.float32)}, "inputs", compact=True)
    events = [event("a", REQUEST_TYPE, body, **{HEADER_LENGTH: length}), response("a", [[0.6, 0.4]])]
    (found,) = observe(events, SHAPE, CLASSES).observations
    np.testing.assert_array_equal(found.image, IMAGE)


@pytest.mark.parametrize("images", [IMAGE[np.newaxis, ..., 0], IMAGE[np.newaxis] / 255.0])
def test_grey_without_channel_and_scaled_images_are_read(images: np.ndarray) -> None:
    (found,) = observe([request("a", images), response("a", [[0.6, 0.4]])], SHAPE, CLASSES).observations
    np.testing.assert_array_equal(found.image, IMAGE)


def test_channels_first_is_turned() -> None:
    shape = ImageShape(8, 9, 1, "channels_first")
    events = [request("a", np.moveaxis(IMAGE, -1, 0)[np.newaxis]), response("a", [[0.6, 0.4]])]
    (found,) = observe(events, shape, CLASSES).observations
    np.testing.assert_array_equal(found.image, IMAGE)


@pytest.mark.parametrize(
    ("events", "sentence"),
    [
        ([request("a", [IMAGE])], "Event a: the response is not in this window."),
        (
            [request("a", [IMAGE[:4]]), response("a", [[0.5, 0.5]])],
            "No input has images of 8x9x1; it has input_1 [1, 4, 9, 1].",
        ),
        (
            [request("a", [IMAGE]), response("a", [[0.1, 0.2, 0.7]])],
            "No output has a score for each of 2 classes",
        ),
        (
            [request("a", [IMAGE]), response("a", [[0.5, 0.5]] * 2)],
            "The request has 1 images and the response 2 answers.",
        ),
        ([event("a", REQUEST_TYPE, b"{"), response("a", [[0.5, 0.5]])], "Event a:"),
    ],
)
def test_what_cannot_be_read_is_listed(events: list[Event], sentence: str) -> None:
    seen = observe(events, SHAPE, CLASSES)
    assert seen.observations == ()
    assert len(seen.problems) == 1
    assert sentence in seen.problems[0]


def test_refused_requests_count_in_health_and_nowhere_else() -> None:
    seen = observe([request("a", [IMAGE[:2]]), response("a", None, status=400)], SHAPE, CLASSES)
    assert [answer.status for answer in seen.answers] == [400]
    assert (seen.observations, seen.problems) == ((), ())


def test_a_long_list_of_problems_is_cut_and_counted() -> None:
    seen = observe([request(f"e{number}", [IMAGE]) for number in range(50)], SHAPE, CLASSES)
    assert len(seen.problems) == 21
    assert seen.problems[-1] == "30 more events like these."


def test_events_of_other_kinds_are_passed_over() -> None:
    other = Event("a", "/test", "com.example.other", NOW + timedelta(seconds=1), "text/plain", b"hello")
    assert observe([other], SHAPE, CLASSES).problems == ()
