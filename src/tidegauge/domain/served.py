"""What another server says of a model that it serves."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

_LEAST_PAUSE, _MOST_PAUSE = timedelta(minutes=1), timedelta(minutes=16)

# KServe names hosts after the InferenceService: by Kubernetes' own DNS, or by Knative's and Istio's.
_WITHIN = re.compile(
    r"(?P<service>[a-z0-9-]+?)(-predictor)?(-default)?\.(?P<namespace>[a-z0-9-]+)\.svc(\..+)?"
)
_PREDICTOR = re.compile(r"(?P<service>[a-z0-9-]+?)-predictor(-default)?\.(?P<namespace>[a-z0-9-]+)\..+")
_OUTSIDE = re.compile(r"(?P<service>[a-z0-9-]+)\.(?P<namespace>[a-z0-9-]+)\.[a-z0-9-]+\..+")


class ServedState(StrEnum):
    READY = "ready"
    NOT_READY = "not ready"  # the server answers, and the model does not
    UNREACHABLE = "unreachable"  # or it answers with what no model server says


@dataclass(frozen=True)
class Tensor:
    """An input or an output; a length of -1 in ``shape`` is any."""

    name: str
    datatype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class ServedModel:
    """A model of a server not ours, in the words of its metadata; what it does not say is empty.

    ``protocol`` is v1 (TensorFlow Serving's) or v2 (Open Inference Protocol); ``server`` has its name and
    version. ``message`` says why a model is not ready. ``since`` its ``state`` is so, seen last at ``at``.
    """

    predict_url: str
    state: ServedState
    since: datetime
    at: datetime
    message: str = ""
    protocol: str = ""
    server: str = ""
    model: str = ""
    platform: str = ""
    versions: tuple[str, ...] = ()
    inputs: tuple[Tensor, ...] = ()
    outputs: tuple[Tensor, ...] = ()
    service: str = ""
    namespace: str = ""

    def is_due(self, now: datetime) -> bool:
        """Tell whether it is time for another look: each minute, ever later while nothing answers."""
        pause = _LEAST_PAUSE
        if self.state is ServedState.UNREACHABLE:
            pause = min(max((self.at - self.since) / 2, _LEAST_PAUSE), _MOST_PAUSE)
        return now - self.at >= pause


def kserve_names(host: str, *, is_kserve: bool = False) -> tuple[str, str]:
    """Return the InferenceService and the namespace that a host is named after; empty where it is not.

    ``is_kserve``: whether its server says that it is KServe's, so that a name of the outside counts, too.

    >>> kserve_names("chest-xray-predictor.radiology.svc.cluster.local")
    ('chest-xray', 'radiology')
    >>> kserve_names("chest-xray.radiology.models.example"), kserve_names("models.example", is_kserve=True)
    (('', ''), ('', ''))
    >>> kserve_names("chest-xray.radiology.models.example", is_kserve=True)
    ('chest-xray', 'radiology')
    """
    for pattern in (_WITHIN, _PREDICTOR, *([_OUTSIDE] if is_kserve else [])):
        if found := pattern.fullmatch(host.lower()):
            return found["service"], found["namespace"]
    return "", ""
