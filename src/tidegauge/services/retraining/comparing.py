"""Comparing: the candidate and the serving version on the same images, each in a process of its own."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tidegauge.domain.catalogue import RepositoryKind
from tidegauge.domain.content import Manifest
from tidegauge.domain.monitor import Monitor
from tidegauge.domain.monitor_config import ImageShape
from tidegauge.domain.retraining import Comparison, Measured, PairedMetric, PairedSet, Retraining, judge
from tidegauge.errors import ConflictError, TidegaugeError
from tidegauge.links.processes import Process
from tidegauge.services import content, measuring
from tidegauge.services.baselines import Baselines
from tidegauge.services.catalogue import Catalogue
from tidegauge.services.retraining.collecting import Collecting
from tidegauge.stats.performance import Estimate, classify, compare_paired

Progress = Callable[[str], None]

_LEAST_LIVE = 100  # live images kept from training: with fewer the rule looks at the held-out set alone
_SHOWN = ("accuracy", "balanced_accuracy", "precision", "recall", "specificity", "f1_score", "mcc")
_POLL_SECONDS = 0.2


class InterruptedComparisonError(ConflictError):
    """The server is being stopped; the comparison begins again with it."""


@dataclass(frozen=True)
class _Images:
    """A set of images with their labels; ``rows`` are those in the array that both models are given."""

    name: str
    labels: tuple[str, ...]
    judged: bool
    rows: slice


class Comparing:
    """Lays models and images out in the home, and removes them when it is done."""

    def __init__(
        self, catalogue: Catalogue, baselines: Baselines, collecting: Collecting, home: Path
    ) -> None:
        self._catalogue = catalogue
        self._baselines = baselines
        self._collecting = collecting
        self._home = home
        self._closing = False

    def close(self) -> None:
        """End what is being scored."""
        self._closing = True

    def compare(self, monitor: Monitor, retraining: Retraining, progress: Progress) -> Comparison:
        """Score and compare; TidegaugeError where a model cannot be asked."""
        serving, candidate = retraining.serving, retraining.candidate
        shape, held_out = monitor.config.drift.image, retraining.plan.held_out
        if serving is None or candidate is None or shape is None or held_out is None:
            raise ConflictError("The retraining lacks a version to compare; start another one.")
        folder = self._home / "retrainings" / retraining.id
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        try:
            sets = self._lay_out(monitor, retraining, shape, folder)
            answers = {}
            for number in (serving, candidate):
                answers[number] = self._answers(monitor, retraining, shape, number, folder, progress)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        baseline = self._baselines.load(monitor)
        positive = measuring.positive_class(monitor.config.performance.positive, baseline)
        pairs = tuple(
            _pair(
                one,
                answers[serving][one.rows],
                answers[candidate][one.rows],
                retraining.plan.metric,
                positive,
            )
            for one in sets
        )
        passes, reason = judge(retraining.plan, pairs)
        return Comparison(serving, candidate, pairs, passes, reason)

    def _lay_out(
        self, monitor: Monitor, retraining: Retraining, shape: ImageShape, folder: Path
    ) -> list[_Images]:
        """Write the labelled images of the held-out set, then the live ones, as one array."""
        held_out = retraining.plan.held_out
        if held_out is None:
            raise ConflictError("The retraining has no held-out set; start another one.")
        kind = RepositoryKind.DATASET
        repository = self._catalogue.get(kind, monitor.owner, held_out.dataset)
        version = self._catalogue.ready_version(kind, monitor.owner, held_out.dataset, held_out.version)
        found: list[_Images] = []
        manifests = [
            (f"{held_out}", self._catalogue.manifest(repository, version), 1),
            ("live images", self._collecting.tested(retraining), _LEAST_LIVE),
        ]
        total = sum(manifest.rows for _, manifest, _ in manifests)
        size = shape.height, shape.width, shape.channels
        images = np.lib.format.open_memmap(folder / "images.npy", "w+", np.uint8, (max(1, total), *size))
        begin = 0
        for name, manifest, least in manifests:
            labels = self._write(manifest, shape, images, begin)
            if labels:
                rows = slice(begin, begin + len(labels))
                found.append(_Images(name, labels, len(labels) >= least, rows))
            begin += len(labels)
        images.flush()
        return found

    def _write(self, manifest: Manifest, shape: ImageShape, images: np.memmap, begin: int) -> tuple[str, ...]:
        labels: list[str] = []
        size = shape.height, shape.width, shape.channels
        for image, label, _path in content.read_images(manifest, self._catalogue.blobs, *size):
            if label is not None:
                images[begin + len(labels)] = image
                labels.append(label)
        return tuple(labels)

    def _answers(
        self,
        monitor: Monitor,
        retraining: Retraining,
        shape: ImageShape,
        number: int,
        folder: Path,
        progress: Progress,
    ) -> list[str]:
        """Ask one version of the model, in a process that ends with this one."""
        model = self._catalogue.get(RepositoryKind.MODEL, monitor.owner, retraining.model)
        self._catalogue.export(model, self._catalogue.version(model, number), folder / f"v{number}")
        output = folder / f"v{number}.txt"
        command = [sys.executable, "-m", "tidegauge.serving.score", "--model-dir", str(folder / f"v{number}")]
        command += ["--images", str(folder / "images.npy"), "--output", str(output)]
        command += ["--parent-pid", str(os.getpid())]
        command += ["--channels-first"] if shape.channel_order == "channels_first" else []
        command += ["--unit"] if retraining.collected and retraining.collected.unit else []
        classes = self._baselines.load(monitor).classes
        command += ["--classes", *classes] if classes else []
        process = Process(command, folder / f"v{number}.log", {})
        try:
            while process.wait(_POLL_SECONDS) is None:
                if self._closing:
                    raise InterruptedComparisonError("The server was stopped during the comparison.")
                progress(f"v{number}: {process.last_line() or 'is loaded'}")
        finally:
            process.stop()
        if process.exit_code:
            reason = process.last_line() or f"exit code {process.exit_code}"
            raise TidegaugeError(f"Version v{number} of {retraining.model!r} could not be asked: {reason}")
        return output.read_text().splitlines()


def _pair(
    one: _Images, serving: list[str], candidate: list[str], metric: str, positive: str | None
) -> PairedSet:
    found = compare_paired(metric, one.labels, serving, candidate, positive)
    before, after = (classify(one.labels, answers, positive).metrics for answers in (serving, candidate))
    metrics = tuple(
        PairedMetric(name, _measured(before[name]), _measured(after[name]))
        for name in _SHOWN
        if name in before and name in after
    )
    return PairedSet(
        one.name,
        len(one.labels),
        _measured(found.difference),
        found.better,
        found.worse,
        found.p_value,
        metrics,
        one.judged,
    )


def _measured(estimate: Estimate) -> Measured:
    return Measured(estimate.value, estimate.low, estimate.high, estimate.n)
