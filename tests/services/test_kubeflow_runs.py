"""Pipeline runs on Kubeflow: compiled, sent, mirrored, cancelled; and every way in which that is refused."""

from __future__ import annotations

import importlib.util
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from fastapi.testclient import TestClient

from parts import absent, finish, write_images, write_model
from parts_kubeflow import TOKEN, Stub, kubeflow
from tidegauge.app import build_services, create_app
from tidegauge.domain.catalogue import RepositoryKind, Source, SourceType
from tidegauge.domain.pipeline import PipelineRun, PipelineState
from tidegauge.errors import (
    ForbiddenError,
    InvalidInputError,
    NotFoundError,
    TidegaugeError,
    UnavailableError,
)
from tidegauge.links.addresses import Gate, RefusedAddressError
from tidegauge.links.kubeflow import Kubeflow, read_compiled
from tidegauge.services import pipelines
from tidegauge.services.bundle import Services
from tidegauge.settings import load_settings

API = "/api/v1/pipeline-runs"
#: A pipeline file that has its YAML already: to compile takes kfp seconds, and tests/examples does it.
FILE = """
import sys
from pathlib import Path
arguments = sys.argv[1:]
assert arguments[0] == "compile", arguments
Path(arguments[arguments.index("-o") + 1]).write_text(Path(__file__).with_name("compiled.yaml").read_text())
"""
PIPELINE = {
    "pipelineInfo": {"name": "two-steps"},
    "schemaVersion": "2.1.0",
    "sdkVersion": "kfp-2.17.0",
    "components": {
        "comp-prepare": {"executorLabel": "exec-prepare"},
        "comp-train": {
            "executorLabel": "exec-train",
            "inputDefinitions": {"parameters": {"epochs": {"parameterType": "NUMBER_INTEGER"}}},
        },
    },
    "deploymentSpec": {
        "executors": {
            name: {"container": {"image": "python:3.11", "command": ["true"]}}
            for name in ("exec-prepare", "exec-train")
        }
    },
    "root": {
        "inputDefinitions": {
            "parameters": {
                "dataset_version": {"parameterType": "NUMBER_INTEGER"},
                "model": {"parameterType": "STRING"},
                "epochs": {"parameterType": "NUMBER_INTEGER", "defaultValue": 0.0, "isOptional": True},
            }
        },
        "dag": {
            "tasks": {
                "prepare": {"componentRef": {"name": "comp-prepare"}, "taskInfo": {"name": "prepare"}},
                "train": {
                    "componentRef": {"name": "comp-train"},
                    "taskInfo": {"name": "train"},
                    "inputs": {"parameters": {"epochs": {"componentInputParameter": "epochs"}}},
                },
            }
        },
    },
}  # fmt: skip
PLATFORM = {"platforms": {"kubernetes": {"deploymentSpec": {"executors": {}}}}}


class Site:
    """A server whose background work is done when a test says so, and the stub."""

    def __init__(self, folder: Path, stub: Stub) -> None:
        self.home = folder / "home"
        self.stub = stub
        self.services: Services = build_services(load_settings(self.home, {"port": 1}, {}))
        self.services.people.first_start()
        code = folder / "code"
        code.mkdir()
        (code / "pipeline.py").write_text(FILE)
        (code / "compiled.yaml").write_text(yaml.safe_dump_all([PIPELINE, PLATFORM]))
        (code / "nothing.py").write_text("raise SystemExit('no data today')")
        catalogue = self.services.catalogue
        catalogue.start()
        for kind, name, place in (
            (RepositoryKind.CODE, "mine", code),
            (RepositoryKind.DATASET, "chest", write_images(folder / "images", 1)),
            (RepositoryKind.MODEL, "tiny", write_model(folder / "model")),
        ):
            made = catalogue.create(kind, name, "operator", Source(SourceType.FOLDER, str(place)), None)
            catalogue.add_version(made)
        for version in self.services.database.versions.where():
            while self.services.database.versions.get(version.id).state == "importing":
                pass
        self.client = TestClient(create_app(self.services))
        self.client.headers["Authorization"] = f"Bearer {self.services.people.issue_for('operator', 'test')}"

    def run(self, **changes: Any) -> Any:
        body = {"code": "mine", "dataset": "chest", "model": "tiny", "deployment": "", "backend": "kubeflow"}
        return self.client.post(API, json={**body, "host": f"{self.stub.url}/", "token": TOKEN, **changes})

    def sent(self, **changes: Any) -> PipelineRun:
        """Start a run, and wait until it was sent or has failed."""
        answer = self.run(**changes)
        assert answer.status_code == 202, answer.text
        run_id = answer.json()["id"]
        for _ in range(1000):
            run = self.services.pipelines.find(run_id)
            assert run is not None
            if (run.remote_id and run_id not in self.services.worker._under_way) or run.state.ended:
                return run
            pipelines.time.sleep(0.02)
        raise AssertionError("the run was not sent")

    def mirrored(self, run: PipelineRun) -> PipelineRun:
        self.services.pipelines.remote.mirror()
        return self.services.database.pipeline_runs.get(run.id)


