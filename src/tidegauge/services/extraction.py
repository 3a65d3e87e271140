"""What is read of each event: which images, scores and columns become observations."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import orjson

from tidegauge.domain.events import LATENCY_US, REDACTED, STATUS
from tidegauge.domain.monitor import Monitor
from tidegauge.domain.monitor_config import ImageShape
from tidegauge.errors import InvalidInputError
from tidegauge.services.baselines import Baseline, Baselines
from tidegauge.services.payloads import decode_images, decode_scores
from tidegauge.services.sources.logs import is_foreign, origin_of
from tidegauge.services.tabular.requests import Reading
from tidegauge.stats.images import ImageBaseline, ImageFeatures, ObservedImages, extract, observe
from tidegauge.storage.observations import Observations, Table, join_scores, join_tables, microseconds
from tidegauge.storage.segments import Record

_VERSION = 1  # of what is extracted; another number reads the log anew

Scores = npt.NDArray[np.floating]
Image = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Extraction:
    """What is read of each event: images of a shape (None: none), the scores of some classes.

    ``reading`` says how tables and answers that are numbers are read; None: neither is.
    ``source`` names the event attribute that tells sources apart (a patient, a device); empty: none.
    ``segment`` names the one by whose values windows are looked at apart (a hospital); empty: none.
    ``origin`` is where the log is read if not in this cluster, as ``dataset/prefix``.
    ``against`` is the hash of the ``baseline`` that images are observed by; empty where images are kept.
    ``skew`` is how many seconds an event's time may lie after its arrival before its clock counts as wrong.
    """

    shape: ImageShape | None
    classes: int
    source: str = ""
    skew: int = 300
    origin: str = ""
    segment: str = ""
    reading: Reading | None = None
    against: str = ""
    baseline: ImageBaseline | None = field(default=None, compare=False, repr=False)

    @property
    def id(self) -> str:
        """A short hash: observations of another extraction do not mix with these."""
        shape = self.shape
        parts = [_VERSION, self.classes, self.source, shape and [shape.height, shape.width, shape.channels]]
        order = shape.channel_order if shape else ""
        named = {
            "segment": self.segment,
            "origin": self.origin,
            "reading": self.reading,
            "against": self.against,
        }
        further = [[name, value] for name, value in named.items() if value]
        return hashlib.sha256(orjson.dumps([parts, order, *further])).hexdigest()[:16]

    def failed(self) -> Scores:
        """Return what a request without an answer has for scores."""
        numbers = self.reading is not None and self.reading.numbers
        width, kind = (1, np.float64) if numbers else (self.classes, np.float32)
        return np.full((1, width), np.nan, kind)

    def features(self, images: Image) -> ImageFeatures | ObservedImages:
        """Return what is kept of images."""
        return observe(self.baseline, images) if self.baseline is not None else extract(images)

    def reads(self, deployment_id: str, file_id: str) -> bool:
        """Tell whether a file of the log is of the origin."""
        foreign = is_foreign(deployment_id, file_id, self.origin)
        return foreign if self.origin else not foreign


@dataclass(frozen=True)
class Exchange:
    """A request with its response, and the log file of the request."""

    path: str
    request: Record
    response: Record

    @property
    def status(self) -> int:
        # KServe's logger reports only answered requests and no status.
        return int(self.response.event.extensions.get(STATUS, 200))

    @property
    def sampled_rate(self) -> int | None:
        """How many requests it stands for, where the sender says so."""
        return self.request.event.sampled_rate or self.response.event.sampled_rate

    def decode(self, extraction: Extraction) -> tuple[Scores, Image | None, Table | None]:
        """Return the scores ``[n, classes]``, the images ``[n, h, w, c]`` and the columns ``[n]``, if any."""
        if self.status >= 400:
            return extraction.failed(), None, None
        reading, answer = extraction.reading, self.response.event
        scores = reading.scores(answer) if reading else decode_scores(answer, extraction.classes)
        table = reading.rows(self.request.event) if reading else None
        if table is not None and len(next(iter(table.values()))) != len(scores):
            rows = len(next(iter(table.values())))
            raise InvalidInputError(f"The request has {rows} rows and the response {len(scores)} answers.")
        if extraction.shape is None or self.request.event.extensions.get(REDACTED):
            return scores, None, table
        pixels = decode_images(self.request.event, extraction.shape)
        if len(pixels) != len(scores):
            raise InvalidInputError(
                f"The request has {len(pixels)} images and the response {len(scores)} answers."
            )
        return scores, pixels, table


@dataclass(frozen=True)
class Answered:
    """What an exchange was decoded to: scores ``[n, classes]``, columns ``[n]``; ``seen``: has images."""

    exchange: Exchange
    scores: Scores
    seen: bool
    table: Table | None


def observed(answered: Sequence[Answered], extraction: Extraction, weight: float) -> Observations:
    """Return a row for each answer, without the features of images; ``weight`` is of those that have none."""
    counts = [len(one.scores) for one in answered]
    requests = [one.exchange.request for one in answered]
    events = [request.event for request in requests]
    latencies = [one.exchange.response.event.extensions.get(LATENCY_US) for one in answered]

    def ints(values: Iterable[int]) -> npt.NDArray[np.int64]:
        return np.repeat(np.array(list(values), np.int64), counts)

    def texts(values: Iterable[str]) -> npt.NDArray[np.object_]:
        return np.repeat(np.array(list(values), object), counts)

    return Observations(
        event_id=texts(event.id for event in events),
        event_source=texts(event.source for event in events),
        index=np.concatenate([np.arange(count) for count in counts]),
        time=ints(microseconds(event.time) for event in events),
        received=ints(microseconds(request.received) for request in requests),
        sequence=np.zeros(sum(counts), np.int64),
        status=ints(one.exchange.status for one in answered),
        latency=ints(-1 if latency is None else int(latency) for latency in latencies),
        log_file=texts(one.exchange.path for one in answered),
        source=texts(str(event.extensions.get(extraction.source, "")) for event in events),
        segment=texts(str(event.extensions.get(extraction.segment, "")) for event in events),
        weight=np.repeat([float(one.exchange.sampled_rate or weight) for one in answered], counts),
        scores=join_scores([one.scores for one in answered]),
        seen=np.repeat([one.seen or one.table is not None for one in answered], counts),
        images=None,
        table=join_tables([(one.table, count) for one, count in zip(answered, counts, strict=True)]),
    )


def extraction_for(monitor: Monitor, baselines: Baselines) -> Extraction:
    """Return what a monitor needs to have read of each event, without reading all of its baseline."""
    keeps = monitor.config.keep_images
    return extraction_of(monitor, baselines.outline(monitor) if keeps else baselines.load(monitor))


def extraction_of(monitor: Monitor, baseline: Baseline) -> Extraction:
    """Return what a monitor needs to have read of each event."""
    config = monitor.config
    source = config.evidence.per_source
    shape = config.drift.image if config.drift.enabled else None
    image = None if config.keep_images else baseline.image
    if not config.keep_images and (image is None or image.space is None):
        shape = None  # a baseline that nothing is compared with needs no images
    return Extraction(
        shape,
        len(baseline.classes),
        source.attribute if source else "",
        config.time.clock_skew_seconds,
        origin_of(monitor),
        config.segments,
        _reading(monitor, baseline),
        monitor.baseline if shape and image else "",
        image if shape else None,
    )


def _reading(monitor: Monitor, baseline: Baseline) -> Reading | None:
    """Return how tables and numbers are read; None for a model that classifies images."""
    if monitor.config.input_data_type == "image" and not baseline.numbers:
        return None
    columns = baseline.columns if monitor.config.drift.enabled else ()
    return Reading(columns, baseline.numbers, baseline.classes)
