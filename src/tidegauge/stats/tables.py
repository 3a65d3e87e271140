"""Drift of tables: column by column, numbers and categories."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from numbers import Real
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from tidegauge.stats.two_sample.categories import Categories, is_missing
from tidegauge.stats.two_sample.chi_squared import chi_squared
from tidegauge.stats.two_sample.kolmogorov_smirnov import kolmogorov_smirnov
from tidegauge.stats.two_sample.numbers import Numbers
from tidegauge.stats.two_sample.psi import psi
from tidegauge.stats.two_sample.result import TwoSample
from tidegauge.stats.two_sample.total_variation import total_variation

Floats = npt.NDArray[np.float64]
Array = npt.NDArray[Any]

_COMMON = 8  # categories of a column that are features of their own
_MOST = 4096  # rows of either part, so that a huge baseline stays small
_OTHER = "(other)"
_NOTHING = ("NoneType", "NAType", "NaTType")  # types of what is missing, here and in pandas
_MISSING = "\0missing"  # among texts; a lone "\0" numpy would take for an empty one


class Frame(Protocol):
    """A polars or pandas frame."""

    @property
    def columns(self) -> Any:
        """Names of the columns."""

    def __getitem__(self, name: str, /) -> Any: ...


Table = Mapping[str, npt.ArrayLike] | Frame
#: A statistic of two summaries, whose score lies in [0, 1].
Distance = Callable[[Any, Any], TwoSample]


@dataclass(frozen=True, eq=False)
class TableBaseline:
    """What the rows of a training table look like.

    ``summaries`` have all rows, column by column. Of two disjoint random parts, ``fitted_rows`` and
    ``ranked_rows``, at most 4,096 rows each are kept, for evidence: features are named after the first, the
    second is ranked. ``fitted_keys`` and ``ranked_keys`` were drawn for all rows, uniform on [0, 1); those
    with the lowest are kept, so that of two baselines together they are a random sample as well.
    """

    summaries: Mapping[str, Numbers | Categories]
    fitted_rows: Mapping[str, Array]
    ranked_rows: Mapping[str, Array]
    fitted_keys: Floats
    ranked_keys: Floats

    @cached_property
    def categories(self) -> Mapping[str, tuple[str, ...]]:
        """The commonest categories, at most 8, of the fitted part of each categorical column."""
        found = {}
        for name, summary in self.summaries.items():
            if isinstance(summary, Categories):
                texts = self.fitted_rows[name]
                counts = Categories.of(texts[texts != _MISSING]).counts
                by_name = sorted(counts)  # of equally common ones the first by name
                found[name] = tuple(sorted(by_name, key=counts.__getitem__, reverse=True)[:_COMMON])
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
        return self._observe(self.fitted_rows)

    @property
    def ranked(self) -> Floats:
        """Observations ``[m, K]`` of the ranked part."""
        return self._observe(self.ranked_rows)

    @property
    def tolerated(self) -> None:
        """No variation of a table is harmless by itself."""
        return

    def observe(self, table: Table) -> Floats:
        """Return the observations ``[n, K]`` of the rows of a table; a missing number is NaN.

        Raises ValueError for a missing column, or one whose kind has changed.
        """
        return self._observe(self.take(table))

    def _observe(self, columns: Mapping[str, Array]) -> Floats:
        found: list[Array] = []
        for name, column in columns.items():
            if isinstance(self.summaries[name], Numbers):
                found.append(column)
                continue
            texts = _texts(column)
            known = [texts == category for category in self.categories[name]]
            found += [*known, ~np.any(known, axis=0) if known else np.ones(len(texts), np.bool_)]
        return np.column_stack(found).astype(np.float64)

    def rows(self) -> dict[str, Array]:
        """Return the rows that are kept, by column: a random sample; missing numbers are NaN, texts None."""
        return {
            name: _shown(np.concatenate([self.fitted_rows[name], self.ranked_rows[name]]))
            for name in self.summaries
        }

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
                raise ValueError(
                    f"column {name} has numbers on one side and categories on the other; give both one kind"
                )
        fitted, fitted_keys = _lowest(
            self.fitted_rows, self.fitted_keys, other.fitted_rows, other.fitted_keys
        )
        ranked, ranked_keys = _lowest(
            self.ranked_rows, self.ranked_keys, other.ranked_rows, other.ranked_keys
        )
        return TableBaseline(merged, fitted, ranked, fitted_keys, ranked_keys)

    def to_arrays(self) -> dict[str, Array]:
        """Return all arrays by name, for storage."""
        arrays: dict[str, Array] = {
            "columns": np.array(list(self.summaries), np.str_),
            "fitted_keys": self.fitted_keys,
            "ranked_keys": self.ranked_keys,
        }
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
        return cls(summaries, fitted, ranked, arrays["fitted_keys"], arrays["ranked_keys"])

    def _features(self, name: str) -> tuple[str, ...]:
        if name not in self.categories:
            return (name,)
        return tuple(f"{name}={category}" for category in (*self.categories[name], _OTHER))

    def take(self, table: Table) -> dict[str, Array]:
        """Return the columns of a table that the baseline has, in its order and of its kinds."""
        columns = _columns(table, self.summaries)
        for name in self.summaries:
            if name not in columns:
                raise ValueError(f"column {name} is missing; give the columns {', '.join(self.summaries)}")
        return {name: _of_kind(name, columns[name], summary) for name, summary in self.summaries.items()}


@dataclass(frozen=True)
class ColumnDrift:
    """One column of a window against the baseline.

    ``distance`` in [0, 1] is Kolmogorov-Smirnov's of numbers or the total variation of categories, unless
    others were asked for; ``p_value`` that of the Kolmogorov-Smirnov or the chi-squared test; they and
    ``psi`` compare the ``n`` values that are not missing and are None where a side has none. ``missing`` is
    the share of missing values in the window less that in the baseline. ``score`` is the larger of the
    distance and of the size of ``missing``: a column that goes missing has moved.
    """

    distance: float | None
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

    Columns of numbers are continuous, also as objects with None for what is missing; text, booleans and
    mixtures are categories, by their text. None and NaN are missing. ``rng`` draws the halves that evidence
    fits and ranks. Raises ValueError for no columns, columns of different lengths, and dates.

    >>> fit_baseline({"dose": [1.5, None, 2.0], "ward": ["a", None, "a"]}).features
    ('dose', 'ward=a', 'ward=(other)')
    """
    columns = _columns(table)
    if not columns:
        raise ValueError("the table has no columns; give one or more")
    # Parts first: what chance needs is given back before the summaries take their place.
    parts = _split(columns, rng if rng is not None else np.random.default_rng(0))
    summaries: dict[str, Numbers | Categories] = {
        name: Numbers.of(column) if _is_numeric(column) else Categories.of(column)
        for name, column in columns.items()
    }
    return TableBaseline(summaries, *parts)


