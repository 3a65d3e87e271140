"""Draw the pictures of docs/statistics.md, from synthetic X-rays.

python docs/pictures/draw.py
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tidegauge import threads

threads.use_one()

import altair as alt
import cv2
import numpy as np
import polars as pl
import vl_convert

from tidegauge.phantoms import LABELS, draw
from tidegauge.stats import Evidence, fit_baseline
from tidegauge.stats.images import ImageBaseline
from tidegauge.stats.two_sample import Numbers, kolmogorov_smirnov_columns

HERE = Path(__file__).parent
QUIET, SHIFTED, ALPHA = 300, 24, 0.001
COLOURS = ["#0072b2", "#d55e00", "#009e73", "#555555"]


def phantoms(count: int, rng: np.random.Generator) -> np.ndarray:
    return np.stack([draw(LABELS[i % 2], rng, size=128) for i in range(count)])[..., np.newaxis]


def save(chart: alt.TopLevelMixin, name: str) -> None:
    (HERE / f"{name}.svg").write_text(vl_convert.vegalite_to_svg(chart.to_json()))


def evidence(baseline: ImageBaseline, rng: np.random.Generator) -> alt.TopLevelMixin:
    """Evidence over a quiet time and then over three shifts."""
    shifts = {
        "3x3 blur": lambda image: cv2.blur(image, (3, 3)),
        "mirrored": lambda image: image[:, ::-1],
        "brightness +10%": lambda image: np.clip(np.rint(image * 1.1), 0, 255).astype(np.uint8),
        "nothing": lambda image: image,
    }
    quiet = baseline.observe(phantoms(QUIET, rng))
    later = phantoms(SHIFTED, rng)
    rows = []
    for name, shift in shifts.items():
        monitor = Evidence(baseline, ALPHA, rng=np.random.default_rng(1))
        changed = np.stack([shift(image[:, :, 0]) for image in later])[..., np.newaxis]
        for i, row in enumerate(np.concatenate([quiet, baseline.observe(changed)])):
            step = monitor.update(row[np.newaxis])
            if i >= QUIET - 40:
                rows.append({"image": i + 1 - QUIET, "shift": name, "e": max(step.log_e / np.log(10), -2)})
    lines = (
        alt.Chart(pl.DataFrame(rows))
        .mark_line(strokeWidth=2)
        .encode(
            x=alt.X("image:Q", title="images since the change"),
            y=alt.Y("e:Q", title="evidence, powers of ten", scale=alt.Scale(domain=[-2, 10], clamp=True)),
            color=alt.Color("shift:N", scale=alt.Scale(range=COLOURS), sort=list(shifts)),
        )
    )
    limit = pl.DataFrame({"e": [-np.log10(ALPHA)], "text": ["alarm: 1 / alpha"]})
    rule = alt.Chart(limit).mark_rule(strokeDash=[6, 4]).encode(y="e:Q")
    text = alt.Chart(limit).mark_text(align="left", dy=-7, x=5).encode(y="e:Q", text="text:N")
    return (lines + rule + text).properties(width=560, height=260)


def false_alarms(baseline: ImageBaseline, rng: np.random.Generator) -> alt.TopLevelMixin:
    """False alarms pile up where every window is a test of its own."""
    pool = baseline.observe(phantoms(600, rng))
    both = np.concatenate([baseline.ranked, pool])
    # Baseline and traffic come from one pool, so that truly nothing drifts.
    ranked = both[rng.integers(0, len(both), len(baseline.ranked))]
    monitor = Evidence(replace(baseline, ranked=ranked, tolerated=None), ALPHA, rng=rng)
    columns = [Numbers.of(column) for column in ranked.T]
    tests, rows = 0, []
    for run in range(288):
        window = both[rng.integers(0, len(both), 12)]
        tests += min(f.p_value for f in kolmogorov_smirnov_columns(columns, window)) < 0.05 / len(columns)
        alarms = int(monitor.update(window).alarm)
        rows.append({"hours": run / 12, "method": "a test at 5% every five minutes", "alarms": tests})
        rows.append({"hours": run / 12, "method": "evidence, alpha 0.001", "alarms": alarms})
    return (
        alt.Chart(pl.DataFrame(rows))
        .mark_line(strokeWidth=2, interpolate="step-after")
        .encode(
            x=alt.X("hours:Q", title="hours of one day in which nothing drifts"),
            y=alt.Y("alarms:Q", title="false alarms so far"),
            color=alt.Color("method:N", scale=alt.Scale(range=COLOURS[1::-1])),
            strokeDash="method:N",
        )
        .properties(width=560, height=200)
    )


def main() -> None:
    cv2.setNumThreads(1)
    rng = np.random.default_rng(0)
    baseline = fit_baseline(phantoms(1000, rng))
    save(evidence(baseline, rng), "evidence")
    save(false_alarms(baseline, rng), "false_alarms")


if __name__ == "__main__":
    main()
