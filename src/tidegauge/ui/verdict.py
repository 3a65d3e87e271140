"""What stands first on a monitor's page: what is wrong, since when, how sure, and whether it harms."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from tidegauge.domain.metrics import EXPECTED, MetricType
from tidegauge.domain.monitor import (
    PREDICTION,
    Metric,
    Monitor,
    MonitorRun,
    MonitorState,
    by_labels,
    farthest,
    with_late,
)
from tidegauge.domain.series import Series, Span
from tidegauge.domain.status import Status, worst
from tidegauge.domain.thresholds import Threshold
from tidegauge.ui import words

_WRONG = (Status.WARNING, Status.CRITICAL)
_NAMED = 3  # findings of a part in the first sentence


@dataclass(frozen=True)
class Card:
    """One of four answers side by side: what is asked, how it stands, the number, and what it means."""

    title: str
    question: str
    status: Status
    value: str
    text: str


@dataclass(frozen=True)
class Verdict:
    """The first sentence, what it rests on, and the four answers."""

    status: Status
    headline: str
    sentences: tuple[str, ...]
    cards: tuple[Card, ...]


def verdict(
    monitor: Monitor, run: MonitorRun, seen: MonitorRun, since: datetime | None, recent: Series
) -> Verdict:
    """Say how a monitor stands after its newest window, which has the status that it has ``since``.

    ``seen`` is the newest window that had inputs to look at.
    """
    headline, sentences = _headline(monitor, run, since), tuple(_sentences(monitor, run, seen, recent))
    late = _late(monitor, run)
    status = with_late(run.status, late)
    if status is not run.status and monitor.realised_at:
        until = _clock(monitor.realised_at, run.end)
        sentences = (f"Otherwise {headline[0].lower()}{headline[1:]}", *sentences)
        headline = f"{late.value.capitalize()} by the newest labels, until {until}: performance."
    return Verdict(
        status,
        headline,
        sentences,
        (
            _drift(run),
            _estimated(monitor, run),
            _realised(monitor, run, recent),
            _health(run),
        ),
    )


def with_inputs(series: Series) -> Span | None:
    """Return the last span with a score of inputs; None without one."""
    inputs = set(series.metrics(MetricType.DRIFT)) - {PREDICTION}
    return next((span for span in reversed(series.spans) if inputs & span.points.keys()), None)


def turned(series: Series, status: Status) -> Span | None:
    """Return the last span of another status, in or after which the status of now began; None without one."""
    return next((span for span in reversed(series.spans) if span.status is not status), None)


def begun(series: Series, status: Status) -> datetime | None:
    """Return where the windows at the end that have a status begin; None where the last has another."""
    found: datetime | None = None
    for span in reversed(series.spans):
        if span.status is not status:
            break
        found = span.start
    return found


def _headline(monitor: Monitor, run: MonitorRun, since: datetime | None) -> str:
    time = f" since {_clock(since, run.end)}" if since else ""
    start = f"{run.status.value.capitalize()}{time}"
    wrong = [(part, status) for part, status in _parts(run) if status in _WRONG]
    found = [text for part, status in wrong if status is run.status for text in _findings(monitor, run, part)]
    if found:
        more = f", and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
        return f"{start}: {'; '.join(found[:_NAMED])}{more}."
    if run.status is Status.HEALTHY:
        return f"{start}: no drift alarm, and nothing past its thresholds."
    if run.status is Status.UNKNOWN and _is_silent(run):
        return f"{start}: no requests."
    if run.status is Status.UNKNOWN:
        return f"{start}: too few samples, or no thresholds to judge by."
    return f"{start}: {', '.join(part.value for part, _ in wrong)}."


def _late(monitor: Monitor, run: MonitorRun) -> Status:
    """Return how performance stands by the newest labels, where the newest window has none yet."""
    if run.realised() is not None:
        return Status.UNKNOWN
    return by_labels(monitor.realised, monitor.realised_at, run.end)


def _clock(time: datetime, now: datetime) -> str:
    """Leave the date out where it is that of the newest window."""
    text = words.utc(time)
    return text.partition(" ")[2] if now - time < timedelta(hours=12) and time.date() == now.date() else text


def _parts(run: MonitorRun) -> tuple[tuple[MetricType, Status], ...]:
    return (
        (MetricType.DRIFT, run.drift),
        (MetricType.PERFORMANCE, run.performance),
        (MetricType.HEALTH, run.health),
    )


def _findings(monitor: Monitor, run: MonitorRun, part: MetricType) -> list[str]:
    """Say what is wrong with a part: its alarm, what is past its thresholds, and segments that stand out."""
    what = _inputs(monitor)
    found = []
    alarmed = run.evidence is not None and run.evidence.alarm
    if part is MetricType.DRIFT and alarmed:
        found.append(f"the {what} have drifted")
    for metric in run.metrics:
        if metric.type is part and metric.status is run.part(part) and metric.status in _WRONG:
            threshold = monitor.thresholds.get(metric.name)
            is_told = part is MetricType.DRIFT and alarmed and metric.name != PREDICTION
            if threshold and not is_told:
                found.append(past(metric, threshold))
    for segment in run.segments:
        if segment.part(part) is not run.part(part) or (found and segment.part(part) is Status.WARNING):
            continue
        if part is MetricType.DRIFT and segment.evidence and segment.evidence.alarm:
            found.append(f"the {what} of {segment.name} have drifted")
        else:
            found.append(f"{part.value} of {segment.name} is {segment.part(part).value}")
    return found


def past(metric: Metric, threshold: Threshold) -> str:
    """Say of a metric which of its thresholds it is past.

    >>> bound = Threshold("accuracy", MetricType.PERFORMANCE, 0.85, 0.8)
    >>> past(Metric("accuracy", MetricType.PERFORMANCE, 0.75, 12, Status.CRITICAL, 0.47, 0.91), bound)
    'accuracy is 0.75 (0.47 to 0.91), below its hard threshold 0.8'
    """
    score = "the score of " if metric.type is MetricType.DRIFT else ""
    return f"{score}{words.plain(metric.name)} is {words.metric(metric)}, {words.past(metric, threshold)}"


def _sentences(monitor: Monitor, run: MonitorRun, seen: MonitorRun, recent: Series) -> Iterable[str]:
    if _is_silent(run):
        yield _silence(recent)
    evidence = words.evidence(run.evidence, words.alpha_of(monitor))
    if evidence:
        yield evidence
    if seen.drift not in _WRONG:
        return
    where = "In the last window" if seen is run else f"In the window of {words.utc(seen.start)}"
    image = seen.metric("image")
    moved = words.moved(image.detail.get("attributes", {})) if image else []
    if moved:
        yield f"{where} {_joined(moved[:3])}."
    columns = words.features(seen.metrics)
    if columns:
        metric, text = columns[0]
        yield f"{where} {metric.name} is farthest{f': {text}' if text else ''}."


def _is_silent(run: MonitorRun) -> bool:
    requests = run.metric("requests")
    return requests is not None and requests.value == 0


def _silence(recent: Series) -> str:
    """Say since when no request has come; several windows are one span, whose end is near enough."""
    for span in reversed(recent.spans):
        if "requests" in span.points and span.points["requests"].most > 0:
            return f"No request since about {words.utc(span.end)}: traffic has stopped, or its log has."
    return "No request in the last 30 days: the deployment is not used, or its log does not come here."


def _joined(texts: list[str]) -> str:
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} and {texts[-1]}"


def _inputs(monitor: Monitor) -> str:
    return "images" if monitor.config.input_data_type == "image" else "inputs"


def _drift(run: MonitorRun) -> Card:
    found = farthest(run.metrics)
    value = words.number(found.value) if found else "-"
    name = f"score of {words.plain(found.name)}" if found else "no score in this window"
    if run.evidence is None:
        text = name
    elif run.evidence.alarm:
        text = f"{name}; drift alarm"
    else:
        text = f"{name}; no drift alarm"
    alarms = [segment.name for segment in run.segments if segment.evidence and segment.evidence.alarm]
    if alarms:
        text += f"; alarm in {', '.join(alarms)}"
    return Card("Drift", "Has it changed?", run.drift, value, text)


def _estimated(monitor: Monitor, run: MonitorRun) -> Card:
    own = [metric for metric in run.metrics if metric.name in EXPECTED]
    status = worst(metric.status for metric in own if metric.name in monitor.thresholds)
    main = next((metric for metric in own if metric.name == "expected_accuracy"), next(iter(own), None))
    title, question = "Estimated performance", "Is it harmful, before labels?"
    if main is None or main.value is None:
        return Card(title, question, status, "-", "no estimate in this window")
    unsafe = main.detail.get("unsafe")
    text = f"{words.plain(main.name)} {_interval(main)}".strip() + (f"; unsafe: {unsafe}" if unsafe else "")
    return Card(title, question, status, words.number(main.value), text)


def _realised(monitor: Monitor, run: MonitorRun, recent: Series) -> Card:
    status = run.realised() or Status.UNKNOWN
    title, question = "Realised performance", "Is it harmful, by labels?"
    known = [run.metric(name) for name in ("accuracy", "mae")]
    main = next((metric for metric in known if metric is not None and metric.value is not None), None)
    if main is not None:
        text = f"{words.plain(main.name)} {_interval(main)}, {main.n} labels"
        return Card(title, question, status, words.number(main.value), text)
    for span in reversed(recent.spans):
        for name in ("accuracy", "mae"):
            if name in span.points:
                text = f"{words.plain(name)} until {words.utc(span.end)}; no labels since"
                return Card(title, question, _late(monitor, run), words.number(span.points[name].value), text)
    if not monitor.config.performance.enabled:
        return Card(title, question, status, "-", "not watched")
    return Card(title, question, status, "-", "no labels yet")


def _interval(metric: Metric) -> str:
    if metric.low is None or metric.high is None:
        return ""
    return f"({words.number(metric.low)} to {words.number(metric.high)})"


def _health(run: MonitorRun) -> Card:
    requests, failed, p95 = (run.metric(name) for name in ("requests", "5xx_requests", "latency_p95"))
    value = words.number(requests.value) if requests else "-"
    text = "requests"
    if failed and failed.value:
        text += f", {words.number(failed.value)} failed"
    if p95 and p95.value is not None:
        text += f", p95 {words.number(p95.value)} ms"
    return Card("Health", "Does it answer?", run.health, value, text)


def waiting(monitor: Monitor, run: MonitorRun | None, now: datetime) -> str:
    """Say why nothing new may come: the monitor is not active, or its newest window is long ago."""
    if monitor.state is MonitorState.ACTIVE:
        frequency = timedelta(minutes=monitor.config.frequency_minutes)
        if run is not None and now - run.end > 3 * frequency + timedelta(minutes=5):
            return f"The newest window ended {_ago(now - run.end)} ago; later ones were not looked at yet."
        return ""
    told = {
        MonitorState.INIT: "Its configuration is not complete",
        MonitorState.BASELINING: "Its baseline is being made",
        MonitorState.PENDING: "Its schema is not complete",
        MonitorState.READY: "It is ready, but not started: no window is looked at",
        MonitorState.ERROR: "Something went wrong",
    }
    said = f"{told[monitor.state]}{f': {monitor.progress}' if monitor.progress else ''}."
    return f"{said} {monitor.message}".strip()


def _ago(length: timedelta) -> str:
    """Word a length of time.

    >>> _ago(timedelta(minutes=40)), _ago(timedelta(hours=5)), _ago(timedelta(days=3))
    ('40 minutes', '5 hours', '3 days')
    """
    minutes = round(length.total_seconds() / 60)
    if minutes < 100:
        return f"{minutes} minutes"
    return f"{round(minutes / 60)} hours" if minutes < 48 * 60 else f"{round(minutes / 1440)} days"
