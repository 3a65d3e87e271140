"""Explaining a run: what its windows, revisions and images say about why the verdict is what it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import numpy as np
import numpy.typing as npt

from tidegauge.domain.events import REDACTED, Event
from tidegauge.domain.inference import decode_event
from tidegauge.domain.metrics import MetricType
from tidegauge.domain.monitor import Metric, Monitor, MonitorRun, RunImage
from tidegauge.domain.tensors import datatype_of
from tidegauge.errors import ConflictError, InvalidInputError, NotFoundError
from tidegauge.services.baselines import Baseline, Baselines
from tidegauge.services.extraction import extraction_of
from tidegauge.services.labels import Labels
from tidegauge.services.retraining.truth import Live, join
from tidegauge.services.showing import Showing
from tidegauge.stats.images import CHANGES, ImageBaseline, ImageFeatures, ObservedImages, observe
from tidegauge.storage.database import Database
from tidegauge.storage.observations import Observations, ObservationStore

_USUAL = (0.05, 0.95)  # of the baseline's own images: where strangeness usually lies
_CONSTANT = 1e-9
_TICK = timedelta(microseconds=1)

Key = tuple[str, int]  # event and place in it
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Change:
    """What one revision of a window says differently from the one before."""

    what: str
    before: Metric | str | None
    after: Metric | str | None


@dataclass(frozen=True)
class Revision:
    """One of the looks at a window, and how it differs from the look before."""

    run: MonitorRun
    changes: tuple[Change, ...]


@dataclass(frozen=True)
class Usual:
    """Where the strangeness of the baseline's own images lies: 5% are below ``low``, 5% above ``high``."""

    low: float
    high: float
    most: float
    n: int


@dataclass(frozen=True)
class Beside:
    """One image beside the baseline.

    ``share`` of the baseline's images are less strange. ``attributes`` and ``changes``, how much it looks
    mirrored, blurred, ..., are in standard deviations from the baseline.
    """

    strangeness: float
    share: float | None
    attributes: Mapping[str, float]
    changes: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Shown:
    """An image of the window, with its label where one has come."""

    image: RunImage
    attributes: Mapping[str, float]
    label: str | None
    deleted: bool

    @property
    def key(self) -> str:
        """How addresses name it."""
        return f"{self.image.event_id}:{self.image.index}"


@dataclass(frozen=True)
class Message:
    """A request or a response as it was logged; ``tensors`` are name, datatype and shape of each."""

    type: str
    content_type: str
    size: int
    attributes: Mapping[str, str | int | bool]
    tensors: tuple[tuple[str, str, tuple[int, ...]], ...]
    problem: str


@dataclass(frozen=True)
class Opened:
    """The image that is looked at, the ``place``th strangest of the window, with all that is known of it."""

    shown: Shown
    place: int
    previous: Shown | None
    next: Shown | None
    beside: Beside
    nearest_label: str | None
    nearest_problem: str
    scores: tuple[tuple[str, float], ...]
    status: int | None
    latency_ms: float | None
    ambiguous: bool
    request: Message | None
    response: Message | None


@dataclass(frozen=True)
class Explanation:
    """What is known of a run beyond itself; ``is_current``: its baseline is still the monitor's."""

    previous: MonitorRun | None
    next: MonitorRun | None
    revisions: tuple[Revision, ...]
    images: tuple[Shown, ...]  # the strangest first
    opened: Opened | None
    usual: Usual | None
    is_current: bool


