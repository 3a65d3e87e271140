"""The parts of a monitor's configuration: its tabs, and what stands beside them.

The sentences below the fields are what the published JSON Schema says of them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from tidegauge.domain.strict import STRICT

if TYPE_CHECKING:  # pydantic takes a while to load, and --help reads the nouns too
    from pydantic import ConfigDict

DOCUMENTED: ConfigDict = {**STRICT, "use_attribute_docstrings": True}


@dataclass(frozen=True)
class CustomFunction:
    """A function of the user, in a version of one of their Code repositories.

    For drift it is called with the baseline and the window (images: uint8 ``[n, height, width, channels]``;
    tables: a polars DataFrame each) and returns a score in [0, 1], larger = further from the baseline. For
    performance it is called with the true answers and the predictions (classes: lists of text; numbers:
    lists of floats) and returns a number for each name of a metric. It must depend on its arguments alone,
    since a window that is looked at again gives the same result.
    """

    __pydantic_config__ = DOCUMENTED
    code: str
    """Name of the Code repository."""
    version: int
    """Version of it."""
    function: str
    """File in the repository and name of the function, such as metrics/drift.py:score."""


@dataclass(frozen=True)
class ImageShape:
    """The shape that the model takes images in."""

    __pydantic_config__ = DOCUMENTED
    height: int
    """Pixels."""
    width: int
    """Pixels."""
    channels: int = 1
    """1 for grey, 3 for colour."""
    channel_order: Literal["channels_last", "channels_first"] = "channels_last"
    """Where the channels stand in a request's tensor."""


@dataclass(frozen=True)
class TrainData:
    """The Dataset version that the baseline is made of."""

    __pydantic_config__ = DOCUMENTED
    dataset: str
    """Name of the Dataset."""
    version: int
    """Version of it: 1 for v1."""
    images_saved_as: Literal["labelled_folders", "labels_csv", "numpy"] | None = None
    """Refuses a version that is saved in another way; null: any, as it was recognised at import."""


@dataclass(frozen=True)
class HealthConfig:
    """The health of the deployment, from the log and from the served process."""

    __pydantic_config__ = DOCUMENTED
    enabled: bool = True
    """Whether health is watched."""
    frequency_minutes: int = 1
    """Minutes between two looks at the served process."""


@dataclass(frozen=True)
class DriftConfig:
    """How requests and predictions differ from the training data."""

    __pydantic_config__ = DOCUMENTED
    enabled: bool = False
    """Whether drift is watched; needs train_data, and image for images."""
    algorithm: Literal[
        "auto",
        "kolmogorov_smirnov",
        "chi_squared",
        "kolmogorov_smirnov_and_chi_squared",
        "mmd",
        "jensen_shannon",
        "psi",
        "wasserstein",
        "custom",
    ] = "auto"
    """What the score of a feature is; auto: Kolmogorov-Smirnov of numbers, total variation of categories."""
    custom: CustomFunction | None = None
    """The user's function; for the algorithm custom, and for no other."""
    image: ImageShape | None = None
    """The shape of images; for input data type image, and for no other."""
    train_data: TrainData | None = None
    """What the baseline is made of."""
    predict_data: Literal["cloudevents", "dataset"] = "cloudevents"
    """Where requests and predictions are read: cloudevents, the inference log of this cluster, or dataset."""
    predict_dataset: str = ""
    """Name of the Dataset with the logs of another cluster; for predict_data: dataset."""
    predict_version: int | None = None
    """Version of it; null: a folder or bucket as it is now, else the newest version."""
    predict_prefix: str = ""
    """Prefix in that Dataset, such as the id of the deployment there."""


@dataclass(frozen=True)
class PerformanceConfig:
    """How well the model answers, by labels that come later.

    Labels are CSV or Parquet files below ``prefix`` in ``dataset``; without a dataset below ``prefix`` in the
    store of this cluster (default: <deployment id>/livedata).
    """

    __pydantic_config__ = DOCUMENTED
    enabled: bool = False
    """Whether performance is watched."""
    compute: Literal["labelled_data", "precomputed_metrics", "custom"] = "labelled_data"
    """From labels; from files with columns for metrics and the time of each; or by the user's function."""
    custom: CustomFunction | None = None
    """The user's function; for compute: custom, and for no other."""
    dataset: str = ""
    """Name of the Dataset with the files; empty: the store of this cluster."""
    dataset_version: int | None = None
    """Version of it; null: a folder or bucket as it is now, else the newest version."""
    prefix: str = ""
    """Where the files are; empty, without a dataset: <deployment id>/livedata."""
    groundtruth_column: str = "label"
    """Column with the true answer."""
    prediction_column: str = "output"
    """Column with the model's answer."""
    timestamp_column: str = "timestamp"
    """Column with the time of the request."""
    positive: str = ""
    """The class that precision and recall speak of; empty: the model's own."""


@dataclass(frozen=True)
class Tolerances:
    """What happens to images on the way and is harmless: no evidence is collected for it.

    As narrow as what it stands for: whatever is tolerated is not found.
    """

    __pydantic_config__ = DOCUMENTED
    jpeg_quality: int | None = 90
    """Re-encoding as JPEG at this quality or better; null: none."""
    resize: bool = True
    """Another interpolation to the same size."""
    brightness: float = 0.0
    """Grey levels multiplied by 1 - this to 1 + this."""
    contrast: float = 0.0
    """Contrast about the image's mean multiplied by 1 - this to 1 + this."""
    rotation_degrees: float = 0.0
    """Rotation by up to so many degrees either way."""
    zoom: float = 0.0
    """A frame that is closer or wider by up to this share."""
    noise: float = 0.0
    """Added Gaussian noise of up to so many grey levels."""


@dataclass(frozen=True)
class PerSource:
    """Observations of one source (a patient, a device) resemble each other, so that few of them count."""

    __pydantic_config__ = DOCUMENTED
    attribute: str
    """Attribute of the CloudEvents that names the source."""
    gap: int
    """Only one observation of a source counts within so many observations."""


@dataclass(frozen=True)
class EvidenceConfig:
    """When evidence of drift is an alarm."""

    __pydantic_config__ = DOCUMENTED
    alpha: float = 0.001
    """Bound on the chance that there is ever a false alarm, from one start over the whole life."""
    life: int = 1_300_000
    """Observations that evidence is to last for; the default is a year of 12 every five minutes."""
    minimum_effect: float = 0.0
    """Standard deviations of the baseline; what is certain but smaller raises no alarm."""
    tolerances: Tolerances = field(default_factory=Tolerances)
    """Variation of images that is harmless."""
    per_source: PerSource | None = None
    """Thins out observations of the same source; null: every observation counts."""


@dataclass(frozen=True)
class TimeConfig:
    """How late and how wrong times may be."""

    __pydantic_config__ = DOCUMENTED
    grace_seconds: int = 0
    """Seconds to wait for events after a window's end, beyond what the collector needs to write its log."""
    clock_skew_seconds: int = 300
    """By how many seconds the time of an event may lie after its arrival before its clock counts as wrong."""