def compare(
    baseline: TableBaseline,
    table: Table,
    rng: np.random.Generator | None = None,
    *,
    numbers: Distance = kolmogorov_smirnov,
    categories: Distance = total_variation,
) -> TableDrift:
    """Compare a window of rows with a baseline, column by column; further columns are left out.

    ``numbers`` and ``categories`` are the statistics whose score is the distance of a column. Raises
    ValueError for a missing column, or one whose kind has changed.

    >>> baseline = fit_baseline({"dose": range(100), "ward": ["a", "b"] * 50})
    >>> drift = compare(baseline, {"dose": range(100, 120), "ward": ["a", "b"] * 10})
    >>> drift.ranking[0], drift.score, drift.columns["ward"].score
    ('dose', 1.0, 0.0)
    """
    columns = baseline.take(table)
    n = len(next(iter(columns.values()), ()))
    found = {
        name: _column(baseline.summaries[name], column, rng, numbers, categories)
        for name, column in columns.items()
    }
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
    summary: Numbers | Categories,
    column: Array,
    rng: np.random.Generator | None,
    numbers: Distance,
    categories: Distance,
) -> ColumnDrift:
    test: TwoSample
    if isinstance(summary, Numbers):
        test = kolmogorov_smirnov(summary, column)
        apart = test if numbers is kolmogorov_smirnov else numbers(summary, Numbers.of(column))
        index, known = psi(summary, column), len(summary)
    else:
        window = Categories.of(column)
        apart, test = categories(summary, window), chi_squared(summary, window, rng)
        index, known = psi(summary, window), summary.n
    missing = _missing(len(column) - test.n, len(column), summary.missing, known)
    score = None if missing is None else max(apart.score or 0.0, abs(missing))
    return ColumnDrift(apart.score, score, test.p_value, index.statistic, missing, test.n)


