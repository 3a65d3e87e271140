"""Baselines: the summary of the training data that drift is measured from."""

from __future__ import annotations

import hashlib
import io
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from tidegauge.domain.monitor import Monitor
from tidegauge.domain.schema import TableColumn
from tidegauge.errors import ConflictError
from tidegauge.services.health import available_memory
from tidegauge.stats.images import ImageBaseline, ImageFeatures, ObservedImages, observe
from tidegauge.stats.performance.expected import Expectation
from tidegauge.stats.tables import TableBaseline
from tidegauge.stats.two_sample.numbers import Numbers
from tidegauge.storage.objects import ObjectStore
from tidegauge.storage.observations import Observations

_DESCRIPTION = "description"
_EXPECTED = "expected."
_SAMPLE = "sample"
_TABLE = "table."
_OUTPUTS = "outputs."
_SHARE = 10  # one part in so many of the memory is for baselines that were used last
_OUTLINES = 1024  # of baselines in memory
_RECENT = 4096  # images that evidence has taken in, and a window has not been compared with yet


class _Recent:
    """What was observed of the images taken in last, by event and place in it."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, int], tuple[Any, Any, Any]] = {}

    def note(self, batch: Observations, images: ObservedImages) -> None:
        rows = zip(images.observations, images.strangeness, images.nearest, strict=True)
        self._found.update(zip(_keys(batch), rows, strict=True))
        for key in list(self._found)[: max(0, len(self._found) - _RECENT)]:
            del self._found[key]

    def of(self, batch: Observations) -> ObservedImages | None:
        """Return what was observed of these images; None where some are not known any more."""
        rows = [self._found.get(key) for key in _keys(batch)]
        known = [row for row in rows if row is not None]
        if not known or len(known) < len(rows):
            return None
        observations, strangeness, nearest = zip(*known, strict=True)
        return ObservedImages(np.stack(observations), np.array(strangeness), np.array(nearest))


@dataclass(frozen=True)
class Baseline:
    """What a run compares with; ``image`` and ``table`` are None where drift is off or of the other.

    ``predictions`` counts the classes of the model's reference predictions; ``outputs`` are those of a
    regression; ``paths`` names the training images in the order of the image baseline; ``columns`` are all
    input features of a table, in the order of requests; ``numbers`` tells a regression; ``expectation``
    says what scores are worth;
    ``sample`` are images of it for functions of users, uint8 ``[n, h, w, c]``, None where there are none.
    """

    image: ImageBaseline | None
    paths: tuple[str, ...]
    predictions: Mapping[str, int]
    classes: tuple[str, ...]
    positive: str | None
    expectation: Expectation | None = None
    sample: npt.NDArray[np.uint8] | None = None
    table: TableBaseline | None = None
    columns: tuple[TableColumn, ...] = ()
    outputs: Numbers | None = None
    numbers: bool = False
    _recent: _Recent = field(default_factory=_Recent, init=False, repr=False, compare=False)

    @property
    def knows_predictions(self) -> bool:
        """Tell whether it has predictions that others can be compared with."""
        return self.outputs is not None or bool(self.predictions)

    @property
    def reference(self) -> ImageBaseline | TableBaseline | None:
        """What evidence ranks observations against; None where there is too little of it."""
        return self.image if self.image is not None and self.image.space is not None else self.table

    def observe(self, batch: Observations) -> npt.NDArray[np.float64] | None:
        """Return the features, for evidence, of what was seen; None where nothing was."""
        if self.image is not None and batch.images is not None:
            if isinstance(batch.images, ObservedImages):
                return batch.images.observations
            observed = observe(self.image, batch.images)
            self._recent.note(batch, observed)
            return observed.observations
        if self.table is not None and batch.table is not None:
            return self.table.observe({name: values[batch.seen] for name, values in batch.table.items()})
        return None

    def images_of(self, window: Observations) -> ImageFeatures | ObservedImages | None:
        """Return what a window is compared by: what evidence has just observed need not be observed again."""
        known = None if isinstance(window.images, ObservedImages) else self._recent.of(window)
        return known if known is not None else window.images


class Baselines:
    """Stores baselines by content hash, and reads them back."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._kept = _Kept(available_memory() // _SHARE)
        self._outline = lru_cache(maxsize=_OUTLINES)(self._read_outline)

    def keep(self, monitor_id: str, baseline: Baseline) -> str:
        """Store a baseline of a monitor; return its hash."""
        description = {
            "classes": baseline.classes,
            "positive": baseline.positive,
            "predictions": baseline.predictions,
            "paths": baseline.paths,
            "columns": baseline.columns,
            "numbers": baseline.numbers,
        }
        arrays = {_DESCRIPTION: np.frombuffer(orjson.dumps(description), np.uint8)}
        if baseline.image is not None:
            arrays |= baseline.image.to_arrays()
        if baseline.sample is not None:
            arrays[_SAMPLE] = baseline.sample
        for prefix, part in (
            (_EXPECTED, baseline.expectation),
            (_TABLE, baseline.table),
            (_OUTPUTS, baseline.outputs),
        ):
            if part is not None:
                arrays |= {f"{prefix}{name}": array for name, array in part.to_arrays().items()}
        return self._put(monitor_id, arrays)

    def load(self, monitor: Monitor) -> Baseline:
        """Return the baseline of a monitor; those used last are kept in memory."""
        return self._kept.get(_path(monitor.id, monitor.baseline), self._read)

    def outline(self, monitor: Monitor) -> Baseline:
        """Return what the baseline says of itself, without the numbers that windows are compared with."""
        return self._outline(_path(monitor.id, monitor.baseline))

    def _read_outline(self, path: str) -> Baseline:
        with io.BufferedReader(self._store.open(path)) as raw, np.load(raw, allow_pickle=False) as file:
            return _outline(orjson.loads(file[_DESCRIPTION].tobytes()))

    def _read(self, path: str) -> tuple[Baseline, int]:
        """Return a baseline, and how many bytes it has."""
        with np.load(io.BytesIO(self._store.get(path)), allow_pickle=False) as file:
            arrays = dict(file)
        size = sum(array.nbytes for array in arrays.values())
        outline = _outline(orjson.loads(arrays.pop(_DESCRIPTION).tobytes()))
        expected, table, outputs = (_taken(arrays, prefix) for prefix in (_EXPECTED, _TABLE, _OUTPUTS))
        sample = arrays.pop(_SAMPLE, None)
        try:
            image = ImageBaseline.from_arrays(arrays) if arrays else None
            expectation = Expectation.from_arrays(expected) if expected else None
        except (KeyError, TypeError, ValueError) as error:
            raise ConflictError(
                "The baseline was made by another version of Tidegauge; stop the monitor and make it anew "
                "with: tidegauge monitor baseline"
            ) from error
        baseline = replace(
            outline,
            image=image,
            expectation=expectation,
            sample=sample,
            table=TableBaseline.from_arrays(table) if table else None,
            outputs=Numbers.from_arrays(outputs) if outputs else None,
        )
        return baseline, size

    def without_events(self, monitor: Monitor, event_ids: set[str]) -> str | None:
        """Take names and thumbnails of logged events out of a baseline; return the new hash, None for none.

        Their thumbnails become black; what was learned of all images together stays.
        """
        if not monitor.baseline:
            return None
        with np.load(
            io.BytesIO(self._store.get(_path(monitor.id, monitor.baseline))), allow_pickle=False
        ) as file:
            arrays = dict(file)
        description = orjson.loads(arrays[_DESCRIPTION].tobytes())
        names = tuple(f"event {id_} [" for id_ in event_ids)
        gone = [row for row, path in enumerate(description["paths"]) if path.startswith(names)]
        if not gone:
            return None
        for row in gone:
            description["paths"][row] = "a deleted event"
        _blacken(arrays, gone)
        arrays[_DESCRIPTION] = np.frombuffer(orjson.dumps(description), np.uint8)
        return self._put(monitor.id, arrays)

    def forget_others(self, monitor: Monitor) -> None:
        """Delete the baselines that a monitor no longer uses."""
        for info in self._store.list(f"monitors/{monitor.id}"):
            name = info.path.rpartition("/")[2].removesuffix(".npz")
            if info.path == _path(monitor.id, name) and name != monitor.baseline:
                self._store.delete(info.path)

    def _put(self, monitor_id: str, arrays: Mapping[str, npt.NDArray[Any]]) -> str:
        sink = io.BytesIO()
        # Not compressed: it would save an eighth of the bytes, and reading would take four times as long.
        np.savez(sink, allow_pickle=False, **arrays)
        data = sink.getvalue()
        digest = hashlib.sha256(data).hexdigest()
        self._store.put(_path(monitor_id, digest), data)
        return digest


