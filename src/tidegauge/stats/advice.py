"""Advice on thresholds: how often clean data would pass them, and which pass as rarely as one wishes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, comb, floor, log10
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from scipy.special import gammaln
from scipy.stats import kstwo, nbinom

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]
Sizes = Mapping[int, float]  # shares of runs whose window has so many samples

_DAYS_PER_WEEK, _DAYS_PER_YEAR = 7, 365
_DRAWS = 1_000_000
_SEEN = 100  # resampled windows past a threshold: fewer leave it more than a tenth unsure
_MOST_SIZES = 32
_MOST_COMPOSITIONS = 300_000  # ways in which a window can be filled: up to here all are gone through
_MOST_STEPS = 50_000_000  # of the exact Kolmogorov-Smirnov law
_BATCH = 2_000_000
_NOISE = 1e-9  # numbers so near are equal: the same share, added up in another order


@dataclass(frozen=True)
class Frequency:
    """How often clean windows pass a threshold; ``standard_error`` of ``per_run``, 0 where it is exact."""

    per_run: float
    per_day: float
    per_week: float
    per_year: float
    standard_error: float


@dataclass(frozen=True)
class Alerts:
    """How often clean windows pass ``soft`` and ``hard``; who passes hard has passed soft, too."""

    soft: Frequency
    hard: Frequency


@dataclass(frozen=True)
class Advice:
    """``thresholds``: the thresholds file; ``alerts`` of each; ``notes``: where a wish could not be met."""

    thresholds: Mapping[str, Mapping[str, Any]]
    alerts: Mapping[str, Alerts]
    notes: tuple[str, ...]


class Law(Protocol):
    """What a score or metric does in clean windows."""

    @property
    def draws(self) -> int | None:
        """Number of resampled windows, None where the law is exact."""

    def past(self, threshold: float) -> float:
        """Return the chance that a window is strictly worse than the threshold."""

    def bound(self, chance: float) -> float:
        """Return the tightest threshold that windows pass with at most this chance."""


class Clean(Protocol):
    """What clean windows are drawn from: ``CleanNumbers``, ``CleanCategories``, ``CleanProportion``, ..."""

    @property
    def kind(self) -> str:
        """Type of the thresholds: drift or performance."""

    @property
    def larger_is_worse(self) -> bool:
        """Tell which way is worse."""

    def law(self, sizes: Sizes, draws: int, rng: np.random.Generator) -> Law:
        """Return the law in windows of these sizes."""


def suggest_thresholds(
    clean: Mapping[str, Clean],
    windows: npt.ArrayLike,
    runs_per_day: float,
    *,
    rng: np.random.Generator,
    soft_per_day: float = 1 / _DAYS_PER_WEEK,
    hard_per_day: float = 1 / _DAYS_PER_YEAR,
    draws: int = _DRAWS,
) -> Advice:
    """Return the tightest thresholds that clean data pass no more often than wished.

    ``clean`` says by name what windows without drift are drawn from; ``windows`` is their size, or the sizes
    observed; by default soft is passed once a week and hard once a year at ``runs_per_day``. Windows are
    taken for independent draws. Where all ways to fill a window can be gone through the law is exact, else
    it rests on ``draws`` resampled windows. A metric with few values (accuracy of 12 images has 13) often
    cannot fire as rarely as wished without firing far more rarely: the notes say so.

    Raises ValueError for sizes or frequencies that are not positive, or a chance above 1 per run.

    >>> every_5_minutes = 288
    >>> clean = {"accuracy": CleanProportion(0.95)}
    >>> advice = suggest_thresholds(clean, 12, every_5_minutes, rng=np.random.default_rng(0))
    >>> advice.thresholds
    {'accuracy': {'type': 'performance', 'soft': 0.6, 'hard': 0.46}}
    """
    sizes = _sizes(windows)
    wishes = {"soft": soft_per_day, "hard": hard_per_day}
    for name, wish in (*wishes.items(), ("runs", runs_per_day)):
        if not wish > 0:
            raise ValueError(f"{name}_per_day is {wish}; give a positive number")
    if max(wishes.values()) >= runs_per_day:
        raise ValueError(
            f"runs_per_day is {runs_per_day}, so nothing is passed {max(wishes.values())} times a day; "
            "wish for less"
        )
    thresholds: dict[str, dict[str, Any]] = {}
    alerts: dict[str, Alerts] = {}
    notes: list[str] = []
    for name, source in clean.items():
        law = source.law(sizes, draws, rng)
        bounds = {level: law.bound(wish / runs_per_day) for level, wish in wishes.items()}
        thresholds[name] = {"type": source.kind, **bounds}
        found = {level: _frequency(law, bound, runs_per_day) for level, bound in bounds.items()}
        alerts[name] = Alerts(**found)
        for level, wish in wishes.items():
            notes += _notes(f"{name}.{level}", bounds[level], found[level], wish / runs_per_day, law)
    return Advice(thresholds, alerts, tuple(notes))


def expected_alerts(
    thresholds: Mapping[str, Mapping[str, Any]],
    clean: Mapping[str, Clean],
    windows: npt.ArrayLike,
    runs_per_day: float,
    *,
    rng: np.random.Generator,
    draws: int = _DRAWS,
) -> dict[str, Alerts | None]:
    """Return how often clean data would pass the given thresholds; None where ``clean`` does not know one.

    ``thresholds`` is a thresholds file; the other arguments as of ``suggest_thresholds``. A breach is strict.

    >>> usual = {"accuracy": {"type": "performance", "soft": 0.9, "hard": 0.85}}
    >>> clean = {"accuracy": CleanProportion(0.95)}
    >>> found = expected_alerts(usual, clean, 12, 288, rng=np.random.default_rng(0))
    >>> round(found["accuracy"].hard.per_run, 3), round(found["accuracy"].hard.per_day)
    (0.118, 34)
    """
    if not runs_per_day > 0:
        raise ValueError(f"runs_per_day is {runs_per_day}; give a positive number")
    sizes = _sizes(windows)
    found: dict[str, Alerts | None] = {}
    for name, entry in thresholds.items():
        if name not in clean:
            found[name] = None
            continue
        law = clean[name].law(sizes, draws, rng)
        found[name] = Alerts(
            soft=_frequency(law, float(entry["soft"]), runs_per_day),
            hard=_frequency(law, float(entry["hard"]), runs_per_day),
        )
    return found


@dataclass(frozen=True, eq=False)
class CleanNumbers:
    """Numbers ``[m]`` of the baseline, NaN left out: a column's, or ``ImageBaseline.strangeness``.

    The score is the Kolmogorov-Smirnov distance. Its law is that of m numbers and a window drawn alike: the
    baseline's own error is part of it, so the promise holds on average over baselines. Exact without ties (up
    to 50 million pairs, then the one-sample law at the effective size, within some 3%), with ties as long as
    the distinct numbers are few, else an upper bound. Source: Hodges, Arkiv for Matematik 3 (1958).
    """

    baseline: npt.ArrayLike
    kind = "drift"
    larger_is_worse = True

    def law(self, sizes: Sizes, draws: int, rng: np.random.Generator) -> Law:  # noqa: ARG002 - exact
        """Return the law of the distance."""
        numbers = np.asarray(self.baseline, np.float64).ravel()
        counts = np.unique(numbers[~np.isnan(numbers)], return_counts=True)[1]
        if not len(counts):
            raise ValueError("baseline has no numbers; give those of the training data")
        return _Distance(counts.astype(np.int64), sizes)


@dataclass(frozen=True)
class CleanCategories:
    """Counts of the baseline by category; the score is the total variation distance.

    Shares are known as well as the counts fix them: a window is drawn from the Dirichlet-multinomial law
    with parameters count + 1/categories. Source: Perks, Journal of the Institute of Actuaries 73 (1947).
    """

    counts: Mapping[str, int]
    kind = "drift"
    larger_is_worse = True

    def law(self, sizes: Sizes, draws: int, rng: np.random.Generator) -> Law:
        """Return the law of the distance."""
        counts = _positive(np.array(list(self.counts.values()), np.float64), "counts")
        shares = counts / counts.sum()

        def distance(filled: Indices) -> Floats:
            window = filled / filled.sum(axis=1, keepdims=True)
            return np.asarray(np.abs(window - shares).sum(axis=1) / 2, np.float64)

        return _filled(counts + 1 / len(counts), distance, True, sizes, draws, rng)


@dataclass(frozen=True)
class CleanProportion:
    """A metric that is a share of the window, such as accuracy, with its true value ``share``.

    Binomial; where the share is only known from ``known_from`` held-out samples, beta-binomial.
    """

    share: float
    known_from: int | None = None
    kind = "performance"
    larger_is_worse = False

    def law(self, sizes: Sizes, draws: int, rng: np.random.Generator) -> Law:
        """Return the law of the share."""
        if not 0 <= self.share <= 1:
            raise ValueError(f"share is {self.share}; give a number from 0 to 1")
        shares = np.array([self.share, 1 - self.share])
        if self.known_from is None:
            return _filled(shares, _first_share, False, sizes, draws, rng, known=True)
        return _filled(shares * self.known_from + 0.5, _first_share, False, sizes, draws, rng)


@dataclass(frozen=True, eq=False)
class CleanClassification:
    """Held-out ``labels`` and ``predictions``, both ``[m]``, and a metric of them.

    ``metric``: accuracy, precision, recall or f1_score, of ``positive`` where there are two classes, else
    the mean over the classes that have a value. A window in which it has no value passes no threshold.
    The shares of the confusion matrix are known as well as m samples fix them, as in ``CleanCategories``.
    """

    labels: Sequence[str]
    predictions: Sequence[str]
    metric: str = "accuracy"
    positive: str | None = None
    kind = "performance"
    larger_is_worse = False

    def law(self, sizes: Sizes, draws: int, rng: np.random.Generator) -> Law:
        """Return the law of the metric."""
        if len(self.labels) != len(self.predictions) or not len(self.labels):
            raise ValueError(
                f"{len(self.labels)} labels and {len(self.predictions)} predictions; give as many of each"
            )
        if self.metric not in _METRICS:
            raise ValueError(f"metric is {self.metric!r}; use one of {', '.join(_METRICS)}")
        names = sorted({str(x) for x in self.labels} | {str(x) for x in self.predictions})
        place = {name: index for index, name in enumerate(names)}
        cells = np.zeros((len(names), len(names)))
        np.add.at(cells, ([place[str(x)] for x in self.labels], [place[str(x)] for x in self.predictions]), 1)
        if self.metric == "accuracy":
            right = float(np.trace(cells))
            parts = np.array([right, cells.sum() - right]) + 0.5
            return _filled(parts, _first_share, False, sizes, draws, rng)
        chosen = [place[self.positive]] if self.positive in place and len(names) == 2 else None

        def metric(filled: Indices) -> Floats:
            return _METRICS[self.metric](filled.reshape(-1, len(names), len(names)), chosen)

        return _filled(cells.ravel() + 1 / cells.size, metric, False, sizes, draws, rng)


@dataclass(frozen=True, eq=False)
class CleanSamples:
    """Any other metric of ``rows`` held-out samples (AUC, MAE, ...), by resampling them with replacement.

    ``statistic`` takes rows ``[draws, n]``, indices below ``rows``, and returns the metric ``[draws]``, NaN
    where it has no value.
    """

    statistic: Callable[[Indices], Floats]
    rows: int
    larger_is_worse: bool
    kind: str = "performance"

    def law(self, sizes: Sizes, draws: int, rng: np.random.Generator) -> Law:
        """Return the law of the metric."""
        if self.rows < 1:
            raise ValueError(f"rows is {self.rows}; give held-out samples")
        values = [
            self.statistic(rng.integers(0, self.rows, (count, size)))
            for size, share in sizes.items()
            for count in _batches(round(draws * share), size)
        ]
        found = np.concatenate(values)
        return _Values(found, np.full(len(found), _total(sizes) / len(found)), self.larger_is_worse, draws)


class _Values:
    """A law of values ``[k]`` with their chances ``[k]``, worst first."""

    def __init__(self, values: Floats, chances: Floats, larger_is_worse: bool, draws: int | None) -> None:
        known = ~np.isnan(values)
        self._sign = 1 if larger_is_worse else -1
        badness = (self._sign * values[known]).round(12)
        places, inverse = np.unique(-badness, return_inverse=True)
        self._badness = -places
        self._reached = np.cumsum(np.bincount(inverse, chances[known]))
        self.draws = draws

    def past(self, threshold: float) -> float:
        worse = int((self._badness > self._sign * threshold + _NOISE).sum())
        return float(self._reached[worse - 1]) if worse else 0.0

    def bound(self, chance: float) -> float:
        if not len(self._badness):
            return 0.0
        worse = min(int(np.searchsorted(self._reached, chance, "right")), len(self._badness) - 1)
        if not worse:
            return float(self._sign * ceil(self._badness[0] * 1e4 - _NOISE) / 1e4) + 0.0  # never -0.0
        return self._sign * _simplest(float(self._badness[worse]), float(self._badness[worse - 1]))


class _Distance:
    """The law of the Kolmogorov-Smirnov distance from a baseline with these counts of distinct numbers."""

    draws: int | None = None

    def __init__(self, counts: Indices, sizes: Sizes) -> None:
        self._counts, self._m, self._sizes = counts, int(counts.sum()), sizes

    def past(self, threshold: float) -> float:
        return sum(share * self._past(size, threshold) for size, share in self._sizes.items())

    def _past(self, n: int, threshold: float) -> float:
        if threshold < 0:
            return 1.0
        steps = floor((threshold + _NOISE) * self._m * n) + 1
        if steps > self._m * n:
            return 0.0
        if len(self._counts) < self._m and len(self._counts) * n * n <= _MOST_STEPS:
            return _tied_paths_outside(steps, self._counts, n)
        if self._m * n <= _MOST_STEPS:
            return _paths_outside(steps, max(self._m, n), min(self._m, n))
        return float(kstwo.sf(steps / (self._m * n), max(1, round(self._m * n / (self._m + n)))))

    def bound(self, chance: float) -> float:
        smallest = min(self._sizes)
        near = float(kstwo.isf(min(chance, 0.99), max(1, round(self._m * smallest / (self._m + smallest)))))
        grid: int = 10 ** (2 - floor(log10(near)))  # three digits
        low, high = 0, grid
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if self.past(middle / grid) <= chance else (middle + 1, high)
        return low / grid


def _paths_outside(steps: int, m: int, n: int) -> float:
    """Return the share of lattice paths from (0, 0) to (m, n) with ``abs(i n - j m) >= steps`` somewhere."""
    column = np.arange(m + 1)
    paths = (column * n < steps).astype(np.float64)
    scale = 0.0
    for j in range(1, n + 1):
        first, last = max(0, (j * m - steps) // n + 1), min(m, -((-j * m - steps) // n) - 1)
        row = np.zeros(m + 1)
        row[first : last + 1] = np.cumsum(paths[first : last + 1])
        largest = row.max(initial=0.0)
        if largest == 0:
            return 1.0
        paths, scale = row / largest, scale + np.log(largest)
    if paths[m] == 0:
        return 1.0
    inside = np.log(paths[m]) + scale - (gammaln(m + n + 1) - gammaln(m + 1) - gammaln(n + 1))
    return float(np.clip(-np.expm1(inside), 0.0, 1.0))


def _tied_paths_outside(steps: int, counts: Indices, n: int) -> float:
    """Return the same where numbers repeat: distances are looked at after each distinct number only.

    A window from the Polya urn of the baseline is a row of negative binomial counts, given their sum.
    """
    m = int(counts.sum())
    filled = np.arange(n + 1)
    inside = np.zeros(n + 1)
    inside[0] = 1.0
    for count, before in zip(counts, np.cumsum(counts), strict=True):
        inside = np.convolve(inside, nbinom.pmf(filled, count, m / (m + n)))[: n + 1]
        inside[np.abs(filled * m - before * n) >= steps] = 0.0
    return float(np.clip(1 - inside[n] / nbinom.pmf(n, m, m / (m + n)), 0.0, 1.0))


def _filled(
    parts: Floats,
    statistic: Callable[[Indices], Floats],
    larger_is_worse: bool,
    sizes: Sizes,
    draws: int,
    rng: np.random.Generator,
    *,
    known: bool = False,
) -> _Values:
    """Return the law of a statistic of how a window is filled ``[k, parts]``.

    ``parts`` are Dirichlet parameters, or the shares themselves where they are ``known``. Exact where each
    size has few enough ways to be filled.
    """
    if all(comb(size + len(parts) - 1, size) <= _MOST_COMPOSITIONS for size in sizes):
        values, chances = [], []
        for size, share in sizes.items():
            ways = _compositions(size, len(parts))
            values.append(statistic(ways))
            chances.append(share * np.exp(_log_chance(ways, parts, known)))
        return _Values(np.concatenate(values), np.concatenate(chances), larger_is_worse, None)
    values = [
        statistic(rng.multinomial(size, parts if known else rng.dirichlet(parts, count), count))
        for size, share in sizes.items()
        for count in _batches(round(draws * share), len(parts))
    ]
    found = np.concatenate(values)
    return _Values(found, np.full(len(found), _total(sizes) / len(found)), larger_is_worse, draws)


def _log_chance(ways: Indices, parts: Floats, known: bool) -> Floats:
    n = ways[0].sum()
    if known:
        with np.errstate(divide="ignore", invalid="ignore"):
            each = np.where(ways > 0, ways * np.log(parts), 0.0) - gammaln(ways + 1)
        return np.asarray(gammaln(n + 1) + each.sum(axis=1))
    each = gammaln(ways + parts) - gammaln(parts) - gammaln(ways + 1)
    total = parts.sum()
    return np.asarray(gammaln(n + 1) + gammaln(total) - gammaln(n + total) + each.sum(axis=1))


def _compositions(total: int, parts: int) -> Indices:
    """Return all ways to fill ``parts`` places with ``total`` things, ``[ways, parts]``."""
    ways = np.zeros((1, 0), np.int64)
    rest = np.array([total])
    for _ in range(parts - 1):
        choices = rest + 1
        chosen = np.arange(choices.sum()) - np.repeat(np.cumsum(choices) - choices, choices)
        ways = np.column_stack([np.repeat(ways, choices, axis=0), chosen])
        rest = np.repeat(rest, choices) - chosen
    return np.column_stack([ways, rest])


def _first_share(filled: Indices) -> Floats:
    return np.asarray(filled[:, 0] / filled.sum(axis=1))


def _precision(cells: Indices, chosen: list[int] | None) -> Floats:
    return _mean_ratio(np.einsum("ijj->ij", cells), cells.sum(axis=1), chosen)


def _recall(cells: Indices, chosen: list[int] | None) -> Floats:
    return _mean_ratio(np.einsum("ijj->ij", cells), cells.sum(axis=2), chosen)


def _f1_score(cells: Indices, chosen: list[int] | None) -> Floats:
    return _mean_ratio(2 * np.einsum("ijj->ij", cells), cells.sum(axis=1) + cells.sum(axis=2), chosen)


def _accuracy(cells: Indices, _: list[int] | None) -> Floats:
    return np.asarray(np.einsum("ijj->i", cells) / cells.sum(axis=(1, 2)))


_METRICS: Mapping[str, Callable[[Indices, list[int] | None], Floats]] = {
    "accuracy": _accuracy,
    "precision": _precision,
    "recall": _recall,
    "f1_score": _f1_score,
}


def _mean_ratio(part: Indices, whole: Indices, chosen: list[int] | None) -> Floats:
    """Average over the chosen classes, or all, those that have a value; NaN where none has."""
    places = range(part.shape[1]) if chosen is None else chosen
    known = (whole[:, places] > 0).sum(axis=1)
    ratios = part[:, places] / np.maximum(whole[:, places], 1)
    return np.where(known > 0, ratios.sum(axis=1) / np.maximum(known, 1), np.nan)


def _frequency(law: Law, threshold: float, runs_per_day: float) -> Frequency:
    chance = law.past(threshold)
    per_day = chance * runs_per_day
    error = (chance * (1 - chance) / law.draws) ** 0.5 if law.draws else 0.0
    return Frequency(chance, per_day, per_day * _DAYS_PER_WEEK, per_day * _DAYS_PER_YEAR, error)


def _notes(name: str, bound: float, found: Frequency, wish: float, law: Law) -> Iterator[str]:
    if law.draws and wish * law.draws < _SEEN:
        yield (
            f"{name}: rests on {round(found.per_run * law.draws)} of {law.draws:,} resampled windows; "
            "more draws make it surer."
        )
    if not found.per_run:
        yield f"{name}: clean windows never pass {bound:g}, and any tighter bound more often than wished."
    elif found.per_run < wish / 2:
        yield (
            f"{name}: passed {found.per_run / wish:.2g} times as often as wished: windows of this size give "
            "too few different values to come nearer."
        )


def _simplest(low: float, high: float) -> float:
    """Return the number with the fewest decimals well between two."""
    middle = (low + high) / 2
    for digits in range(12):
        rounded = round(middle, digits)
        if low + _NOISE < rounded < high - _NOISE:
            return rounded
    return middle


def _sizes(windows: npt.ArrayLike) -> Sizes:
    """Return the share of each size; empty windows pass nothing.

    Above 32 sizes, neighbours are taken for the smallest of them, whose scores are the largest.
    """
    sizes = np.asarray(windows).ravel()
    if not len(sizes) or not (sizes == np.floor(sizes)).all() or (sizes < 0).any() or not (sizes > 0).any():
        raise ValueError("windows must be a size or the sizes of observed windows, whole numbers from 1")
    places, counts = np.unique(sizes[sizes > 0], return_counts=True)
    if len(places) > _MOST_SIZES:
        edges = np.geomspace(places[0], places[-1], _MOST_SIZES + 1)[1:-1]
        group = np.searchsorted(edges, places, "right")
        firsts = np.unique(group, return_index=True)[1]
        places, counts = places[firsts], np.add.reduceat(counts, firsts)
    return {int(size): float(count) / len(sizes) for size, count in zip(places, counts, strict=True)}


def _total(sizes: Sizes) -> float:
    return sum(sizes.values())


def _batches(draws: int, width: int) -> Iterator[int]:
    most = max(1, _BATCH // width)
    for start in range(0, draws, most):
        yield min(most, draws - start)


def _positive(counts: Floats, name: str) -> Floats:
    if not len(counts) or (counts < 0).any() or not counts.sum() > 0:
        raise ValueError(f"{name} must not be negative, and one must be positive; give those of the baseline")
    return counts
