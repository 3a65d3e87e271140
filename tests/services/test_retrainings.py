"""Retrainings from alerts, and what promotion does where it cannot go on; without processes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tidegauge.app import build_services
from tidegauge.domain.alert import Alert, AlertEvent, AlertRule, Condition, Operator
from tidegauge.domain.catalogue import Repository, RepositoryKind, Source, SourceType, Version, VersionState
from tidegauge.domain.channel import Message
from tidegauge.domain.content import ContentForm
from tidegauge.domain.deployment import Deployment, DeploymentState, Origin
from tidegauge.domain.identity import new_id
from tidegauge.domain.metrics import MetricType
from tidegauge.domain.monitor import Metric, Monitor, MonitorRun, MonitorState
from tidegauge.domain.monitor_config import DriftConfig, ImageShape, MonitorConfig, TrainData
from tidegauge.domain.observation import Maintenance
from tidegauge.domain.retraining import (
    Collected,
    DatasetVersion,
    RetrainAction,
    Retraining,
    RetrainingPlan,
    RetrainingState,
    RetrainingStep,
)
from tidegauge.domain.status import Status
from tidegauge.errors import ConflictError
from tidegauge.services.alerting import Alerting
from tidegauge.services.bundle import Services
from tidegauge.settings import load_settings

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
RUNNING = DeploymentState.RUNNING
HELD_OUT = DatasetVersion("held-out", 1)
WIDTH = timedelta(minutes=5)


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now


class NoChannels:
    """Where nobody is told."""

    def post(
        self, event: AlertEvent, message: Message, channels: tuple[str, ...], owner: str, now: datetime
    ) -> None:
        del event, message, channels, owner, now

    def kick(self) -> None:
        pass


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def services(tmp_path: Path, clock: Clock) -> Iterator[Services]:
    made = build_services(load_settings(tmp_path / "home", {"port": 1}, {}), now=clock)
    made.people.first_start()
    yield made
    made.worker.close()
    made.database.close()


@pytest.fixture
def monitor(services: Services) -> Monitor:
    deployment = Deployment(
        new_id(), "tiny", "operator", new_id(), "tiny", 1, True, Origin.LOCAL, RUNNING, RUNNING, START, "/p"
    )
    services.database.deployments.add(deployment)
    drift = DriftConfig(enabled=True, image=ImageShape(32, 32), train_data=TrainData("chest", 1))
    unknown = Status.UNKNOWN
    active = MonitorState.ACTIVE
    config = MonitorConfig(drift=drift)
    return services.database.monitors.add(
        Monitor(new_id(), deployment.id, "tiny", "operator", active, unknown, config, 1, START)
    )


# From an alarm


def watch(services: Services, monitor: Monitor, **changes: object) -> Alert:
    low = Condition(name="accuracy", operator=Operator.LESS, bound=0.85)
    rule = AlertRule("low", MetricType.PERFORMANCE, (low,), retrain=RetrainAction(held_out=HELD_OUT))
    return services.database.alerts.add(Alert(new_id(), monitor.id, "low", replace(rule, **changes), START))


def look(services: Services, clock: Clock, monitor: Monitor, accuracy: float, hours: float = 0.1) -> None:
    """Let time pass, and judge a window with this accuracy."""
    clock.now += timedelta(hours=hours)
    unknown = Status.UNKNOWN
    metric = Metric("accuracy", MetricType.PERFORMANCE, accuracy, 12, unknown)
    run = MonitorRun(
        new_id(), monitor.id, 1, clock.now - WIDTH, clock.now, 1, clock.now, *[unknown] * 4, (metric,)
    )
    alerting = Alerting(services.database, NoChannels(), clock)
    with services.database.transaction():
        services.database.monitor_runs.add(run)
        alerting.judge(monitor, run, None)


def begun(services: Services, monitor: Monitor) -> list[Retraining]:
    return list(services.database.retrainings.where(monitor_id=monitor.id))


def end(services: Services, retraining: Retraining) -> None:
    services.database.retrainings.update(retraining.id, state=RetrainingState.REFUSED, under_way=None)


def test_an_alert_begins_one_retraining_for_each_time_it_fires(
    services: Services, monitor: Monitor, clock: Clock
) -> None:
    watch(services, monitor)
    look(services, clock, monitor, 0.9)
    assert begun(services, monitor) == []
    look(services, clock, monitor, 0.5)
    (found,) = begun(services, monitor)
    assert (found.state, found.cause, found.by) == (RetrainingState.COLLECTING, "low", "operator")
    assert found.plan == RetrainAction(held_out=HELD_OUT).plan(clock.now)
    end(services, found)
    look(services, clock, monitor, 0.5, hours=48)  # still the same alarm
    assert len(begun(services, monitor)) == 1
    look(services, clock, monitor, 0.9)
    look(services, clock, monitor, 0.5)
    assert len(begun(services, monitor)) == 2


def test_none_begins_while_one_is_under_way_or_within_the_pause(
    services: Services, monitor: Monitor, clock: Clock
) -> None:
    watch(services, monitor)
    look(services, clock, monitor, 0.5)
    (first,) = begun(services, monitor)
    look(services, clock, monitor, 0.9, hours=48)
    look(services, clock, monitor, 0.5)
    assert begun(services, monitor) == [first]
    end(services, first)
    look(services, clock, monitor, 0.9)
    look(services, clock, monitor, 0.5)
    second = begun(services, monitor)[-1]
    assert second != first
    end(services, second)
    look(services, clock, monitor, 0.9)
    look(services, clock, monitor, 0.5, hours=23)
    assert len(begun(services, monitor)) == 2
    look(services, clock, monitor, 0.9)
    look(services, clock, monitor, 0.5, hours=1)
    assert len(begun(services, monitor)) == 3


def test_a_muted_alert_and_one_in_maintenance_begin_none(
    services: Services, monitor: Monitor, clock: Clock
) -> None:
    alert = watch(services, monitor)
    services.database.alerts.update(alert.id, muted_until=START + timedelta(hours=1))
    look(services, clock, monitor, 0.5)
    look(services, clock, monitor, 0.9, hours=2)
    day = timedelta(days=1)
    services.database.maintenances.add(
        Maintenance(new_id(), monitor.id, START + day, START + 2 * day, "new scanner", "operator")
    )
    look(services, clock, monitor, 0.5, hours=30)
    assert begun(services, monitor) == []


def test_an_alert_without_the_action_begins_none(services: Services, monitor: Monitor, clock: Clock) -> None:
    watch(services, monitor, retrain=None)
    look(services, clock, monitor, 0.5)
    assert begun(services, monitor) == []


def test_what_an_alert_cannot_carry_out_fails_in_a_sentence(
    services: Services, monitor: Monitor, clock: Clock
) -> None:
    services.database.monitors.update(monitor.id, state=MonitorState.READY, config=MonitorConfig())
    watch(services, monitor)
    look(services, clock, monitor, 0.5)
    services.retrainings.work()
    (found,) = begun(services, monitor)
    assert found.state is RetrainingState.FAILED
    assert "only monitors of images with drift can retrain" in found.message
    assert found.under_way is None


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"model_type": "regression"}, "only classifications can be compared"),
        ({"keep_images": False}, "The monitor keeps no images"),
        ({"drift.predict_data": "dataset"}, "reads another cluster's log"),
        ({"drift.train_data": None}, "set drift.train_data first"),
    ],
)
def test_a_monitor_that_cannot_retrain_is_refused_at_once(
    services: Services, monitor: Monitor, changes: dict[str, object], sentence: str
) -> None:
    of_drift = {name.partition(".")[2]: value for name, value in changes.items() if "." in name}
    whole = {name: value for name, value in changes.items() if "." not in name}
    config = replace(monitor.config, drift=replace(monitor.config.drift, **of_drift), **whole)
    with pytest.raises(ConflictError, match=sentence):
        services.retrainings.begin(replace(monitor, config=config), RetrainingPlan(), "operator")
    assert begun(services, monitor) == []


# Promotion


def promoting(services: Services, monitor: Monitor, state: RetrainingState) -> Retraining:
    step = RetrainingStep(RetrainingState.WAITING, state, "ada", "agreed", START)
    collected = Collected(DatasetVersion("chest", 1), "", data=DatasetVersion("chest", 2))
    return services.database.retrainings.add(
        Retraining(
            new_id(),
            monitor.id,
            state,
            "operator",
            "manual",
            START,
            RetrainingPlan(held_out=HELD_OUT),
            "tiny",
            1,
            collected,
            candidate=2,
            history=(step,),
            under_way=monitor.id,
        )
    )


def test_a_candidate_that_cannot_be_served_gives_way_to_what_was(
    services: Services, monitor: Monitor
) -> None:
    retraining = promoting(services, monitor, RetrainingState.PROMOTING)
    failed = DeploymentState.FAILED
    deployments = services.database.deployments
    deployments.update(monitor.deployment_id, model_version=2, state=failed, message="no such operator")
    kind, upload = RepositoryKind.MODEL, Source(SourceType.UPLOAD)
    model = Repository(new_id(), kind, "tiny", "operator", upload, ContentForm.FILES, START)
    services.database.repositories.add(model)
    services.database.versions.add(Version(new_id(), model.id, 1, VersionState.READY, START))
    services.retrainings.work()
    found = services.database.retrainings.get(retraining.id)
    assert found.state is RetrainingState.FAILED
    assert found.message == "v2 could not be served, so that v1 is again: no such operator"
    assert deployments.get(monitor.deployment_id).model_version == 1
    assert services.monitors.get("operator", "tiny").config == monitor.config


def test_promotion_waits_for_the_candidate_to_run(services: Services, monitor: Monitor) -> None:
    retraining = promoting(services, monitor, RetrainingState.PROMOTING)
    starting = DeploymentState.STARTING
    services.database.deployments.update(monitor.deployment_id, model_version=2, state=starting)
    services.retrainings.work()
    found = services.database.retrainings.get(retraining.id)
    assert (found.state, found.progress) == (RetrainingState.PROMOTING, "tiny starts with v2")
    assert services.monitors.get("operator", "tiny").state is MonitorState.ACTIVE


def test_two_decisions_at_once_count_once(services: Services, monitor: Monitor) -> None:
    waiting = promoting(services, monitor, RetrainingState.WAITING)
    services.retrainings.promote(monitor, waiting, "ada", "")
    with pytest.raises(ConflictError, match="has gone on meanwhile"):
        services.retrainings.refuse(monitor, waiting, "eve", "")
    with pytest.raises(ConflictError, match="has gone on meanwhile"):
        services.retrainings.promote(monitor, waiting, "eve", "")


def test_the_database_refuses_a_second_one_under_way(services: Services, monitor: Monitor) -> None:
    promoting(services, monitor, RetrainingState.WAITING)
    with pytest.raises(ConflictError):
        promoting(services, monitor, RetrainingState.WAITING)


def test_a_monitor_that_was_active_goes_on_where_it_was_stopped(services: Services, monitor: Monitor) -> None:
    retraining = promoting(services, monitor, RetrainingState.PROMOTING)
    database, left = services.database, START - timedelta(hours=1)
    database.retrainings.update(retraining.id, resume=True)
    database.deployments.update(monitor.deployment_id, model_version=2)
    # As a crash leaves it between the new baseline and the start.
    drift = replace(monitor.config.drift, train_data=TrainData("chest", 2))
    config = replace(monitor.config, drift=drift)
    database.monitors.update(monitor.id, state=MonitorState.READY, config=config, due_from=left)
    services.retrainings.work()
    services.retrainings.work()
    assert database.retrainings.get(retraining.id).state is RetrainingState.PROMOTED
    found = services.monitors.get("operator", "tiny")
    assert (found.state, found.due_from, found.config_version) == (MonitorState.ACTIVE, left, 1)
    (spent,) = database.acknowledgements.where(monitor_id=monitor.id)
    assert (spent.by, spent.spent) == ("ada", 0.002)
