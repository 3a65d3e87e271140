from __future__ import annotations

import base64
import gzip
import zlib
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import numpy as np
import orjson
import pytest

from tidegauge.domain.events import HEADER_LENGTH, REQUEST_TYPE, RESPONSE_TYPE, Event
from tidegauge.domain.images import encode_png
from tidegauge.domain.monitor_config import ImageShape
from tidegauge.domain.tensors import encode_binary
from tidegauge.errors import InvalidInputError
from tidegauge.services.payloads import decode_images, decode_scores, is_unit

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


PNG = encode_png(IMAGE)
B64 = {"b64": base64.b64encode(PNG).decode()}
V2 = {"name": "input_1", "datatype": "BYTES", "shape": [2]}


@pytest.mark.parametrize(
    "body",
    [
        {"instances": [B64, B64]},
        {"instances": [{"input_1": B64}, {"input_1": B64}]},
        {"inputs": {"input_1": [B64, B64]}},
        {"inputs": [B64, B64]},
        {"inputs": [{**V2, "data": [B64["b64"], B64["b64"]]}]},
        {"inputs": [{**V2, "shape": [2, 1], "data": [B64["b64"], B64["b64"]]}]},
    ],
)
def test_encoded_pictures_are_decoded_as_a_model_server_would(body: dict[str, Any]) -> None:
    found = decode_images(event(REQUEST_TYPE, body), SHAPE)
    np.testing.assert_array_equal(found, np.stack([IMAGE, IMAGE]))
    assert not is_unit(event(REQUEST_TYPE, body), SHAPE)


def test_binary_tensors_of_pictures_are_decoded() -> None:
    body, length = encode_binary({"input_1": np.array([PNG, PNG], object)}, "inputs")
    found = decode_images(event(REQUEST_TYPE, body, **{HEADER_LENGTH: length}), SHAPE)
    np.testing.assert_array_equal(found, np.stack([IMAGE, IMAGE]))


def test_a_picture_alone_is_a_request() -> None:
    np.testing.assert_array_equal(decode_images(event(REQUEST_TYPE, PNG), SHAPE), IMAGE[np.newaxis])


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress])
def test_packed_pictures_and_requests_of_them_are_unpacked(pack: Callable[[bytes], bytes]) -> None:
    for body in (PNG, orjson.dumps({"instances": [B64]}), orjson.dumps({"instances": [IMAGE.tolist()]})):
        np.testing.assert_array_equal(
            decode_images(event(REQUEST_TYPE, pack(body)), SHAPE), IMAGE[np.newaxis]
        )


@pytest.mark.parametrize("picture", [B64, IMAGE.tolist()])
@pytest.mark.parametrize("rows", [True, False])
def test_the_images_are_found_among_the_inputs_of_a_model(picture: Any, rows: bool) -> None:
    row = {"ward": "east", "age": 63, "scan": picture}
    body = {"instances": [row, row]} if rows else {"inputs": {name: [v, v] for name, v in row.items()}}
    np.testing.assert_array_equal(decode_images(event(REQUEST_TYPE, body), SHAPE), np.stack([IMAGE, IMAGE]))


def test_of_inputs_without_any_image_the_one_is_told_that_might_be() -> None:
    body = {"instances": [{"scan": B64["b64"][:60], "ward": "east"}]}
    with pytest.raises(InvalidInputError, match="'scan'"):
        decode_images(event(REQUEST_TYPE, body), SHAPE)


def test_pictures_of_another_size_are_brought_to_that_of_the_training_images() -> None:
    large = encode_png(np.kron(IMAGE[..., 0], np.ones((4, 4), np.uint8)))
    np.testing.assert_array_equal(decode_images(event(REQUEST_TYPE, large), SHAPE)[0], IMAGE)


@pytest.mark.parametrize(
    ("item", "said"),
    [
        ({"b64": base64.b64encode(PNG[:40]).decode()}, "Image 0 of input"),
        ({"b64": ""}, "is empty"),
        ({"b64": base64.b64encode(b"text").decode()}, "cannot be decoded"),
    ],
)
def test_a_picture_that_is_none_is_told(item: dict[str, str], said: str) -> None:
    with pytest.raises(InvalidInputError, match=said):
        decode_images(event(REQUEST_TYPE, {"instances": [item]}), SHAPE)


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
