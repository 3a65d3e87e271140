"""Performance without labels: what a window's confidences promise, and when not to believe them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from tidegauge.stats.performance.calibration_map import (
    CalibrationMap,
    fit_isotonic,
    from_arrays,
)
from tidegauge.stats.performance.wilson import Estimate
from tidegauge.stats.two_sample.kolmogorov_smirnov import kolmogorov_smirnov
from tidegauge.stats.two_sample.numbers import Numbers

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

METRICS = ("accuracy", "precision", "recall", "f1_score", "roc_auc")

_MAPS = 50  # refitted on resampled held-out predictions
_DRAWS = 1000  # of the window's labels from the map of all held-out predictions
_DRAWS_PER_MAP = 0.04  # of these from each refitted one
_LARGEST_BATCH = 2_000_000  # labels drawn at once
_MOST_HELD_OUT = 4096  # confidences kept to compare windows with


class FitMap(Protocol):
    """``fit_isotonic`` or ``fit_platt``."""

    def __call__(self, confidences: npt.ArrayLike, outcomes: npt.ArrayLike) -> CalibrationMap: ...


class Drift(Protocol):
    """The result of a comparison of inputs: of images, of numbers, ..."""

    @property
    def score(self) -> float | None: ...
    @property
    def p_value(self) -> float | None: ...


#: A map per class, of its probability to being it. With two classes all are of the second class: where the
#: first is predicted, where the second is. A single map would pool across the decision, and flatter.
Law = tuple[CalibrationMap, ...]


@dataclass(frozen=True, eq=False)
class Expectation:
    """What a model's probabilities are worth, from its held-out predictions.

    ``law`` has the calibration maps of all ``n`` held-out predictions, ``refitted`` those of resampled ones.
    ``positive`` is the place among ``classes`` of the class that precision and recall speak of, None for
    means over the classes. ``held_out`` ``[m, classes]`` are raw probabilities; ``seed`` fixes the draws of
    labels, so that the same window always gives the same estimate.
    """

    classes: tuple[str, ...]
    positive: int | None
    law: Law
    refitted: tuple[Law, ...]
    held_out: Floats
    n: int
    seed: int

    @cached_property
    def references(self) -> tuple[Numbers, ...]:
        """The held-out probabilities of each class, sorted."""
        return tuple(Numbers.of(column) for column in self.held_out.T)

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return all arrays by name, for storage."""
        return {
            "classes": np.array(self.classes),
            "positive": np.array(-1 if self.positive is None else self.positive),
            "held_out": self.held_out,
            "n": np.array(self.n),
            "seed": np.array(self.seed),
            **{
                f"law.{number}.{place}.{name}": array
                for number, law in enumerate((self.law, *self.refitted))
                for place, fitted in enumerate(law)
                for name, array in fitted.to_arrays().items()
            },
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> Expectation:
        """Build an expectation from what ``to_arrays`` gave."""
        parts: dict[tuple[int, int], dict[str, npt.NDArray[Any]]] = {}
        for key, array in arrays.items():
            if key.startswith("law."):
                _, law_number, place_number, name = key.split(".")
                parts.setdefault((int(law_number), int(place_number)), {})[name] = array
        laws: dict[int, list[CalibrationMap]] = {}
        for number, place in sorted(parts):
            laws.setdefault(number, []).append(from_arrays(parts[number, place]))
        law, *refitted = (tuple(laws[number]) for number in sorted(laws))
        positive = int(arrays["positive"])
        return cls(
            classes=tuple(str(name) for name in arrays["classes"]),
            positive=None if positive < 0 else positive,
            law=law,
            refitted=tuple(refitted),
            held_out=arrays["held_out"],
            n=int(arrays["n"]),
            seed=int(arrays["seed"]),
        )


@dataclass(frozen=True)
class ExpectedPerformance:
    """``metrics``: accuracy, precision, recall, f1_score, roc_auc of ``n`` predictions, not measured.

    ``unsafe``: something moved that may break the promise of the confidences; ``reason`` says what, and is
    None where nothing did. ``confidence_p_value`` is that of the window's confidences among those held out.
    """

    metrics: Mapping[str, Estimate]
    unsafe: bool
    reason: str | None
    confidence_p_value: float | None
    n: int


def fit_expectation(
    probabilities: npt.ArrayLike,
    labels: Sequence[str],
    classes: Sequence[str],
    positive: str | None = None,
    *,
    rng: np.random.Generator,
    fit_map: FitMap = fit_isotonic,
) -> Expectation:
    """Learn from held-out predictions what a model's probabilities are worth.

    ``probabilities`` ``[n, classes]`` are of examples that the model was not trained on, in the order of
    ``classes``; ``labels`` ``[n]`` are their true classes. Rows with NaN are left out. With two classes a
    map is fitted for each predicted class, with more for each class against the rest, normalised; there
    P(class | probabilities) is taken to depend on the probability of that class alone. They are fitted again
    on 50 resamples of the rows, which tell how little n predictions fix them. As ``fit_map``, isotonic
    regression follows any rising curve, ``fit_platt`` only those of its own form.

    Raises ValueError for shapes that do not fit, unknown classes, or no predictions at all.
    Source: Zadrozny and Elkan, KDD 2002, for one against the rest; Efron and Tibshirani, "An Introduction to
    the Bootstrap" (1993).

    >>> rng = np.random.default_rng(0)
    >>> sick = rng.random(500)
    >>> labels = np.where(rng.random(500) < sick, "sick", "well")
    >>> fitted = fit_expectation(np.column_stack([sick, 1 - sick]), labels, ["sick", "well"], "sick", rng=rng)
    >>> fitted.n, len(fitted.refitted)
    (500, 50)
    """
    names = tuple(classes)
    if len(names) < 2 or len(set(names)) < len(names):
        raise ValueError(f"classes is {names}; name at least two different classes")
    if positive is not None and positive not in names:
        raise ValueError(f"positive is {positive!r}; use one of {', '.join(names)}")
    rows = _probabilities(probabilities, len(names))
    if len(rows) != len(labels):
        raise ValueError(f"{len(rows)} probabilities and {len(labels)} labels; give as many of each")
    unknown = sorted({str(label) for label in labels} - set(names))
    if unknown:
        raise ValueError(f"labels has {unknown[0]!r}; use only {', '.join(names)}")
    index = {name: place for place, name in enumerate(names)}
    truth = np.array([index[str(label)] for label in labels], np.int64)
    counted = ~np.isnan(rows).any(axis=1)
    rows, truth = rows[counted], truth[counted]
    n = len(rows)
    if not n:
        raise ValueError("probabilities is empty; give held-out predictions")
    kept = rng.choice(n, _MOST_HELD_OUT, replace=False) if n > _MOST_HELD_OUT else np.arange(n)
    return Expectation(
        classes=names,
        positive=index[positive] if positive is not None and len(names) == 2 else None,
        law=_fit(rows, truth, fit_map),
        refitted=tuple(_fit(*_resample(rows, truth, rng), fit_map) for _ in range(_MAPS)),
        held_out=rows[kept],
        n=n,
        seed=int(rng.integers(2**63)),
    )


def _fit(rows: Floats, truth: Indices, fit_map: FitMap) -> Law:
    if rows.shape[1] > 2:
        return tuple(fit_map(rows[:, place], truth == place) for place in range(rows.shape[1]))
    predicted = rows.argmax(axis=1)
    each = []
    for place in (0, 1):
        # A class that was never predicted borrows the predictions of the other.
        called = predicted == place if (predicted == place).any() else np.ones(len(rows), np.bool_)
        each.append(fit_map(rows[called, 1], truth[called] == 1))
    return tuple(each)


def _resample(rows: Floats, truth: Indices, rng: np.random.Generator) -> tuple[Floats, Indices]:
    """Draw rows with replacement, then one more as it is and once with another label.

    Without these two, a held-out set without a single error would promise that there will never be one; with
    them the resamples of a proportion spread like its posterior under a uniform prior.
    """
    chosen = rng.integers(0, len(truth), len(truth) + 1)
    drawn = truth[chosen]
    other = (drawn[-1] + rng.integers(1, rows.shape[1])) % rows.shape[1]
    return rows[np.append(chosen, chosen[-1])], np.append(drawn, other)


def expect(
    expectation: Expectation,
    probabilities: npt.ArrayLike,
    drift: Drift | None = None,
    *,
    confidence: float = 0.95,
    drift_level: float = 0.001,
    drift_effect: float = 0.1,
    confidence_level: float = 0.001,
    draws: int = _DRAWS,
) -> ExpectedPerformance:
    """Estimate how good the predictions of a window are, without their labels.

    ``probabilities`` ``[n, classes]`` are the model's for the window, without rows that have NaN; the
    predicted class is the most probable one. Labels are drawn again and again, from each of the 50 refitted
    maps ``draws`` / 25 times; the interval holds ``confidence`` of the metrics of these draws. So it is one
    for the metric that the labels of *this window* would give, and includes both the chance in them and the
    error of calibration.
    The value is the mean over draws from the map of all held-out predictions. Where a metric has no value in
    most draws (recall without a positive), the estimate has none.

    It is right where P(class | probability) is what it was for the held-out predictions: the mix of easy
    and hard cases may move, what the model knows of each may not. Of that only drift of inputs gives warning.
    ``unsafe`` where ``drift`` (a comparison of the window's inputs) has a p-value below ``drift_level`` and a
    score above ``drift_effect``, or where the window's probabilities leave the held-out ones: Kolmogorov-
    Smirnov p-value, times the number of classes where there are more than two, below ``confidence_level``.
    Without drift either is raised in at most that share of windows. A level of 0 switches a rule off.

    Source of the idea: Kivimaki, Bialek, Kuberski and Nurminen, "Performance estimation in binary
    classification using calibrated confidence", arXiv 2505.05295 (2025).

    >>> rng = np.random.default_rng(0)
    >>> sick = rng.random(2000)
    >>> labels = np.where(rng.random(2000) < sick, "sick", "well")
    >>> fitted = fit_expectation(np.column_stack([sick, 1 - sick]), labels, ["sick", "well"], "sick", rng=rng)
    >>> sure = np.where(rng.random(100) < 0.5, 0.9, 0.1)
    >>> found = expect(fitted, np.column_stack([sure, 1 - sure]))
    >>> round(found.metrics["accuracy"].value, 1), found.unsafe
    (0.9, True)
    >>> found.reason
    'The confidences are not distributed as the held-out ones (p = 1e-20).'
    """
    rows = _probabilities(probabilities, len(expectation.classes))
    rows = rows[~np.isnan(rows).any(axis=1)]
    # The draws must not depend on the order of the rows.
    rows = rows[np.lexsort(rows.T)]
    p_value = _confidence_p_value(expectation.references, rows)
    reason = _reason(drift, p_value, drift_level, drift_effect, confidence_level)
    metrics = _estimates(expectation, rows, confidence, draws)
    return ExpectedPerformance(metrics, reason is not None, reason, p_value, len(rows))


def _estimates(expectation: Expectation, rows: Floats, confidence: float, draws: int) -> dict[str, Estimate]:
    n = len(rows)
    if not n:
        return {name: Estimate(None, None, None, 0) for name in METRICS}
    rng = np.random.default_rng(expectation.seed)
    window = _Window(rows, expectation.positive)
    each = max(1, round(draws * _DRAWS_PER_MAP))
    values = window.draw(_apply([expectation.law], rows), draws, rng)
    spread = window.draw(_apply(expectation.refitted, rows), each, rng)
    return {
        name: _estimate(values[:, column], spread[:, column], n, confidence)
        for column, name in enumerate(METRICS)
    }


def _estimate(values: Floats, spread: Floats, n: int, confidence: float) -> Estimate:
    drawn = spread[~np.isnan(spread)]
    if np.isnan(values).mean() > 0.5 or not len(drawn):
        return Estimate(None, None, None, n)
    value = float(np.nanmean(values))
    tail = (1 - confidence) / 2
    # Values that occur, the outer ones: accuracy of 12 predictions has only 13 values.
    low = float(np.quantile(drawn, tail, method="lower"))
    high = float(np.quantile(drawn, 1 - tail, method="higher"))
    return Estimate(value, min(low, value), max(high, value), n)


def _apply(laws: Sequence[Law], rows: Floats) -> Floats:
    """Return probabilities ``[k, n, classes]`` as each of k laws calibrates them."""
    if rows.shape[1] == 2:
        called = rows.argmax(axis=1)
        second = np.empty((len(laws), len(rows)))
        for place in (0, 1):
            there = np.flatnonzero(called == place)
            second[:, there] = [law[place].apply(rows[there, 1]) for law in laws]
        return np.stack([1 - second, second], axis=2)
    each = np.stack(
        [[fitted.apply(rows[:, place]) for place, fitted in enumerate(law)] for law in laws]
    ).swapaxes(1, 2)
    return np.asarray(each / each.sum(axis=2, keepdims=True))


class _Window:
    """Metrics of a window's predictions under many draws of its labels at once."""

    def __init__(self, rows: Floats, positive: int | None) -> None:
        self._n, self._classes = rows.shape
        predicted = rows.argmax(axis=1)
        self._called = np.stack([predicted == place for place in range(self._classes)]).astype(np.float64)
        self._ranks = np.stack([_ranks(rows[:, place]) for place in range(self._classes)])
        self._places = range(self._classes) if positive is None else range(positive, positive + 1)

    def draw(self, laws: Floats, draws: int, rng: np.random.Generator) -> Floats:
        """Return the metrics ``[k * draws, 5]`` of labels drawn from each of ``laws`` ``[k, n, classes]``."""
        most = max(1, _LARGEST_BATCH // self._n)
        below = np.cumsum(laws, axis=2)[:, :, :-1]
        parts = []
        for start in range(0, len(laws) * draws, most):
            law = np.arange(start, min(start + most, len(laws) * draws)) // draws
            chance = rng.random((len(law), self._n))
            labels = (chance[:, :, np.newaxis] >= below[law]).sum(axis=2)
            parts.append(self._metrics(labels))
        return np.concatenate(parts)

    def _metrics(self, labels: Indices) -> Floats:
        hits, true, auc = np.empty((3, self._classes, len(labels)))
        for place in range(self._classes):
            is_class = (labels == place).astype(np.float64)
            hits[place] = is_class @ self._called[place]
            true[place] = is_class.sum(axis=1)
            above = is_class @ self._ranks[place] - true[place] * (true[place] + 1) / 2
            auc[place] = _ratio(above, true[place] * (self._n - true[place]))
        called = self._called.sum(axis=1)[:, np.newaxis]
        each = (_ratio(hits, called), _ratio(hits, true), _ratio(2 * hits, called + true), auc)
        means = [_mean_of_known(values[list(self._places)]) for values in each]
        return np.column_stack([hits.sum(axis=0) / self._n, *means])


def _ratio(part: Floats, whole: Floats) -> Floats:
    part, whole = np.broadcast_arrays(part, whole)
    result = np.full(part.shape, np.nan)
    np.divide(part, whole, out=result, where=whole > 0)
    return result


def _mean_of_known(values: Floats) -> Floats:
    """Average over the classes ``[k, draws]`` that have a value."""
    known = ~np.isnan(values)
    return _ratio(np.where(known, values, 0.0).sum(axis=0), known.sum(axis=0).astype(np.float64))


def _ranks(values: Floats) -> Floats:
    """Return ranks from 1, equal values sharing the mean of theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - (counts - 1) / 2)[inverse], np.float64)


def _confidence_p_value(held_out: Sequence[Numbers], rows: Floats) -> float | None:
    """Return the smallest p-value over the classes, times their number where there are more than two."""
    if not len(rows):
        return None
    columns = range(1, 2) if rows.shape[1] == 2 else range(rows.shape[1])
    found = [kolmogorov_smirnov(held_out[place], rows[:, place]).p_value for place in columns]
    return min(1.0, len(found) * min(p for p in found if p is not None))


def _reason(
    drift: Drift | None,
    p_value: float | None,
    drift_level: float,
    drift_effect: float,
    confidence_level: float,
) -> str | None:
    reasons = []
    if drift is not None and drift.p_value is not None and drift.score is not None:
        moved = drift.p_value < drift_level and drift.score > drift_effect
        if moved:
            reasons.append(
                f"The inputs have drifted (score {drift.score:.2f}, p = {drift.p_value:.1g}): "
                "what the confidences were worth need not hold for them."
            )
    if p_value is not None and p_value < confidence_level:
        reasons.append(f"The confidences are not distributed as the held-out ones (p = {p_value:.1g}).")
    return " ".join(reasons) or None


def _probabilities(values: npt.ArrayLike, classes: int) -> Floats:
    rows = np.asarray(values, np.float64)
    if rows.ndim != 2 or rows.shape[1] != classes:
        raise ValueError(f"probabilities have shape {rows.shape}; give [n, {classes}], a column per class")
    if (rows < 0).any() or (rows > 1).any():
        raise ValueError("probabilities has a value outside [0, 1]; give probabilities, not scores")
    return rows
