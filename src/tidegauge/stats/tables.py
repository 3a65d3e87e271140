"""Drift of tables: column by column, numbers and categories."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from tidegauge.stats.two_sample.categories import Categories, is_missing
from tidegauge.stats.two_sample.chi_squared import chi_squared
from tidegauge.stats.two_sample.kolmogorov_smirnov import kolmogorov_smirnov
from tidegauge.stats.two_sample.numbers import Numbers
from tidegauge.stats.two_sample.psi import psi
from tidegauge.stats.two_sample.total_variation import total_variation

Floats = npt.NDArray[np.float64]
Array = npt.NDArray[Any]

_COMMON = 8  # categories of a column that are features of their own
_MOST = 4096  # rows of either part, so that a huge baseline stays small
_OTHER = "(other)"
_MISSING = "\0"


class Frame(Protocol):
    """A polars or pandas frame."""

    @property
    def columns(self) -> Any:
        """Names of the columns."""

    def __getitem__(self, name: str, /) -> Any: ...


Table = Mapping[str, npt.ArrayLike] | Frame


@dataclass(frozen=True, eq=False)
class TableBaseline:
    """What the rows of a training table look like.

    ``summaries`` have all rows, column by column. Of two disjoint random parts, ``fitted_rows`` and
    ``ranked_rows``, at most 4,096 rows each are kept, for evidence: features are named after the first, the
    second is ranked.
    """

    summaries: Mapping[str, Numbers | Categories]
    fitted_rows: Mapping[str, Array]
    ranked_rows: Mapping[str, Array]

    @cached_property
    def categories(self) -> Mapping[str, tuple[str, ...]]:
        """The commonest categories, at most 8, of the fitted part of each categorical column."""
        found = {}
        for name, summary in self.summaries.items():
            if isinstance(summary, Categories):
                counts = Categories.of(self.fitted_rows[name]).counts
                found[name] = tuple(sorted(counts, key=lambda c: (-counts[c], c))[:_COMMON])
        return found

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the K columns of ``observe``: a number, or whether a row has a category."""
        return tuple(feature for name in self.summaries for feature in self._features(name))

    @property
    def weights(self) -> Floats:
        """Share ``[K]`` of alpha that each feature gets: every column as much as every other."""
        counts = [len(self._features(name)) for name in self.summaries]
        return np.concatenate([np.full(count, 1 / count / len(counts)) for count in counts])

    @property
    def fitted(self) -> Floats:
        """Observations ``[f, K]`` of the fitted part."""
        return self.observe(self.fitted_rows)

    @property
    def ranked(self) -> Floats:
        """Observations ``[m, K]`` of the ranked part."""
        return self.observe(self.ranked_rows)

    @property
    def tolerated(self) -> None:
        """No variation of a table is harmless by itself."""
        return

    def observe(self, table: Table) -> Floats:
        """Return the observations ``[n, K]`` of the rows of a table; a missing number is NaN.

        Raises ValueError for a missing column, or one whose kind has changed.
        """
        columns = self.take(table)
        found: list[Array] = []
        for name, column in columns.items():
            if isinstance(self.summaries[name], Numbers):
                found.append(_numbers(name, column))
                continue
            texts = _texts(column)
            known = [texts == category for category in self.categories[name]]
            found += [*known, ~np.any(known, axis=0) if known else np.ones(len(texts), np.bool_)]
        return np.column_stack(found).astype(np.float64)

    def merge(self, other: TableBaseline) -> TableBaseline:
        """Return the baseline of the rows of both."""
        if self.summaries.keys() != other.summaries.keys():
            raise ValueError(
                f"columns are {list(self.summaries)} and {list(other.summaries)}; give both the same"
            )
        merged: dict[str, Numbers | Categories] = {}
        for name, mine in self.summaries.items():
            theirs = other.summaries[name]
            if isinstance(mine, Numbers) and isinstance(theirs, Numbers):
                merged[name] = mine.merge(theirs)
            if isinstance(mine, Categories) and isinstance(theirs, Categories):
                merged[name] = mine.merge(theirs)
            if name not in merged:
                raise ValueError(f"column {name} has numbers on one side and categories on the other")
        fitted, ranked = (
            {name: np.concatenate([rows[name], more[name]]) for name in self.summaries}
            for rows, more in (
                (self.fitted_rows, other.fitted_rows),
                (self.ranked_rows, other.ranked_rows),
            )
        )
        return TableBaseline(merged, fitted, ranked)

    def to_arrays(self) -> dict[str, Array]:
        """Return all arrays by name, for storage."""
        arrays: dict[str, Array] = {"columns": np.array(list(self.summaries), np.str_)}
        for place, (name, summary) in enumerate(self.summaries.items()):
            kind = "numbers" if isinstance(summary, Numbers) else "categories"
            arrays |= {f"{place}.{kind}.{key}": value for key, value in summary.to_arrays().items()}
            for part, rows in (("fitted", self.fitted_rows), ("ranked", self.ranked_rows)):
                arrays[f"{place}.{part}"] = rows[name]
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> TableBaseline:
        """Build a baseline from what ``to_arrays`` gave."""
        summaries: dict[str, Numbers | Categories] = {}
        names = arrays["columns"].tolist()
        for place, name in enumerate(names):
            for kind, summary in (("numbers", Numbers), ("categories", Categories)):
                start = f"{place}.{kind}."
                own = {key.removeprefix(start): a for key, a in arrays.items() if key.startswith(start)}
                if own:
                    summaries[name] = summary.from_arrays(own)
        fitted, ranked = (
            {name: arrays[f"{place}.{part}"] for place, name in enumerate(names)}
            for part in ("fitted", "ranked")
        )
        return cls(summaries, fitted, ranked)

    def _features(self, name: str) -> tuple[str, ...]:
        if name not in self.categories:
            return (name,)
        return tuple(f"{name}={category}" for category in (*self.categories[name], _OTHER))

    def take(self, table: Table) -> dict[str, Array]:
        """Return the columns of a table that the baseline has, in its order."""
        columns = _columns(table)
        missing = [name for name in self.summaries if name not in columns]
        if missing:
            raise ValueError(f"column {missing[0]} is missing; give the columns {', '.join(self.summaries)}")
        return {name: columns[name] for name in self.summaries}


