"""InferenceServices of KServe: what serves a deployment on Kubernetes, and what Kubernetes says of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import urlsplit

from tidegauge.errors import FieldError

MOST_REPLICAS = 1000
#: What is left of the 63 characters of a DNS-1123 label when KServe has put ``-predictor`` behind a name.
LONGEST_NAME = 63 - len("-predictor")
_NAME = re.compile(rf"[a-z]([a-z0-9-]{{0,{LONGEST_NAME - 2}}}[a-z0-9])?")
_NAMESPACE = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_STORAGE = ("s3", "gs", "pvc", "oci")
_LOGS = ("s3", "gs")


class Runtime(StrEnum):
    """What answers the requests."""

    TIDEGAUGE = "tidegauge"  # our model server, from the image of the setting serving_image
    ONNX = "onnx"  # the cluster's own ServingRuntime for ONNX, which is Triton's as KServe ships it


@dataclass(frozen=True)
class Condition:
    """One condition of an InferenceService, as Kubernetes words it; ``status`` is True, False or Unknown."""

    type: str
    status: str
    reason: str = ""
    message: str = ""


@dataclass(frozen=True)
class InferenceService:
    """The InferenceService of a deployment.

    ``storage_uri`` is where the cluster reads the model, ``log_url`` the bucket that KServe's logger writes
    to (empty: it posts to the collector). ``applied``: this server has made it and deletes it; else
    somebody applies what was printed. ``conditions`` are empty until it was seen in the cluster, by ``uid``.
    """

    name: str
    namespace: str
    runtime: Runtime
    storage_uri: str
    min_replicas: int = 1
    max_replicas: int = 1
    log_url: str = ""
    applied: bool = True
    uid: str = ""
    conditions: tuple[Condition, ...] = ()

    @property
    def is_watched(self) -> bool:
        """Whether Kubernetes, and not the log, says how the deployment is."""
        return self.applied or bool(self.conditions)

    def errors(self) -> Iterator[FieldError]:
        """Say what Kubernetes or KServe would refuse."""
        yield from name_errors(self.name)
        if not _NAMESPACE.fullmatch(self.namespace):
            yield FieldError(
                "namespace",
                f"namespace is {self.namespace[:80]!r}; give that of a namespace of Kubernetes (a DNS-1123 "
                "label: 1 to 63 of a-z, 0-9 and '-', with a letter or digit first and last).",
            )
        yield from replica_errors(self.min_replicas, self.max_replicas)
        yield from _url_errors("storage_uri", self.storage_uri, _STORAGE)
        if self.log_url:
            yield from _url_errors("log_url", self.log_url, _LOGS)


def name_errors(name: str) -> Iterator[FieldError]:
    """Say where a name can be none of an InferenceService.

    >>> [error.field for error in name_errors("3-chests")], list(name_errors("chest-xray"))
    (['name'], [])
    """
    if not _NAME.fullmatch(name):
        yield FieldError(
            "name",
            f"name is {name[:80]!r}, which no InferenceService can have; use a DNS-1123 label of 1 to "
            f"{LONGEST_NAME} of a-z, 0-9 and '-' that begins with a letter and ends with a letter or digit.",
        )


def replica_errors(least: int, most: int) -> Iterator[FieldError]:
    """Say what is wrong with bounds of replicas; 0 lets KServe scale to none while nobody asks."""
    if not 0 <= least <= MOST_REPLICAS:
        yield FieldError("min_replicas", f"min_replicas is {least}; give 0 to {MOST_REPLICAS:,}.")
    if not 1 <= most <= MOST_REPLICAS:
        yield FieldError("max_replicas", f"max_replicas is {most}; give 1 to {MOST_REPLICAS:,}.")
    elif most < least:
        yield FieldError(
            "max_replicas",
            f"max_replicas is {most}, fewer than min_replicas ({least}); give {least} or more.",
        )


def _url_errors(field: str, url: str, schemes: tuple[str, ...]) -> Iterator[FieldError]:
    try:
        parts = urlsplit(url)
        is_whole = parts.scheme in schemes and bool(parts.netloc) and url.isprintable() and " " not in url
        secret = "@" in parts.netloc or bool(parts.query or parts.fragment)
    except ValueError:
        is_whole, secret = False, False
    if secret:
        # Not repeated: it may hold a key.
        yield FieldError(
            field,
            f"{field} has a key, a query or a fragment; give it without, and the key to KServe's secret.",
        )
    elif not is_whole:
        known = ", ".join(f"{scheme}://" for scheme in schemes)
        yield FieldError(field, f"{field} is {url[:80]!r}; give an address that begins with {known}.")
