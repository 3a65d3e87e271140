"""CloudEvents of the inference log."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

REQUEST_TYPE = "org.kubeflow.serving.inference.request"
RESPONSE_TYPE = "org.kubeflow.serving.inference.response"
#: What a sender has served by the minute, and what it lost: no inference, and only about some.
SERVED_TYPE = "org.tidegauge.serving.served"
BATCH_CONTENT_TYPE = "application/cloudevents-batch+json"

KSERVE_ATTRIBUTES = ("inferenceservicename", "namespace", "endpoint")
# Extension attributes beside KServe's.
HEADER_LENGTH = "headerlength"  # bytes of JSON before the binary tensors (Inference-Header-Content-Length)
STATUS = "status"  # HTTP status of the response, integer
LATENCY_US = "latencyus"  # time the model server took, integer microseconds
SENDER = "sender"  # the process that served the request, text
SEQUENCE = "sequence"  # which of its requests this is, integer
SAMPLED_RATE = "sampledrate"  # CloudEvents' own: it is one of so many that were not sent, integer
REDACTED = "redacted"  # true: the payload was taken out, since no images are kept

Key = tuple[str, str]  # source and id of an event


@dataclass(frozen=True)
class Event:
    """One CloudEvents 1.0 event; the request and the response of an inference share ``id``.

    ``data`` is the payload as bytes (JSON text, or Open Inference Protocol binary with the length of
    its JSON header in ``extensions["headerlength"]``); ``time`` is timezone-aware UTC.
    """

    id: str
    source: str
    type: str
    time: datetime
    content_type: str
    data: bytes
    extensions: Mapping[str, str | int | bool] = field(default_factory=dict)

    @property
    def key(self) -> Key:
        """What tells events apart: ``source`` and ``id``; ids of two sources may be equal."""
        return self.source, self.id

    @property
    def sampled_rate(self) -> int | None:
        """How many requests it stands for, where the sender says so."""
        rate = self.extensions.get(SAMPLED_RATE)
        return rate if type(rate) is int and rate > 0 else None