class Explaining:
    """Looks up what explains a run."""

    def __init__(
        self,
        database: Database,
        labels: Labels,
        baselines: Baselines,
        files: ObservationStore,
        showing: Showing,
    ) -> None:
        self._database = database
        self._labels = labels
        self._baselines = baselines
        self._files = files
        self._showing = showing

    def explain(self, monitor: Monitor, run: MonitorRun, chosen: Key | None = None) -> Explanation:
        """Return what explains a run; ``chosen`` is the image to open, the strangest where there is none."""
        previous, following = self._neighbours(run)
        revisions = self.revisions(run)
        if not run.images:
            return Explanation(previous, following, revisions, (), None, None, is_current=True)
        baseline = self._baseline(monitor)
        known = set(baseline.paths) if baseline else set()
        is_current = all(image.nearest in known for image in run.images)
        seen = self._seen(monitor, baseline, run)
        beside = baseline.image if baseline and is_current else None
        images = self._shown(monitor, beside, run, seen)
        classes = baseline.classes if baseline else ()
        opened = self._opened(monitor, beside, run, seen, images, chosen, classes)
        usual = usual_of(beside) if beside else None
        return Explanation(previous, following, revisions, images, opened, usual, is_current)

    def _baseline(self, monitor: Monitor) -> Baseline | None:
        """Return the baseline of a monitor; None where it has none, or none that can be read."""
        if not monitor.baseline:
            return None
        try:
            return self._baselines.load(monitor)
        except (ConflictError, NotFoundError):
            return None

    def revisions(self, run: MonitorRun) -> tuple[Revision, ...]:
        """Return every look at the run's window, the first first, each with what it changed."""
        runs = self._database.monitor_runs.where(
            monitor_id=run.monitor_id, start=run.start, end=run.end, sort="revision"
        )
        before = (None, *runs[:-1])
        return tuple(
            Revision(after, changes(earlier, after) if earlier else ())
            for earlier, after in zip(before, runs, strict=True)
        )

    def _neighbours(self, run: MonitorRun) -> tuple[MonitorRun | None, MonitorRun | None]:
        """Return the newest looks at the windows before and after."""
        rows, where = self._database.monitor_runs, {"monitor_id": run.monitor_id}
        before = rows.between("start", None, run.start, sort="-start", limit=1, **where)
        after = rows.between("start", run.start + _TICK, None, sort="start", limit=1, **where)
        newest = rows.where(start=after[0].start, sort="-id", limit=1, **where) if after else ()
        return (before[0] if before else None), (newest[0] if newest else None)

    def _seen(self, monitor: Monitor, baseline: Baseline | None, run: MonitorRun) -> _Seen:
        if baseline is None:
            return _Seen(Observations.none(), {})
        extraction = extraction_of(monitor, baseline)
        observed = self._files.window(monitor.deployment_id, extraction.id, run.start, run.end)
        labels = self._labels.of_window(monitor.deployment_id, run.start, run.end)
        if baseline.numbers:  # answers that are numbers tell no two requests apart
            labels = tuple(label for label in labels if label.event_id)
        truth = join(observed, labels, baseline.classes) if labels else ()
        return _Seen(observed, {(live.event_id, live.index): live for live in truth})

    def _shown(
        self, monitor: Monitor, beside: ImageBaseline | None, run: MonitorRun, seen: _Seen
    ) -> tuple[Shown, ...]:
        deleted = self._showing.deleted(monitor)
        found = []
        for one in sorted(run.images, key=lambda image: -image.strangeness):
            key = one.event_id, one.index
            live = seen.truth.get(key)
            attributes = attributes_of(beside, seen.attributes(key)) if beside else {}
            found.append(Shown(one, attributes, live.label if live else None, deleted(one.event_id)))
        return tuple(found)

    def _opened(
        self,
        monitor: Monitor,
        beside: ImageBaseline | None,
        run: MonitorRun,
        seen: _Seen,
        images: Sequence[Shown],
        chosen: Key | None,
        classes: tuple[str, ...],
    ) -> Opened:
        keys = [(shown.image.event_id, shown.image.index) for shown in images]
        if chosen is not None and chosen not in keys:
            self._showing.check_kept(monitor, chosen[0])
            raise NotFoundError(f"The run has no image {chosen[1]} of event {chosen[0]!r}.")
        place = keys.index(chosen) if chosen else 0
        shown, key = images[place], keys[place]
        request, response = (None, None) if shown.deleted else self._showing.events(monitor, shown.image)
        label, problem = self._nearest(monitor, run, shown.image.nearest)
        row = seen.rows.get(key)
        latency = int(seen.observed.latency[row]) if row is not None else -1
        live = seen.truth.get(key)
        return Opened(
            shown,
            place + 1,
            images[place - 1] if place else None,
            images[place + 1] if place + 1 < len(images) else None,
            _beside(beside, shown, seen.features(key)),
            label,
            problem,
            _scores(seen, row, classes),
            int(seen.observed.status[row]) if row is not None else None,
            latency / 1000 if latency >= 0 else None,
            bool(live and live.ambiguous),
            _message(request),
            _message(response),
        )

    def _nearest(self, monitor: Monitor, run: MonitorRun, name: str) -> tuple[str | None, str]:
        """Return the label of the nearest image, and why it cannot be shown where that is so."""
        try:
            return self._showing.training(monitor, run.config_version, name).label, ""
        except (NotFoundError, InvalidInputError) as error:
            return None, error.message


