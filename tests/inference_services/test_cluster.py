"""The client of Kubernetes against kmock: what is made, watched, changed and deleted, and every refusal."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from parts_kubernetes import BASE, READY, Kubernetes, conditions, kubernetes
from tidegauge.domain.deployment import DeploymentState, state_on_kserve
from tidegauge.domain.inference_service import InferenceService, Runtime
from tidegauge.errors import (
    ConflictError,
    ForbiddenError,
    InvalidInputError,
    TidegaugeError,
    UnavailableError,
)
from tidegauge.links.kserve import Cluster, Found, Logger, manifest
from tidegauge.links.processes import free_port

DEPLOYMENT = "0199-the-id"


def body(**changes: Any) -> dict[str, Any]:
    service = InferenceService("chest-xray", "default", Runtime.ONNX, "s3://bucket/model")
    logger = Logger("http://collector:32223/v1/deployments/1/events", "tg_secret")
    made = manifest(DEPLOYMENT, 1, service, logger)
    made["spec"]["predictor"].update(changes)
    return made


@pytest.fixture
def kube() -> Iterator[Kubernetes]:
    with kubernetes() as found:
        yield found


@pytest.fixture
def cluster(kube: Kubernetes, tmp_path: Path) -> Cluster:
    return Cluster(kube.kubeconfig(tmp_path))


def test_it_is_made_changed_and_deleted(cluster: Cluster, kube: Kubernetes) -> None:
    made = cluster.create(body())
    assert (made.deployment_id, made.name, made.conditions) == (DEPLOYMENT, "chest-xray", ())
    assert kube.object("chest-xray") is not None
    cluster.patch(body(maxReplicas=4), keeps_logger=True)
    found = kube.object("chest-xray")
    assert found is not None
    assert found["spec"]["predictor"]["maxReplicas"] == 4
    assert found["spec"]["predictor"]["logger"]["url"].startswith("http://kserve:tg_secret@collector")
    without = body()
    del without["spec"]["predictor"]["logger"]
    cluster.patch(without, keeps_logger=False)
    assert kube.requests("patch")[-1].data["spec"]["predictor"]["logger"] is None  # which takes it out
    cluster.delete("chest-xray", "default", "some-uid")
    assert kube.requests("delete")[-1].data["preconditions"] == {"uid": "some-uid"}
    assert kube.object("chest-xray") is None
    assert cluster.get("chest-xray", "default") is None
    cluster.delete("chest-xray", "default")  # gone already


def test_it_is_watched_until_it_is_ready(cluster: Cluster, kube: Kubernetes) -> None:
    cluster.create(body())
    found, since = cluster.list("default")
    assert [one.name for one in found] == ["chest-xray"]
    waiting = {"conditions": conditions(PredictorReady=("False", "RevisionMissing", "pulling the image"))}
    timer = threading.Timer(0.3, lambda: (kube.say("chest-xray", waiting), kube.say("chest-xray", READY)))
    timer.start()
    seen = []
    for one in cluster.watch("default", since, 5):
        assert one is not None
        seen.append(state_on_kserve(one.conditions))
        if seen[-1][0] is DeploymentState.RUNNING:
            break
    timer.join()
    assert seen[-2:] == [
        (DeploymentState.STARTING, "KServe: RevisionMissing: pulling the image"),
        (DeploymentState.RUNNING, ""),
    ]
    assert one is not None
    assert one.url == "http://chest-xray.default.example.org"


def test_a_watch_without_changes_ends_by_itself(cluster: Cluster, kube: Kubernetes) -> None:
    assert list(cluster.watch("default", "", 1)) == []


@pytest.mark.parametrize(
    ("status", "answer", "kind", "words"),
    [
        (
            403,
            {"message": "inferenceservices is forbidden"},
            ForbiddenError,
            "give the account of this server",
        ),
        (404, "404 page not found", ConflictError, "knows no InferenceServices"),
        (
            404,
            {"details": {"kind": "namespaces"}, "message": "no"},
            InvalidInputError,
            "namespace is 'default'",
        ),
        (409, {"message": "already exists"}, ConflictError, "choose another name"),
        (422, {"message": "the name is invalid"}, InvalidInputError, "refuses the InferenceService"),
        (400, {"message": "denied by the webhook"}, InvalidInputError, "denied by the webhook"),
        (503, {"message": "etcd is away"}, UnavailableError, "answers 503: etcd is away"),
    ],
)
def test_a_refusal_is_one_sentence(
    cluster: Cluster, kube: Kubernetes, status: int, answer: Any, kind: type[TidegaugeError], words: str
) -> None:
    kube.answer("post", BASE.format("default"), status, answer)
    with pytest.raises(kind) as refused:
        cluster.create(body())
    assert words in refused.value.message
    assert refused.value.message.endswith((".", "chest-xray"))


def test_two_of_one_name_are_a_conflict(cluster: Cluster) -> None:
    cluster.create(body())
    with pytest.raises(ConflictError, match="already exists"):
        cluster.create(body())


def test_nobody_there_is_unavailable(tmp_path: Path) -> None:
    nobody = Kubernetes(None, None, f"http://127.0.0.1:{free_port()}")  # type: ignore[arg-type]
    with pytest.raises(UnavailableError, match="Kubernetes does not answer"):
        Cluster(nobody.kubeconfig(tmp_path)).list("default")
    with pytest.raises(InvalidInputError, match="give the path of a kubeconfig"):
        Cluster(str(tmp_path / "none"))
    with pytest.raises(InvalidInputError, match="in-cluster in a pod"):
        Cluster("in-cluster")


def test_a_model_that_cannot_be_loaded_has_failed() -> None:
    from tidegauge.links.kserve import read

    said = {
        "metadata": {"name": "x"},
        "status": {
            "conditions": conditions(Ready=("False", "", "")),
            "modelStatus": {
                "transitionStatus": "BlockedByFailedLoad",
                "lastFailureInfo": {"reason": "ModelLoadFailed", "message": "no such\nbucket"},
            },
        },
    }
    found: Found = read(said)
    state = state_on_kserve(found.conditions, failed=found.failed)
    assert state == (DeploymentState.FAILED, "KServe: ModelLoadFailed: no such bucket")