class _Kept:
    """The baselines used last, as many as fit into so many bytes; at least the last one."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._found: OrderedDict[str, tuple[Baseline, int]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, path: str, read: Callable[[str], tuple[Baseline, int]]) -> Baseline:
        with self._lock:
            if path in self._found:
                self._found.move_to_end(path)
                return self._found[path][0]
        found = read(path)
        with self._lock:
            self._found[path] = found
            while len(self._found) > 1 and sum(size for _, size in self._found.values()) > self._most:
                self._found.popitem(last=False)
        return found[0]


def _keys(batch: Observations) -> list[tuple[str, int]]:
    return list(zip(batch.event_id[batch.seen].tolist(), batch.index[batch.seen].tolist(), strict=True))


def _outline(description: Mapping[str, Any]) -> Baseline:
    return Baseline(
        None,
        tuple(description["paths"]),
        description["predictions"],
        tuple(description["classes"]),
        description["positive"],
        columns=tuple(TableColumn(**column) for column in description.get("columns", ())),
        numbers=description.get("numbers", False),
    )


def _blacken(arrays: dict[str, npt.NDArray[Any]], gone: list[int]) -> None:
    """Overwrite the thumbnails of some images and of their variants, which stand variant by variant."""
    for part in ("plain", "changed", "varied"):
        reduced = arrays[f"samples.{part}.reduced"].copy()
        members = arrays.get(f"samples.{part}.rows", np.arange(len(reduced)))
        places = np.flatnonzero(np.isin(members, gone))
        variants = len(reduced) // max(1, len(members))
        reduced[(np.arange(variants)[:, np.newaxis] * len(members) + places).ravel()] = 0
        arrays[f"samples.{part}.reduced"] = reduced


def _taken(arrays: dict[str, npt.NDArray[Any]], prefix: str) -> dict[str, npt.NDArray[Any]]:
    """Take the arrays with a prefix out of all."""
    return {name.removeprefix(prefix): arrays.pop(name) for name in list(arrays) if name.startswith(prefix)}


def _path(monitor_id: str, digest: str) -> str:
    return f"monitors/{monitor_id}/{digest}.npz"
