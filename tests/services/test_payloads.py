from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import orjson
import pytest

from tidegauge.domain.events import HEADER_LENGTH, REQUEST_TYPE, RESPONSE_TYPE, Event
from tidegauge.domain.monitor_config import ImageShape
from tidegauge.domain.tensors import encode_binary
from tidegauge.errors import InvalidInputError
from tidegauge.services.payloads import decode_images, decode_scores

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SHAPE = ImageShape(8, 9)
IMAGE = np.arange(72, dtype=np.uint8).reshape(8, 9, 1)


def event(type_: str, data: Any, **extensions: int) -> Event:
    body = data if isinstance(data, bytes) else orjson.dumps(data, option=orjson.OPT_SERIALIZE_NUMPY)
    return Event("a", "/test", type_, NOW, "application/json", body, extensions)


def request(images: Any) -> Event:
    return event(REQUEST_TYPE, {"inputs": {"input_1": images}})


def response(scores: Any) -> Event:
    return event(RESPONSE_TYPE, {"outputs": scores})


def test_images_come_back_as_they_were() -> None:
    both = np.stack([IMAGE, 255 - IMAGE])
    np.testing.assert_array_equal(decode_images(request(both), SHAPE), both)


def test_compact_binary_tensors_come_back_as_they_were() -> None:
    body, length = encode_binary({"input_1": IMAGE[np.newaxis].astype(np.float32)}, "inputs", compact=True)
    found = decode_images(event(REQUEST_TYPE, body, **{HEADER_LENGTH: length}), SHAPE)
    np.testing.assert_array_equal(found[0], IMAGE)


@pytest.mark.parametrize("images", [IMAGE[np.newaxis, ..., 0], IMAGE[np.newaxis] / 255.0])
def test_grey_without_channel_and_scaled_images_are_read(images: np.ndarray) -> None:
    np.testing.assert_array_equal(decode_images(request(images), SHAPE)[0], IMAGE)


def test_channels_first_is_turned() -> None:
    shape = ImageShape(8, 9, 1, "channels_first")
    found = decode_images(request(np.moveaxis(IMAGE, -1, 0)[np.newaxis]), shape)
    np.testing.assert_array_equal(found[0], IMAGE)


def test_scores_are_a_row_for_each_image() -> None:
    np.testing.assert_allclose(decode_scores(response([[0.2, 0.8], [0.9, 0.1]]), 2), [[0.2, 0.8], [0.9, 0.1]])


def test_images_of_another_shape_are_refused_with_what_there_is() -> None:
    with pytest.raises(InvalidInputError, match=r"of 8x9x1; it has input_1 \[1, 4, 9, 1\]"):
        decode_images(request([IMAGE[:4]]), SHAPE)


def test_scores_of_another_number_of_classes_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="a score for each of 2 classes"):
        decode_scores(response([[0.1, 0.2, 0.7]]), 2)


def test_a_payload_that_is_no_json_is_refused() -> None:
    with pytest.raises(InvalidInputError):
        decode_images(event(REQUEST_TYPE, b"{"), SHAPE)
