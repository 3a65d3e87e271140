"""Monitors that run by themselves: schedule, revisions, evidence, alerts - on a clock of the test's own."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from alembic import command
from alembic.config import Config

from parts import CLASSES, SIDE, finish, image
from simulated import OWNER, START, Site
from tidegauge import storage
from tidegauge.domain.alert import AlertEvent, AlertRule, Condition, Operator, Severity, Subject
from tidegauge.domain.channel import ChannelKind
from tidegauge.domain.identity import new_id
from tidegauge.domain.metrics import MetricType
from tidegauge.domain.monitor import Cause, Metric, Monitor, MonitorRun
from tidegauge.domain.status import Status
from tidegauge.errors import ConflictError, InvalidInputError, TooManyError, UnavailableError
from tidegauge.services.extraction import extraction_of
from tidegauge.services.labels import PostedLabel
from tidegauge.services.runs import SupersededError
from tidegauge.storage.database import Database
from tidegauge.storage.observations import moment
from tidegauge.storage.rows import Query

STEP = timedelta(minutes=5)
N = 12
SURE = np.array([[0.9, 0.1], [0.1, 0.9]], np.float32)


class Ward:
    """A site with a monitor of small phantoms, and the traffic that is sent to it."""

    def __init__(self, site: Site, monitor: Monitor) -> None:
        self.site = site
        self.monitor = monitor
        self.services = site.services
        self.database = site.services.database
        self.rng = np.random.default_rng(1)

    def send(self, start: datetime, n: int = N, *, upside_down: bool = False) -> list[str]:
        """Send traffic of one window, on time unless the clock is ahead."""
        images, labels = draw(n, self.rng)
        if upside_down:
            images = images[:, ::-1, ::-1]
        times = [start + STEP * (k + 1) / (n + 1) for k in range(n)]
        self.labels = labels
        return self.site.send(images, SURE[(labels == "PNEUMONIA").astype(int)], times)

    def go(self, window: int, *, upside_down: bool = False, n: int = N) -> MonitorRun:
        """Let a window pass with its traffic, and be looked at."""
        start = START + window * STEP
        self.send(start, n, upside_down=upside_down)
        return self.pass_by(window)

    def pass_by(self, window: int) -> MonitorRun:
        start = START + window * STEP
        self.site.clock.now = start + STEP + timedelta(seconds=10)
        self.site.work()
        return self.run(window)

    def run(self, window: int) -> MonitorRun:
        start = START + window * STEP
        return self.services.monitors.runs(self.fresh(), start, start + STEP)[-1]

    def fresh(self) -> Monitor:
        return self.services.monitors.get(OWNER, self.monitor.id)

    def drop(self, name: str, *rows: tuple[datetime, str, str]) -> None:
        lines = ["timestamp,output,label", *(f"{t.isoformat()},{o},{la}" for t, o, la in rows)]
        self.services.deployments.put_labels(self.site.deployment, name, "\n".join(lines).encode())

    def alert(self, name: str, *conditions: Condition, type_: MetricType, **changes: object) -> None:
        rule = AlertRule(name, type_, conditions, **changes)  # type: ignore[arg-type]
        self.services.monitors.add_alert(self.fresh(), rule)

    def told(self) -> list[AlertEvent]:
        return list(self.database.alert_events.where(monitor_id=self.monitor.id))


def draw(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    labels = rng.choice(CLASSES, n)
    return np.stack([image(str(label), rng) for label in labels]), labels


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a monitor that has its baseline: made once, copied for each test."""
    folder = tmp_path_factory.mktemp("template")
    site = Site.build(folder / "home", CLASSES)
    truth = np.array(["NORMAL", "PNEUMONIA"] * 50)
    right = SURE[(truth == "PNEUMONIA").astype(int)]
    truth[:10] = truth[:10][::-1]  # of 100 sure answers 10 were wrong
    site.deploy(folder / "model", ["NORMAL", "PNEUMONIA"] * 50, "PNEUMONIA", scores=right, labels=truth)
    site.add_images("pool", folder / "pool", *draw(300, np.random.default_rng(0)))
    site.monitor("pool", SIDE)
    site.close()
    return folder / "home"


@pytest.fixture
def ward(tmp_path: Path, template: Path) -> Iterator[Ward]:
    shutil.copytree(template, tmp_path / "home")
    site = Site.build(tmp_path / "home", CLASSES)
    (monitor,) = site.services.database.monitors.where()
    site.deployment = site.services.database.deployments.get(monitor.deployment_id)
    yield Ward(site, monitor)
    site.close()


LOW = Condition(name="accuracy", operator=Operator.LESS, bound=0.85)


def metric(run: MonitorRun, name: str) -> Metric:
    """Return a metric that a run has."""
    found = run.metric(name)
    assert found is not None
    return found


