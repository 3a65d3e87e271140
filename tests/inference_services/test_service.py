"""A deployment on KServe from its creation to its deletion: API, pages, what is kept, what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import orjson
import pytest
import yaml
from fastapi.testclient import TestClient

from parts import finish, write_model
from parts_kubernetes import BASE, READY, SCHEMA, Kubernetes, conditions, kubernetes
from tidegauge.app import build_services, create_app
from tidegauge.domain.catalogue import RepositoryKind, Source, SourceType
from tidegauge.domain.deployment import Deployment, DeploymentState, Origin
from tidegauge.services.bundle import Services
from tidegauge.settings import load_settings

API = "/api/v1/deployments"


@dataclass
class Site:
    services: Services
    client: TestClient
    kube: Kubernetes

    def create(self, **changes: Any) -> Any:
        body = {"name": "chest", "model": "tiny", "version": 1, "storage_uri": "s3://models/chest", **changes}
        return self.client.post(f"{API}/kserve", json=body)

    def found(self, name: str = "chest") -> Deployment:
        return self.services.deployments.get("operator", name)

    def predictor(self, name: str = "chest") -> dict[str, Any]:
        found = self.kube.object(name)
        assert found is not None
        jsonschema.validate({k: v for k, v in found.items() if k != "status"}, SCHEMA)
        return dict(found["spec"]["predictor"])

    def look(self) -> None:
        self.services.kserve.look("default")


@pytest.fixture(scope="module")
def kube() -> Iterator[Kubernetes]:
    with kubernetes() as found:
        yield found


def open_site(folder: Path, kube: Kubernetes, **flags: Any) -> Services:
    given = {
        "port": 1,
        "kubernetes": kube.kubeconfig(folder),
        "kubernetes_namespaces": "default, ward",
        "collector_url": "http://collector.tidegauge:32223/",
        "serving_image": "registry.example/tidegauge:1",
        **flags,
    }
    services = build_services(load_settings(folder / "home", given, {}))
    services.people.first_start()
    owner, kind = "operator", RepositoryKind.MODEL
    source = Source(SourceType.FOLDER, url=str(write_model(folder / "model")))
    repository = services.catalogue.create(kind, "tiny", owner, source, None)
    services.catalogue.start()
    services.catalogue.add_version(repository)
    finish(services.worker)
    return services


@pytest.fixture
def site(tmp_path: Path, kube: Kubernetes) -> Iterator[Site]:
    services = open_site(tmp_path, kube)
    # Without its background work: a test looks when it wants to.
    client = TestClient(create_app(services))
    token = services.people.issue_for("operator", "test")
    client.headers["Authorization"] = f"Bearer {token}"
    yield Site(services, client, kube)
    for name in ("chest", "other"):
        if kube.object(name):
            services.kserve._cluster().delete(name, "default")
    services.database.close()


def test_it_is_applied_watched_changed_and_deleted(site: Site) -> None:
    answer = site.create(max_replicas=3)
    assert answer.status_code == 201, answer.text
    made = site.found()
    assert (made.origin, made.state, made.service, made.namespace) == (
        Origin.EXTERNAL,
        DeploymentState.STARTING,
        "chest",
        "default",
    )
    url = site.predictor()["logger"]["url"]
    assert url.startswith("http://kserve:tg_")
    assert url.endswith(f"@collector.tidegauge:32223/v1/deployments/{made.id}/events")
    token = url.partition("kserve:")[2].partition("@")[0]
    assert token not in answer.text, "what is applied tells its token to nobody"
    assert yaml.safe_load(answer.json()["manifest"])["spec"]["predictor"]["maxReplicas"] == 3
    event = {"specversion": "1.0", "id": "1", "type": "org.kubeflow.serving.inference.request", "source": "k"}
    with site.client:  # its collector takes what KServe's logger sends
        sent = site.client.post(
            f"/v1/deployments/{made.id}/events",
            json={**event, "data": {"instances": [[1]]}},
            headers={"Content-Type": "application/cloudevents+json", "Authorization": f"Bearer {token}"},
        )
        assert sent.json() == {"accepted": 1, "repeated": 0}
        _walk(site)


def _walk(site: Site) -> None:
    """Go on from what was applied: seen by the watch, another version of everything, gone."""
    site.kube.say("chest", {"conditions": conditions(IngressReady=("False", "NoIngress", "no gateway"))})
    site.look()
    assert (site.found().state, site.found().message) == (
        DeploymentState.STARTING,
        "KServe: NoIngress: no gateway",
    )
    site.kube.say("chest", READY)
    site.look()
    found = site.found()
    assert (found.state, found.message) == (DeploymentState.RUNNING, "")
    assert found.predict_url == "http://chest-xray.default.example.org/v1/models/chest:predict"
    page = site.client.get("/deployments/chest").text
    assert "PredictorReady" in page
    assert "our model server" in page

    before = site.predictor()["logger"]
    answer = site.client.patch(f"{API}/chest", json={"min_replicas": 2, "max_replicas": 5})
    assert answer.status_code == 200, answer.text
    assert [site.predictor()[name] for name in ("minReplicas", "maxReplicas")] == [2, 5]
    assert site.predictor()["logger"] == before, "the pods that run go on with their token"
    assert site.client.patch(f"{API}/chest", json={"logging": False}).status_code == 200
    assert site.predictor().get("logger") is None
    assert site.services.database.tokens.find(subject=found.id) is None
    assert site.client.patch(f"{API}/chest", json={"logging": True}).status_code == 200
    assert site.predictor()["logger"]["url"] != before["url"]
    for field, value in (("predict_url", "http://x"), ("wanted", "stopped"), ("max_replicas", 1)):
        refused = site.client.patch(f"{API}/chest", json={field: value})
        assert refused.status_code in (409, 422), field
        assert refused.json()["errors"][0]["field"] == field

    assert (
        "InferenceService chest in the namespace default" in site.client.get("/deployments/chest/delete").text
    )
    assert site.client.delete(f"{API}/chest").status_code == 204
    assert site.kube.object("chest") is None


def test_what_somebody_deleted_in_kubernetes_is_told(site: Site) -> None:
    site.create()
    site.kube.say("chest", READY)
    site.look()
    site.services.kserve._cluster().delete("chest", "default")
    site.look()
    assert site.found().state is DeploymentState.FAILED
    assert "is gone from Kubernetes" in site.found().message
    assert site.client.patch(f"{API}/chest", json={"max_replicas": 2}).status_code == 409
    assert site.client.delete(f"{API}/chest").status_code == 204


def test_what_is_somebody_elses_is_left_alone(site: Site) -> None:
    site.create()
    key = next(key for key in site.kube.emulator.objects if key[2] == "chest")
    site.kube.emulator.objects[key].patch({"metadata": {"labels": {"tidegauge.org/deployment": "another"}}})
    answer = site.client.patch(f"{API}/chest", json={"max_replicas": 2})
    assert answer.status_code == 409
    assert "is another one by now" in answer.json()["detail"]
    assert site.client.delete(f"{API}/chest").status_code == 204
    assert site.kube.object("chest") is not None


def test_what_is_refused_leaves_nothing_behind(site: Site, kube: Kubernetes) -> None:
    assert site.create(name="other").status_code == 201
    assert site.create(name="other", namespace="ward").status_code == 409  # of Tidegauge's own names
    for changes, field in (
        ({"name": "3-chests"}, "name"),
        ({"namespace": "kube-system"}, "namespace"),
        ({"min_replicas": 2}, "max_replicas"),
        ({"storage_uri": ""}, "storage_uri"),
        ({"log_url": "s3://key@logs"}, "log_url"),
    ):
        refused = site.create(**changes)
        assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, field), refused.text
    taken = kube.emulator[f"post {BASE.format('ward')}"]
    taken << 403 << b'{"message": "forbidden"}'
    refused = site.create(namespace="ward")
    assert refused.status_code == 403
    assert "give the account of this server" in refused.json()["detail"]
    with pytest.raises(Exception, match="no deployment"):
        site.found()
    assert len(site.services.database.tokens.where(name="KServe")) == 1


def test_a_manifest_alone_needs_no_cluster(tmp_path: Path, kube: Kubernetes, s3_url: str) -> None:
    services = open_site(tmp_path, kube, kubernetes="", store_url=s3_url)
    client = TestClient(create_app(services), headers={"Origin": "http://testserver"})
    client.headers["Authorization"] = f"Bearer {services.people.issue_for('operator', 'test')}"
    body: dict[str, Any] = {"name": "chest", "model": "tiny", "version": 1}
    assert "has no Kubernetes cluster" in client.post(f"{API}/kserve", json=body).json()["detail"]
    answer = client.post(f"{API}/kserve", json={**body, "manifest_only": True, "runtime": "onnx"}).json()
    found = yaml.safe_load(answer["manifest"])
    jsonschema.validate(found, SCHEMA)
    predictor = found["spec"]["predictor"]
    assert "kserve:tg_" in predictor["logger"]["url"], "who applies it needs the token"
    made = answer["deployment"]
    assert (made["state"], made["kserve"]["applied"]) == ("unknown", False)
    assert predictor["model"]["storageUri"].endswith(f"/{made['id']}/served/v1")
    folder = f"{made['id']}/served/v1"
    assert [info.path for info in services.store.list(folder)] == [
        f"{folder}/chest/1/model.onnx"
    ]  # as Triton has it
    ours = client.post(f"{API}/kserve", json={**body, "name": "ours", "manifest_only": True}).json()
    folder = f"{ours['deployment']['id']}/served/v1"
    assert f"{folder}/model.json" in [info.path for info in services.store.list(folder)]
    assert client.patch(f"{API}/chest", json={"max_replicas": 2}).status_code == 409
    page = client.get("/deployments/chest").text
    assert "was not applied by this server" in page
    assert client.delete(f"{API}/chest").status_code == 204
    assert list(services.store.list(made["id"])) == []
    services.database.close()


def test_the_dialog_puts_it_there_and_says_what_is_wrong(site: Site) -> None:
    site.client.headers["Origin"] = "http://testserver"
    assert "/deployments/kserve" in site.client.get("/deployments/new").text
    typed = {"name": "Chest", "model": "tiny", "version": "1", "namespace": "default", "runtime": "onnx"}
    typed |= {"min_replicas": "1", "max_replicas": "2", "storage_uri": "s3://m/x", "logging": "true"}
    refused = site.client.post("/deployments/kserve", data=typed)
    assert refused.status_code == 422
    assert "which no InferenceService can have" in refused.text
    made = site.client.post("/deployments/kserve", data={**typed, "name": "chest"}, follow_redirects=False)
    assert made.headers["location"] == "/deployments/chest"
    assert site.predictor()["model"]["modelFormat"] == {"name": "onnx"}
    change = site.client.get("/deployments/chest/change").text
    assert 'name="max_replicas" type="text" value="2"' in change
    assert 'name="predict_url"' not in change


def test_an_answer_shows_what_is_on_kserve(site: Site) -> None:
    site.create()
    found = orjson.loads(site.client.get(f"{API}/chest").content)["kserve"]
    assert (found["namespace"], found["runtime"], found["applied"]) == ("default", "tidegauge", True)
