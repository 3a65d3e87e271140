"""Alerting: from a run to what is told of it, in the transaction of the run."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Protocol

from tidegauge.domain.alert import Alert, AlertEvent, Subject, Told
from tidegauge.domain.channel import Message
from tidegauge.domain.identity import new_id
from tidegauge.domain.monitor import PREDICTION, Cause, Monitor, MonitorRun, farthest
from tidegauge.domain.retraining import Retraining, RetrainingState
from tidegauge.storage.database import Database

_TOLD = (PREDICTION, "accuracy", "mae", "requests")  # beside the farthest score, in every message
_SEARCHED = 4  # windows looked back at for each breach that a rule asks for


class Post(Protocol):
    """Takes messages to be sent: ``post`` within a transaction, ``kick`` after it."""

    def post(
        self, event: AlertEvent, message: Message, channels: tuple[str, ...], owner: str, now: datetime
    ) -> None: ...

    def kick(self) -> None: ...


_UNDECIDED = timedelta(days=1)  # after which what was surely past its bound, and no longer is, is over


class Alerting:
    """Judges the alerts of a monitor after each run; each change of an alert is told once."""

    def __init__(self, database: Database, post: Post, now: Callable[[], datetime]) -> None:
        self._database = database
        self._post = post
        self._now = now

    def kick(self) -> None:
        """Let what was posted be sent."""
        self._post.kick()

    def judge(self, monitor: Monitor, run: MonitorRun, previous: MonitorRun | None) -> None:
        """Judge every alert by a run; call it in the transaction that saves the run.

        ``previous`` is what was found in the same window before.
        """
        for alert in self._database.alerts.where(monitor_id=monitor.id):
            holds, value = alert.rule.judge(run)
            if value is None or (holds is None and not _is_stale(alert, run)):
                continue
            fires = bool(holds) and alert.rule.fires([*self._before(alert, run), run])
            if alert.judged_until is not None and run.end < alert.judged_until:
                known = previous is not None and alert.rule.judge(previous)[0]
                self._judge_late(monitor, alert, run, value, fires and not known)
            else:
                self._judge_now(monitor, alert, run, value, fires)

    def _judge_now(self, monitor: Monitor, alert: Alert, run: MonitorRun, value: float, fires: bool) -> None:
        now = self._now()
        changes: dict[str, Any] = {"judged_until": run.end}
        told = None
        if fires and alert.firing_since is None:
            told = Told.FIRED
            changes |= {"firing_since": run.end, "told_at": None}
        elif fires and self._is_due_again(alert, now):
            told = Told.REPEATED if alert.told_at else Told.FIRED
        elif not fires and alert.firing_since is not None:
            told = Told.RESOLVED
            changes |= {"firing_since": None, "told_at": None}
        if told and not self._known(alert, run) and self._tell(monitor, alert, run, value, told):
            changes["told_at"] = None if told is Told.RESOLVED else now
            if told is Told.FIRED:
                self._retrain(monitor, alert, now)
        self._database.alerts.update(alert.id, **changes)

    def _judge_late(self, monitor: Monitor, alert: Alert, run: MonitorRun, value: float, fires: bool) -> None:
        """A window of the past changes nothing of where the alert stands, but what it shows is told, once."""
        told = self._database.alert_events.find(alert_id=alert.id, at=run.end)
        if fires and told is None:
            self._tell(monitor, alert, run, value, Told.FIRED, late=True)

    def _tell(
        self,
        monitor: Monitor,
        alert: Alert,
        run: MonitorRun,
        value: float,
        told: Told,
        *,
        late: bool = False,
    ) -> bool:
        """Write down what an alert has to tell, and post it unless it is muted; say whether it was posted."""
        rule = alert.rule
        event = AlertEvent(
            new_id(),
            alert.id,
            monitor.id,
            run.id,
            alert.name,
            rule.text,
            value,
            run.end,
            told,
            rule.severity,
            summarise(monitor, alert, run, value, told),
            late,
            rule.tags,
        )
        self._database.alert_events.add(event)
        now = self._now()
        if told is Told.RESOLVED and not rule.tell_resolved:
            return True
        if (alert.muted_until and now < alert.muted_until) or self._in_maintenance(monitor, run):
            return False
        message = Message(
            told.value,
            alert.name,
            monitor.name,
            monitor.id,
            rule.severity,
            run.status.value,
            run.start,
            run.end,
            event.summary,
            facts(run),
            rule.tags,
            run.id,
            alert.id,
        )
        self._post.post(event, message, rule.channels, monitor.owner, now)
        return True

    def _retrain(self, monitor: Monitor, alert: Alert, now: datetime) -> None:
        """Begin the retraining that a rule asks for, unless one is under way or was begun a moment ago."""
        action = alert.rule.retrain
        if action is None or self._database.retrainings.find(under_way=monitor.id):
            return
        last = self._database.retrainings.where(monitor_id=monitor.id, sort="-id", limit=1)
        if last and now < last[0].created_at + timedelta(hours=action.pause_hours):
            return
        # What the rule leaves out is completed, and refused in a sentence, by the server that carries it out.
        self._database.retrainings.add(
            Retraining(
                new_id(),
                monitor.id,
                RetrainingState.COLLECTING,
                monitor.owner,
                alert.name,
                now,
                action.plan(now),
                under_way=monitor.id,
            )
        )

    def _before(self, alert: Alert, run: MonitorRun) -> list[MonitorRun]:
        """Return the windows before a run that its streak may need, in order of time."""
        wanted = alert.rule.breaches - 1
        if not wanted:
            return []
        found = self._database.monitor_runs.between(
            "end",
            None,
            run.start + timedelta(microseconds=1),
            sort="-start",
            limit=wanted * _SEARCHED,
            monitor_id=run.monitor_id,
        )
        latest: dict[tuple[datetime, datetime], MonitorRun] = {}
        for earlier in found:
            known = latest.get((earlier.start, earlier.end))
            if known is None or known.revision < earlier.revision:
                latest[earlier.start, earlier.end] = earlier
        return sorted(latest.values(), key=lambda earlier: earlier.start)

    def _known(self, alert: Alert, run: MonitorRun) -> bool:
        return self._database.alert_events.find(alert_id=alert.id, run_id=run.id) is not None

    @staticmethod
    def _is_due_again(alert: Alert, now: datetime) -> bool:
        if alert.told_at is None:
            return True  # it fired while it was muted
        again = alert.rule.repeat_minutes
        return bool(again) and now >= alert.told_at + timedelta(minutes=again)

    def _in_maintenance(self, monitor: Monitor, run: MonitorRun) -> bool:
        spans = self._database.maintenances.between("end", run.start, None, monitor_id=monitor.id)
        return any(span.start < run.end and span.end > run.start for span in spans)


def _is_stale(alert: Alert, run: MonitorRun) -> bool:
    """Tell whether what fires was last seen to hold so long ago that it counts as over, undecided as it is.

    A confidence sequence begins anew each day; a site with few labels may never be sure that all is well.
    """
    last = alert.judged_until
    return alert.firing_since is not None and last is not None and run.end - last >= _UNDECIDED


def summarise(monitor: Monitor, alert: Alert, run: MonitorRun, value: float, told: Told) -> str:
    """Say in one sentence what an alert has to tell."""
    window = f"{run.start:%Y-%m-%d %H:%M} to {run.end:%H:%M} UTC"
    if told is Told.RESOLVED:
        return f"{monitor.name}: {alert.name} is over in the window {window} ({value:.3g})."
    late = {
        Cause.LATE_LABELS: " This was found now, from labels that came late.",
        Cause.LATE_EVENTS: " This was found now, from events that came late.",
    }.get(run.cause, "")
    where = alert.rule.where(run)
    place = f" of {', '.join(where)}" if where else ""
    known = {segment.name: segment.evidence for segment in run.segments}
    evidence = known[where[0]] if where else run.evidence
    about_evidence = any(condition.on is Subject.EVIDENCE for condition in alert.rule.conditions)
    if about_evidence and evidence is not None:
        since = f" since {evidence.since:%Y-%m-%d %H:%M} UTC" if evidence.since else ""
        return (
            f"{monitor.name}: the inputs{place} have drifted{since}; {evidence.feature} leads, "
            f"{abs(evidence.effect):.1f} standard deviations {'above' if evidence.effect > 0 else 'below'} "
            f"the baseline.{late}"
        )
    again = " still" if told is Told.REPEATED else ""
    said = f"{alert.rule.text}{again} holds" + (f" in {', '.join(where)}," if where else "")
    return f"{monitor.name}: {said} in the window {window} ({value:.3g}).{late}"


def facts(run: MonitorRun) -> tuple[str, ...]:
    """Return what else a reader wants to know of a run."""
    statuses = f"Drift {run.drift.value}, performance {run.performance.value}, health {run.health.value}."
    inputs = farthest(run.metrics)
    named = [
        f"{metric.name} {metric.value:.3g} ({metric.n} samples)"
        for metric in run.metrics
        if metric.value is not None and (metric is inputs or metric.name in _TOLD)
    ]
    return (statuses, *named)
