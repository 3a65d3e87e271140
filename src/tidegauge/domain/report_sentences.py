"""The summary of a report in plain sentences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from math import exp, log

from tidegauge.domain.report import (
    Absent,
    EvidenceSummary,
    Firing,
    MetricSummary,
    Revision,
    Shares,
    Span,
    Subject,
)
from tidegauge.domain.status import Status

_POOLED = ("accuracy", "balanced_accuracy", "precision", "recall", "specificity", "f1_score")


def sentences(
    subject: Subject,
    span: Span,
    shares: Sequence[Shares],
    evidence: EvidenceSummary | None,
    metrics: Sequence[MetricSummary],
    absent: Sequence[Absent],
    late: int,
    revisions: Sequence[Revision],
    firings: Sequence[Firing],
) -> tuple[str, ...]:
    """Say what a reader has to know, the most important first."""
    windows = shares[0].windows if shares else 0
    between = f"from {_time(span.start)} to {_time(span.end)}"
    if not windows:
        first = f"Tidegauge looked at no window of {subject.name} {between}: there is nothing to report on."
        return (first, *_absent(absent))
    model = f" (model {subject.model} v{subject.model_version})" if subject.model else ""
    looked = f"Tidegauge looked at {_count(windows, 'window')} of {subject.name}{model} {between}."
    return (
        looked,
        *(_shares(part) for part in shares),
        *_evidence(evidence, subject),
        *_pooled(metrics),
        *_absent(absent),
        *_revised(late, revisions),
        *_told(firings),
    )


def share(value: float) -> str:
    """Word a share so that little is never called nothing, nor most all.

    >>> share(1.0), share(0.99996), share(0.031), share(0.00001), share(0.0)
    ('100%', 'over 99.9%', '3.1%', 'under 0.1%', '0%')
    """
    if value in (0.0, 1.0):
        return f"{value:.0%}"
    if value < 0.001:
        return "under 0.1%"
    return "over 99.9%" if value > 0.999 else f"{value:.1%}"


def moved(feature: str, effect: float) -> str:
    """Say how far a feature lies from the baseline.

    >>> moved("sharpness", -7.93)
    'sharpness, 7.9 standard deviations below the baseline'
    """
    way = "above" if effect > 0 else "below"
    return f"{feature}, {abs(effect):.1f} standard deviations {way} the baseline"


def odds(log_e: float) -> str:
    """Word evidence, which is given by its natural logarithm.

    >>> odds(0.0), odds(6.9077), odds(60.0), odds(-20.0)
    ('1', '1,000', '10^26', '0')
    """
    if log_e > log(1e6):
        return f"10^{log_e / log(10):.0f}"
    value = exp(log_e)
    return f"{value:,.0f}" if value >= 100 or value < 0.001 else f"{value:.3g}"


def _time(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M} UTC"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _shares(part: Shares) -> str:
    name = "Overall" if part.part == "monitor" else part.part.capitalize()
    there = [status for status in Status if part.share(status)]
    if len(there) == 1:
        return f"{name}: {there[0].value} in every window."
    said = [f"{status.value} in {share(part.share(status))}" for status in there]
    return f"{name}: {', '.join(said[:-1])} and {said[-1]} of the windows."


def _evidence(evidence: EvidenceSummary | None, subject: Subject) -> list[str]:
    if evidence is None:
        return ["No evidence of drift was collected in this span."] if subject.config.drift.enabled else []
    bound = f" (an alarm needs {odds(-log(subject.false_alarms))})" if subject.false_alarms else ""
    where = (
        f"was highest, {odds(evidence.highest)}{bound}, at {_time(evidence.highest_at)}, "
        f"led by {moved(evidence.feature, evidence.effect)}"
    )
    if not evidence.alarms:
        return [f"There was no drift alarm. The evidence of drift {where}."]
    said = [
        f"The drift alarm was raised{f' at {_time(alarm.raised_at)}' if alarm.raised_at else ''} and stood "
        f"in {_count(alarm.windows, 'window')}, led by {moved(alarm.feature, alarm.effect)}."
        for alarm in evidence.alarms[:5]
    ]
    if len(evidence.alarms) > 5:
        said.append(f"There were {len(evidence.alarms)} drift alarms in all.")
    return [*said, f"The evidence of drift {where}."]


def _pooled(metrics: Sequence[MetricSummary]) -> list[str]:
    known = {metric.name: metric.pooled for metric in metrics if metric.pooled}
    name = next((name for name in _POOLED if name in known), None)
    pooled = known.get(name) if name else None
    if name is None or pooled is None or pooled.value is None:
        return []
    interval = (
        f"95% interval {pooled.low:.3f} to {pooled.high:.3f}, "
        if pooled.low is not None and pooled.high is not None
        else ""
    )
    said = f"{name.replace('_', ' ')} was {pooled.value:.3f} ({interval}{_count(pooled.n, 'label')})"
    return [f"Over all labels of the span together, {said}."]


def _absent(absent: Sequence[Absent]) -> list[str]:
    if not absent:
        return ["Every window that was due has a result."]
    windows, waiting = sum(row.windows for row in absent), sum(row.waiting for row in absent)
    verbs = ("was", "has") if windows == 1 else ("were", "have")
    rest = f"; {waiting:,} of these still wait for their turn" if waiting else ""
    return [f"{_count(windows, 'window')} that {verbs[0]} due {verbs[1]} no result{rest}."]


def _revised(late: int, revisions: Sequence[Revision]) -> list[str]:
    said = [f"{_count(late, 'event')} came after the window had been looked at."] if late else []
    if not revisions:
        return said
    causes = Counter(revision.cause for revision in revisions)
    changed = sum(revision.before is not revision.after for revision in revisions)
    why = ", ".join(f"{count:,} by {cause}" for cause, count in causes.most_common())
    result = f"{changed:,} of these changed the status" if changed else "none of these changed the status"
    verb = "was" if len(revisions) == 1 else "were"
    return [*said, f"{_count(len(revisions), 'result')} {verb} revised ({why}); {result}."]


def _told(firings: Sequence[Firing]) -> list[str]:
    if not firings:
        return ["No alert fired."]
    told = Counter(firing.event.told.value for firing in firings)
    names = sorted({firing.event.name for firing in firings})
    times = {1: "once", 2: "twice"}
    how = ", ".join(f"{what} {times.get(count, f'{count:,} times')}" for what, count in told.items())
    return [f"{'Alerts' if len(names) > 1 else 'The alert'} {', '.join(names)} {how}."]
