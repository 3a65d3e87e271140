"""Thresholds that clean data pass as rarely as one wishes, and how often they pass given ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tidegauge.stats.advice.clean import Clean
from tidegauge.stats.advice.laws import Law, Sizes

_DAYS_PER_WEEK, _DAYS_PER_YEAR = 7, 365
_DRAWS = 1_000_000
_SEEN = 100  # resampled windows past a threshold: fewer leave it more than a tenth unsure
_MOST_SIZES = 32


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

    >>> from tidegauge.stats.advice import CleanProportion
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

    >>> from tidegauge.stats.advice import CleanProportion
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
