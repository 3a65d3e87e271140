"""KServe on Kubernetes: what an InferenceService is made of, and the calls that make, watch and delete it.

The client is that of the Kubernetes project, which kfp brings along (extra ``kubernetes``); it takes
seconds to load, so only a server with the setting ``kubernetes`` does. Manifests are plain code: the
``kserve`` package pins what does not fit beside this.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

import yaml

from tidegauge.domain.inference_service import Condition, InferenceService, Runtime
from tidegauge.errors import (
    ConflictError,
    ForbiddenError,
    InvalidInputError,
    TidegaugeError,
    UnavailableError,
)

GROUP, VERSION, PLURAL = "serving.kserve.io", "v1beta1", "inferenceservices"
DEPLOYMENT_LABEL = "tidegauge.org/deployment"
_MANAGER_LABEL, _MANAGER = "app.kubernetes.io/managed-by", "tidegauge"
IN_CLUSTER = "in-cluster"

_CONNECT_SECONDS, _ANSWER_SECONDS = 5, 20
_PORT = 8080
_LOGGER_USER = "kserve"  # of the URL's user information; the token is what counts
_REFUSED = 403, 401
_UNSAID = "?"
_RIGHTS = "give the account of this server the Role of docs/kserve.md in that namespace"


@dataclass(frozen=True)
class Logger:
    """Where KServe's logger sends: the address of a collector and its token, or a bucket."""

    url: str
    token: str = ""

    @property
    def whole_url(self) -> str:
        """The URL as KServe takes it: it has no headers, so the token is the URL's user information."""
        if not self.token:
            return self.url
        parts = urlsplit(self.url)
        return parts._replace(netloc=f"{_LOGGER_USER}:{quote(self.token, safe='')}@{parts.netloc}").geturl()


@dataclass(frozen=True)
class Found:
    """An InferenceService as the cluster has it."""

    deployment_id: str
    name: str
    namespace: str
    uid: str
    conditions: tuple[Condition, ...]
    url: str
    failed: str  # why its model cannot be loaded
    is_deleted: bool  # or on its way there


def manifest(
    deployment_id: str,
    version: int,
    service: InferenceService,
    logger: Logger | None,
    *,
    image: str = "",
    account: str = "",
) -> dict[str, Any]:
    """Return an InferenceService, ready to be applied.

    Args:
        deployment_id: of the deployment that it serves.
        version: of the model.
        service: what is wanted.
        logger: where requests and responses are logged; None: nowhere.
        image: of our model server, for the runtime ``tidegauge``.
        account: ServiceAccount whose secrets open the bucket of the model.
    """
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "InferenceService",
        "metadata": {
            "name": service.name,
            "namespace": service.namespace,
            "labels": {_MANAGER_LABEL: _MANAGER, DEPLOYMENT_LABEL: deployment_id},
        },
        "spec": {"predictor": _predictor(version, service, logger, image, account)},
    }


def _predictor(
    version: int, service: InferenceService, logger: Logger | None, image: str, account: str
) -> dict[str, Any]:
    predictor: dict[str, Any] = {"minReplicas": service.min_replicas, "maxReplicas": service.max_replicas}
    if account:
        predictor["serviceAccountName"] = account
    if logger:
        predictor["logger"] = _logger(logger, account)
    if service.runtime is Runtime.ONNX:
        predictor["model"] = {
            "modelFormat": {"name": "onnx"},
            "protocolVersion": "v2",
            "storageUri": service.storage_uri,
        }
    else:
        predictor["containers"] = [_container(service, version, image)]
    return predictor


def _logger(logger: Logger, account: str) -> dict[str, Any]:
    found: dict[str, Any] = {"mode": "all", "url": logger.whole_url}
    if not logger.token:  # a bucket, which KServe's agent writes objects to
        found["storage"] = {"parameters": {"type": urlsplit(logger.url).scheme, "format": "json"}}
        if account:
            found["storage"]["serviceAccountName"] = account
    return found


