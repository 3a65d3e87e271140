"""Planning: what a retraining is to do, with everything said that was left out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

from tidegauge.domain.catalogue import Repository, RepositoryKind, Version
from tidegauge.domain.deployment import Deployment, Origin
from tidegauge.domain.monitor import Monitor
from tidegauge.domain.pipeline import PipelineState
from tidegauge.domain.retraining import PipelineChoice, RetrainingPlan
from tidegauge.domain.windows import span
from tidegauge.errors import ConflictError, FieldError, InvalidInputError, TidegaugeError
from tidegauge.services import measuring
from tidegauge.services.baselines import Baselines
from tidegauge.services.catalogue import Catalogue
from tidegauge.storage.database import Database

_SPAN = timedelta(days=30)
_BASELINED = ("pending", "ready", "active")


class Planning:
    """Completes plans, and refuses those that cannot be carried out, before anything is done."""

    def __init__(
        self,
        database: Database,
        catalogue: Catalogue,
        baselines: Baselines,
        now: Callable[[], datetime],
    ) -> None:
        self._database = database
        self._catalogue = catalogue
        self._baselines = baselines
        self._now = now

    def complete(self, monitor: Monitor, plan: RetrainingPlan) -> RetrainingPlan:
        """Return the plan with what was left out; InvalidInputError with everything that is wrong."""
        deployment = self._database.deployments.get(monitor.deployment_id)
        self._check_monitor(monitor, deployment)
        end = plan.end or self._now()
        start, end = span(plan.start or end - _SPAN, end)
        errors = plan.errors()
        pipeline = plan.pipeline or self._known_pipeline(monitor, deployment)
        if pipeline is None:
            errors.append(
                FieldError(
                    "pipeline",
                    f"pipeline is missing, and no pipeline run has made {deployment.model_name!r}; name the "
                    "Code of a pipeline.",
                )
            )
        else:
            errors += self._about_code(monitor, pipeline)
        last = self._database.retrainings.where(monitor_id=monitor.id, sort="-id")
        held_out = plan.held_out or next((r.plan.held_out for r in last if r.plan.held_out), None)
        plan = replace(plan, start=start, end=end, pipeline=pipeline, held_out=held_out)
        errors += self._about_held_out(monitor, plan)
        if plan.metric in ("recall", "specificity") and not self._positive(monitor):
            errors.append(
                FieldError(
                    "metric",
                    f"metric is {plan.metric!r}, which speaks of one class; set performance.positive.",
                )
            )
        if errors:
            raise InvalidInputError(" ".join(error.message for error in errors), tuple(errors))
        return plan

    def model(self, monitor: Monitor, name: str) -> Repository:
        return self._catalogue.get(RepositoryKind.MODEL, monitor.owner, name)

    def _check_monitor(self, monitor: Monitor, deployment: Deployment) -> None:
        config = monitor.config
        if deployment.origin is not Origin.LOCAL:
            raise ConflictError(
                f"The deployment is {deployment.origin.value}; only one that is served here can be retrained."
            )
        if config.input_data_type != "image" or not config.drift.enabled or config.drift.image is None:
            raise ConflictError(
                "The monitor does not look at images; only monitors of images with drift can retrain."
            )
        if config.model_type != "classification":
            raise ConflictError("The model answers numbers; only classifications can be compared.")
        if config.drift.predict_data != "cloudevents":
            raise ConflictError("The monitor reads another cluster's log; retrain over there.")
        if config.drift.train_data is None:
            raise ConflictError("The monitor has no training data; set drift.train_data first.")
        if not config.keep_images:
            raise ConflictError("The monitor keeps no images (keep_images: false); there is nothing to add.")
        if monitor.state.value not in _BASELINED:
            raise ConflictError(f"The monitor is {monitor.state.value}; it retrains once it has a baseline.")

    def _known_pipeline(self, monitor: Monitor, deployment: Deployment) -> PipelineChoice | None:
        """Return the pipeline that made the model version which is served, or the last one for this model."""
        serving = self._serving(monitor, deployment)
        lineage = serving.meta.get("lineage", {})
        runs = self._database.pipeline_runs.where(id=str(lineage.get("pipeline_run", "")))
        runs = runs or self._database.pipeline_runs.where(
            owner=monitor.owner,
            model=deployment.model_name,
            state=PipelineState.SUCCEEDED,
            sort="-id",
            limit=1,
        )
        if not runs:
            return None
        return PipelineChoice(runs[0].code, None, runs[0].file, runs[0].parameters)

    def _serving(self, monitor: Monitor, deployment: Deployment) -> Version:
        model = self._catalogue.get(RepositoryKind.MODEL, monitor.owner, deployment.model_id)
        return self._catalogue.version(model, deployment.model_version)

    def _about_code(self, monitor: Monitor, pipeline: PipelineChoice) -> list[FieldError]:
        try:
            code = self._catalogue.get(RepositoryKind.CODE, monitor.owner, pipeline.code)
            self._catalogue.version(code, pipeline.code_version)
        except TidegaugeError as error:
            return [FieldError("pipeline", f"pipeline: {error.message}")]
        return []

    def _about_held_out(self, monitor: Monitor, plan: RetrainingPlan) -> list[FieldError]:
        wanted, train = plan.held_out, monitor.config.drift.train_data
        if wanted is None:
            message = (
                "held_out is missing; name a labelled version of a Dataset that no model was trained on."
            )
            return [FieldError("held_out", message)]
        if train and (wanted.dataset, wanted.version) == (train.dataset, train.version):
            return [FieldError("held_out", f"held_out is {wanted}, the training data; name another one.")]
        try:
            version = self._catalogue.ready_version(
                RepositoryKind.DATASET, monitor.owner, wanted.dataset, wanted.version
            )
        except TidegaugeError as error:
            return [FieldError("held_out", f"held_out: {error.message}")]
        if not (version.form and version.form.holds_images and version.classes):
            return [FieldError("held_out", f"held_out is {wanted}, which has no labelled images.")]
        return []

    def _positive(self, monitor: Monitor) -> str | None:
        return measuring.positive_class(monitor.config.performance.positive, self._baselines.load(monitor))
