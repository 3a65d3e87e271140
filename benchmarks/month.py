"""Thirty days at a window every five minutes, on real X-rays, in simulated time.

    python benchmarks/month.py [--quick] [--data ../shared/data]

Baseline and quiet days are drawn from one pool, `chest-xray/train`; from day 21 on the traffic is that of
another hospital (`nih`). Events go through the collector and the log, labels come a day late as files. There
are two alerts: the drift alarm, and accuracy surely below 0.85. A day after the alarm it is acknowledged and
the new traffic accepted as the baseline. One process has the traffic and the collector, as `tidegauge up`
does, and two are workers, as `tidegauge worker` is: they read the log, make windows due, and look at them.
"""

from __future__ import annotations

import multiprocessing
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from tidegauge import threads

threads.use_one()
sys.path.append(str(Path(__file__).parents[1] / "tests"))

import numpy as np
import numpy.typing as npt

from _shared import Claim, report
from _xrays import PixelModel, Xrays, arguments, read
from simulated import OWNER, START, Site, be_a_worker
from tidegauge.domain.alert import AlertEvent, AlertRule, Condition, Operator, Severity, Subject
from tidegauge.domain.metrics import MetricType
from tidegauge.domain.monitor import Monitor, MonitorRun
from tidegauge.domain.status import Status

STEP = timedelta(minutes=5)
DAY = timedelta(days=1)
CLASSES = ("NORMAL", "PNEUMONIA")
REFERENCES = 1000
AHEAD = 20  # windows that traffic may be ahead of the workers
WORKERS = 2


@dataclass(frozen=True)
class Plan:
    """Days in all, and the first of the other hospital's; ``seconds`` they may take."""

    days: int
    drift_day: int
    seconds: float


@dataclass
class Month:
    """The simulation as it goes: who is asked, and what was told."""

    site: Site
    monitor: Monitor
    model: PixelModel
    rng: np.random.Generator
    labels: dict[int, list[str]] = field(default_factory=dict)

    def window(self, start: datetime, pool: Xrays, scores: npt.NDArray[np.float32]) -> None:
        """Send the traffic of one window: 10 to 15 images, at times within it."""
        n = int(self.rng.integers(10, 16))
        rows = self.rng.integers(0, len(pool.images), n)
        seconds = np.sort(self.rng.uniform(0, STEP.total_seconds(), n))
        times = [start + timedelta(seconds=float(s)) for s in seconds]
        self.site.clock.now = start + STEP
        self.site.send(pool.images[rows], scores[rows], times)
        day = (start - START).days
        chosen = scores[rows].argmax(axis=1)
        self.labels.setdefault(day, []).extend(
            f"{moment.isoformat()},{CLASSES[choice]},{pool.labels[row]}"
            for moment, choice, row in zip(times, chosen, rows, strict=True)
        )

    def drop_labels(self, day: int) -> None:
        """The experts' file of a day, a day late."""
        lines = ["timestamp,output,label", *self.labels.pop(day, [])]
        self.site.services.deployments.put_labels(
            self.site.deployment, f"day-{day:02d}.csv", "\n".join(lines).encode()
        )

    def fresh(self) -> Monitor:
        return self.site.services.monitors.get(OWNER, self.monitor.id)

    def runs(self) -> tuple[MonitorRun, ...]:
        return self.site.services.monitors.runs(self.fresh(), None, None)

    def told(self) -> list[AlertEvent]:
        return list(self.site.services.database.alert_events.where(monitor_id=self.monitor.id))


def scores_of(model: PixelModel, xrays: Xrays) -> npt.NDArray[np.float32]:
    odds = model(xrays.images)[:, 0]
    sick = 1 / (1 + np.exp(-odds))
    return np.column_stack([1 - sick, sick]).astype(np.float32)


def main() -> int:
    options = arguments(__doc__ or "").parse_args()
    plan = Plan(3, 1, 60) if options.quick else Plan(30, 20, 300)
    train, other = read(options.data / "chest-xray/train"), read(options.data / "nih")
    rng = np.random.default_rng(0)
    model = PixelModel(train)
    quiet, foreign = scores_of(model, train), scores_of(model, other)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        site = Site.build(home / "home", CLASSES)
        predicted = [CLASSES[choice] for choice in quiet.argmax(axis=1)]
        site.deploy(home / "model", predicted, "PNEUMONIA", scores=quiet, labels=train.labels)
        rows = rng.integers(0, len(train.images), REFERENCES)  # drawn as the traffic is
        site.add_images("pool", home / "pool", train.images[rows], train.labels[rows])
        begun = time.monotonic()
        monitor = site.monitor("pool")
        baseline_seconds = time.monotonic() - begun
        for rule in (
            AlertRule(
                "drift-alarm", MetricType.DRIFT, (Condition(on=Subject.EVIDENCE),), severity=Severity.CRITICAL
            ),
            AlertRule(
                "accuracy",
                MetricType.PERFORMANCE,
                (Condition(name="accuracy", operator=Operator.LESS, bound=0.85, surely=True),),
            ),
        ):
            site.services.monitors.add_alert(monitor, rule)
        month = Month(site, monitor, model, rng)
        processes = multiprocessing.get_context("spawn")
        workers = [
            processes.Process(target=be_a_worker, args=(home / "home", site.clock), daemon=True)
            for _ in range(WORKERS)
        ]
        for worker in workers:
            worker.start()
        try:
            claims = simulate(month, plan, (train, quiet), (other, foreign))
        finally:
            for worker in workers:
                worker.kill()
                worker.join()
            site.close()
    claims.append(
        Claim("the baseline of 1,000 images, once", f"{baseline_seconds:.0f} s", "for information", True)
    )
    return report(f"{plan.days} days of 288 windows, {REFERENCES:,} references", claims)