def _container(service: InferenceService, version: int, image: str) -> dict[str, Any]:
    """Return a container of our model server; KServe puts the model of STORAGE_URI at /mnt/models."""
    command = ["serve", "/mnt/models", "--name", service.name, "--version", str(version)]
    return {
        "name": "kserve-container",
        "image": image,
        "args": [*command, "--host", "0.0.0.0", "--port", str(_PORT)],  # noqa: S104 - of its pod
        "env": [{"name": "STORAGE_URI", "value": service.storage_uri}],
        "ports": [{"containerPort": _PORT, "protocol": "TCP"}],
        "readinessProbe": {"httpGet": {"path": "/v2/health/ready", "port": _PORT}, "periodSeconds": 5},
        "resources": {"requests": {"cpu": "500m", "memory": "512Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
        },
    }


def to_yaml(found: Mapping[str, Any]) -> str:
    """Return a manifest as YAML, fields in the order in which they are read."""
    return yaml.safe_dump(dict(found), sort_keys=False)


def predict_url(url: str, service: InferenceService) -> str:
    """Return where the model is asked, of a service at ``url``; empty where it has none yet."""
    if not url:
        return ""
    path = "v2/models/{}/infer" if service.runtime is Runtime.ONNX else "v1/models/{}:predict"
    return f"{url.rstrip('/')}/{path.format(service.name)}"


def read(item: Mapping[str, Any]) -> Found:
    """Read an InferenceService as Kubernetes answers it; what is not there is empty."""
    metadata, status = item.get("metadata", {}), item.get("status") or {}
    conditions = tuple(
        Condition(*(str(one.get(field, "")) for field in ("type", "status", "reason", "message")))
        for one in status.get("conditions") or ()
    )
    model = status.get("modelStatus") or {}
    failure = model.get("lastFailureInfo") or {}
    failed = ""
    if model.get("transitionStatus") in ("BlockedByFailedLoad", "InvalidSpec"):
        failed = ": ".join(filter(None, (str(failure.get("reason", "")), str(failure.get("message", "")))))
        failed = " ".join(failed.split())[:300] or model["transitionStatus"]
    labels = metadata.get("labels") or {}
    return Found(
        deployment_id=labels.get(DEPLOYMENT_LABEL, ""),
        name=metadata.get("name", ""),
        namespace=metadata.get("namespace", ""),
        uid=metadata.get("uid", ""),
        conditions=conditions,
        url=status.get("url") or (status.get("address") or {}).get("url") or "",
        failed=failed,
        is_deleted=bool(metadata.get("deletionTimestamp")),
    )


class Cluster:
    """The InferenceServices of a Kubernetes cluster.

    Raises ForbiddenError for what this server has no right to, ConflictError for a name that is taken and for
    a cluster without KServe, InvalidInputError for what Kubernetes or KServe refuses,
    UnavailableError where nothing answers in time.
    """

    def __init__(self, source: str) -> None:
        """``source`` is ``in-cluster`` (the account of this pod) or a kubeconfig file."""
        try:
            from kubernetes import client, config
        except ModuleNotFoundError as error:
            raise InvalidInputError.of(
                "kubernetes", "The Kubernetes client is missing; pip install 'tidegauge[kubernetes]'."
            ) from error
        settings = client.Configuration()
        try:
            if source == IN_CLUSTER:
                config.load_incluster_config(client_configuration=settings)
            else:
                config.load_kube_config(config_file=source, client_configuration=settings)
        except (config.ConfigException, OSError, TypeError, ValueError, yaml.YAMLError) as error:
            raise InvalidInputError.of(
                "kubernetes",
                f"kubernetes is {source!r}, by which no cluster is found ({error}); give the path of a "
                "kubeconfig, or in-cluster in a pod.",
            ) from error
        settings.retries = 0  # whoever asks is told at once
        self._api = client.CustomObjectsApi(client.ApiClient(settings))

    def create(self, body: Mapping[str, Any]) -> Found:
        """Make an InferenceService; ConflictError where there is one of this name."""
        name, namespace = body["metadata"]["name"], body["metadata"]["namespace"]
        with _worded(name, namespace, is_new=True):
            return read(
                self._api.create_namespaced_custom_object(
                    GROUP, VERSION, namespace, PLURAL, dict(body), field_manager=_MANAGER, **_limits()
                )
            )

    def get(self, name: str, namespace: str) -> Found | None:
        """Return one InferenceService; None where there is none of this name."""
        try:
            with _worded(name, namespace):
                return read(
                    self._api.get_namespaced_custom_object(
                        GROUP, VERSION, namespace, PLURAL, name, **_limits()
                    )
                )
        except _GoneError:
            return None

    def patch(self, body: Mapping[str, Any], *, keeps_logger: bool) -> Found:
        """Make the predictor of an InferenceService what a manifest says; ConflictError where it is gone.

        Its logger stays where it is to be kept; else one that the manifest lacks is taken out.
        """
        name, namespace = body["metadata"]["name"], body["metadata"]["namespace"]
        predictor = dict(body["spec"]["predictor"])
        if keeps_logger:
            predictor.pop("logger", None)
        else:
            predictor.setdefault("logger", None)
        change = {"spec": {"predictor": predictor}}
        with _worded(name, namespace):
            return read(
                self._api.patch_namespaced_custom_object(
                    GROUP, VERSION, namespace, PLURAL, name, change, field_manager=_MANAGER, **_limits()
                )
            )

    def delete(self, name: str, namespace: str, uid: str = "") -> None:
        """Delete an InferenceService, with ``uid`` that one alone; one that is gone already is no error."""
        options = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Foreground"}
        if uid:
            options["preconditions"] = {"uid": uid}  # type: ignore[assignment]
        with contextlib.suppress(_GoneError), _worded(name, namespace):
            self._api.delete_namespaced_custom_object(
                GROUP, VERSION, namespace, PLURAL, name, body=options, **_limits()
            )

    def list(self, namespace: str) -> tuple[tuple[Found, ...], str]:
        """Return the InferenceServices of this server in a namespace, and from where to watch them."""
        with _worded("", namespace):
            answer = self._api.list_namespaced_custom_object(
                GROUP, VERSION, namespace, PLURAL, label_selector=f"{_MANAGER_LABEL}={_MANAGER}", **_limits()
            )
        found = tuple(read(item) for item in answer.get("items", ()))
        return found, str((answer.get("metadata") or {}).get("resourceVersion", ""))

    def watch(self, namespace: str, since: str, seconds: int) -> Iterator[Found | None]:
        """Yield what changes from ``since`` on for so many seconds; None where the list is out of date.

        One that was deleted comes as ``is_deleted``, without conditions.
        """
        from kubernetes.client.exceptions import ApiException
        from urllib3.exceptions import ReadTimeoutError

        try:
            with _worded("", namespace):
                answer = self._api.list_namespaced_custom_object(
                    GROUP,
                    VERSION,
                    namespace,
                    PLURAL,
                    label_selector=f"{_MANAGER_LABEL}={_MANAGER}",
                    resource_version=since,
                    watch="true",  # in small letters, as the API documents it
                    timeout_seconds=seconds,
                    _preload_content=False,
                    _request_timeout=(_CONNECT_SECONDS, seconds + 1),
                )
        except _GoneError:
            yield None
            return
        try:
            for line in _lines(answer):
                event = json.loads(line)
                kind, item = event.get("type"), event.get("object") or {}
                if kind == "ERROR":  # what was before is forgotten: 410
                    yield None
                    return
                if kind == "DELETED":
                    item = {"metadata": {**item.get("metadata", {}), "deletionTimestamp": "gone"}}
                if kind != "BOOKMARK":
                    yield read(item)
        except ReadTimeoutError:
            return  # nothing has changed
        except (ApiException, OSError, ValueError) as error:
            raise UnavailableError(f"The watch of Kubernetes broke off: {error}.") from error
        finally:
            answer.release_conn()
            answer.close()


def _lines(answer: Any) -> Iterator[bytes]:
    rest = b""
    for part in answer.stream(1 << 16, decode_content=True):
        *lines, rest = (rest + part).split(b"\n")
        yield from filter(None, lines)


def _limits() -> dict[str, Any]:
    return {"_request_timeout": (_CONNECT_SECONDS, _ANSWER_SECONDS)}


class _GoneError(ConflictError):
    """There is no such InferenceService, though Kubernetes knows what one is."""


@contextlib.contextmanager
def _worded(name: str, namespace: str, *, is_new: bool = False) -> Iterator[None]:
    """Word what the client of Kubernetes raises."""
    from kubernetes.client.exceptions import ApiException
    from urllib3.exceptions import HTTPError

    try:
        yield
    except ApiException as error:
        raise _word(error, name, namespace, is_new=is_new) from error
    except (HTTPError, OSError) as error:
        reason = getattr(error, "reason", None) or error
        raise UnavailableError(f"Kubernetes does not answer: {reason}.") from error


def _word(error: Any, name: str, namespace: str, *, is_new: bool) -> TidegaugeError:
    """Return the error that an answer of Kubernetes stands for."""
    status = error.status
    said, kind = _said(error)
    if status in _REFUSED:
        return ForbiddenError(
            f"Kubernetes does not let this server do that in the namespace {namespace!r} ({said}); {_RIGHTS}."
        )
    if status == 404 and name and not is_new and kind in (PLURAL, _UNSAID):
        return _GoneError(f"There is no InferenceService {name!r} in the namespace {namespace!r} any more.")
    if status == 404 and kind == "namespaces":
        return InvalidInputError.of(
            "namespace",
            f"namespace is {namespace!r}, which this cluster has not; make it, or give another.",
        )
    if status == 404:  # in plain text, since there is no such path
        return ConflictError(
            "This Kubernetes cluster knows no InferenceServices (serving.kserve.io/v1beta1); install KServe."
        )
    if status == 409:
        return ConflictError(
            f"Kubernetes has an InferenceService {name!r} in the namespace {namespace!r} that is not as it "
            f"was expected ({said}); choose another name, or look at it with: "
            f"kubectl -n {namespace} get inferenceservice {name}"
        )
    if status in (400, 422):
        return InvalidInputError(f"Kubernetes refuses the InferenceService {name!r}: {said}.")
    return UnavailableError(f"Kubernetes answers {status}: {said}.")


def _said(error: Any) -> tuple[str, str]:
    """Return what an answer says, and of what kind of thing; the kind is empty where it is no Status."""
    try:
        body = json.loads(error.body or "")
        details = body.get("details") or {}
        said, kind = str(body.get("message") or ""), str(details.get("kind") or _UNSAID)
    except (ValueError, AttributeError, TypeError):
        said, kind = "", ""
    text = " ".join((said or error.reason or "no reason").split())[:500]
    return text.rstrip("."), kind