@pytest.fixture
def stub() -> Iterator[Stub]:
    with kubeflow() as found:
        yield found


@pytest.fixture
def site(tmp_path: Path, stub: Stub) -> Iterator[Site]:
    found = Site(tmp_path, stub)
    yield found
    finish(found.services.worker)
    found.services.database.close()


def test_a_run_is_sent_and_mirrored_to_its_end(site: Site) -> None:
    run = site.sent(parameters={"epochs": "3"})
    assert (run.state, run.remote_id) == (PipelineState.RUNNING, "run-0")
    sent = site.stub.runs["run-0"]
    assert sent["runtime_config"]["parameters"] == {"dataset_version": 1, "model": "tiny", "epochs": 3}
    executors = sent["pipeline_spec"]["pipeline_spec"]["deploymentSpec"]["executors"].values()
    told = {"name": "TIDEGAUGE_PIPELINE_RUN", "value": run.id}
    assert all(told in executor["container"]["env"] for executor in executors)
    site.stub.say(
        "run-0",
        "RUNNING",
        {"root": "RUNNING", "prepare": "SUCCEEDED", "train-driver": "SUCCEEDED", "train": "RUNNING"},
    )
    found = site.mirrored(run)
    assert [(step.name, step.state) for step in found.steps] == [
        ("prepare", "succeeded"),
        ("train", "running"),
    ]
    assert [step.ended_at is None for step in found.steps] == [False, True]
    site.stub.status = 503
    assert "answers 503" in site.mirrored(run).message
    site.stub.status = 0
    page = site.client.get(f"/pipeline-runs/{run.id}").text
    assert f"{site.stub.url}/#/runs/details/run-0" in page
    site.stub.say("run-0", "SUCCEEDED", {"prepare": "SUCCEEDED", "train": "SUCCEEDED"})
    ended = site.mirrored(run)
    assert (ended.state, ended.message, str(ended.token)) == (PipelineState.SUCCEEDED, "", "")
    log = site.services.pipelines.log(ended)
    assert f"Sent to Kubeflow: {site.stub.url}/#/runs/details/run-0" in log
    assert "train: running" in log


def test_a_run_that_fails_there_says_why(site: Site) -> None:
    run = site.sent()
    site.stub.say("run-0", "FAILED", {"prepare": "FAILED"}, "no images")
    failed = site.mirrored(run)
    assert (failed.state, failed.message) == (PipelineState.FAILED, "no images")
    run = site.sent()
    del site.stub.runs["run-1"]
    assert site.mirrored(run).message == "Kubeflow has this run no more."
    assert "could not be compiled: no data today" in site.sent(file="nothing.py").message
    wrong = site.sent(parameters={"colour": 1})
    assert "the pipeline does not take; it takes dataset_version, epochs, model." in wrong.message


def test_a_run_is_cancelled_there_too_and_its_token_is_sealed_and_hidden(site: Site) -> None:
    run = site.sent()
    assert TOKEN not in site.client.get(f"{API}/{run.id}").text
    with sqlite3.connect(site.home / "tidegauge.sqlite") as database:
        (kept,) = database.execute("SELECT token FROM pipeline_runs").fetchone()
    assert kept
    assert TOKEN not in kept
    assert site.client.post(f"{API}/{run.id}/cancel").json()["state"] == "cancelled"
    assert site.stub.asked[-1] == ("POST", "/apis/v2beta1/runs/run-0:terminate")
    assert str(site.services.database.pipeline_runs.get(run.id).token) == ""


