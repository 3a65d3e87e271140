"""How the page of a run words why its verdict is what it is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tidegauge.domain.metrics import EXPECTED, MetricType
from tidegauge.domain.monitor import PREDICTION, Metric, Monitor, MonitorRun
from tidegauge.domain.status import Status
from tidegauge.domain.thresholds import Threshold, evaluate
from tidegauge.services.asking import Placed
from tidegauge.ui import words

PARTS = (MetricType.DRIFT, MetricType.PERFORMANCE, MetricType.HEALTH)
_NAMED = 2  # attributes in the sentence of the verdict
_WRONG = 3  # metrics that are past a threshold, named there
_WITHIN = 3  # metrics that a healthy verdict names
_LOOKS = 3.0  # standard deviations from which an image is said to look changed


@dataclass(frozen=True)
class Part:
    """The verdict of one part of the monitor, and what it was judged by."""

    type: MetricType
    status: Status
    judged: tuple[tuple[Metric, Threshold], ...]
    why: str  # it is unknown


@dataclass(frozen=True)
class Estimate:
    """A metric as the scores promise it, and as the labels have it."""

    name: str
    estimated: Metric | None
    realised: Metric | None


@dataclass(frozen=True)
class ClassShare:
    """How often a class was predicted, of all predictions: here, and in the baseline."""

    name: str
    count: int
    share: float
    baseline: float


def verdict(monitor: Monitor, run: MonitorRun) -> tuple[str, str]:
    """Say the verdict with its reasons: the two halves of one sentence."""
    said = _reasons(monitor, run) or _calm(monitor, run)
    name = run.status.value.capitalize()
    return (f"{name}:", f"{'; '.join(said)}.") if said else (f"{name}.", "")


def sentence(text: str) -> str:
    """Begin with a capital letter.

    >>> sentence("sharpness is 7.9 SD")
    'Sharpness is 7.9 SD'
    """
    return text[:1].upper() + text[1:]


def parts(monitor: Monitor, run: MonitorRun) -> list[Part]:
    """Return the parts of the verdict."""
    found = []
    for kind in PARTS:
        own = [metric for metric in run.metrics if metric.type is kind]
        judged = tuple(
            (metric, threshold)
            for metric in own
            if (threshold := monitor.thresholds.get(metric.name)) and threshold.type is kind
        )
        status = run.part(kind)
        why = _unknown(monitor, run, kind, judged) if status is Status.UNKNOWN else ""
        found.append(Part(kind, status, judged, why))
    return found


def properties(attributes: Mapping[str, float], changes: Mapping[str, float]) -> list[str]:
    """Say what is odd about one image, the oddest first; what it looks like where no property stands out."""
    said = words.moved(attributes)
    if not said and changes:
        name, looks = max(changes.items(), key=lambda item: item[1])
        if looks >= _LOOKS:
            said = [f"it looks {name}: {looks:.1f} standard deviations more than the baseline"]
    return said


def farthest(attributes: Mapping[str, float]) -> str:
    """Say which property of an image lies farthest from the baseline, however near that is.

    >>> farthest({"sharpness": -7.93, "contrast": 0.2}), farthest({})
    ('sharpness 7.9 SD below', '')
    """
    if not attributes:
        return ""
    name, shift = max(attributes.items(), key=lambda item: abs(item[1]))
    return f"{words.plain(name)} {abs(shift):.1f} SD {'above' if shift > 0 else 'below'}"


def estimates(run: MonitorRun) -> list[Estimate]:
    """Return estimated and realised performance beside each other, metric by metric."""
    known = {metric.name: metric for metric in run.metrics if metric.type is MetricType.PERFORMANCE}
    pairs = [(name.removeprefix("expected_"), name) for name in known if name in EXPECTED]
    return [Estimate(name, known[expected], known.get(name)) for name, expected in pairs]


def predicted(metric: Metric | None) -> list[ClassShare]:
    """Return the shares of the classes among the predictions; none where answers are numbers."""
    if metric is None or "window" not in metric.detail:
        return []
    here, before = metric.detail["window"], metric.detail["baseline"]
    return [
        ClassShare(str(name), here.get(name, 0), _share(here, name), _share(before, name))
        for name in dict.fromkeys((*before, *here))
    ]


def share_words(below: float | None) -> str:
    """Say how strange an image is among the baseline's own.

    >>> share_words(0.9312), share_words(1.0), share_words(0.0)
    ('stranger than 93% of the baseline', 'stranger than every image of the baseline', \
'as usual as any image of the baseline')
    """
    if below is None:
        return ""
    if below >= 1:
        return "stranger than every image of the baseline"
    if below <= 0:
        return "as usual as any image of the baseline"
    return f"stranger than {share(below)} of the baseline"


def placed(one: Placed) -> str:
    """Say where a value lies in the baseline.

    >>> placed(Placed("age", "93", True, 0.995)), placed(Placed("sex", "x", False, 0.0))
    ('larger than over 99% of the baseline', 'never in the baseline')
    """
    if one.share is None:
        return "cannot be compared"
    if not one.is_number:
        return f"{share(one.share)} of the baseline" if one.share else "never in the baseline"
    if one.share >= 1:
        return "larger than all of the baseline"
    if one.share <= 0:
        return "no larger than any of the baseline"
    return f"larger than {share(one.share)} of the baseline"


def share(value: float) -> str:
    """Word a share so that little is never called nothing, nor most all.

    >>> share(0.5), share(0.004), share(0.996)
    ('50%', 'under 1%', 'over 99%')
    """
    if 0 < value < 0.01:
        return "under 1%"
    return "over 99%" if 0.99 < value < 1 else f"{value:.0%}"


def _reasons(monitor: Monitor, run: MonitorRun) -> list[str]:
    """Name what is wrong, the worst first."""
    said = []
    if run.evidence and run.evidence.alarm:
        since = f", probably since {words.utc(run.evidence.since)}" if run.evidence.since else ""
        said.append(f"the drift alarm is on{since}")
    order = {kind: number for number, kind in enumerate(PARTS)}
    wrong = [m for m in run.metrics if m.status in (Status.CRITICAL, Status.WARNING)]
    wrong.sort(key=lambda metric: (metric.status is not Status.CRITICAL, order[metric.type]))
    said += [_past(monitor, metric) for metric in wrong[:_WRONG]]
    if len(wrong) > _WRONG:
        more = len(wrong) - _WRONG
        said.append(f"{more} more metric{'s are' if more > 1 else ' is'} past a bound")
    if run.drift in (Status.CRITICAL, Status.WARNING) and (image := run.metric("image")):
        said += words.moved(image.detail.get("attributes", {}))[:_NAMED]
    for status in (Status.CRITICAL, Status.WARNING):
        for kind in PARTS:
            names = [segment.name for segment in run.segments if segment.part(kind) is status]
            if names:
                said.append(f"{kind.value} is {status.value} in {', '.join(names)}")
    return said


def _past(monitor: Monitor, metric: Metric) -> str:
    threshold = monitor.thresholds.get(metric.name)
    taken = metric.type is MetricType.HEALTH or "uncounted" in metric.detail
    minimum = 1 if taken else monitor.config.minimum_samples
    if threshold is None or evaluate(metric.value, threshold, metric.n, minimum) is not metric.status:
        return f"{_value(metric)} was {metric.status.value} by the thresholds of then"
    return f"{_value(metric)} is {words.past(metric, threshold)}"


def _value(metric: Metric) -> str:
    """Word a metric with its value, and labels by their number."""
    value = words.number(metric.value)
    if metric.type is MetricType.DRIFT:
        whose = {"image": "the images' score", PREDICTION: "the predictions' score"}
        return f"{whose.get(metric.name, f'the score of {metric.name}')} {value}"
    name = words.plain(metric.name)
    if metric.type is MetricType.PERFORMANCE and "uncounted" not in metric.detail:
        things = "predictions" if metric.name in EXPECTED else "labels"
        return f"{name} {value} of {metric.n:,} {things if metric.n != 1 else things[:-1]}"
    return f"{name} {value}"


def _calm(monitor: Monitor, run: MonitorRun) -> list[str]:
    """Say why there is nothing to worry about, or nothing to say."""
    if run.status is Status.UNKNOWN:
        reasons = [part.why for part in parts(monitor, run) if part.why]
        return reasons[:1]
    said = ["no drift alarm"] if run.evidence else []
    for metric in run.metrics:
        threshold = monitor.thresholds.get(metric.name)
        if metric.status is Status.HEALTHY and threshold:
            said.append(f"{_value(metric)} is within soft {words.number(threshold.soft)}")
    return said[: _WITHIN + 1]


def _unknown(
    monitor: Monitor, run: MonitorRun, kind: MetricType, judged: Iterable[tuple[Metric, Threshold]]
) -> str:
    """Say why a part has no verdict."""
    config = monitor.config
    watched = {
        MetricType.DRIFT: config.drift.enabled,
        MetricType.PERFORMANCE: config.performance.enabled,
        MetricType.HEALTH: config.health.enabled,
    }
    if not watched[kind]:
        return "it is not watched"
    requests = run.metric("requests")
    if requests is not None and not requests.value:
        return "no request came in this window"
    most = max((metric.n for metric, _ in judged), default=None)
    if most is None:
        return "it has no threshold"
    things = "labels" if kind is MetricType.PERFORMANCE else "requests"
    if most == 0:
        return f"no {things} came in this window"
    return f"{most} {things}, and a verdict takes {config.minimum_samples}"


def _share(counts: Mapping[str, int], name: str) -> float:
    total = sum(counts.values())
    return counts.get(name, 0) / total if total else 0.0
