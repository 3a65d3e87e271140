"""What is refused of a monitor before anything changes: its configuration, thresholds and alerts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tidegauge.domain.alert import AlertRule
from tidegauge.domain.catalogue import RepositoryKind
from tidegauge.domain.content import ContentForm
from tidegauge.domain.deployment import Deployment
from tidegauge.domain.metrics import MetricType, never_measured
from tidegauge.domain.monitor import Monitor
from tidegauge.domain.monitor_config import MonitorConfig
from tidegauge.domain.thresholds import Threshold
from tidegauge.errors import ConflictError, FieldError, InvalidInputError, TidegaugeError, raise_all
from tidegauge.services.catalogue import Catalogue
from tidegauge.services.sources.checks import source_errors
from tidegauge.storage.database import Database

_FORMS: Mapping[str, ContentForm] = {
    "labelled_folders": ContentForm.LABELLED_FOLDERS,
    "labels_csv": ContentForm.IMAGES_WITH_LABELS,
    "numpy": ContentForm.NUMPY,
}


class Checks:
    """Looks at what a monitor is told beside what there is: Datasets, code, channels."""

    def __init__(self, database: Database, catalogue: Catalogue) -> None:
        self._database = database
        self._catalogue = catalogue

    def config(self, deployment: Deployment, config: MonitorConfig) -> None:
        """Raise InvalidInputError with every field that is wrong."""
        errors = config.errors()
        known = {error.field for error in errors}
        errors += [error for error in self._places(deployment, config) if error.field not in known]
        raise_all(errors)

    def _places(self, deployment: Deployment, config: MonitorConfig) -> Iterator[FieldError]:
        yield from source_errors(self._catalogue, deployment, config)
        train = config.drift.train_data
        if not config.drift.enabled or train is None:
            return
        try:
            version = self._catalogue.ready_version(
                RepositoryKind.DATASET, deployment.owner, train.dataset, train.version
            )
        except TidegaugeError as error:
            yield FieldError("drift.train_data", f"drift.train_data: {error.message}")
            return
        if version.form and (reason := _unfit(version.form, config)):
            yield FieldError(
                "drift.train_data", f"drift.train_data is {train.dataset!r} {version.label}, {reason}"
            )
            return
        wanted = train.images_saved_as
        if wanted and version.form is not _FORMS[wanted]:
            name, is_ = "drift.train_data.images_saved_as", version.form.value if version.form else "empty"
            yield FieldError(
                name, f"{name} is {wanted!r}, but {train.dataset!r} {version.label} is {is_}; leave it out."
            )

    def rule(self, monitor: Monitor, rule: AlertRule, alert_id: str = "") -> None:
        """Raise InvalidInputError for a rule that could never be judged, or told of.

        ``alert_id`` is that of the alert which has the rule already, if one has.
        """
        errors = rule.errors()
        errors += (error for _, error in rule.unknown(monitor.config, monitor.schema))
        if monitor.config.model_type == "regression" and any(c.surely for c in rule.conditions):
            message = (
                "surely is for proportions such as accuracy, and a regression has none; leave it out, or ask "
                "for several breaches in a row."
            )
            errors.append(FieldError("surely", message))
        for name in rule.channels:
            if self._database.channels.find(owner=monitor.owner, name=name) is None:
                message = f"There is no channel {name!r}; add it with: tidegauge channel add {name}"
                errors.append(FieldError("channels", message))
        raise_all(errors)
        known = self._database.alerts.find(monitor_id=monitor.id, name=rule.name)
        if known is not None and known.id != alert_id:
            message = f"There is an alert {rule.name!r} of this monitor already; choose another name."
            raise ConflictError(message, (FieldError("name", message),))


def check_thresholds(monitor: Monitor, thresholds: Mapping[str, Threshold]) -> None:
    """Raise InvalidInputError for a threshold on what labels of this model never give."""
    if monitor.config.performance.compute != "labelled_data":
        return  # files and functions of users may give any
    names = (name for name, bounds in thresholds.items() if bounds.type is MetricType.PERFORMANCE)
    reason = never_measured(names, monitor.config.model_type)
    if reason:
        raise InvalidInputError.of("thresholds", reason)


def _unfit(form: ContentForm, config: MonitorConfig) -> str:
    """Say why a Dataset version cannot be what the baseline is made of; empty where it can."""
    if config.input_data_type == "tabular" and form is not ContentForm.TABLE:
        return f"which is {form.value}; input_data_type tabular needs CSV or Parquet files."
    if config.input_data_type == "image" and not form.holds_images:
        return f"which is {form.value}; input_data_type image needs images."
    return ""