def test_a_restart_goes_on_with_what_kubeflow_has(site: Site) -> None:
    run = site.sent()
    site.services.pipelines.start()
    try:
        assert site.services.database.pipeline_runs.get(run.id).state is PipelineState.RUNNING
    finally:
        site.services.pipelines.remote.close()


def test_a_step_there_says_which_run_it_is_of(site: Site) -> None:
    run = site.sent()
    people = site.services.people
    mine = people.authenticate(people.issue_for("operator", "for steps"))
    assert site.services.pipelines.lineage(mine, run.id)["lineage"]["pipeline_run"] == run.id
    assert site.services.pipelines.lineage(mine, "another") == {}
    site.services.database.pipeline_runs.update(run.id, None, owner="somebody")
    assert site.services.pipelines.lineage(mine, run.id) == {}


@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({"host": ""}, "host", "host is missing"),
        ({"host": "http://169.254.169.254/"}, "host", "never asks"),
        ({"host": "https://me:word@kfp.example"}, "host", "user name or password"),
        ({"host": "https://kfp.example/?x=1"}, "host", "a query"),
        ({"token": "two words"}, "token", "characters that no token has"),
        ({"namespace": "Mine!"}, "namespace", "a name of Kubernetes"),
        ({"backend": "local", "token": ""}, "host", "for the backend kubeflow"),
    ],
)
def test_what_cannot_be_sent_is_refused(site: Site, changes: dict[str, Any], field: str, words: str) -> None:
    refused = site.run(**changes)
    assert refused.status_code == 422
    assert words in {error["field"]: error["message"] for error in refused.json()["errors"]}[field]


def test_who_is_no_operator_sends_nothing_into_private_networks(stub: Stub) -> None:
    with Kubeflow(stub.url, TOKEN, Gate(private=False)) as client, pytest.raises(RefusedAddressError):
        client.look("run-0")
    assert stub.asked == []


@pytest.mark.parametrize(
    ("status", "kind"),
    [(401, ForbiddenError), (404, NotFoundError), (400, InvalidInputError), (500, UnavailableError)],
)
def test_what_kubeflow_answers_is_one_sentence(stub: Stub, status: int, kind: type[TidegaugeError]) -> None:
    stub.status = status
    with Kubeflow(stub.url, TOKEN, Gate(private=True)) as client, pytest.raises(kind) as refused:
        client.look("run-0")
    assert "as the test wants it" in refused.value.message


def test_kfps_own_client_and_loader_take_the_same(stub: Stub, tmp_path: Path) -> None:
    """The stub is what kfp's client expects, and what we send is what it sends."""
    if importlib.util.find_spec("kfp") is None:
        absent("kfp")
    import kfp
    from kfp.components import load_component_from_text

    file = tmp_path / "pipeline.yaml"
    file.write_text(yaml.safe_dump_all([PIPELINE, PLATFORM]))
    assert set(load_component_from_text(file.read_text()).component_spec.inputs) == {
        "dataset_version",
        "model",
        "epochs",
    }
    with pytest.warns(FutureWarning):
        client = kfp.Client(host=stub.url, existing_token=TOKEN, namespace="mine")
    theirs = client.run_pipeline(
        "exp-0", "theirs", str(file), params={"dataset_version": 1, "model": "tiny", "epochs": 3}
    )
    compiled = read_compiled(file.read_text())
    run = PipelineRun(
        "1",
        "me",
        "p.py",
        "c",
        1,
        "d",
        1,
        "tiny",
        "",
        PipelineState.RUNNING,
        None,
        {"epochs": 3},
        namespace="mine",
    )  # type: ignore[arg-type]
    with Kubeflow(stub.url, TOKEN, Gate(private=True)) as ours:
        ours_id = ours.submit(run, compiled)
        assert ours.submit(run, compiled) == "run-2"
    assert [one["display_name"] for one in stub.experiments] == ["tidegauge"], "it is made once"
    one, other = stub.runs[theirs.run_id], stub.runs[ours_id]
    assert one["pipeline_spec"]["pipeline_spec"] == yaml.safe_load(
        yaml.safe_dump(other["pipeline_spec"]["pipeline_spec"])
    )
    assert one["runtime_config"]["parameters"] == other["runtime_config"]["parameters"]
    assert client.get_run(ours_id).run_id == ours_id
