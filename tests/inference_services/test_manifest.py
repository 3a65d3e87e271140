"""What is written is what KServe's CRD and Kubernetes take."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest
import yaml

from parts_kubernetes import SCHEMA
from tidegauge.domain.inference_service import InferenceService, Runtime
from tidegauge.errors import InvalidInputError, raise_all
from tidegauge.links.kserve import Logger, manifest, predict_url, to_yaml

COLLECTOR = Logger("https://gauge.example/v1/deployments/1/events", "tg_a/b")
BUCKET = Logger("s3://logs/chest")


def made(runtime: Runtime, logger: Logger | None, **changes: Any) -> dict[str, Any]:
    service = InferenceService("chest-xray", "ward", runtime, "s3://bucket/m", **changes)
    return manifest("an-id", 3, service, logger, image="registry.example/tidegauge:1", account="models")


@pytest.mark.parametrize("runtime", Runtime)
@pytest.mark.parametrize("logger", [None, COLLECTOR, BUCKET])
def test_the_schema_of_kserve_takes_it(runtime: Runtime, logger: Logger | None) -> None:
    found = yaml.safe_load(to_yaml(made(runtime, logger, min_replicas=0, max_replicas=3)))
    jsonschema.validate(found, SCHEMA)
    predictor = found["spec"]["predictor"]
    assert (predictor["minReplicas"], predictor["maxReplicas"]) == (0, 3)
    assert ("model" in predictor) is (runtime is Runtime.ONNX)


@pytest.mark.parametrize("wrong", [{"loger": {}}, {"logger": {"mode": "both"}}, {"minReplicas": "1"}])
def test_the_schema_refuses_what_kserve_would(wrong: dict[str, Any]) -> None:
    found = made(Runtime.ONNX, None)
    found["spec"]["predictor"].update(wrong)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(found, SCHEMA)


def test_the_container_is_one_that_kubernetes_takes() -> None:
    import kubernetes_validate

    predictor = made(Runtime.TIDEGAUGE, COLLECTOR)["spec"]["predictor"]
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "x"},
        "spec": {
            "containers": predictor["containers"],
            "serviceAccountName": predictor["serviceAccountName"],
        },
    }
    kubernetes_validate.validate(pod, "1.30", strict=True)


def test_the_logger_sends_everything_with_its_token_in_the_url() -> None:
    logger = made(Runtime.ONNX, COLLECTOR)["spec"]["predictor"]["logger"]
    assert logger == {"mode": "all", "url": "https://kserve:tg_a%2Fb@gauge.example/v1/deployments/1/events"}
    assert made(Runtime.ONNX, BUCKET)["spec"]["predictor"]["logger"]["storage"] == {
        "parameters": {"type": "s3", "format": "json"},
        "serviceAccountName": "models",
    }


def test_each_runtime_is_asked_in_its_own_way() -> None:
    ours = InferenceService("x", "ward", Runtime.TIDEGAUGE, "s3://b/m")
    theirs = InferenceService("x", "ward", Runtime.ONNX, "s3://b/m")
    assert predict_url("http://x.ward/", ours) == "http://x.ward/v1/models/x:predict"
    assert predict_url("http://x.ward", theirs) == "http://x.ward/v2/models/x/infer"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": "Chest"}, "name is 'Chest', which no InferenceService can have; use a DNS-1123 label"),
        ({"name": "x" * 54}, "of 1 to 53"),
        ({"name": "1st"}, "begins with a letter"),
        ({"namespace": "-"}, "namespace is '-'"),
        ({"min_replicas": 3, "max_replicas": 2}, "fewer than min_replicas (3); give 3 or more"),
        ({"max_replicas": 0}, "max_replicas is 0; give 1 to"),
        ({"storage_uri": "http://x/m"}, "begins with s3://, gs://, pvc://, oci://"),
        ({"storage_uri": "s3://key:secret@bucket"}, "storage_uri has a key"),
        ({"log_url": "kafka://x"}, "log_url is 'kafka://x'"),
    ],
)
def test_what_cannot_be_is_said(changes: dict[str, Any], words: str) -> None:
    given = {"name": "x", "namespace": "ward", "runtime": Runtime.ONNX, "storage_uri": "s3://b/m", **changes}
    with pytest.raises(InvalidInputError) as refused:
        raise_all(InferenceService(**given).errors())
    assert words in refused.value.message
    assert "secret" not in refused.value.message.replace("KServe's secret", "")
