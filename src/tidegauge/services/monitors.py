"""Monitors: creating, configuring, starting, stopping and deleting them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from tidegauge.domain.alert import Alert, AlertEvent, AlertRule
from tidegauge.domain.deployment import Deployment
from tidegauge.domain.identity import new_id
from tidegauge.domain.monitor import (
    UNJUDGED,
    Acknowledgement,
    ConfigVersion,
    DueWindow,
    Feature,
    Monitor,
    MonitorRun,
    MonitorState,
    Transition,
    check_transition,
)
from tidegauge.domain.monitor_config import MonitorConfig, needs_baseline
from tidegauge.domain.observation import DeadLetter, Maintenance
from tidegauge.domain.report_parts import differences
from tidegauge.domain.schema import complete
from tidegauge.domain.status import Status
from tidegauge.domain.thresholds import parse_thresholds
from tidegauge.domain.windows import span, window_of
from tidegauge.errors import ConflictError, InvalidInputError, NotFoundError, TidegaugeError
from tidegauge.services.catalogue import Catalogue
from tidegauge.services.fitting import Built, Fitting
from tidegauge.services.monitor_checks import Checks, check_thresholds
from tidegauge.services.sharing import Asker, Oversight, look_up, page_of
from tidegauge.services.worker import Worker
from tidegauge.storage.database import Database
from tidegauge.storage.objects import ObjectStore
from tidegauge.storage.rows import Page, Query

SYSTEM = "tidegauge"
_BASELINED = (MonitorState.PENDING, MonitorState.READY, MonitorState.ACTIVE)


@dataclass(frozen=True)
class MonitorDetail:
    """A monitor with all that its page and its JSON show."""

    monitor: Monitor
    deployment: Deployment
    alerts: tuple[Alert, ...]
    transitions: tuple[Transition, ...]


class Monitors:
    """The life cycle of monitors: init, baselining, pending, ready, active, error."""

    def __init__(
        self,
        database: Database,
        store: ObjectStore,
        catalogue: Catalogue,
        fitting: Fitting,
        worker: Worker,
        now: Callable[[], datetime],
    ) -> None:
        self._database = database
        self._store = store
        self._catalogue = catalogue
        self._fitting = fitting
        self._worker = worker
        self._now = now
        self._checks = Checks(database, catalogue)

    def start_up(self) -> None:
        """Take up the baselines that a crash interrupted."""
        for monitor in self._database.monitors.where(state=MonitorState.BASELINING):
            self._submit_baseline(monitor)

    def create(self, deployment: Deployment, config: MonitorConfig, by: str) -> Monitor:
        """Create the monitor of a deployment; with a complete configuration baselining begins."""
        self._checks.config(deployment, config)
        monitor = Monitor(
            id=new_id(),
            deployment_id=deployment.id,
            name=deployment.name,
            owner=deployment.owner,
            state=MonitorState.INIT,
            status=Status.UNKNOWN,
            config=config,
            config_version=1,
            created_at=self._now(),
        )
        if self._database.monitors.find(deployment_id=deployment.id):
            raise ConflictError(f"The deployment {deployment.name!r} has a monitor already; change that one.")
        with self._database.transaction():
            self._database.monitors.add(monitor)
            self._database.config_versions.add(self._config_version(monitor, by))
            self._settle_config(monitor, by, "created")
        return self._settled(monitor)

    def page(self, asker: Asker, query: Query) -> Page[Monitor]:
        return page_of(self._database.monitors, asker, query, Oversight.CHANGE)

    def get(self, asker: Asker, key: str) -> Monitor:
        """Find a monitor by its id, its deployment's id or its deployment's name."""
        columns = ("id", "deployment_id", "name")
        return look_up(self._database.monitors, asker, "monitor", key, columns, Oversight.CHANGE)

    def share(self, monitor: Monitor, *, shared: bool) -> Monitor:
        """Let everybody read a monitor with its runs, images and alerts, or nobody but its owner."""
        self._database.monitors.update(monitor.id, shared=shared)
        return self._fresh(monitor)

    def detail(self, monitor: Monitor) -> MonitorDetail:
        return MonitorDetail(
            monitor,
            self._database.deployments.get(monitor.deployment_id),
            self.alerts(monitor),
            self._database.transitions.where(monitor_id=monitor.id),
        )

    def configure(self, monitor: Monitor, config: MonitorConfig, by: str) -> Monitor:
        """Replace the configuration: a new config version, and a new baseline where it needs one.

        An active monitor goes on with what needs none; its earlier runs keep the version that they followed.
        """
        if monitor.state is MonitorState.BASELINING:
            raise ConflictError(
                "The monitor is baselining; wait for that before you change its configuration."
            )
        self._checks.config(self._database.deployments.get(monitor.deployment_id), config)
        changes = [change.field for change in differences(monitor.config, config)]
        needing = needs_baseline(changes)
        if monitor.state is MonitorState.ACTIVE and needing:
            raise ConflictError(
                f"The monitor is active; stop it before you change {', '.join(needing)}, "
                f"which {'needs' if len(needing) == 1 else 'need'} a new baseline."
            )
        keeps_baseline = monitor.state in _BASELINED and not needing
        if keeps_baseline and not changes:
            return monitor
        changed = replace(monitor, config=config, config_version=monitor.config_version + 1)
        judged_anew = not keeps_baseline or any(name.startswith("performance") for name in changes)
        with self._database.transaction():
            expected = {"state": monitor.state, "config_version": monitor.config_version}
            if not self._database.monitors.update(
                monitor.id,
                expected,
                config=config,
                config_version=changed.config_version,
                **(UNJUDGED if judged_anew else {}),
            ):
                raise ConflictError("The monitor has changed meanwhile; look again and repeat.")
            self._database.config_versions.add(self._config_version(changed, by))
            if not keeps_baseline:
                self._settle_config(changed, by, "configuration changed")
        return self._settled(monitor)

    def configs(self, monitor: Monitor, query: Query) -> Page[ConfigVersion]:
        """List what a monitor was told to do, by whom and when."""
        return self._database.config_versions.page(query, monitor_id=monitor.id)

    def rebaseline(self, monitor: Monitor, by: str) -> Monitor:
        """Make the baseline anew from the configured training data."""
        missing = monitor.config.missing()
        if missing:
            raise ConflictError(f"The configuration lacks {', '.join(missing)}; give it first.")
        self._move(monitor, MonitorState.BASELINING, by, "baseline requested", message="", progress="")
        self._submit_baseline(monitor)
        return self._fresh(monitor)

    def add_feature(self, monitor: Monitor, feature: Feature, by: str) -> Monitor:
        """Add a row to the schema, or replace the one with its name."""
        others = tuple(known for known in monitor.schema if known.name != feature.name)
        replaced = tuple(feature if known.name == feature.name else known for known in monitor.schema)
        schema = (*others, feature) if len(others) == len(monitor.schema) else replaced
        return self._set_schema(monitor, schema, by)

    def set_schema(self, monitor: Monitor, schema: tuple[Feature, ...], by: str) -> Monitor:
        """Replace the whole schema."""
        names = [feature.name for feature in schema]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise InvalidInputError.of("name", f"name is {twice!r} twice; every feature has one of its own.")
        return self._set_schema(monitor, schema, by)

    def remove_feature(self, monitor: Monitor, name: str, by: str) -> Monitor:
        schema = tuple(feature for feature in monitor.schema if feature.name != name)
        if len(schema) == len(monitor.schema):
            raise NotFoundError(f"The schema has no feature {name!r}.")
        return self._set_schema(monitor, schema, by)

    def set_thresholds(self, monitor: Monitor, thresholds: bytes | Mapping[str, Any]) -> Monitor:
        """Replace the thresholds by an uploaded JSON document."""
        parsed = parse_thresholds(thresholds)
        check_thresholds(monitor, parsed)
        self._database.monitors.update(monitor.id, thresholds=parsed, **UNJUDGED)
        return self._fresh(monitor)

    def start(self, monitor: Monitor, by: str, since: datetime | None = None) -> Monitor:
        """Look at every window from now on, or from ``since`` on."""
        begin = since or self._begin(monitor)
        self._move(monitor, MonitorState.ACTIVE, by, "started", message="", due_from=begin, look_at=None)
        return self._fresh(monitor)

    def _begin(self, monitor: Monitor) -> datetime:
        """Return where the schedule begins: with the window that is under way."""
        config = monitor.config
        return window_of(self._now(), config.frequency_minutes, config.time_zone)[0]

    def stop(self, monitor: Monitor, by: str) -> Monitor:
        if monitor.state is not MonitorState.ACTIVE:
            raise ConflictError(
                f"The monitor is {monitor.state.value}, not active; there is nothing to stop."
            )
        self._move(monitor, MonitorState.READY, by, "stopped")
        return self._fresh(monitor)

    def delete(self, monitor: Monitor) -> None:
        """Delete a monitor with its baseline, runs, alerts and history."""
        if monitor.state is MonitorState.ACTIVE:
            raise ConflictError("The monitor is active; stop it before you delete it.")
        self._database.monitors.delete(monitor.id)
        self._store.delete_below(f"monitors/{monitor.id}")

    def add_alert(self, monitor: Monitor, rule: AlertRule) -> Alert:
        self._checks.rule(monitor, rule)
        return self._database.alerts.add(Alert(new_id(), monitor.id, rule.name, rule, self._now()))

    def change_alert(self, monitor: Monitor, alert_id: str, rule: AlertRule) -> Alert:
        """Replace the rule of an alert; it is judged afresh from the next window on."""
        self._checks.rule(monitor, rule, alert_id)
        alert = self.alert(monitor, alert_id)
        self._database.alerts.update(alert.id, name=rule.name, rule=rule, firing_since=None, told_at=None)
        return self._database.alerts.get(alert.id)

    def mute_alert(self, monitor: Monitor, alert_id: str, until: datetime | None) -> Alert:
        """Tell nothing of an alert before ``until``; None ends that."""
        alert = self.alert(monitor, alert_id)
        self._database.alerts.update(alert.id, muted_until=until)
        return self._database.alerts.get(alert.id)

    def alert(self, monitor: Monitor, alert_id: str) -> Alert:
        return self._database.alerts.get(alert_id, monitor_id=monitor.id)

    def alerts(self, monitor: Monitor) -> tuple[Alert, ...]:
        return self._database.alerts.where(monitor_id=monitor.id)

    def delete_alert(self, monitor: Monitor, alert_id: str) -> None:
        self._database.alerts.delete(self.alert(monitor, alert_id).id)

    def alert_events(self, monitor: Monitor, query: Query) -> Page[AlertEvent]:
        return self._database.alert_events.page(query, monitor_id=monitor.id)

    def due(self, monitor: Monitor, query: Query) -> Page[DueWindow]:
        return self._database.due_windows.page(query, monitor_id=monitor.id)

    def acknowledgements(self, monitor: Monitor, query: Query) -> Page[Acknowledgement]:
        return self._database.acknowledgements.page(query, monitor_id=monitor.id)

    def dead_letters(self, monitor: Monitor, query: Query) -> Page[DeadLetter]:
        return self._database.dead_letters.page(query, deployment_id=monitor.deployment_id)

    def maintenance(self, monitor: Monitor, maintenance_id: str) -> Maintenance:
        return self._database.maintenances.get(maintenance_id, monitor_id=monitor.id)

    def maintenances(self, monitor: Monitor, query: Query) -> Page[Maintenance]:
        return self._database.maintenances.page(query, monitor_id=monitor.id)

    def add_maintenance(
        self, monitor: Monitor, start: datetime, end: datetime, reason: str, by: str
    ) -> Maintenance:
        """Tell nothing of any alert about windows that meet [start, end)."""
        start, end = span(start, end)
        return self._database.maintenances.add(Maintenance(new_id(), monitor.id, start, end, reason, by))

    def delete_maintenance(self, monitor: Monitor, maintenance_id: str) -> None:
        self._database.maintenances.delete(self.maintenance(monitor, maintenance_id).id)

    def runs(self, monitor: Monitor, start: datetime | None, end: datetime | None) -> tuple[MonitorRun, ...]:
        """Return the latest revision of each window that begins in [start, end), in order of time."""
        found = self._database.monitor_runs.between("start", start, end, sort="id", monitor_id=monitor.id)
        latest = {(run.start, run.end): run for run in found}  # ids sort by making: the last one counts
        return tuple(sorted(latest.values(), key=lambda run: run.start))

    def last_run(self, monitor: Monitor) -> MonitorRun | None:
        """Return the newest revision of the newest window."""
        found = self._database.monitor_runs.where(monitor_id=monitor.id, sort="-start", limit=1)
        return found[0] if found else None

    def run(self, monitor: Monitor, run_id: str) -> MonitorRun:
        return self._database.monitor_runs.get(run_id, monitor_id=monitor.id)

    def _settle_config(self, monitor: Monitor, by: str, why: str) -> None:
        """Go where a new configuration leads: init while a field is missing, else baselining."""
        missing = monitor.config.missing()
        if not missing:
            self._move(monitor, MonitorState.BASELINING, by, why, message="", progress="")
            return
        message = f"The configuration lacks {', '.join(missing)}."
        if monitor.state is MonitorState.INIT:
            self._database.monitors.update(monitor.id, message=message)
        else:
            self._move(monitor, MonitorState.INIT, by, why, message=message)

    def _settled(self, monitor: Monitor) -> Monitor:
        """Begin the baseline, which others can only see to be wanted now; return the monitor as it is."""
        fresh = self._fresh(monitor)
        if fresh.state is MonitorState.BASELINING:
            self._submit_baseline(fresh)
        return fresh

    def _config_version(self, monitor: Monitor, by: str) -> ConfigVersion:
        return ConfigVersion(new_id(), monitor.id, monitor.config_version, monitor.config, by, self._now())

    def _set_schema(self, monitor: Monitor, schema: tuple[Feature, ...], by: str) -> Monitor:
        if monitor.state is MonitorState.ACTIVE:
            raise ConflictError("The monitor is active; stop it before you change its schema.")
        for feature in schema:
            feature.check()
        with self._database.transaction():
            before = self._fresh(monitor)
            self._database.monitors.update(monitor.id, schema=schema)
            begins = self._settle_schema(before, replace(before, schema=schema), by)
        return self._settled(monitor) if begins else self._fresh(monitor)

    def _settle_schema(self, before: Monitor, changed: Monitor, by: str) -> bool:
        """Go where a new schema leads; tell whether it needs another baseline, as other columns do.

        Only a baseline tells whether a table has the columns that it was pending for.
        """
        if before.state not in (MonitorState.PENDING, MonitorState.READY):
            return False
        unmet = changed.unmet()
        is_pending = before.state is MonitorState.PENDING
        if _is_table(before) and (is_pending or set(before.inputs()) != set(changed.inputs())):
            self._move(before, MonitorState.BASELINING, by, "schema changed", message="", progress="")
            return True
        if before.state is MonitorState.PENDING and not unmet:
            self._move(before, MonitorState.READY, by, "schema complete", message="")
        elif before.state is MonitorState.READY and unmet:
            self._move(before, MonitorState.PENDING, by, "schema incomplete", message=unmet)
        return False

    def _submit_baseline(self, monitor: Monitor) -> None:
        self._worker.submit(monitor.id, lambda: self._make_baseline(monitor.id))

    def _make_baseline(self, monitor_id: str) -> None:
        monitor = self._database.monitors.find(id=monitor_id)
        if monitor is None or monitor.state is not MonitorState.BASELINING:
            return

        def progress(text: str) -> None:
            self._database.monitors.update(monitor_id, progress=text)

        try:
            built = self._fitting.build(monitor, progress)
        except TidegaugeError as error:
            self._move(monitor, MonitorState.ERROR, SYSTEM, error.message, message=error.message)
            return
        except Exception as error:
            # A mistake of ours: no monitor may stay baselining for ever, and the worker logs the trace.
            message = f"The baseline could not be made: {error}"
            self._move(monitor, MonitorState.ERROR, SYSTEM, message, message=message)
            raise
        with self._database.transaction():
            fresh = self._fresh(monitor)  # the schema may have been completed meanwhile
            stale = _is_table(fresh) and set(fresh.inputs()) != set(monitor.inputs())
            if not stale:
                self._finish_baseline(fresh, built)
        if stale:
            self._make_baseline(monitor_id)

    def _finish_baseline(self, monitor: Monitor, built: Built) -> None:
        schema = complete(monitor.schema, built.inferred, first=not monitor.baseline)
        unmet = replace(monitor, schema=schema).unmet()
        if built.lacking:
            unmet += (
                f" The training data have no column {', '.join(built.lacking)}; remove the feature "
                "(tidegauge monitor remove-feature), or give training data that have it."
            )
        after = MonitorState.PENDING if unmet else MonitorState.READY
        self._move(
            monitor,
            after,
            SYSTEM,
            "baseline made",
            message=unmet.strip(),
            baseline=built.digest,
            schema=schema,
            progress="",
            evidence=None,
        )

    def _move(self, monitor: Monitor, after: MonitorState, by: str, why: str, **changes: Any) -> None:
        """Change the state if nobody else has meanwhile, and record the transition."""
        check_transition(monitor.state, after)
        moved = self._database.monitors.update(monitor.id, {"state": monitor.state}, state=after, **changes)
        if not moved:
            raise ConflictError("The monitor has changed meanwhile; look again and repeat.")
        self._database.transitions.add(
            Transition(new_id(), monitor.id, monitor.state, after, by, why, self._now())
        )

    def _fresh(self, monitor: Monitor) -> Monitor:
        return self._database.monitors.get(monitor.id)


def _is_table(monitor: Monitor) -> bool:
    return monitor.config.input_data_type == "tabular" and monitor.config.drift.enabled