def simulate(
    month: Month,
    plan: Plan,
    quiet: tuple[Xrays, npt.NDArray[np.float32]],
    foreign: tuple[Xrays, npt.NDArray[np.float32]],
) -> list[Claim]:
    site = month.site
    drift_at = START + plan.drift_day * DAY
    accepted: datetime | None = None
    begun = time.monotonic()
    paused = 0.0
    for number in range(plan.days * 288):
        start = START + number * STEP
        if number % 288 == 144 and number > 288:
            month.drop_labels(number // 288 - 1)
        month.window(start, *(foreign if start >= drift_at else quiet))
        site.services.collector.flush()
        site.clock.now = start + STEP + timedelta(seconds=10)
        site.follow(AHEAD * STEP)
        if accepted is None and start == drift_at + DAY:
            pause = time.monotonic()
            site.finish(start + STEP)
            accepted = start + STEP
            site.services.acceptance.acknowledge(month.fresh(), OWNER, "another hospital, as announced")
            site.services.acceptance.accept(month.fresh(), drift_at, accepted, OWNER, "the new normal")
            while month.fresh().progress:
                time.sleep(0.05)
            paused += time.monotonic() - pause
        if number % 288 == 287:
            spent = time.monotonic() - begun
            print(f"day {number // 288 + 1}: {spent:.0f} s", file=sys.stderr, flush=True)
    site.finish(START + plan.days * DAY)
    return judge(month, plan, time.monotonic() - begun, paused, drift_at, accepted)


def judge(
    month: Month,
    plan: Plan,
    elapsed: float,
    paused: float,
    drift_at: datetime,
    accepted: datetime | None,
) -> list[Claim]:
    runs, told = month.runs(), month.told()
    expected = plan.days * 288
    revisions = month.site.services.database.monitor_runs.count(monitor_id=month.monitor.id)
    alarm = next((run.start for run in runs if alarmed(run)), None)
    windows = Counter((run.start, run.end) for run in runs)
    quiet = [run for run in runs if run.end <= drift_at]
    drifted = [run for run in runs if alarm and alarm <= run.start and accepted and run.end <= accepted]
    calm = [run for run in runs if accepted and run.start >= accepted]
    early = [event for event in told if event.at <= drift_at]
    alarms = [event for event in told if event.name == "drift-alarm" and event.told == "fired"]
    worse = [event for event in told if event.name == "accuracy" and event.told == "fired"]
    late = [run for run in runs if run.cause == "late labels"]
    delay = (alarm - drift_at) // STEP + 1 if alarm else None
    found = [metric.value for run in quiet if (metric := run.metric("accuracy"))]
    right = [value for value in found if value is not None]
    first = f", first of the window of day {(worse[0].at - START).days + 1}" if worse else ""

    def about(claim: str, measured: str, goal: str = "for information", holds: bool = True) -> Claim:
        return Claim(claim, measured, goal, holds)

    return [
        about(
            "windows with exactly one latest result",
            f"{len(windows)} of {expected}",
            "all",
            len(windows) == expected,
        ),
        about("the whole time", f"{elapsed:.0f} s", f"< {plan.seconds:.0f} s", elapsed < plan.seconds),
        about("results, those for late labels included", f"{revisions} ({revisions / elapsed:.0f}/s)"),
        about("windows looked at again for late labels", f"{len(late)}"),
        about("quiet days: windows with a drift alarm", *none_of(sum(map(alarmed, quiet)))),
        about("quiet days: notifications", *none_of(len(early))),
        about("quiet days: drift status", *all_are(quiet, Status.HEALTHY)),
        about("windows until the alarm on nih", str(delay), "<= 2", delay in (1, 2)),
        about("drift alarm told", f"{len(alarms)} times", "once", len(alarms) == 1),
        about("from the alarm to the acceptance: drift status", *all_are(drifted, Status.CRITICAL)),
        about("accepted as the baseline: drift status since", *all_are(calm, Status.HEALTHY)),
        about("accuracy of the windows of quiet days, mean", f"{np.mean(right):.3f}" if right else "none"),
        about(
            "accuracy surely below 0.85 told",
            f"{len(worse)} times{first}",
            f"from day {plan.drift_day + 1} on",
            bool(worse) and worse[0].at > drift_at,
        ),
        about("of the time, acknowledging and accepting", f"{paused:.0f} s"),
    ]


def alarmed(run: MonitorRun) -> bool:
    return run.evidence is not None and run.evidence.alarm


def none_of(count: int) -> tuple[str, str, bool]:
    return str(count), "0", count == 0


def all_are(runs: list[MonitorRun], status: Status) -> tuple[str, str, bool]:
    counts = Counter(run.drift for run in runs)
    words = ", ".join(f"{count} {name.value}" for name, count in counts.most_common()) or "none"
    return words, status.value, set(counts) == {status}


if __name__ == "__main__":
    sys.exit(main())
