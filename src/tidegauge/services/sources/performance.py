"""Performance of a window where it does not come from labels alone, and where its files stand."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from tidegauge.domain.deployment import Deployment
from tidegauge.domain.labels import LabelColumns
from tidegauge.domain.metrics import COMPUTED, MetricType
from tidegauge.domain.monitor import Metric, Monitor
from tidegauge.domain.observation import Label
from tidegauge.domain.status import Status
from tidegauge.errors import InvalidInputError, TidegaugeError
from tidegauge.services.labels import LabelFolder, Labels, Touch
from tidegauge.services.sources.custom import CustomFunctions
from tidegauge.services.sources.files import Datasets
from tidegauge.services.sources.places import Places
from tidegauge.services.sources.rows import Columns, LabelRows, MetricRows
from tidegauge.storage.objects import ObjectStore

_PLACE = "performance.dataset"


class LateFiles:
    """Takes in the files that the performance of a monitor comes from, wherever they stand."""

    def __init__(self, places: Places, labels: Labels, store: ObjectStore, datasets: Datasets) -> None:
        self._places = places
        self._labels = labels
        self._store = store
        self._datasets = datasets

    def refresh(self, monitor: Monitor, deployment: Deployment, touch: Touch) -> None:
        """Take in what is new; a Dataset that cannot be read is told of in the runs and holds up nothing."""
        try:
            folder = self._folder(monitor, deployment)
            self._labels.refresh(deployment.id, folder, touch)
        except TidegaugeError as error:
            if not monitor.config.performance.dataset:
                raise
            self._places.tell(deployment.id, "label", _PLACE, error.message)
        else:
            self._places.tell(deployment.id, "label", _PLACE, "")

    def _folder(self, monitor: Monitor, deployment: Deployment) -> LabelFolder:
        config = monitor.config.performance
        columns: Columns
        if config.compute == "precomputed_metrics":
            columns = MetricRows(config.timestamp_column)
        else:
            columns = LabelRows(
                LabelColumns(config.timestamp_column, config.prediction_column, config.groundtruth_column)
            )
        if not config.dataset:
            return LabelFolder(self._store, config.prefix or deployment.livedata, columns)
        files = self._datasets.open(monitor.owner, config.dataset, config.dataset_version)
        name = f"{deployment.id}/dataset/{config.dataset}/"  # of a monitor: others may read the same files
        return LabelFolder(files, config.prefix, columns, name)


def precomputed(rows: Sequence[Label], replaced: Sequence[Label]) -> list[Metric]:
    """Return the metrics of a window that files have brought: of each the row with the latest time counts.

    Of rows with the same time the one that came last counts. Corrections are counted: rows of the time that
    counts that others came after, and ``replaced`` ones, whose files have changed.
    """
    found: dict[str, list[Label]] = defaultdict(list)
    for row in rows:
        if row.output in COMPUTED and not row.event_id:
            found[row.output].append(row)
    gone = Counter(row.output for row in replaced if not row.event_id)
    return [_metric(name, found[name], gone[name]) for name in sorted(found)]


def _metric(name: str, rows: Sequence[Label], gone: int) -> Metric:
    last = rows[-1]
    counted = last.index >= 0
    detail = {"rows": len(rows), "corrections": gone + sum(row.time == last.time for row in rows) - 1}
    if not counted:
        detail["uncounted"] = 1
    n = last.index if counted else 1
    return Metric(name, MetricType.PERFORMANCE, float(last.label), n, Status.UNKNOWN, detail=detail)


class CustomPerformance:
    """Has the performance of windows computed by functions of users."""

    def __init__(self, functions: CustomFunctions) -> None:
        self._functions = functions

    def measure(
        self, monitor: Monitor, truth: Sequence[str], outputs: Sequence[str]
    ) -> tuple[list[Metric], tuple[str, ...]]:
        """Return the metrics of a window, and why some have no value.

        A metric that a threshold names is there in any case, so that its verdict is unknown, not absent.
        """
        wanted = monitor.config.performance.custom
        found: dict[str, float] = {}
        problems: tuple[str, ...] = ()
        if truth and wanted:
            try:
                arguments = _numbers(truth, outputs) if monitor.config.model_type == "regression" else None
                found, problems = self._functions.metrics(
                    monitor.owner, wanted, *(arguments or (truth, outputs))
                )
            except TidegaugeError as error:
                problems = (error.message,)
        bounded = {name for name, t in monitor.thresholds.items() if t.type is MetricType.PERFORMANCE}
        names = sorted(found.keys() | bounded & COMPUTED)
        metrics = [
            Metric(name, MetricType.PERFORMANCE, found.get(name), len(truth), Status.UNKNOWN)
            for name in names
        ]
        return metrics, problems


def _numbers(truth: Sequence[str], outputs: Sequence[str]) -> tuple[list[float], list[float]]:
    try:
        return [float(text) for text in truth], [float(text) for text in outputs]
    except ValueError as error:
        raise InvalidInputError(f"A label or an answer is no number ({error}).") from error