class _Seen:
    """What was observed in a window, by event and place in it, and the labels that came."""

    def __init__(self, observed: Observations, truth: Mapping[Key, Live]) -> None:
        self.observed = observed
        self.truth = truth
        keys = zip(observed.event_id.tolist(), observed.index.tolist(), strict=True)
        self.rows = {(str(event_id), index): row for row, (event_id, index) in enumerate(keys)}
        self._places = np.cumsum(observed.seen) - 1

    def features(self, key: Key) -> ImageFeatures | ObservedImages | None:
        """Return what was observed of one image; None where it is there no more."""
        row = self.rows.get(key)
        if row is None or not self.observed.seen[row] or self.observed.images is None:
            return None
        return self.observed.images.take(np.array([self._places[row]]))

    def attributes(self, key: Key) -> Floats | None:
        """Return the attributes of one image."""
        features = self.features(key)
        return None if features is None else np.asarray(features.attributes[0], np.float64)


def _beside(
    baseline: ImageBaseline | None, shown: Shown, features: ImageFeatures | ObservedImages | None
) -> Beside:
    strangeness = shown.image.strangeness
    if baseline is None:
        return Beside(strangeness, None, shown.attributes)
    seen = observe(baseline, features) if isinstance(features, ImageFeatures) else features
    looks = changes_of(baseline, seen.observations[0]) if seen is not None else {}
    return Beside(strangeness, share_below(baseline, strangeness), shown.attributes, looks)


def attributes_of(baseline: ImageBaseline, attributes: Floats | None) -> dict[str, float]:
    """Return how far each attribute of an image lies from the baseline, in its standard deviations."""
    if attributes is None:
        return {}
    return baseline.moved(attributes)


def changes_of(baseline: ImageBaseline, observation: Floats) -> dict[str, float]:
    """Return how much an image looks mirrored, blurred, ..., in standard deviations of the baseline's."""
    if not len(baseline.ranked):
        return {}
    mean, deviation = baseline.ranked.mean(axis=0), baseline.ranked.std(axis=0)
    return {
        name: float((observation[place] - mean[place]) / deviation[place])
        for place, name in enumerate(baseline.features)
        if name in CHANGES and deviation[place] > _CONSTANT
    }


def share_below(baseline: ImageBaseline, strangeness: float) -> float | None:
    """Return the share of the baseline's images that are less strange; None where none is ranked."""
    values = baseline.usual.values
    return float(np.searchsorted(values, strangeness) / len(values)) if len(values) else None


def usual_of(baseline: ImageBaseline) -> Usual | None:
    """Return where the strangeness of the baseline's own images lies; None where none is ranked."""
    values = baseline.usual.values
    if not len(values):
        return None
    low, high = np.quantile(values, _USUAL)
    return Usual(float(low), float(high), float(values[-1]), len(values))


def changes(before: MonitorRun, after: MonitorRun) -> tuple[Change, ...]:
    """Return what two looks at the same window say differently: statuses, then metrics."""
    found = [
        Change(name, getattr(before, name).value, getattr(after, name).value)
        for name in ("status", *(kind.value for kind in MetricType))
        if getattr(before, name) is not getattr(after, name)
    ]
    if len(before.images) != len(after.images):
        found.append(Change("images", str(len(before.images)), str(len(after.images))))
    names = dict.fromkeys((m.type, m.name) for m in (*before.metrics, *after.metrics))
    old = {(metric.type, metric.name): metric for metric in before.metrics}
    new = {(metric.type, metric.name): metric for metric in after.metrics}
    for key in names:
        one, other = old.get(key), new.get(key)
        if _said(one) != _said(other):
            found.append(Change(key[1], one, other))
    return tuple(found)


def _said(metric: Metric | None) -> tuple[object, ...]:
    return (None, 0, None) if metric is None else (metric.value, metric.n, metric.status)


def _scores(seen: _Seen, row: int | None, classes: tuple[str, ...]) -> tuple[tuple[str, float], ...]:
    """Return the score of each class (of a regression its answer); none where the request failed."""
    scores = seen.observed.scores[row].tolist() if row is not None else []
    if any(np.isnan(scores)):
        return ()
    names = classes or [str(number) for number in range(len(scores))]
    return tuple(zip(names, scores, strict=False))


def _message(event: Event | None) -> Message | None:
    if event is None:
        return None
    tensors: tuple[tuple[str, str, tuple[int, ...]], ...] = ()
    problem = ""
    if event.extensions.get(REDACTED):
        problem = "Its payload was taken out: the monitor keeps no images."
    else:
        try:
            decoded = decode_event(event)
            tensors = tuple((name, datatype_of(array), array.shape) for name, array in decoded.items())
        except InvalidInputError as error:
            problem = error.message
    kind = event.type.rpartition(".")[2]
    attributes = {"id": event.id, "source": event.source, "type": event.type, **event.extensions}
    return Message(kind, event.content_type, len(event.data), attributes, tensors, problem)
