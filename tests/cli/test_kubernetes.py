"""Deployments on KServe and runs on Kubeflow by command."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import yaml

from cli_runs import Run
from parts import running_server, write_model
from tidegauge.client import Client


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    folder = tmp_path_factory.mktemp("cli")
    flags = {"collector_url": "http://collector:32223", "serving_image": "registry.example/tidegauge:1"}
    with running_server(folder / "home", **flags) as client:
        client.models.create("tiny")
        client.models.add_version("tiny", write_model(folder / "model"))
        yield client


CREATE = ("deployment", "create", "chest", "--model", "tiny", "--version", "1")


def test_a_manifest_goes_to_standard_output_alone(run: Run) -> None:
    kserve = (*CREATE, "--backend", "kserve", "--storage-uri", "s3://models/chest")
    refused = run(*kserve)
    assert (refused.code, refused.out) == (5, "")
    assert "This server has no Kubernetes cluster to apply to" in refused.err
    done = run(*kserve, "--manifest-only", "--min-replicas", "0", "--namespace", "ward")
    assert done.code == 0, done.err
    found = yaml.safe_load(done.out)
    assert found["metadata"]["namespace"] == "ward"
    assert found["spec"]["predictor"]["minReplicas"] == 0
    assert "shown this once; apply it with: kubectl apply -f FILE" in " ".join(done.err.split())
    shown = json.loads(run("deployment", "show", "chest", "--json").out)
    assert (shown["origin"], shown["kserve"]["applied"]) == ("external", False)
    assert "Delete its InferenceService 'chest'" in " ".join(run("deployment", "delete", "chest").err.split())


def test_options_of_the_other_backend_are_refused(run: Run) -> None:
    done = run(*CREATE, "--min-replicas", "0")
    assert (done.code, done.err.strip()) == (
        2,
        "min_replicas is 0, which is for --backend kserve; leave it out.",
    )
    pipeline = ("pipeline", "run", "--code", "c", "--dataset", "d", "--model", "tiny", "--deployment", "")
    done = run(*pipeline, "--backend", "kubeflow")
    assert (done.code, done.err.strip()) == (2, "host is missing; give the address of Kubeflow Pipelines.")
    assert "for the backend kubeflow" in run(*pipeline, "--host", "http://127.0.0.1:1").err
