"""From logged events to observations: requests and responses joined, payloads decoded."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from tidegauge.domain.events import LATENCY_US, REQUEST_TYPE, RESPONSE_TYPE, STATUS, Event
from tidegauge.domain.inference import decode_event
from tidegauge.domain.monitor_config import ImageShape
from tidegauge.errors import InvalidInputError

Array = npt.NDArray[Any]
Image = npt.NDArray[np.uint8]

_PROBLEMS_LISTED = 20


@dataclass(frozen=True)
class Answer:
    """How a request was answered: HTTP status and latency in milliseconds, where the log has them."""

    status: int
    latency_ms: float | None


@dataclass(frozen=True)
class Observation:
    """One image of one request, with what the model said of it."""

    event_id: str
    index: int
    time: datetime
    image: Image | None
    prediction: str
    confidence: float


@dataclass(frozen=True)
class Observed:
    """All that a window of the log holds for a monitor."""

    answers: tuple[Answer, ...]
    observations: tuple[Observation, ...]
    problems: tuple[str, ...]


def observe(events: Iterable[Event], shape: ImageShape | None, classes: tuple[str, ...]) -> Observed:
    """Join requests with responses by id and decode them; what cannot be decoded is listed, not dropped."""
    requests: dict[str, Event] = {}
    responses: dict[str, Event] = {}
    for event in events:
        by_id = {REQUEST_TYPE: requests, RESPONSE_TYPE: responses}.get(event.type)
        if by_id is not None:
            by_id.setdefault(event.id, event)
    observations: list[Observation] = []
    problems: list[str] = []
    for id_, request in requests.items():
        response = responses.get(id_)
        if response is None:
            problems.append(f"Event {id_}: the response is not in this window.")
        elif _status(response) < 400:
            try:
                observations += _decode(request, response, shape, classes)
            except InvalidInputError as error:
                problems.append(f"Event {id_}: {error.message}")
    more = len(problems) - _PROBLEMS_LISTED
    listed = [*problems[:_PROBLEMS_LISTED], *([f"{more} more events like these."] if more > 0 else [])]
    return Observed(tuple(_answer(r) for r in responses.values()), tuple(observations), tuple(listed))


def _status(response: Event) -> int:
    # KServe's logger reports only answered requests and no status.
    return int(response.extensions.get(STATUS, 200))


def _answer(response: Event) -> Answer:
    latency = response.extensions.get(LATENCY_US)
    return Answer(_status(response), None if latency is None else int(latency) / 1000)


def _decode(
    request: Event, response: Event, shape: ImageShape | None, classes: tuple[str, ...]
) -> list[Observation]:
    images = _images(decode_event(request), shape) if shape else None
    scores = _scores(decode_event(response), classes)
    if images is not None and len(images) != len(scores):
        raise InvalidInputError(
            f"The request has {len(images)} images and the response {len(scores)} answers."
        )
    best = scores.argmax(axis=1)
    return [
        Observation(
            event_id=request.id,
            index=index,
            time=request.time,
            image=None if images is None else images[index],
            prediction=classes[choice] if classes else str(choice),
            confidence=float(scores[index, choice]),
        )
        for index, choice in enumerate(best)
    ]


def _images(tensors: dict[str, Array], shape: ImageShape) -> Image:
    """Find the image tensor: uint8 ``[n, h, w, c]``."""
    size = (shape.height, shape.width, shape.channels)
    for tensor in tensors.values():
        array = tensor
        if array.ndim == 3 and shape.channels == 1:
            array = array[..., np.newaxis]
        elif array.ndim == 4 and shape.channel_order == "channels_first":
            array = np.moveaxis(array, 1, -1)
        if array.ndim == 4 and array.shape[1:] == size:
            return _to_uint8(array)
    found = ", ".join(f"{name} {list(tensor.shape)}" for name, tensor in tensors.items()) or "nothing"
    raise InvalidInputError(f"No input has images of {size[0]}x{size[1]}x{size[2]}; it has {found}.")


def _to_uint8(array: Array) -> Image:
    if array.dtype == np.uint8:
        return array
    values = np.asarray(array, np.float64)
    if values.size and values.min() >= 0 and values.max() <= 1 and not np.all(values == np.rint(values)):
        values = values * 255  # scaled to [0, 1] by the client
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _scores(tensors: dict[str, Array], classes: tuple[str, ...]) -> npt.NDArray[np.float64]:
    """Find the class scores: float ``[n, classes]``."""
    for tensor in tensors.values():
        wide = tensor.ndim == 2 and tensor.dtype.kind == "f" and tensor.shape[1] >= 2
        if wide and len(classes) in (0, tensor.shape[1]):
            return np.asarray(tensor, np.float64)
    found = ", ".join(f"{name} {list(tensor.shape)}" for name, tensor in tensors.items()) or "nothing"
    raise InvalidInputError(f"No output has a score for each of {len(classes)} classes; it has {found}.")