def _missing(here: int, of: int, before: int, known: int) -> float | None:
    return here / of - before / (before + known) if of and before + known else None


def _columns(table: Table, wanted: Mapping[str, Any] | None = None) -> dict[str, Array]:
    given = table.keys() if isinstance(table, Mapping) else table.columns
    names = [name for name in given if wanted is None or str(name) in wanted]
    columns = {str(name): _read(str(name), table[name]) for name in names}
    sizes = {name: len(column) for name, column in columns.items()}
    if len(set(sizes.values())) > 1:
        raise ValueError(f"columns have {sizes} values; give one number of rows for all")
    return columns


def _read(name: str, values: Any) -> Array:
    """Return a column as numbers, or as text, booleans or objects, of which None and NaN are missing."""
    # Of a list, numpy would make text of a NaN beside text.
    column = np.asarray(values, object) if isinstance(values, Sequence) else np.asarray(values)
    if column.ndim != 1:
        raise ValueError(f"column {name} has the shape {column.shape}; give one value for each of the rows")
    if column.dtype.kind not in "iufbUSOT":
        raise ValueError(f"column {name} has {column.dtype} values; give numbers, text or booleans")
    if column.dtype.kind not in "OT":
        return column
    column = column.astype(object, copy=False)
    types = {kind for kind in set(map(type, column)) if kind.__name__ not in _NOTHING}
    if types and bool not in types and all(issubclass(kind, Real | Decimal) for kind in types):
        return np.array([np.nan if _is_nothing(value) else float(value) for value in column], np.float64)
    known = column.copy()
    known[np.fromiter(map(_is_nothing, column), np.bool_, len(column))] = None
    return known


def _is_nothing(value: object) -> bool:
    return is_missing(value) or type(value).__name__ in _NOTHING


def _is_numeric(column: Array) -> bool:
    return column.dtype.kind in "iuf"


def _of_kind(name: str, column: Array, summary: Numbers | Categories) -> Array:
    """Return a column as the baseline has it; one without any value has no kind of its own."""
    if isinstance(summary, Numbers):
        if _is_numeric(column):
            return column if column.dtype == np.float32 else column.astype(np.float64, copy=False)
        if all(value is None for value in column):
            return np.full(len(column), np.nan)
        raise ValueError(f"column {name} has text or booleans where the baseline has numbers; give numbers")
    if not _is_numeric(column):
        return column
    if np.isnan(column).all():
        return np.full(len(column), None, object)
    raise ValueError(f"column {name} has numbers where the baseline has categories; give text")


def _lowest(
    rows: Mapping[str, Array], keys: Floats, more: Mapping[str, Array], others: Floats
) -> tuple[dict[str, Array], Floats]:
    """Return the rows of two samples with the lowest keys, and the keys."""
    both = np.concatenate([keys, others])
    kept = np.argsort(both, kind="stable")[:_MOST]
    return {name: np.concatenate([rows[name], more[name]])[kept] for name in rows}, both[kept]


def _texts(column: Array) -> npt.NDArray[np.str_]:
    """Return values as text; missing ones are no category, not even an empty one."""
    if column.dtype.kind == "S":
        return np.char.decode(column)
    if column.dtype.kind == "U":
        return column
    return np.array([_MISSING if is_missing(value) else str(value) for value in column.tolist()], np.str_)


def _split(
    columns: Mapping[str, Array], rng: np.random.Generator
) -> tuple[dict[str, Array], dict[str, Array], Floats, Floats]:
    """Return rows of the fitted and of the ranked part, and the keys of both."""
    n = len(next(iter(columns.values())))
    order = rng.permutation(n)
    halves = order[: n // 2], order[n // 2 :]
    fitted, ranked = (
        {name: _kept(column[rows[:_MOST]]) for name, column in columns.items()} for rows in halves
    )
    # In this random order any keys will do, such as ascending ones.
    fitted_keys, ranked_keys = (np.sort(rng.random(len(rows)))[:_MOST].copy() for rows in halves)
    return fitted, ranked, fitted_keys, ranked_keys


def _shown(rows: Array) -> Array:
    if _is_numeric(rows):
        return rows
    texts = rows.astype(object)
    texts[rows == _MISSING] = None
    return texts


def _kept(rows: Array) -> Array:
    return rows.astype(np.float64) if _is_numeric(rows) else _texts(rows)
