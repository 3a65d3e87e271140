"""Observations as Parquet: a row for each thing that a model was asked about, numbers only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache, wraps
from typing import Any, ParamSpec, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tidegauge.domain.events import Key
from tidegauge.domain.identity import chance_of
from tidegauge.domain.observation import ObservationFile
from tidegauge.stats.images import ATTRIBUTES, ImageFeatures, ObservedImages
from tidegauge.storage.database import Database
from tidegauge.storage.objects import GONE, ObjectStore

Ints = npt.NDArray[np.int64]
Texts = npt.NDArray[np.object_]
Table = Mapping[str, npt.NDArray[Any]]  # columns [n]: float64, or text with None
_TIME = pa.timestamp("us", tz="UTC")
_MINUTE = 60_000_000  # microseconds
_ROWS = 2048  # of a row group: a window of minutes reads little of an hour
_PLAIN = ("reduced", "details", "embedding", "observed")
_REPEATED = ["log_file", "event_source", "source", "segment"]
_FEATURES = ("images", "table")
_COLUMN = "column_"  # before the names of a table's columns: they are any
_KEPT = 16  # small files in memory
_NO_LATENCY = -1
_FAILED = 400  # status of an answer, and above
_TRIES = 5

P = ParamSpec("P")
R = TypeVar("R")


def _again(look: Callable[P, R]) -> Callable[P, R]:
    """Look again where a file that counted has been joined with others, or lost an event, meanwhile."""

    @wraps(look)
    def looking(*args: P.args, **kwargs: P.kwargs) -> R:
        for _ in range(_TRIES - 1):
            try:
                return look(*args, **kwargs)
            except GONE:
                continue
        return look(*args, **kwargs)

    return looking


@dataclass(frozen=True, eq=False)
class Observations:
    """n observations of a deployment, in the order in which they were read.

    ``time`` and ``received`` ``[n]`` are microseconds since 1970; ``index`` is the place in the request;
    ``sequence`` the batch of reading. ``latency`` is in microseconds, -1 where the log has none. ``scores``
    ``[n, classes]`` are NaN where the request failed; of a regression they are its answers ``[n, 1]``.
    ``seen`` ``[n]`` tells which have features: ``images`` has those, in order (where no images are kept, what
    one baseline needs of them); ``table`` has the columns
    ``[n]`` of requests that are tables, NaN or None where nothing was seen. ``event_source`` is CloudEvents'
    source, which tells events of one id apart; empty in what earlier versions have read. ``source`` and
    ``segment`` are attributes of the event, or empty. ``weight`` is how many requests each stands for, itself
    included: more than 1 where a part of the requests is logged.
    """

    event_id: Texts
    event_source: Texts
    index: Ints
    time: Ints
    received: Ints
    sequence: Ints
    status: Ints
    latency: Ints
    log_file: Texts
    source: Texts
    segment: Texts
    weight: npt.NDArray[np.float64]
    scores: npt.NDArray[np.floating]
    seen: npt.NDArray[np.bool_]
    images: ImageFeatures | ObservedImages | None
    table: Table | None = None

    def __len__(self) -> int:
        return len(self.time)

    def take(self, rows: npt.NDArray[np.integer]) -> Observations:
        """Return some of the observations, by index."""
        place = np.cumsum(self.seen) - 1
        plain = {f.name: getattr(self, f.name)[rows] for f in fields(self) if f.name not in _FEATURES}
        images = self.images.take(place[rows[self.seen[rows]]]) if self.images is not None else None
        return Observations(**plain, images=images, table=_rows_of(self.table, rows))

    def between(self, start: datetime, end: datetime) -> Observations:
        """Return those with start <= time < end."""
        low, high = microseconds(start), microseconds(end)
        rows = np.flatnonzero((self.time >= low) & (self.time < high))
        if len(rows) and rows[-1] - rows[0] == len(rows) - 1:
            return self._part(int(rows[0]), int(rows[-1]) + 1)
        return self.take(rows)

    @property
    def heaviest(self) -> float:
        """The weight of those of which the smallest share is logged; failed requests, all logged, aside."""
        return float(self.weight[self.status < _FAILED].max(initial=1.0))

    def evenly(self, heaviest: float = 1.0) -> Observations:
        """Return observations that stand for equally many requests each: at least ``heaviest``.

        Where shares differ, of those with more than the smallest share a part stays: the same events wherever
        they are looked at, each with a chance of its weight by the heaviest. Failed ones stay.
        """
        heaviest = max(heaviest, self.heaviest)
        light = np.flatnonzero((self.weight < heaviest) & (self.status < _FAILED))
        if not len(light):
            return self
        keys = zip(self.event_source[light], self.event_id[light], strict=True)
        chance = np.array([chance_of("evenly", source, event_id) for source, event_id in keys])
        stays = np.ones(len(self), np.bool_)
        stays[light] = chance < self.weight[light] / heaviest
        return self.take(np.flatnonzero(stays))

    def _part(self, start: int, stop: int) -> Observations:
        """Return what ``take`` does of rows that follow each other, without a copy."""
        rows = slice(start, stop)
        plain = {f.name: getattr(self, f.name)[rows] for f in fields(self) if f.name not in _FEATURES}
        before = int(self.seen[:start].sum())
        place = slice(before, before + int(self.seen[start:stop].sum()))
        images = self.images.take(place) if self.images is not None else None
        return Observations(**plain, images=images, table=_rows_of(self.table, rows))

    @staticmethod
    def concatenate(parts: Sequence[Observations]) -> Observations:
        """Join observations of one extractor."""
        names = [f.name for f in fields(Observations) if f.name not in ("scores", *_FEATURES)]
        plain: dict[str, Any] = {n: np.concatenate([getattr(p, n) for p in parts]) for n in names}
        images = [part.images for part in parts if part.images is not None]
        return Observations(
            **plain,
            scores=join_scores([part.scores for part in parts]),
            images=together(images),
            table=join_tables([(part.table, len(part)) for part in parts]),
        )

    @staticmethod
    def none() -> Observations:
        """Return no observations."""
        ints, texts = np.empty(0, np.int64), np.empty(0, object)
        return Observations(
            texts, texts, ints, ints, ints, ints, ints, ints, texts, texts, texts, np.empty(0),
            np.empty((0, 0), np.float32), np.empty(0, np.bool_), None,
        )  # fmt: skip


class ObservationStore:
    """The files of observations; the database says which count."""

    def __init__(self, database: Database, store: ObjectStore) -> None:
        self._files = database.observation_files
        self._store = store
        # Files never change, and the newest are read by a window, by evidence and by the next window.
        self._whole = lru_cache(maxsize=_KEPT)(self._read_whole)

    def put(self, deployment_id: str, extractor: str, name: str, batch: Observations) -> ObservationFile:
        """Store a batch as a file; it counts once its description is in the database."""
        first, last = moment(int(batch.time.min())), moment(int(batch.time.max()))
        path = f"{deployment_id}/observations/{extractor}/date={first.date().isoformat()}/{name}.parquet"
        self._store.put(path, _parquet(batch))
        sequences = int(batch.sequence.min()), int(batch.sequence.max())
        return ObservationFile(path, deployment_id, extractor, first, last, *sequences, len(batch))

    @_again
    def window(self, deployment_id: str, extractor: str, start: datetime, end: datetime) -> Observations:
        """Return the observations with start <= time < end, in order of time."""
        files = self._files.overlapping(
            "first", "last", start, end, deployment_id=deployment_id, extractor=extractor, sort="first"
        )
        parts = [self._read(file, start, end) for file in files]
        found = [part for part in parts if len(part)]
        if not found:
            return Observations.none()
        joined = Observations.concatenate(found)
        return _in_order(joined)

    @_again
    def last_before(self, deployment_id: str, extractor: str, end: datetime) -> datetime | None:
        """Return the time of the last observation before ``end``; None where there is none."""
        of = {"deployment_id": deployment_id, "extractor": extractor}
        found = [file.last for file in self._files.between("last", None, end, sort="-last", limit=1, **of)]
        for file in self._files.overlapping("first", "last", end, end, **of):
            times = (
                self._open(file.id)
                .read(columns=["time"], use_threads=False)["time"]
                .cast(pa.int64())
                .to_numpy()
            )
            found.append(moment(int(times[times < microseconds(end)].max())))
        return max(found, default=None)

    def after(self, deployment_id: str, extractor: str, sequence: int) -> Iterable[Observations]:
        """Yield the batches after ``sequence`` in the order in which they were read."""
        files = self._files.between(
            "last_sequence",
            sequence + 1,
            None,
            deployment_id=deployment_id,
            extractor=extractor,
            sort="first_sequence",
        )
        for file in files:
            whole = self._whole(file.id)
            for number in np.unique(whole.sequence[whole.sequence > sequence]):
                yield whole.take(np.flatnonzero(whole.sequence == number))

    @_again
    def keys(self, deployment_id: str, extractor: str, start: datetime, end: datetime) -> set[Key]:
        """Return the keys of the events from start to end, both included; of old files without a source."""
        after = end + timedelta(microseconds=1)
        files = self._files.overlapping(
            "first", "last", start, after, deployment_id=deployment_id, extractor=extractor
        )
        return set().union(*(self._keys_in(file.id) for file in files))

    def times(self, deployment_id: str, extractor: str, event_ids: set[str]) -> dict[str, datetime]:
        """Return the times of events by id, newest files first; what is not found is left out."""
        found = self.answered(deployment_id, extractor, event_ids)
        return {id_: time for id_, (time, _) in found.items()}

    @_again
    def answered(
        self, deployment_id: str, extractor: str, event_ids: set[str]
    ) -> dict[str, tuple[datetime, int]]:
        """Return the time of events, and how many answers each has, by id; what is not found is left out."""
        files = self._files.where(deployment_id=deployment_id, extractor=extractor, sort="-last")
        found: dict[str, tuple[datetime, int]] = {}
        for file in files:
            if len(found) == len(event_ids):
                break
            table = pq.read_table(self._store.open(file.id), columns=["event_id", "time"])
            wanted = table.filter(pc.is_in(table["event_id"], pa.array(sorted(event_ids))))
            counts = Counter(wanted["event_id"].to_pylist())
            times = wanted["time"].cast(pa.int64()).to_pylist()
            for id_, time in zip(wanted["event_id"].to_pylist(), times, strict=True):
                found[id_] = moment(time), counts[id_]
        return found

    def join(self, files: Sequence[ObservationFile], name: str) -> ObservationFile:
        """Store what several files have as one, in order of time; it counts once the database has it."""
        whole = Observations.concatenate([self._read_whole(file.id) for file in files])
        return self.put(files[0].deployment_id, files[0].extractor, name, _in_order(whole))

    def ids_of(self, file: ObservationFile) -> set[str]:
        """Return the ids of the events of a file."""
        return self.ids_in(file.id)

    def ids_in(self, path: str) -> set[str]:
        """Return the ids of the events of a file that may not count."""
        table = pq.read_table(self._store.open(path), columns=["event_id"])
        return set(table.column("event_id").to_pylist())

    def _keys_in(self, path: str) -> set[Key]:
        table = self._open(path).read(columns=["event_id", "event_source"], use_threads=False)
        return set(
            zip(_texts(table, "event_source").tolist(), table.column("event_id").to_pylist(), strict=True)
        )

    def listed(self, deployment_id: str) -> list[tuple[str, datetime]]:
        """Return every file of a deployment that is in the store, whether it counts or not, and its age."""
        infos = self._store.list(f"{deployment_id}/observations")
        return [(info.path, info.modified) for info in infos if info.path.endswith(".parquet")]

    def without(self, file: ObservationFile, event_ids: set[str], name: str) -> ObservationFile | None:
        """Store a file again without some events, under another name; None where nothing is left."""
        whole = self._read_whole(file.id)
        rows = np.flatnonzero([event not in event_ids for event in whole.event_id])
        return self.put(file.deployment_id, file.extractor, name, whole.take(rows)) if len(rows) else None

    def delete(self, files: Iterable[ObservationFile]) -> None:
        """Delete files that no longer count."""
        self.delete_paths(file.id for file in files)

    def delete_paths(self, paths: Iterable[str]) -> None:
        """Delete files that no longer count; one that is gone already is none of an error."""
        for path in paths:
            self._store.delete(path)

    def _read(self, file: ObservationFile, start: datetime, end: datetime) -> Observations:
        if file.rows <= _ROWS:
            return self._whole(file.id).between(start, end)
        parquet = self._open(file.id)
        groups = range(parquet.num_row_groups)
        column = parquet.schema_arrow.get_field_index("time")
        spans = [parquet.metadata.row_group(group).column(column).statistics for group in groups]
        wanted = [g for g, s in zip(groups, spans, strict=True) if s.max >= start and s.min < end]
        return _observations(parquet.read_row_groups(wanted)).between(start, end)

    def _read_whole(self, path: str) -> Observations:
        return _observations(self._open(path).read(use_threads=False))  # threads would wait for each other

    def _open(self, path: str) -> pq.ParquetFile:
        source = self._store.open(path)
        metadata = pq.read_metadata(source)
        known = [name for name in _REPEATED if name in metadata.schema.names]  # earlier versions had fewer
        return pq.ParquetFile(source, metadata=metadata, read_dictionary=known)


def microseconds(time: datetime) -> int:
    """Return a time as microseconds since 1970."""
    delta = time.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds


def moment(value: int) -> datetime:
    """Return microseconds since 1970 as a time."""
    return datetime.fromtimestamp(value // 1_000_000, UTC).replace(microsecond=value % 1_000_000)


def numbered(batch: Observations, paths: Sequence[str], last: int) -> Observations:
    """Return the observations in batches by log file, in the order of ``paths``, and minute, after ``last``.

    Windows are of whole minutes: each batch lies in one window, whatever the monitor.
    """
    found = set(batch.log_file.tolist())
    known = [path for path in paths if path in found]
    places = {path: place for place, path in enumerate(known)}
    # An earlier file's event, whose other half came only now, goes with the first.
    files = np.array([places.get(path, 0) for path in batch.log_file], np.int64)
    keys = np.stack([files, batch.time // _MINUTE], axis=1)
    _, numbers = np.unique(keys, axis=0, return_inverse=True)
    return replace(batch, sequence=numbers.ravel().astype(np.int64) + last + 1)


def _in_order(found: Observations) -> Observations:
    """Return the observations by time, then by event and place."""
    steps = np.diff(found.time)
    if (steps > 0).all():
        return found
    order = np.argsort(found.time, kind="stable")
    if (np.diff(found.time[order]) == 0).any():  # texts are slow to compare: only where times tie
        texts = (found.event_source.astype(str), found.event_id.astype(str))
        order = np.lexsort((found.index, *texts, found.time))
    return found.take(order)


def _rows_of(table: Table | None, rows: npt.NDArray[np.integer] | slice) -> Table | None:
    return None if table is None else {name: values[rows] for name, values in table.items()}


def join_tables(parts: Sequence[tuple[Table | None, int]]) -> Table | None:
    """Join tables of the same columns; parts without one have nothing in them."""
    known = next((table for table, _ in parts if table is not None), None)
    if known is None:
        return None
    nothing = {name: None if values.dtype == object else np.nan for name, values in known.items()}
    return {
        name: np.concatenate(
            [np.full(n, nothing[name], values.dtype) if table is None else table[name] for table, n in parts]
        )
        for name, values in known.items()
    }


def join_scores(parts: Sequence[npt.NDArray[np.floating]]) -> npt.NDArray[np.floating]:
    """Join scores; those with fewer columns than others, of requests that failed, are NaN beyond."""
    width = max(part.shape[1] for part in parts)
    return np.concatenate(
        [
            part
            if part.shape[1] == width
            else np.pad(part, ((0, 0), (0, width - part.shape[1])), constant_values=np.nan)
            for part in parts
        ]
    )


def _parquet(batch: Observations) -> bytes:
    columns: dict[str, pa.Array] = {
        "event_id": pa.array(batch.event_id, pa.string()),
        "event_source": pa.array(batch.event_source, pa.string()),
        "index": pa.array(batch.index, pa.int32()),
        "time": pa.array(batch.time, pa.int64()).cast(_TIME),
        "received": pa.array(batch.received, pa.int64()).cast(_TIME),
        "sequence": pa.array(batch.sequence),
        "status": pa.array(batch.status, pa.int32()),
        "latency_us": pa.array(batch.latency, mask=batch.latency == _NO_LATENCY),
        "log_file": pa.array(batch.log_file, pa.string()),
        "source": pa.array(batch.source, pa.string()),
        "segment": pa.array(batch.segment, pa.string()),
        "weight": pa.array(batch.weight, pa.float64()),
    }
    for k, column in enumerate(batch.scores.T):
        columns[f"score_{k}"] = pa.array(column)
    columns["seen"] = pa.array(batch.seen)
    for name, values in (batch.table or {}).items():
        columns[f"{_COLUMN}{name}"] = pa.array(
            values, pa.string() if values.dtype == object else pa.float64()
        )
    if batch.images is not None:
        columns |= _image_columns(batch.images, batch.seen)
    sink = pa.BufferOutputStream()
    pq.write_table(
        pa.table(columns),
        sink,
        row_group_size=_ROWS,
        # Thumbnails hardly shrink, and reading them packed would take most of the time.
        compression={name: "none" if name in _PLAIN else "zstd" for name in columns},
        use_dictionary=_REPEATED,
        write_statistics=["time", "event_id", "sequence"],
    )
    return bytes(sink.getvalue())


def together(parts: Sequence[ImageFeatures | ObservedImages]) -> ImageFeatures | ObservedImages | None:
    """Join what is known of images; None for none. Of one extractor all parts are of one kind."""
    kept = [part for part in parts if isinstance(part, ObservedImages)]
    if kept:
        return ObservedImages.concatenate(kept)
    whole = [part for part in parts if isinstance(part, ImageFeatures)]
    return ImageFeatures.concatenate(whole) if whole else None


def _image_columns(
    images: ImageFeatures | ObservedImages, seen: npt.NDArray[np.bool_]
) -> dict[str, pa.Array]:
    rows = np.flatnonzero(seen)
    columns: dict[str, pa.Array] = {}
    for name, column in zip(ATTRIBUTES, images.attributes.T, strict=True):
        values = np.full(len(seen), np.nan)
        values[rows] = column
        columns[name] = pa.array(values)
    # What has no names of its own stands as bytes: a column each would cost more than its numbers.
    for name, block in _blocks(images).items():
        if block.shape[1]:
            whole = np.zeros((len(seen), block.shape[1]), block.dtype)
            whole[rows] = block
            width = whole.shape[1] * whole.itemsize
            buffer = pa.py_buffer(np.ascontiguousarray(whole))
            columns[name] = pa.FixedSizeBinaryArray.from_buffers(pa.binary(width), len(seen), [None, buffer])
    return columns


def _blocks(images: ImageFeatures | ObservedImages) -> dict[str, npt.NDArray[Any]]:
    if isinstance(images, ImageFeatures):
        return {"reduced": images.reduced, "details": images.details, "embedding": images.embedding}
    strangeness, nearest = images.strangeness[:, np.newaxis], images.nearest[:, np.newaxis]
    return {"observed": images.observations, "strangeness": strangeness, "nearest": nearest}


def _observations(table: pa.Table) -> Observations:
    def numbers(name: str) -> npt.NDArray[Any]:
        return np.asarray(table.column(name).combine_chunks().to_numpy(zero_copy_only=False))

    latency = table.column("latency_us").fill_null(_NO_LATENCY).to_numpy()
    scores = [numbers(name) for name in table.column_names if name.startswith("score_")]
    seen = numbers("seen").astype(np.bool_)
    return Observations(
        event_id=_texts(table, "event_id"),
        event_source=_texts(table, "event_source"),
        index=numbers("index").astype(np.int64),
        time=np.asarray(table.column("time").cast(pa.int64()).to_numpy()),
        received=np.asarray(table.column("received").cast(pa.int64()).to_numpy()),
        sequence=numbers("sequence"),
        status=numbers("status").astype(np.int64),
        latency=np.asarray(latency, np.int64),
        log_file=_texts(table, "log_file"),
        source=_texts(table, "source"),
        segment=_texts(table, "segment"),
        weight=numbers("weight") if "weight" in table.column_names else np.ones(len(seen)),
        scores=np.column_stack(scores) if scores else np.empty((len(seen), 0), np.float32),
        seen=seen,
        images=_images(table, seen),
        table={
            name.removeprefix(_COLUMN): numbers(name)
            for name in table.column_names
            if name.startswith(_COLUMN)
        }
        or None,
    )


def _texts(table: pa.Table, name: str) -> Texts:
    """Return a column of texts; an earlier version had some of them not: empty."""
    if name not in table.column_names:
        return np.full(len(table), "", object)
    column = table.column(name).combine_chunks()
    if not pa.types.is_dictionary(column.type):
        return np.asarray(column.to_numpy(zero_copy_only=False))
    words = np.array(column.dictionary.to_pylist(), object)
    return np.asarray(words[column.indices.to_numpy()]) if len(words) else np.empty(len(column), object)


def _images(table: pa.Table, seen: npt.NDArray[np.bool_]) -> ImageFeatures | ObservedImages | None:
    def block(name: str, dtype: type[np.generic]) -> npt.NDArray[Any]:
        if name not in table.column_names:
            return np.empty((int(seen.sum()), 0), dtype)
        array = table.column(name).combine_chunks()
        if not len(array):
            return np.empty((0, array.type.byte_width // np.dtype(dtype).itemsize), dtype)
        width = array.type.byte_width
        count = len(array) * width // np.dtype(dtype).itemsize
        flat = np.frombuffer(array.buffers()[1], dtype, count, array.offset * width)
        rows = flat.reshape(len(array), -1)
        return rows if seen.all() else rows[seen]

    def columns(names: Iterable[str]) -> npt.NDArray[np.float64]:
        return np.column_stack([table.column(name).to_numpy() for name in names])[seen]

    if "observed" in table.column_names:
        return ObservedImages(
            block("observed", np.float64),
            block("strangeness", np.float64)[:, 0],
            block("nearest", np.int64)[:, 0],
        )
    if "reduced" not in table.column_names:
        return None
    return ImageFeatures(
        reduced=block("reduced", np.uint8),
        attributes=columns(ATTRIBUTES),
        details=block("details", np.float64),
        embedding=block("embedding", np.float64),
    )