def test_every_window_is_looked_at_once_in_order(ward: Ward) -> None:
    for window in range(3):
        ward.go(window)
    ward.pass_by(6)  # three without traffic, at once
    runs = ward.services.monitors.runs(ward.fresh(), None, None)
    assert [run.start for run in runs] == [START + k * STEP for k in range(7)]
    assert {run.revision for run in runs} == {1}
    assert {run.cause for run in runs} == {Cause.SCHEDULE}
    assert ward.database.due_windows.count() == 0


def test_a_window_is_not_due_before_its_events_can_have_come(ward: Ward) -> None:
    ward.send(START)
    ward.site.clock.now = START + STEP + timedelta(seconds=1)
    assert ward.site.work() == 0


def test_a_stopped_monitor_makes_nothing_due_and_goes_on_with_the_present(ward: Ward) -> None:
    ward.go(0)
    ward.services.monitors.stop(ward.fresh(), OWNER)
    ward.site.clock.now = START + 5 * STEP + timedelta(seconds=10)
    assert ward.site.work() == 0
    ward.services.monitors.start(ward.fresh(), OWNER)
    ward.go(5)
    runs = ward.services.monitors.runs(ward.fresh(), None, None)
    assert [(run.start - START) // STEP for run in runs] == [0, 5]


def test_late_events_look_at_their_window_again_and_at_no_other(ward: Ward) -> None:
    for window in range(3):
        ward.go(window)
    late = ward.send(START + STEP, 3)
    ward.site.clock.now = START + 4 * STEP
    ward.site.work()
    again = ward.run(1)
    assert (again.revision, again.cause, again.late) == (2, Cause.LATE_EVENTS, 3)
    assert metric(again, "requests").value == N + 3
    assert {image.event_id for image in again.images} > set(late)
    assert (ward.run(0).revision, ward.run(2).revision) == (1, 1)


def test_late_labels_change_the_performance_of_their_windows_and_nothing_else(ward: Ward) -> None:
    before = [ward.go(window) for window in range(3)]
    assert metric(before[1], "accuracy").value is None
    ward.drop(
        "a.csv", *[(START + STEP * 1.5, "NORMAL", "PNEUMONIA"), (START + STEP * 1.6, "NORMAL", "NORMAL")]
    )
    ward.site.clock.now = START + timedelta(days=3)
    ward.services.runs.catch_up(ward.fresh())
    ward.services.schedule.work()
    after = ward.run(1)
    assert (after.revision, after.cause) == (2, Cause.LATE_LABELS)
    assert metric(after, "accuracy").value == 0.5
    others = [m for m in after.metrics if m.type is not MetricType.PERFORMANCE]
    assert others == [m for m in before[1].metrics if m.type is not MetricType.PERFORMANCE]
    assert (after.evidence, after.images) == (before[1].evidence, before[1].images)
    assert (ward.run(0), ward.run(2)) == (before[0], before[2])


def test_labels_by_event_id_find_their_answers_in_the_log(ward: Ward) -> None:
    ids = ward.send(START)
    truth = [str(label) for label in ward.labels]
    ward.pass_by(0)
    posted = [PostedLabel(id_, label) for id_, label in zip(ids, truth, strict=True)]
    posted[0] = PostedLabel(ids[0], "NORMAL" if truth[0] == "PNEUMONIA" else "PNEUMONIA")
    receipt = ward.services.runs.post_labels(ward.fresh(), [*posted, PostedLabel("no", "NORMAL")], "ada")
    assert (receipt.accepted, receipt.unknown) == (N, ("no",))
    ward.site.work()
    assert metric(ward.run(0), "accuracy").value == (N - 1) / N


def test_labels_wait_where_more_events_came_than_can_be_read(
    ward: Ward, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is known is labelled at once; of the rest nothing is kept, and the sender is told to come back."""
    known, *_ = ward.send(START)
    ward.pass_by(0)
    late, *_ = ward.send(START + STEP)
    with monkeypatch.context() as patched:
        patched.setattr(ward.services.runs, "catch_up", lambda _monitor, _seconds: False)
        assert ward.services.runs.post_labels(ward.fresh(), [PostedLabel(known, "NORMAL")], "ada").accepted
        with pytest.raises(TooManyError, match=f"'{late}' may be among them") as refused:
            ward.services.runs.post_labels(ward.fresh(), [PostedLabel(late, "NORMAL")], "ada")
    assert refused.value.retry_after > 0
    assert not ward.database.dead_letters.where()
    assert ward.services.runs.post_labels(ward.fresh(), [PostedLabel(late, "NORMAL")], "ada").accepted == 1


def test_labels_wait_where_others_labels_are_looked_for(ward: Ward, monkeypatch: pytest.MonkeyPatch) -> None:
    """Few read the log for labels at once: many would keep the pages and the schedule waiting."""
    late, *_ = ward.send(START)
    runs, labels = ward.services.runs, [PostedLabel(late, "NORMAL")]
    monkeypatch.setattr("tidegauge.services.runs._LOOKED_FOR", 0.1)
    with runs._looking, runs._looking, pytest.raises(TooManyError, match="Send the labels again later"):
        runs.post_labels(ward.fresh(), labels, "ada")
    monkeypatch.undo()
    assert runs.post_labels(ward.fresh(), labels, "ada").accepted == 1


def test_a_result_whose_window_has_changed_meanwhile_does_not_count(ward: Ward) -> None:
    ward.go(0)
    ward.services.schedule.backfill(ward.fresh(), START, START + STEP)
    due = ward.database.due_windows.claim("me", ward.site.clock(), timedelta(minutes=5))
    assert due is not None
    ward.drop("a.csv", (START + STEP / 2, "NORMAL", "NORMAL"))
    ward.services.runs.catch_up(ward.fresh())
    with pytest.raises(SupersededError):
        ward.services.runs.run(ward.fresh(), due.start, due.end, due.cause, due)
    assert ward.run(0).revision == 1
    ward.site.work()
    assert ward.run(0).revision == 2
    assert metric(ward.run(0), "accuracy").value == 1.0


@pytest.mark.parametrize("was_due", [False, True])
def test_labels_that_come_while_a_window_is_run_by_hand_make_it_due(
    ward: Ward, monkeypatch: pytest.MonkeyPatch, was_due: bool
) -> None:
    begin = START if was_due else START - 2 * STEP  # from before the schedule began
    ward.send(begin)
    ward.site.clock.now = START + STEP + timedelta(seconds=10)
    runs, due = ward.services.runs, ward.database.due_windows
    if was_due:
        ward.services.collector.flush()
        ward.site.look()
    compute = runs._compute

    def meanwhile(*given: Any) -> Any:
        found = compute(*given)
        assert due.claim("a worker", ward.site.clock(), timedelta(minutes=1)) is None
        ward.drop("a.csv", (begin + STEP / 2, "NORMAL", "NORMAL"))
        runs.catch_up(ward.fresh())
        return found

    monkeypatch.setattr(runs, "_compute", meanwhile)
    assert metric(runs.run(ward.fresh(), begin, begin + STEP), "accuracy").n == 0
    monkeypatch.undo()
    ward.site.work()
    last = ward.database.monitor_runs.where(start=begin, sort="revision")[-1]
    assert last.revision == 2
    assert metric(last, "accuracy").value == 1.0
    assert due.count() == 0


@pytest.mark.parametrize("was_due", [False, True])
def test_a_run_by_hand_that_fails_leaves_what_is_due_as_it_was(
    ward: Ward, monkeypatch: pytest.MonkeyPatch, was_due: bool
) -> None:
    ward.send(START)
    ward.site.clock.now = START + STEP + timedelta(seconds=10)
    if was_due:
        ward.services.collector.flush()
        ward.site.look()
    before = ward.database.due_windows.where()

    def fail(*_: Any) -> Any:
        raise UnavailableError("away")

    monkeypatch.setattr(ward.services.runs, "_compute", fail)
    with pytest.raises(UnavailableError):
        ward.services.runs.run(ward.fresh(), START, START + STEP)
    assert ward.database.due_windows.where() == before


def test_a_claim_that_has_run_out_is_taken_up_by_another(ward: Ward) -> None:
    ward.send(START)
    ward.site.clock.now = START + STEP + timedelta(seconds=10)
    ward.services.collector.flush()
    ward.site.look()
    assert ward.database.due_windows.claim("dead", ward.site.clock(), timedelta(minutes=5))
    assert ward.services.schedule.work() is False
    ward.site.clock.now += timedelta(minutes=6)
    assert ward.services.schedule.work() is True
    assert ward.run(0).revision == 1


def test_one_worker_at_a_time_looks_after_a_monitor_and_another_where_it_dies(ward: Ward) -> None:
    monitors = ward.database.monitors
    claimed = monitors.claim(ward.site.clock(), timedelta(minutes=2))
    assert claimed is not None
    assert claimed.id == ward.fresh().id
    assert ward.services.schedule.look() is False
    ward.site.clock.now += timedelta(minutes=3)
    assert ward.services.schedule.look() is True
    assert ward.services.schedule.look() is False
    assert ward.fresh().look_at == ward.site.clock() + timedelta(seconds=30)


def test_a_long_log_is_read_in_slices_and_windows_wait_for_all_of_it(
    ward: Ward, monkeypatch: pytest.MonkeyPatch
) -> None:
    slices = iter([False, True])
    monkeypatch.setattr(ward.services.runs, "catch_up", lambda *_: next(slices))
    ward.site.clock.now = START + STEP + timedelta(seconds=10)
    assert ward.services.schedule.look() is True
    assert ward.database.due_windows.count() == 0
    assert ward.services.schedule.look() is True
    assert ward.database.due_windows.count() == 1


def test_of_one_monitor_one_window_of_each_kind_is_looked_at_at_a_time(ward: Ward) -> None:
    ward.pass_by(0)
    ward.services.schedule.backfill(ward.fresh(), START - 3 * STEP, START)
    now = ward.site.clock()
    first = ward.database.due_windows.claim("a", now, timedelta(minutes=5))
    assert first is not None
    assert ward.database.due_windows.claim("b", now, timedelta(minutes=5)) is None
    ward.send(START + STEP)
    ward.site.clock.now = START + 2 * STEP + timedelta(seconds=10)
    ward.services.collector.flush()
    ward.site.look()
    live = ward.database.due_windows.claim("b", ward.site.clock(), timedelta(minutes=5))
    assert live is not None
    assert live.start == START + STEP
    assert ward.database.due_windows.claim("c", ward.site.clock(), timedelta(minutes=5)) is None
    ward.database.due_windows.delete(first.id)
    assert ward.database.due_windows.claim("b", now, timedelta(minutes=5)) is not None


def test_a_window_of_now_comes_before_late_labels_and_backfills(ward: Ward) -> None:
    ward.go(0)
    early = START - 300 * STEP
    ward.services.schedule.backfill(ward.fresh(), early, early + 5 * STEP)
    ward.site.clock.now += STEP
    ward.send(START + STEP)
    ward.services.collector.flush()
    ward.site.look()
    assert ward.site.waiting() == 6
    assert ward.services.schedule.work()
    assert ward.run(1).cause is Cause.SCHEDULE
    assert ward.site.waiting() == 5


def test_a_window_that_fails_waits_longer_each_time_and_says_why(
    ward: Ward, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ConflictError("the store is full")

    monkeypatch.setattr(ward.services.runs, "run", fail)
    ward.site.clock.now = START + STEP + timedelta(seconds=10)
    ward.site.work()
    (due,) = ward.database.due_windows.where()
    assert (due.tries, due.error, due.claimed_by) == (1, "the store is full", "")
    assert due.due_at == ward.site.clock() + timedelta(seconds=5)
    monkeypatch.undo()
    ward.site.clock.now += timedelta(seconds=5)
    ward.site.work()
    assert ward.run(0).revision == 1


def test_backfill_makes_the_windows_of_a_span_due_and_leaves_evidence_alone(ward: Ward) -> None:
    ward.go(0)
    before = ward.fresh().evidence
    assert ward.services.schedule.backfill(ward.fresh(), START - 4 * STEP, START) == 4
    ward.site.work()
    runs = ward.services.monitors.runs(ward.fresh(), None, None)
    assert [run.cause for run in runs] == [Cause.BACKFILL] * 4 + [Cause.SCHEDULE]
    assert ward.fresh().evidence == before


def test_backfill_of_a_span_that_ends_before_it_begins_is_refused(ward: Ward) -> None:
    with pytest.raises(InvalidInputError, match="not after start"):
        ward.services.schedule.backfill(ward.fresh(), START, START - STEP)


def test_backfill_of_a_span_in_the_future_is_refused(ward: Ward) -> None:
    ahead = ward.site.clock() + STEP
    with pytest.raises(InvalidInputError, match="which lies in the future; give an earlier one"):
        ward.services.schedule.backfill(ward.fresh(), ahead, ahead + STEP)


def test_backfill_of_a_span_in_which_no_window_has_ended_is_refused(ward: Ward) -> None:
    ward.site.clock.now = START + STEP / 2
    with pytest.raises(InvalidInputError, match=r"no window from .* on has ended by then"):
        ward.services.schedule.backfill(ward.fresh(), START, START + STEP)


def test_quiet_traffic_is_healthy_and_turned_images_raise_the_alarm_at_once(ward: Ward) -> None:
    for window in range(10):
        run = ward.go(window)
        assert (run.drift, run.evidence.alarm) == (Status.HEALTHY, False)  # type: ignore[union-attr]
    run = ward.go(10, upside_down=True)
    assert run.evidence is not None
    assert (run.drift, run.evidence.alarm) == (Status.CRITICAL, True)
    assert run.evidence.alarm_at is not None
    assert run.start <= run.evidence.alarm_at < run.end
    assert ward.fresh().status is Status.CRITICAL


def test_evidence_is_the_same_after_a_crash_and_on_another_worker(ward: Ward) -> None:
    for window in range(6):
        ward.go(window)
    expected = ward.go(6).evidence
    ward.services.runs._evidences.forget(ward.monitor.id)
    state = ward.fresh().evidence
    assert state is not None
    ward.database.monitors.update(ward.monitor.id, evidence=None)
    baseline = ward.services.baselines.load(ward.fresh())
    again = ward.services.runs._evidences.advance(
        ward.fresh(), baseline, extraction_of(ward.fresh(), baseline), 0, START + 7 * STEP
    )
    assert again is not None
    assert again.result == expected
    assert again.sequence == state.sequence


def test_an_acknowledged_alarm_begins_evidence_again_and_spends_alpha(ward: Ward) -> None:
    ward.go(0)
    with pytest.raises(ConflictError, match="no drift alarm"):
        ward.services.acceptance.acknowledge(ward.fresh(), OWNER, "")
    ward.go(1, upside_down=True)
    done = ward.services.acceptance.acknowledge(ward.fresh(), OWNER, "a new plate")
    assert (done.by, done.note, done.spent) == (OWNER, "a new plate", pytest.approx(0.002))
    run = ward.go(2)
    assert run.evidence is not None
    assert run.evidence.alarm is False
    ward.go(3, upside_down=True)  # those of before the acknowledgement are among the ranked now
    assert ward.go(4, upside_down=True).evidence.alarm is True  # type: ignore[union-attr]


def test_labels_of_classes_that_the_model_does_not_have_are_told_and_left_out(ward: Ward) -> None:
    ward.go(0)
    rows = [(START + STEP / 2, "NORMAL", "NORMAL"), (START + STEP / 3, "NORMAL", "COVID")]
    ward.drop("a.csv", *rows)
    ward.site.work()
    run = ward.run(0)
    accuracy = run.metric("accuracy")
    assert accuracy is not None
    assert (accuracy.value, accuracy.n) == (1.0, 1)
    assert accuracy.detail["positive"] == "PNEUMONIA"
    (problem,) = run.problems
    assert problem.startswith("1 label or answer names a class that the model does not have: 'COVID' (1)")


def test_an_answer_that_is_labelled_twice_counts_once(ward: Ward) -> None:
    """In a file, by its time, and by its event id, which counts."""
    start = START
    ids = ward.send(start)
    ward.pass_by(0)
    told = ward.services.runs._files.window(  # when and what the first was answered
        ward.site.deployment.id, ward.database.readers.where()[0].extractor, start, start + STEP
    )
    first = moment(int(told.time[0]))
    output = CLASSES[int(told.scores[0].argmax())]
    ward.drop("a.csv", (first, output, "NORMAL"))
    ward.services.runs.post_labels(ward.fresh(), [PostedLabel(ids[0], "PNEUMONIA")], OWNER)
    ward.site.work()
    accuracy = ward.run(0).metric("accuracy")
    assert accuracy is not None
    assert accuracy.n == 1
    assert accuracy.value == float(output == "PNEUMONIA")


def test_what_is_acknowledged_after_a_restart_does_not_alarm_again(ward: Ward) -> None:
    ward.go(0)
    for window in range(1, 5):
        ward.go(window, upside_down=True)
    ward.services.runs._evidences._folds.clear()  # as in a process that has begun since the alarm
    ward.services.acceptance.acknowledge(ward.fresh(), OWNER, "")
    found = ward.go(5).evidence
    assert found is not None
    assert (found.alarm, found.n) == (False, N)


def test_an_accepted_window_becomes_the_baseline(ward: Ward) -> None:
    ward.go(0)
    for window in range(1, 12):
        ward.go(window, upside_down=True)
    assert ward.run(11).evidence.alarm is True  # type: ignore[union-attr]
    first, last = START + STEP, START + 12 * STEP
    ward.services.acceptance.accept(ward.fresh(), first, last, OWNER, "turned plates")
    finish(ward.services.worker)
    assert (ward.fresh().progress, ward.fresh().message) == ("", "")
    run = ward.go(12, upside_down=True)
    assert (run.evidence.alarm, run.drift) == (False, Status.HEALTHY)  # type: ignore[union-attr]
    assert run.images[0].nearest.startswith("event ")


def test_a_window_with_too_few_images_is_not_accepted(ward: Ward) -> None:
    ward.go(0)
    with pytest.raises(InvalidInputError, match="there are 12 images; give a span with 100 or more"):
        ward.services.acceptance.accept(ward.fresh(), START, START + STEP, OWNER, "")


def test_an_alert_fires_once_and_resolves_once(ward: Ward) -> None:
    ward.alert("drift", Condition(on=Subject.STATUS, status=Status.CRITICAL), type_=MetricType.DRIFT)
    ward.go(0)
    for window in (1, 2):
        ward.go(window, upside_down=True)
    ward.services.acceptance.acknowledge(ward.fresh(), OWNER, "")
    ward.go(3)
    assert [(event.told.value, (event.at - START) // STEP - 1) for event in ward.told()] == [
        ("fired", 1),
        ("resolved", 3),
    ]


def test_breaches_in_a_row_and_repeats_are_kept(ward: Ward) -> None:
    quiet = Condition(on=Subject.QUIET, operator=Operator.GREATER_EQUAL, bound=5)
    ward.alert("quiet", quiet, type_=MetricType.HEALTH, breaches=2, repeat_minutes=10)
    ward.go(0)
    for window in range(1, 7):
        ward.pass_by(window)
    told = [(event.told.value, (event.at - START) // STEP - 1) for event in ward.told()]
    assert told == [("fired", 2), ("repeated", 4), ("repeated", 6)]


def test_what_is_muted_or_under_maintenance_is_written_down_and_not_sent(ward: Ward) -> None:
    channel = ward.services.channels.create(
        OWNER, "hook", ChannelKind.WEBHOOK, {"url": "http://127.0.0.1:9/hook"}, ""
    )
    drift = Condition(on=Subject.EVIDENCE)
    ward.alert("drift", drift, type_=MetricType.DRIFT, channels=("hook",), severity=Severity.CRITICAL)
    ward.services.monitors.add_maintenance(ward.fresh(), START + STEP, START + 2 * STEP, "new plate", OWNER)
    ward.go(0)
    ward.go(1, upside_down=True)
    assert [event.told.value for event in ward.told()] == ["fired"]
    assert ward.database.deliveries.count(channel_id=channel.id) == 0
    ward.go(2, upside_down=True)
    (delivery,) = ward.database.deliveries.where(channel_id=channel.id)
    assert delivery.message.told == "fired"
    assert "leads" in delivery.message.summary


def test_an_alert_that_late_labels_raise_says_so(ward: Ward) -> None:
    ward.alert("accuracy", LOW, type_=MetricType.PERFORMANCE)
    ward.go(0)
    ward.drop("a.csv", (START + STEP / 2, "NORMAL", "PNEUMONIA"))
    ward.site.clock.now = START + timedelta(days=3)
    ward.services.runs.catch_up(ward.fresh())
    ward.services.schedule.work()
    (event,) = ward.told()
    assert event.at == START + STEP
    assert event.summary.endswith("This was found now, from labels that came late.")


def test_a_small_window_below_the_bound_is_not_surely_below(ward: Ward) -> None:
    ward.alert(
        "sure",
        Condition(name="accuracy", operator=Operator.LESS, bound=0.85, surely=True),
        type_=MetricType.PERFORMANCE,
    )
    half = [(START + STEP * k / 100, "NORMAL", ("NORMAL", "PNEUMONIA")[k % 2]) for k in range(1, 13)]
    ward.drop("a.csv", *half)
    run = ward.go(0)
    accuracy = run.metric("accuracy")
    assert accuracy is not None
    assert accuracy.value == 0.5
    assert accuracy.surely_high is not None
    assert accuracy.surely_high > 0.85
    assert ward.told() == []
    ward.drop("b.csv", *[(t + STEP, o, la) for t, o, la in half for _ in range(20)])
    ward.go(1)
    assert [event.name for event in ward.told()] == ["sure"]


def test_what_was_surely_past_its_bound_is_over_once_surely_not_or_after_a_day_of_doubt(ward: Ward) -> None:
    low = Condition(name="accuracy", operator=Operator.LESS, bound=0.85, surely=True)
    ward.alert("sure", low, type_=MetricType.PERFORMANCE)
    first = ward.go(0)

    def look(after: timedelta, surely_low: float, surely_high: float) -> None:
        accuracy = Metric(
            "accuracy", MetricType.PERFORMANCE, 0.8, 12, Status.UNKNOWN,
            surely_low=surely_low, surely_high=surely_high,
        )  # fmt: skip
        run = replace(first, id=new_id(), start=START + after, end=START + after + STEP, metrics=(accuracy,))
        ward.services.runs._alerting.judge(ward.fresh(), ward.database.monitor_runs.add(run), None)

    hour = timedelta(hours=1)
    look(hour, 0.5, 0.8)
    look(12 * hour, 0.1, 1.0)  # the sequence of another day has just begun
    look(13 * hour, 0.5, 0.84)
    look(14 * hour, 0.86, 0.95)
    look(15 * hour, 0.5, 0.8)
    look(30 * hour, 0.5, 0.9)
    look(39 * hour, 0.5, 0.9)
    told = [(event.told.value, (event.at - STEP - START) // hour) for event in ward.told()]
    assert told == [("fired", 1), ("resolved", 14), ("fired", 15), ("resolved", 39)]


def test_a_crash_while_a_run_is_saved_leaves_nothing_of_it(
    ward: Ward, monkeypatch: pytest.MonkeyPatch
) -> None:
    ward.alert("drift", Condition(on=Subject.EVIDENCE), type_=MetricType.DRIFT)
    ward.go(0)
    ward.send(START + STEP, upside_down=True)

    def crash(*_: object) -> None:
        raise RuntimeError("killed")

    monkeypatch.setattr(ward.services.runs._alerting._post, "post", crash)
    monkeypatch.setattr(ward.services.runs._alerting, "judge", crash)
    ward.site.clock.now = START + 2 * STEP + timedelta(seconds=10)
    ward.site.work()
    assert len(ward.services.monitors.runs(ward.fresh(), None, None)) == 1
    (due,) = ward.database.due_windows.where()
    assert due.error == "killed"
    monkeypatch.undo()
    ward.site.clock.now += timedelta(seconds=5)
    ward.site.work()
    assert [event.told.value for event in ward.told()] == ["fired"]
    assert ward.run(1).evidence.alarm is True  # type: ignore[union-attr]


def test_thresholds_are_suggested_from_the_baseline_and_the_windows_seen(ward: Ward) -> None:
    with pytest.raises(InvalidInputError, match="size is missing"):
        ward.services.advice.suggest(ward.fresh(), None, 1, 1)
    ward.go(0)
    found = ward.services.advice.suggest(ward.fresh(), None, 1, 1)
    assert found.sizes == (N,)
    assert 0.3 < found.thresholds["image"]["soft"] < found.thresholds["image"]["hard"] <= 1
    assert found.alerts["image"].soft.per_week <= 1  # type: ignore[union-attr]
    assert found.sentences[0].startswith("image: on clean data")


def test_the_usual_threshold_on_accuracy_is_known_to_cry_every_hour(ward: Ward) -> None:
    right = [(START + STEP * k / 200, "NORMAL", "NORMAL") for k in range(1, 96)]
    wrong = [(START + STEP * k / 200, "NORMAL", "PNEUMONIA") for k in range(96, 101)]
    ward.drop("a.csv", *right, *wrong)
    ward.go(0)
    usual = {"accuracy": {"type": "performance", "soft": 0.9, "hard": 0.85}}
    found = ward.services.advice.preview(ward.fresh(), usual, 12)
    assert 30 < found.alerts["accuracy"].hard.per_day < 60  # type: ignore[union-attr]
    assert ward.fresh().thresholds == {}


def test_of_a_metric_without_clean_values_nothing_is_promised(ward: Ward) -> None:
    found = ward.services.advice.preview(
        ward.fresh(), {"latency_p95": {"type": "health", "soft": 100, "hard": 500}}, 12
    )
    assert found.alerts == {"latency_p95": None}
    assert "nothing is known" in found.sentences[0]


def test_expected_performance_stands_beside_the_realised_one(ward: Ward) -> None:
    run = ward.go(0)
    expected = run.metric("expected_accuracy")
    assert expected is not None
    assert expected.value == pytest.approx(0.9, abs=0.02)
    assert expected.low is not None
    assert expected.low < 0.9
    assert metric(run, "accuracy").value is None
    assert run.performance is Status.UNKNOWN  # a promise is no verdict


def test_an_estimate_is_unsafe_once_the_drift_alarm_is_on(ward: Ward) -> None:
    assert "unsafe" not in metric(ward.go(0), "expected_accuracy").detail
    found = ward.go(1, upside_down=True).metric("expected_accuracy")
    assert found is not None
    assert found.detail["unsafe"] == "The drift alarm is on."


def test_evidence_follows_its_configuration(ward: Ward) -> None:
    config = ward.fresh().config
    ward.go(0)
    ward.services.monitors.configure(
        ward.fresh(), replace(config, evidence=replace(config.evidence, minimum_effect=8.0)), OWNER
    )
    run = ward.go(1, upside_down=True)
    assert run.evidence is not None
    assert (run.evidence.log_e > 7, run.evidence.alarm, run.config_version) == (True, False, 2)


def test_grace_is_waited_for(ward: Ward) -> None:
    config = ward.fresh().config
    ward.services.monitors.configure(
        ward.fresh(), replace(config, time=replace(config.time, grace_seconds=60)), OWNER
    )
    ward.send(START)
    ward.site.clock.now = START + STEP + timedelta(seconds=50)
    assert ward.site.work() == 0
    ward.site.clock.now = START + STEP + timedelta(seconds=70)
    assert ward.site.work() == 1


def test_events_that_come_after_labels_are_not_overlooked(ward: Ward) -> None:
    ward.go(0)
    ward.drop("a.csv", (START + STEP / 2, "NORMAL", "NORMAL"))
    ward.services.runs.catch_up(ward.fresh())
    ward.site.clock.now += timedelta(seconds=1)
    ward.send(START, 3)
    ward.services.collector.flush()
    ward.services.runs.catch_up(ward.fresh())
    ward.services.schedule.work()
    run = ward.run(0)
    assert (run.revision, run.cause, run.late) == (2, Cause.LATE_EVENTS, 3)
    assert metric(run, "accuracy").value == 1.0


def test_a_home_of_the_first_schema_starts_and_goes_on_with_its_windows(ward: Ward, tmp_path: Path) -> None:
    """The monitor, its alert and its log stand as the version before has left them."""
    ward.send(START)
    ward.services.collector.flush()
    ward.site.close()
    old = tmp_path / "old"
    shutil.copytree(tmp_path / "home", old)
    (old / "tidegauge.sqlite").unlink()
    for rest in old.glob("tidegauge.sqlite-*"):
        rest.unlink()
    copy_as_first_schema(tmp_path / "home" / "tidegauge.sqlite", old / "tidegauge.sqlite", ward.monitor.id)

    site = Site.build(old, CLASSES)
    site.deployment = site.services.database.deployments.get(ward.monitor.deployment_id)
    again = Ward(site, site.services.database.monitors.get(ward.monitor.id))
    (alert,) = site.services.monitors.alerts(again.fresh())
    assert (alert.rule.text, alert.rule.type) == ("accuracy < 0.85", MetricType.PERFORMANCE)
    configs = site.services.monitors.configs(again.fresh(), Query()).items
    assert [version.number for version in configs] == [1]
    site.services.observing.start_up()
    site.clock.now = START + timedelta(seconds=1)
    site.work()  # the schedule begins with the window that is under way
    run = again.pass_by(0)
    assert metric(run, "image").n == N
    assert (again.go(1).drift, again.go(2, upside_down=True).drift) == (Status.HEALTHY, Status.CRITICAL)
    site.close()


def copy_as_first_schema(source: Path, target: Path, monitor_id: str) -> None:
    """Copy rows into a database of the first schema, and add an alert as it had them."""
    database = Database(f"sqlite:///{target}")
    config = Config()
    config.set_main_option("script_location", str(Path(storage.__file__).parent / "migrations"))
    with database.engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
    database.close()
    with sqlite3.connect(target) as connection:
        connection.execute("ATTACH ? AS new", (str(source),))
        for table in ("users", "repositories", "versions", "deployments", "monitors", "transitions"):
            names = [row[1] for row in connection.execute(f"PRAGMA main.table_info({table})")]
            columns = ", ".join(f'"{name}"' for name in names)
            connection.execute(f"INSERT INTO main.{table} ({columns}) SELECT {columns} FROM new.{table}")
        alert = ("a1", monitor_id, "low", "performance", "accuracy", "<", 0.85, "2026-03-01 00:00:00.000000")
        names = "id, monitor_id, name, type, metric, operator, bound, created_at"
        connection.execute(f"INSERT INTO alerts ({names}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", alert)
    connection.close()


def test_evidence_of_another_baseline_is_not_gone_on_with(ward: Ward) -> None:
    """As on a worker that does not know yet that a window was accepted elsewhere."""
    for window in range(10):
        ward.go(window)
    stale = dict(ward.services.runs._evidences._folds)
    ward.services.acceptance.accept(ward.fresh(), START, START + 10 * STEP, OWNER, "")
    finish(ward.services.worker)
    ward.go(10)
    ward.services.runs._evidences._folds |= stale
    assert ward.go(11).evidence.n == 2 * N  # type: ignore[union-attr]


def test_late_labels_do_not_tell_again_what_was_known(ward: Ward) -> None:
    ward.alert("drift", Condition(on=Subject.EVIDENCE), type_=MetricType.DRIFT)
    for window in range(3):
        ward.go(window, upside_down=True)
    ward.drop("a.csv", *[(START + (k + 0.5) * STEP, "NORMAL", "NORMAL") for k in range(3)])
    ward.site.work()
    assert ward.run(1).revision == 2
    assert [event.told.value for event in ward.told()] == ["fired"]


@pytest.mark.parametrize("at_once", [False, True])
def test_a_worker_that_lags_behind_does_not_see_the_future(ward: Ward, *, at_once: bool) -> None:
    for window in range(4):
        ward.site.clock.now = START + (window + 1) * STEP
        ward.send(START + window * STEP, upside_down=window == 3)
        ward.services.collector.flush()
        if not at_once:
            ward.services.runs.catch_up(ward.fresh())
    ward.pass_by(3)
    alarms = [run.evidence.alarm for run in ward.services.monitors.runs(ward.fresh(), None, None)]  # type: ignore[union-attr]
    assert alarms == [False, False, False, True]
