"""What can be told of the sources of a configuration before it is saved."""

from __future__ import annotations

from collections.abc import Iterator

from tidegauge.domain.deployment import Deployment
from tidegauge.domain.monitor_config import CustomFunction, MonitorConfig
from tidegauge.errors import FieldError, TidegaugeError
from tidegauge.services.catalogue import Catalogue
from tidegauge.services.sources.custom import check_function
from tidegauge.services.sources.files import Datasets

_OURS = ("log", "observations")  # what Tidegauge writes beside the files that are dropped


def source_errors(
    catalogue: Catalogue, deployment: Deployment, config: MonitorConfig
) -> Iterator[FieldError]:
    """Yield every field that names what is not there, or is not the deployment's owner's."""
    datasets = Datasets(catalogue)
    performance = config.performance
    if performance.dataset:
        yield from _dataset(
            datasets,
            deployment.owner,
            "performance.dataset",
            performance.dataset,
            performance.dataset_version,
        )
    elif performance.prefix:
        yield from _own_folder(deployment, performance.prefix)
    drift = config.drift
    if drift.predict_dataset:
        name, version = drift.predict_dataset, drift.predict_version
        yield from _dataset(datasets, deployment.owner, "drift.predict_dataset", name, version)
    if drift.custom:
        yield from _custom(catalogue, deployment.owner, "drift.custom", drift.custom)
    if performance.custom:
        yield from _custom(catalogue, deployment.owner, "performance.custom", performance.custom)


def _dataset(
    datasets: Datasets, owner: str, field: str, name: str, version: int | None
) -> Iterator[FieldError]:
    try:
        datasets.check(owner, name, version)
    except TidegaugeError as error:
        yield FieldError(field, f"{field}: {error.message}")


def _custom(catalogue: Catalogue, owner: str, field: str, wanted: CustomFunction) -> Iterator[FieldError]:
    try:
        check_function(catalogue, owner, wanted)
    except TidegaugeError as error:
        yield FieldError(field, f"{field}: {error.message}")


def _own_folder(deployment: Deployment, prefix: str) -> Iterator[FieldError]:
    parts = [part for part in prefix.split("/") if part not in ("", ".")]
    if parts[:1] != [deployment.id] or len(parts) < 2 or parts[1] in _OURS:
        yield FieldError(
            "performance.prefix",
            f"performance.prefix is {prefix!r}; name a folder below the deployment's own, such as "
            f"{deployment.livedata}, or the Dataset that has the files.",
        )
