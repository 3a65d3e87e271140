"""What a model answered, beside its baseline and beside the truth."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import altair as alt

from tidegauge.charts import look
from tidegauge.domain.monitor import PREDICTION, Metric, MonitorRun
from tidegauge.domain.series import Series

_MOST_CLASSES = 30  # of a chart; the table has all
_HEIGHT = 180
_BAR = 18  # pixels of a class, both bars
_SQUARE = 260


@dataclass(frozen=True)
class Answers:
    """The answers of some windows together.

    ``told`` and ``baseline`` count answers by class; ``means`` are those of answers that are numbers, now and
    in the baseline. ``confusion`` counts pairs of label and answer.
    """

    windows: int = 0
    told: Mapping[str, int] = field(default_factory=dict)
    baseline: Mapping[str, int] = field(default_factory=dict)
    means: tuple[float, float] | None = None
    labelled: int = 0  # windows with labels
    confusion: Mapping[tuple[str, str], int] = field(default_factory=dict)

    @classmethod
    def of(cls, runs: Iterable[MonitorRun]) -> Answers:
        """Add up the answers of windows, each with its latest result; the last one has the baseline."""
        told: Counter[str] = Counter()
        pairs: Counter[tuple[str, str]] = Counter()
        baseline: Mapping[str, int] = {}
        means: list[tuple[float, int, float]] = []
        windows = labelled = 0
        for run in runs:
            answers, accuracy = run.metric(PREDICTION), run.metric("accuracy")
            if answers is not None and answers.n:
                windows += 1
                told.update(answers.detail.get("window", {}))
                baseline = answers.detail.get("baseline", baseline)
                if answers.detail.get("mean") is not None:
                    means.append((answers.detail["mean"], answers.n, answers.detail["baseline_mean"]))
            if accuracy is not None and "confusion" in accuracy.detail:
                labelled += 1
                pairs.update(_pairs(accuracy))
        count = sum(n for _, n, _ in means)
        now = sum(mean * n for mean, n, _ in means) / count if count else None
        both = None if now is None else (now, means[-1][2])
        return cls(windows, dict(told), dict(baseline), both, labelled, dict(pairs))

    @property
    def classes(self) -> tuple[str, ...]:
        """Every class that was answered now or in the baseline, the most frequent first."""
        counts = Counter(self.baseline) + Counter(self.told)
        return tuple(name for name, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def newest(series: Series, windows: int) -> datetime | None:
    """Return where the newest so many windows begin, or a few more; None where there are not as many."""
    count = 0
    for span in reversed(series.spans):
        count += span.windows
        if count >= windows:
            return span.start
    return None


def _pairs(accuracy: Metric) -> dict[tuple[str, str], int]:
    names = [str(name) for name in accuracy.detail["classes"]]
    return {
        (label, answer): int(count)
        for label, row in zip(names, accuracy.detail["confusion"], strict=True)
        for answer, count in zip(names, row, strict=True)
    }


def predictions(answers: Answers) -> alt.TopLevelMixin:
    """Draw how often each class was answered beside the baseline; of numbers, their means."""
    sides = {"now": look.BLUE, "baseline": look.GREY}
    if answers.means is not None:
        rows = [{"c": "mean", "side": side, "v": v} for side, v in zip(sides, answers.means, strict=True)]
        axis, form, shown = "mean", ".4~g", [alt.Tooltip("v:Q", title="Mean", format=".4~g")]
    else:
        rows = _shares(answers, sides)
        axis, form = "share of the answers", ".0%"
        shown = [alt.Tooltip("v:Q", title="Share", format=".1%"), alt.Tooltip("n:Q", title="Answers")]
    bars = (
        alt.Chart(look.data(rows))
        .mark_bar()
        .encode(
            y=alt.Y("c:N", title=None, sort=None, axis=alt.Axis(labelLimit=180)),
            yOffset=alt.YOffset("side:N", sort=list(sides)),
            x=alt.X("v:Q", title=axis, axis=alt.Axis(format=form)),
            color=alt.Color("side:N", **look.legend(sides)),
            tooltip=[alt.Tooltip("c:N", title="Answer"), alt.Tooltip("side:N", title="When"), *shown],
        )
    )
    classes = len({row["c"] for row in rows})
    return look.dress(bars, max(_HEIGHT, 2 * _BAR * classes))


def _shares(answers: Answers, sides: Iterable[str]) -> list[dict[str, Any]]:
    both = (answers.told, answers.baseline)
    totals = [max(1, sum(counts.values())) for counts in both]
    return [
        {"c": name, "side": side, "v": look.short(counts.get(name, 0) / total), "n": counts.get(name, 0)}
        for name in answers.classes[:_MOST_CLASSES]
        for side, counts, total in zip(sides, both, totals, strict=True)
    ]


def confusion(answers: Answers) -> alt.TopLevelMixin:
    """Draw how often each class was answered for each label; a shade is a share of its label."""
    totals: Counter[str] = Counter()
    for (label, _), count in answers.confusion.items():
        totals[label] += count
    names = sorted({name for pair in answers.confusion for name in pair})[:_MOST_CLASSES]
    rows = [
        {"t": label, "p": answer, "n": count, "v": look.short(count / totals[label]) if count else 0.0}
        for (label, answer), count in answers.confusion.items()
        if label in names and answer in names
    ]
    base = alt.Chart().encode(
        x=alt.X("p:N", title="predicted", sort=names, axis=alt.Axis(labelAngle=0, labelLimit=140)),
        y=alt.Y("t:N", title="label", sort=names, axis=alt.Axis(labelLimit=140)),
        tooltip=[
            alt.Tooltip("t:N", title="Label"),
            alt.Tooltip("p:N", title="Predicted"),
            alt.Tooltip("n:Q", title="Answers"),
            alt.Tooltip("v:Q", title="Share of the label", format=".1%"),
        ],
    )
    shade = alt.Scale(domain=[0, 1], range=["#e8eef2", look.BLUE])
    cells = base.mark_rect().encode(color=alt.Color("v:Q", scale=shade, legend=None))
    ink = alt.when("datum.v > 0.55").then(alt.value("white")).otherwise(alt.value("#15202b"))
    texts = base.mark_text(fontSize=13).encode(text="n:Q", color=ink)
    layers = [cells, texts] if len(names) <= 12 else [cells]
    return look.dress(alt.layer(*layers, data=look.data(rows)), max(_SQUARE, 20 * len(names)))
