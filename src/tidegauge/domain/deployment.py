"""Deployments: served models."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar, Literal
from urllib.parse import urlsplit

from typing_extensions import TypedDict  # typing's own is read by pydantic from Python 3.12 on

from tidegauge.domain.inference_service import Condition, InferenceService
from tidegauge.domain.labels import label_text
from tidegauge.domain.sampled import one_in, sampling_error
from tidegauge.domain.served import ServedModel, ServedState
from tidegauge.domain.shown import Shown
from tidegauge.domain.strict import STRICT
from tidegauge.errors import FieldError
from tidegauge.settings import MOST_KEEP_BYTES, MOST_KEEP_DAYS

_LONGEST = 253  # characters of a name in Kubernetes
_OF_LOG = frozenset({"keep_days", "keep_bytes"})


class DeploymentState(StrEnum):
    STARTING = "starting"
    RUNNING = "running"
    FAILED = "failed"
    STOPPED = "stopped"
    UNKNOWN = "unknown"


class Origin(StrEnum):
    LOCAL = "local"
    IMPORTED = "imported"
    EXTERNAL = "external"


class DeploymentChanges(TypedDict, total=False):
    """What may be changed of a deployment; what is not there stays."""

    version: int
    logging: bool
    wanted: Literal[DeploymentState.RUNNING, DeploymentState.STOPPED]
    service: str
    namespace: str
    classes: tuple[str, ...]
    predict_url: str
    sampling: float
    keep_days: int | None
    keep_bytes: int | None
    min_replicas: int
    max_replicas: int


DeploymentChanges.__pydantic_config__ = STRICT  # type: ignore[attr-defined]  # in the class it would be a key

_CHANGEABLE: Mapping[Origin, frozenset[str]] = {
    Origin.LOCAL: _OF_LOG | {"version", "logging", "wanted", "sampling"},
    Origin.IMPORTED: _OF_LOG,
    Origin.EXTERNAL: _OF_LOG
    | {"version", "logging", "service", "namespace", "classes", "predict_url", "sampling"},
}
#: Of one that this cluster has put on KServe: what its InferenceService is made of.
_ON_KSERVE = _OF_LOG | {"version", "logging", "min_replicas", "max_replicas"}


@dataclass(frozen=True)
class Deployment(Shown):
    """A served model. ``wanted`` is what its owner asked for; ``state`` is what is so.

    An external one is nothing but its events: no process of ours serves it, and without a ``model_id`` nobody
    but its ``classes`` knows the model. It is running while events come, else its state is unknown; with
    ``logging`` off its events are refused.

    ``service`` and ``namespace`` are the names under which KServe's logger reports an external one,
    ``classes`` those of its answers where no model of ours says so, ``predict_url`` where others serve it.
    ``sampling`` is the share of its requests that is logged. ``keep_days`` and ``keep_bytes`` bound its log;
    0: all is kept, None: as the server's settings of these names say.
    """

    shown: ClassVar = ("name", "model_name", "model_version", "state", "origin", "logging", "message", "id")

    id: str
    name: str
    owner: str
    model_id: str
    model_name: str
    model_version: int
    logging: bool
    origin: Origin
    wanted: DeploymentState  # running or stopped
    state: DeploymentState
    created_at: datetime
    predict_path: str  # of the predict URL, below the server's own address
    port: int = 0
    restarts: int = 0
    message: str = ""
    service: str = ""
    namespace: str = ""
    classes: tuple[str, ...] = ()
    predict_url: str = ""
    sampling: float = 1.0
    keep_days: int | None = None
    keep_bytes: int | None = None
    shared: bool = False
    served: ServedModel | None = None  # by another server, as it was last found; None: never looked up
    kserve: InferenceService | None = None  # that serves it, where this cluster has put it there

    @property
    def livedata(self) -> str:
        """Prefix in the store below which label files are dropped."""
        return f"{self.id}/livedata"

    @property
    def events_path(self) -> str:
        """Path to which its events are sent."""
        return f"/v1/deployments/{self.id}/events"

    @property
    def elsewhere(self) -> str:
        """Who serves it, in a sentence, where no process of ours does; empty for one that is served here."""
        if self.predict_path:
            return ""
        where = self.predict_url or "nobody has told where"
        return f"The deployment {self.name!r} is {self.origin.value}; ask its own server ({where})."

    @property
    def model_label(self) -> str:
        """Name and version of the model, empty where it is none of the catalogue."""
        return f"{self.model_name} v{self.model_version}" if self.model_name else ""

    @property
    def said(self) -> Mapping[str, Any]:
        """What is known of a model that is none of the catalogue, in the words of model.json."""
        return {"classes": list(self.classes)} if self.classes else {}

    @property
    def weight(self) -> float:
        """How many requests a logged one stands for that does not say so; our model server always does."""
        return 1.0 if self.origin is Origin.LOCAL else float(one_in(self.sampling))

    def errors(self) -> Iterator[FieldError]:
        """Say what is wrong with what its owner tells of it."""
        texts = [label_text(name) for name in self.classes]  # as labels are read: 1 and 1.0 are one
        if self.classes and self.model_id:
            yield FieldError("classes", "classes come with the model; leave out either.")
        elif len(texts) == 1 or not all(text.strip() and text.isprintable() for text in texts):
            message = f"classes is {', '.join(map(repr, texts))}; name two or more, or none for a regression."
            yield FieldError("classes", message)
        elif len(set(texts)) < len(texts):
            twice = next(text for text in texts if texts.count(text) > 1)
            yield FieldError("classes", f"classes has {twice!r} twice; name each class once.")
        for name, value in (("service", self.service), ("namespace", self.namespace)):
            if value and (len(value) > _LONGEST or not value.isprintable() or value != value.strip()):
                message = (
                    f"{name} is {value[:80]!r}; give the name in Kubernetes, {_LONGEST} characters at most."
                )
                yield FieldError(name, message)
        if self.namespace and not self.service:
            message = "service is missing; give the InferenceService in this namespace, or no namespace."
            yield FieldError("service", message)
        if self.predict_url and not _is_web_address(self.predict_url):
            message = f"predict_url is {self.predict_url[:80]!r}; give an address such as https://host/path."
            yield FieldError("predict_url", message)
        if error := sampling_error(self.sampling):
            yield error
        if self.kserve:
            yield from self.kserve.errors()
        for name, bound, most in (
            ("keep_days", self.keep_days, MOST_KEEP_DAYS),
            ("keep_bytes", self.keep_bytes, MOST_KEEP_BYTES),
        ):
            if bound is not None and not 0 <= bound <= most:
                message = f"{name} is {bound}; give 0, which keeps all, to {most:,}, or nothing."
                yield FieldError(name, message)

    @property
    def changeable(self) -> frozenset[str]:
        """The fields that may be changed: who serves it says the rest, and a model its own classes."""
        if self.kserve:
            return _ON_KSERVE
        return _CHANGEABLE[self.origin] - {"classes" if self.model_id else "version"}

    def unchangeable(self, fields: Iterable[str]) -> Iterator[FieldError]:
        """Say which of these fields are not to be changed here, and what to do in their place."""
        for name in fields:
            if name not in self.changeable:
                yield FieldError(name, f"{name} cannot be changed: {self._why_not(name)}")

    def _why_not(self, field: str) -> str:
        if self.kserve:
            return f"the deployment {self.name!r} is served by KServe as this cluster has told it to."
        if field in {"min_replicas", "max_replicas"}:
            return f"the deployment {self.name!r} is not on KServe, and has no replicas."
        if field in _CHANGEABLE[self.origin]:
            said = "is known here, and says so itself" if self.model_id else "is none of those here"
            return f"the model of {self.name!r} {said}."
        if self.origin is Origin.LOCAL:
            return f"the deployment {self.name!r} is served here, which says so itself."
        return (
            f"the deployment {self.name!r} is {self.origin.value}, and its server is not ours; "
            "do it there. What is sent is refused while its logging is off."
        )


@dataclass(frozen=True)
class Placed:
    """A deployment on KServe, and its manifest (YAML), with its token only where nothing was applied."""

    deployment: Deployment
    manifest: str


def state_of_external(served: ServedModel | None, *, is_quiet: bool) -> tuple[DeploymentState, str]:
    """Return the state and message of an external deployment: it runs while events come, or it is ready."""
    is_ready = served is not None and served.state is ServedState.READY
    state = DeploymentState.RUNNING if is_ready or not is_quiet else DeploymentState.UNKNOWN
    return state, served.message if served else ""


def state_on_kserve(
    conditions: Iterable[Condition], *, failed: str = "", is_deleted: bool = False
) -> tuple[DeploymentState, str]:
    """Return the state of a deployment and why it does not run, by what Kubernetes says of its service.

    ``failed`` is what KServe says of a model that cannot be loaded.

    >>> state_on_kserve([Condition("Ready", "True")])
    (<DeploymentState.RUNNING: 'running'>, '')
    >>> state_on_kserve([Condition("Ready", "False", "RevisionMissing", "no image")])[1]
    'KServe: RevisionMissing: no image'
    """
    if is_deleted:
        return DeploymentState.FAILED, "Its InferenceService is being deleted, and not by this server."
    found = {one.type: one for one in conditions}
    ready = found.get("Ready")
    if ready is not None and ready.status == "True":
        return DeploymentState.RUNNING, ""
    if failed:
        return DeploymentState.FAILED, f"KServe: {failed}"
    # What Ready is made of says more than Ready, which often repeats one of them without a word.
    behind = [one for one in found.values() if one.status != "True" and (one.reason or one.message)]
    behind.sort(key=lambda one: (one.type == "Ready", one.status != "False"))
    why = next((_sentence(one) for one in behind), "")
    return DeploymentState.STARTING, f"KServe: {why}" if why else ""


def _sentence(condition: Condition) -> str:
    return ": ".join(filter(None, (condition.reason, " ".join(condition.message.split())[:300])))


def _is_web_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        is_whole = url.isprintable() and " " not in url  # urlsplit leaves such characters out
        return is_whole and parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
