"""Drift scores from functions of users."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from tidegauge.domain.metrics import MetricType
from tidegauge.domain.monitor import WHOLE_TABLE, Metric, Monitor
from tidegauge.domain.status import Status
from tidegauge.errors import TidegaugeError
from tidegauge.services.baselines import Baseline
from tidegauge.services.fitting import spread
from tidegauge.services.sources.custom import Argument, CustomFunctions
from tidegauge.services.sources.images import LoggedImages
from tidegauge.services.sources.logs import Logs
from tidegauge.storage.observations import Observations

FAILED = "failed"  # in the detail of a metric: why it has no value
_MOST = 1000  # images or rows of a window that a function is given


class CustomDrift:
    """Has the drift score of a window's images, or of its table, computed by functions of users."""

    def __init__(self, functions: CustomFunctions, logs: Logs) -> None:
        self._functions = functions
        self._logs = logs

    def measure(
        self, monitor: Monitor, baseline: Baseline, observed: Observations, metrics: Sequence[Metric]
    ) -> list[Metric]:
        """Return the metrics of drift, that of images with the function's score in place of ours.

        That of a table stands before those of its features, under a name of its own.
        """
        if baseline.table is not None:
            whole = Metric(WHOLE_TABLE, MetricType.DRIFT, None, 0, Status.UNKNOWN)
            return [self._scored(monitor, baseline, observed, whole), *metrics]
        return [
            self._scored(monitor, baseline, observed, metric) if metric.name == "image" else metric
            for metric in metrics
        ]

    def _scored(self, monitor: Monitor, baseline: Baseline, observed: Observations, metric: Metric) -> Metric:
        wanted = monitor.config.drift.custom
        seen = observed.take(np.flatnonzero(observed.seen)) if len(observed) else observed
        rows = spread(len(seen), _MOST)
        detail = {"attributes": metric.detail["attributes"]} if "attributes" in metric.detail else {}
        nothing = baseline.sample is None and baseline.table is None
        if wanted is None or nothing or not len(rows):
            return replace(metric, value=None, n=len(rows), detail=detail)
        try:
            before, now = self._arguments(monitor, baseline, seen, rows)
            value = self._functions.score(monitor.owner, wanted, before, now)
        except TidegaugeError as error:
            return replace(metric, value=None, n=len(rows), detail={**detail, FAILED: error.message})
        return replace(metric, value=value, n=len(rows), detail=detail)

    def _arguments(
        self, monitor: Monitor, baseline: Baseline, seen: Observations, rows: npt.NDArray[np.int64]
    ) -> tuple[Argument, Argument]:
        if baseline.sample is not None:
            return baseline.sample, LoggedImages(self._logs, monitor, seen)[rows]
        before = baseline.table.rows() if baseline.table is not None else {}
        return _frame(before), _frame({name: (seen.table or {})[name][rows] for name in before})


def _frame(columns: Mapping[str, npt.NDArray[Any]]) -> pl.DataFrame:
    """Return columns as a frame: numbers as Float64, categories as String, what is missing as null."""
    types = {n: pl.String if values.dtype == object else pl.Float64 for n, values in columns.items()}
    return pl.DataFrame({n: values.tolist() for n, values in columns.items()}, types, nan_to_null=True)
