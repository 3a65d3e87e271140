"""Small pictures within lines of text: days by status, and alerts over time, as paths of an SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from tidegauge.domain.status import ORDER, Status
from tidegauge.services.history import Day

WIDTH, HEIGHT = 4, 24  # of a day
_GAP = 1
_SEEN = 3.0  # high at least
_SEVERITIES = ("critical", "warning", "info")


@dataclass(frozen=True)
class Spark:
    """``paths`` are the bars by status or severity, in a picture of ``width`` times ``height``.

    ``words`` say the same to those who do not see it.
    """

    paths: Mapping[str, str]
    width: int
    height: int
    words: str


def of_days(days: Sequence[Day]) -> Spark:
    """Draw the share of windows by status of each day, the worst at the bottom."""
    paths: dict[str, list[str]] = {status.value: [] for status in reversed(ORDER)}
    for place, day in enumerate(days):
        below = float(HEIGHT)
        for status in reversed(ORDER):
            share = day.share(status)
            if share:
                # A single bad window of a day is still to be seen.
                tall = (
                    max(3.0, share * HEIGHT)
                    if status in (Status.CRITICAL, Status.WARNING)
                    else share * HEIGHT
                )
                tall = min(tall, below)
                paths[status.value].append(_bar(place, below, tall))
                below -= tall
    counts = {status: sum(day.status is status for day in days) for status in reversed(ORDER)}
    said = ", ".join(f"{count} {status.value}" for status, count in counts.items() if count)
    return Spark(_joined(paths), len(days) * WIDTH, HEIGHT, f"Last {len(days)} days: {said or 'no windows'}.")


def of_alerts(fired: Mapping[date, Mapping[str, int]]) -> Spark:
    """Draw how many alerts fired on each day, by severity, the gravest at the bottom."""
    most = max((sum(counts.values()) for counts in fired.values()), default=0)
    paths: dict[str, list[str]] = {severity: [] for severity in _SEVERITIES}
    for place, counts in enumerate(fired.values()):
        below = float(HEIGHT)
        for severity in _SEVERITIES:
            if counts.get(severity):
                tall = counts[severity] / most * HEIGHT
                paths[severity].append(_bar(place, below, tall))
                below -= tall
    total = sum(sum(counts.values()) for counts in fired.values())
    return Spark(_joined(paths), len(fired) * WIDTH, HEIGHT, f"{total} alerts in {len(fired)} days.")


def _bar(place: int, bottom: float, tall: float) -> str:
    wide = WIDTH - _GAP
    return f"M{place * WIDTH} {bottom:.3g}v-{tall:.3g}h{wide}v{tall:.3g}z"


def _joined(paths: Mapping[str, list[str]]) -> dict[str, str]:
    return {name: "".join(bars) for name, bars in paths.items() if bars}
