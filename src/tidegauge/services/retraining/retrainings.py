"""Retrainings: their states, and who decides."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from datetime import datetime
from threading import Event, Thread
from typing import Any

from tidegauge.domain.catalogue import VersionState
from tidegauge.domain.identity import new_id
from tidegauge.domain.monitor import Monitor, MonitorState
from tidegauge.domain.pipeline import PipelineRequest, PipelineRun, PipelineState
from tidegauge.domain.retraining import (
    Promote,
    Retraining,
    RetrainingPlan,
    RetrainingState,
    RetrainingStep,
    check_step,
)
from tidegauge.errors import ConflictError, NotFoundError, TidegaugeError, UnavailableError
from tidegauge.services.monitors import SYSTEM
from tidegauge.services.pipelines import Pipelines
from tidegauge.services.retraining.collecting import Collecting
from tidegauge.services.retraining.comparing import Comparing, InterruptedComparisonError
from tidegauge.services.retraining.planning import Planning
from tidegauge.services.retraining.promoting import NotYetError, Promoting
from tidegauge.services.runs import Runs
from tidegauge.services.worker import Worker
from tidegauge.storage.database import Database
from tidegauge.storage.rows import Page, Query

_log = logging.getLogger(__name__)

_SECONDS = 0.5  # between looks for what there is to do
_TRIES = 3  # pipeline runs that the server may end under
_BUSY = (
    RetrainingState.COLLECTING,
    RetrainingState.TRAINING,
    RetrainingState.COMPARING,
    RetrainingState.PROMOTING,
)
_REFUSABLE = (*_BUSY[:3], RetrainingState.WAITING)


class Retrainings:
    """Takes each retraining from state to state; what a crash left in one goes on from there."""

    def __init__(
        self,
        database: Database,
        planning: Planning,
        collecting: Collecting,
        pipelines: Pipelines,
        comparing: Comparing,
        promoting: Promoting,
        runs: Runs,
        worker: Worker,
        flush: Callable[[], None],
        now: Callable[[], datetime],
    ) -> None:
        """``flush`` writes what the collector holds to the inference log."""
        self._database = database
        self._planning = planning
        self._collecting = collecting
        self._pipelines = pipelines
        self._comparing = comparing
        self._promoting = promoting
        self._runs = runs
        self._worker = worker
        self._flush = flush
        self._now = now
        self._stop = Event()
        self._thread = Thread(target=self._watch, name="retraining", daemon=True)

    def start_up(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._comparing.close()
        if self._thread.is_alive():
            self._thread.join()

    def begin(self, monitor: Monitor, plan: RetrainingPlan, by: str) -> Retraining:
        """Start a retraining, in the background; refused while one is under way."""
        self._check_idle(monitor)
        plan = self._planning.complete(monitor, plan)
        deployment = self._database.deployments.get(monitor.deployment_id)
        made = Retraining(
            new_id(),
            monitor.id,
            RetrainingState.COLLECTING,
            by,
            "manual",
            self._now(),
            plan,
            deployment.model_name,
            deployment.model_version,
            under_way=monitor.id,
        )
        try:
            return self._database.retrainings.add(made)
        except ConflictError:
            self._check_idle(monitor)
            raise

    def page(self, monitor: Monitor, query: Query) -> Page[Retraining]:
        return self._database.retrainings.page(query, monitor_id=monitor.id)

    def get(self, monitor: Monitor, retraining_id: str) -> Retraining:
        return self._database.retrainings.get(retraining_id, monitor_id=monitor.id)

    def latest(self, monitor: Monitor) -> Retraining:
        """Return the one that is under way, or the last one."""
        found = self._database.retrainings.where(monitor_id=monitor.id, sort="-id", limit=1)
        if not found:
            raise NotFoundError(
                f"The monitor {monitor.name!r} has no retraining; start one with: "
                f"tidegauge monitor retrain {monitor.name}"
            )
        return found[0]

    def promote(self, monitor: Monitor, retraining: Retraining, by: str, note: str) -> Retraining:
        """Decide for the candidate; it is promoted in the background."""
        if retraining.state is not RetrainingState.WAITING:
            raise ConflictError(f"The retraining is {retraining.state.value}; there is nothing to decide.")
        self._promoting.check(monitor, retraining)
        resume = monitor.state is MonitorState.ACTIVE
        self._decide(retraining, RetrainingState.PROMOTING, by, note or "promoted", resume=resume)
        return self.get(monitor, retraining.id)

    def refuse(self, monitor: Monitor, retraining: Retraining, by: str, note: str) -> Retraining:
        """Decide against the candidate, or end what is under way; all stays as it was."""
        if retraining.state not in _REFUSABLE:
            raise ConflictError(f"The retraining is {retraining.state.value}; there is nothing to refuse.")
        self._decide(retraining, RetrainingState.REFUSED, by, note or "refused", message=note)
        self._end_pipeline(retraining.id)
        return self.get(monitor, retraining.id)

    def work(self) -> bool:
        """Take every retraining that waits for nobody one step further; tell whether there was one."""
        found = self._database.retrainings.where(state=[state.value for state in _BUSY])
        for retraining in found:
            self._advance(retraining.id)
        return bool(found)

    def _watch(self) -> None:
        while not self._stop.wait(_SECONDS):
            try:
                for retraining in self._database.retrainings.where(state=[s.value for s in _BUSY]):
                    self._submit(retraining.id)
            except Exception:
                # A database that is away for a moment must not end the thread.
                _log.exception("retrainings could not be looked for")

    def _submit(self, retraining_id: str) -> None:
        self._worker.submit(f"retraining {retraining_id}", lambda: self._advance(retraining_id))

    def _advance(self, retraining_id: str) -> None:
        retraining = self._database.retrainings.find(id=retraining_id)
        if retraining is None or retraining.state not in _BUSY:
            return
        monitor = self._database.monitors.get(retraining.monitor_id)
        steps: dict[RetrainingState, Callable[[Monitor, Retraining], None]] = {
            RetrainingState.COLLECTING: self._collect,
            RetrainingState.TRAINING: self._train,
            RetrainingState.COMPARING: self._compare,
            RetrainingState.PROMOTING: self._promote,
        }
        try:
            steps[retraining.state](monitor, retraining)
        except InterruptedComparisonError:
            return  # the state stays, and the next start takes it up
        except (UnavailableError, NotYetError) as error:
            self._note(retraining, error.message)
        except TidegaugeError as error:
            if isinstance(error, ConflictError) and retraining.state is RetrainingState.PROMOTING:
                self._note(retraining, error.message)  # somebody is at the monitor; half-promoted is no end
                return
            self._fail(retraining, error.message)
        except Exception as error:
            # A mistake of ours: none may stay under way for ever, and the worker logs the trace.
            self._fail(retraining, f"The retraining could not go on: {error}")
            raise

    def _collect(self, monitor: Monitor, retraining: Retraining) -> None:
        if not retraining.model:  # from an alert, whose rule says little
            plan = self._planning.complete(monitor, retraining.plan)
            deployment = self._database.deployments.get(monitor.deployment_id)
            self._database.retrainings.update(
                retraining.id,
                {"state": retraining.state},
                plan=plan,
                model=deployment.model_name,
                serving=deployment.model_version,
            )
            retraining = self._database.retrainings.get(retraining.id)
        self._flush()
        self._runs.catch_up(monitor)
        collected = self._collecting.collect(monitor, retraining, lambda text: self._note(retraining, text))
        why = f"{collected.added} live images added as {collected.data}"
        self._move(retraining, RetrainingState.TRAINING, SYSTEM, why, collected=collected, progress="")

    def _train(self, monitor: Monitor, retraining: Retraining) -> None:
        """Start the pipeline, or look how far it is; the id of its run is kept before there is one."""
        state = {"state": retraining.state, "pipeline_run": retraining.pipeline_run}
        if not retraining.pipeline_run:
            self._database.retrainings.update(retraining.id, state, pipeline_run=new_id())
            return
        run = self._pipelines.find(retraining.pipeline_run)
        if run is None:
            self._pipelines.create(self._request(retraining), monitor.owner, retraining.pipeline_run)
            self._end_pipeline(retraining.id)
        elif not run.state.ended:
            running = ", ".join(step.name for step in run.steps if step.state == PipelineState.RUNNING)
            self._note(retraining, f"pipeline run {run.id}: {running or run.state.value}")
        elif run.state is PipelineState.SUCCEEDED:
            candidate = self._made_by(monitor, retraining, run)
            why = f"the pipeline run {run.id} made {retraining.model} v{candidate}"
            self._move(retraining, RetrainingState.COMPARING, SYSTEM, why, candidate=candidate, progress="")
        elif self._pipelines.was_interrupted(run) and self._tries(retraining) < _TRIES:
            again = RetrainingStep(
                retraining.state, retraining.state, SYSTEM, f"{run.message} It starts again.", self._now()
            )
            self._database.retrainings.update(
                retraining.id, state, pipeline_run=new_id(), history=(*retraining.history, again)
            )
        else:
            raise TidegaugeError(
                f"The pipeline run {run.state.value}: {run.message} "
                f"What it wrote: tidegauge pipeline log {run.id}"
            )

    def _compare(self, monitor: Monitor, retraining: Retraining) -> None:
        found = self._comparing.compare(monitor, retraining, lambda text: self._note(retraining, text))
        changes = {"comparison": found, "progress": ""}
        if retraining.plan.promote is Promote.ASK:
            self._move(retraining, RetrainingState.WAITING, SYSTEM, found.reason, **changes)
        elif not found.passes:
            self._move(
                retraining, RetrainingState.REFUSED, SYSTEM, found.reason, message=found.reason, **changes
            )
        else:
            self._promoting.check(monitor, retraining)
            resume = monitor.state is MonitorState.ACTIVE
            self._move(retraining, RetrainingState.PROMOTING, SYSTEM, found.reason, resume=resume, **changes)

    def _promote(self, monitor: Monitor, retraining: Retraining) -> None:
        spent = self._promoting.advance(monitor, retraining)
        with self._database.transaction():
            why = f"v{retraining.candidate} is served; false alarms ever so far: at most {spent.spent:g}"
            if self._move(retraining, RetrainingState.PROMOTED, SYSTEM, why, progress=""):
                self._database.acknowledgements.add(spent)

    def _end_pipeline(self, retraining_id: str) -> None:
        """Cancel the pipeline of a retraining that was refused, perhaps while it was being started."""
        retraining = self._database.retrainings.get(retraining_id)
        run = self._pipelines.find(retraining.pipeline_run)
        if retraining.state.ended and run is not None and not run.state.ended:
            with contextlib.suppress(ConflictError):  # it has ended meanwhile
                self._pipelines.cancel(run)

    def _request(self, retraining: Retraining) -> PipelineRequest:
        pipeline, collected = retraining.plan.pipeline, retraining.collected
        if pipeline is None or collected is None or collected.data is None:
            raise ConflictError("The retraining lacks a pipeline or data; start another one.")
        return PipelineRequest(
            code=pipeline.code,
            dataset=collected.data.dataset,
            model=retraining.model,
            deployment="",  # nothing is deployed before it is compared
            file=pipeline.file,
            code_version=pipeline.code_version,
            dataset_version=collected.data.version,
            parameters=pipeline.parameters,
        )

    def _made_by(self, monitor: Monitor, retraining: Retraining, run: PipelineRun) -> int:
        model = self._planning.model(monitor, retraining.model)
        for version in self._database.versions.where(repository_id=model.id, sort="-number"):
            lineage = version.meta.get("lineage", {})
            if version.state is VersionState.READY and lineage.get("pipeline_run") == run.id:
                return version.number
        raise TidegaugeError(
            f"The pipeline run {run.id} succeeded, but added no version to the model {retraining.model!r}; "
            "its steps do so with client.models.add_version."
        )

    def _check_idle(self, monitor: Monitor) -> None:
        found = self._database.retrainings.find(under_way=monitor.id)
        if found is not None:
            raise ConflictError(
                f"A retraining is {found.state.value}; wait for it, or decide: "
                f"tidegauge monitor promote {monitor.name}, or refuse."
            )

    def _tries(self, retraining: Retraining) -> int:
        return 1 + sum(step.before is step.after for step in retraining.history)

    def _decide(
        self, retraining: Retraining, after: RetrainingState, by: str, why: str, **changes: Any
    ) -> None:
        if not self._move(retraining, after, by, why, **changes):
            raise ConflictError("The retraining has gone on meanwhile; look again and repeat.")

    def _fail(self, retraining: Retraining, message: str) -> None:
        self._move(retraining, RetrainingState.FAILED, SYSTEM, message, message=message)

    def _note(self, retraining: Retraining, text: str) -> None:
        self._database.retrainings.update(retraining.id, {"state": retraining.state}, progress=text)

    def _move(
        self, retraining: Retraining, after: RetrainingState, by: str, why: str, **changes: Any
    ) -> bool:
        """Change the state if nobody else has meanwhile, with the step; tell whether it was so."""
        check_step(retraining.state, after)
        step = RetrainingStep(retraining.state, after, by, why, self._now())
        if after.ended:
            changes |= {"under_way": None, "ended_at": self._now(), "progress": ""}
        return self._database.retrainings.update(
            retraining.id,
            {"state": retraining.state},
            state=after,
            history=(*retraining.history, step),
            **changes,
        )