@dataclass(frozen=True)
class ColumnDrift:
    """One column of a window against the baseline.

    ``score`` in [0, 1] is the Kolmogorov-Smirnov distance of numbers or the total variation of categories,
    ``p_value`` that of the Kolmogorov-Smirnov or the chi-squared test; all None where a side is empty.
    ``missing`` is the share of missing values in the window less that in the baseline.
    """

    score: float | None
    p_value: float | None
    psi: float | None
    missing: float | None
    n: int


@dataclass(frozen=True)
class TableDrift:
    """A window of n rows against a baseline.

    ``score`` is the largest of the columns, ``p_value`` the smallest times their number (Bonferroni);
    ``ranking`` has the columns by score, the largest first.
    """

    score: float | None
    p_value: float | None
    n: int
    columns: Mapping[str, ColumnDrift]
    ranking: tuple[str, ...]


def fit_baseline(table: Table, rng: np.random.Generator | None = None) -> TableBaseline:
    """Fit a baseline on the rows of a table: a mapping from names to columns, or a frame.

    Columns of whole or floating numbers are numbers; text, objects and booleans are categories. ``rng`` draws
    the halves that evidence fits and ranks. Raises ValueError for columns of different lengths.
    """
    columns = _columns(table)
    n = len(next(iter(columns.values()), ()))
    summaries: dict[str, Numbers | Categories] = {
        name: Numbers.of(column) if _is_numeric(column) else Categories.of(column)
        for name, column in columns.items()
    }
    order = (rng if rng is not None else np.random.default_rng(0)).permutation(n)
    fitted, ranked = (
        {name: _kept(column[rows], summaries[name]) for name, column in columns.items()}
        for rows in (order[: n // 2][:_MOST], order[n // 2 :][:_MOST])
    )
    return TableBaseline(summaries, fitted, ranked)


def compare(baseline: TableBaseline, table: Table, rng: np.random.Generator | None = None) -> TableDrift:
    """Compare a window of rows with a baseline, column by column; further columns are left out.

    Raises ValueError for a missing column, or one whose kind has changed.

    >>> baseline = fit_baseline({"dose": range(100), "ward": ["a", "b"] * 50})
    >>> drift = compare(baseline, {"dose": range(100, 120), "ward": ["a", "b"] * 10})
    >>> drift.ranking[0], drift.score, drift.columns["ward"].score
    ('dose', 1.0, 0.0)
    """
    columns = baseline.take(table)
    n = len(next(iter(columns.values()), ()))
    found = {name: _column(name, baseline.summaries[name], column, rng) for name, column in columns.items()}
    scores = {name: drift.score for name, drift in found.items() if drift.score is not None}
    chances = [drift.p_value for drift in found.values() if drift.p_value is not None]
    return TableDrift(
        score=max(scores.values(), default=None),
        p_value=min(1.0, min(chances) * len(chances)) if chances else None,
        n=n,
        columns=found,
        ranking=tuple(sorted(scores, key=lambda name: -scores[name])),
    )


def _column(
    name: str, summary: Numbers | Categories, column: Array, rng: np.random.Generator | None
) -> ColumnDrift:
    if isinstance(summary, Numbers):
        values = _numbers(name, column)
        distance = kolmogorov_smirnov(summary, values)
        index = psi(summary, values)
        missing = _missing(len(values) - distance.n, len(values), summary.missing, len(summary))
        return ColumnDrift(distance.score, distance.p_value, index.statistic, missing, distance.n)
    window = Categories.of(column)
    apart = total_variation(summary, window)
    missing = _missing(window.missing, window.missing + window.n, summary.missing, summary.n)
    test = chi_squared(summary, window, rng)
    return ColumnDrift(apart.score, test.p_value, psi(summary, window).statistic, missing, window.n)


def _missing(here: int, of: int, before: int, known: int) -> float | None:
    return here / of - before / (before + known) if of and before + known else None


def _columns(table: Table) -> dict[str, Array]:
    names = table.keys() if isinstance(table, Mapping) else table.columns
    columns = {str(name): np.asarray(table[name]) for name in names}
    sizes = {name: len(column) for name, column in columns.items() if column.ndim == 1}
    if len(sizes) < len(columns) or len(set(sizes.values())) > 1:
        shapes = {name: column.shape for name, column in columns.items()}
        raise ValueError(f"columns have the shapes {shapes}; give one number of rows for all")
    return columns


def _is_numeric(column: Array) -> bool:
    return column.dtype.kind in "iuf"


def _numbers(name: str, column: Array) -> npt.NDArray[np.floating]:
    if not _is_numeric(column):
        try:
            return np.array([np.nan if value is None else value for value in column.tolist()], np.float64)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"column {name} has {column.dtype} values where numbers were; give numbers"
            ) from error
    return column if column.dtype == np.float32 else column.astype(np.float64)


def _texts(column: Array) -> npt.NDArray[np.str_]:
    """Return values as text; missing ones are no category, not even an empty one."""
    if column.dtype.kind in "US":
        return column.astype(np.str_)
    return np.array([_MISSING if is_missing(value) else str(value) for value in column.tolist()], np.str_)


def _kept(rows: Array, summary: Numbers | Categories) -> Array:
    return rows.astype(np.float64) if isinstance(summary, Numbers) else _texts(rows)
