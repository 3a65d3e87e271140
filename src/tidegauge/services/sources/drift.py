"""Drift scores from functions of users."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tidegauge.domain.monitor import Metric, Monitor
from tidegauge.errors import TidegaugeError
from tidegauge.services.baselines import Baseline, spread
from tidegauge.services.sources.custom import CustomFunctions
from tidegauge.services.sources.images import LoggedImages
from tidegauge.services.sources.logs import Logs
from tidegauge.storage.observations import Observations

FAILED = "failed"  # in the detail of a metric: why it has no value
_MOST = 1000  # images of a window that a function is given


class CustomDrift:
    """Has the drift score of a window's images computed by functions of users."""

    def __init__(self, functions: CustomFunctions, logs: Logs) -> None:
        self._functions = functions
        self._logs = logs

    def measure(
        self, monitor: Monitor, baseline: Baseline, observed: Observations, metrics: Sequence[Metric]
    ) -> list[Metric]:
        """Return the metrics of drift, that of images with the function's score in place of ours."""
        return [
            self._scored(monitor, baseline, observed, metric) if metric.name == "image" else metric
            for metric in metrics
        ]

    def _scored(self, monitor: Monitor, baseline: Baseline, observed: Observations, metric: Metric) -> Metric:
        wanted = monitor.config.drift.custom
        seen = observed.take(np.flatnonzero(observed.seen)) if len(observed) else observed
        rows = spread(len(seen), _MOST)
        detail = {"attributes": metric.detail["attributes"]} if "attributes" in metric.detail else {}
        if wanted is None or baseline.sample is None or not len(rows):
            return replace(metric, value=None, n=len(rows), detail=detail)
        try:
            images = LoggedImages(self._logs, monitor, seen)[rows]
            value = self._functions.score(monitor.owner, wanted, baseline.sample, images)
        except TidegaugeError as error:
            return replace(metric, value=None, n=len(rows), detail={**detail, FAILED: error.message})
        return replace(metric, value=value, n=len(rows), detail=detail)
