"""What its users have of the product before this one works as it is; docs/how-to tells them how."""

from __future__ import annotations

import base64
import csv
import io
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import orjson
import pytest

import parts_docs
from parts import CLASSES, SIDE, image, running_server, write_images, write_model
from parts_s3 import BUCKET
from tidegauge.client import Client, wait_for
from tidegauge.domain.catalogue import Source, SourceType
from tidegauge.domain.events import REQUEST_TYPE, RESPONSE_TYPE
from tidegauge.domain.images import encode_png
from tidegauge.errors import InvalidInputError
from tidegauge.storage.objects import ObjectStore

DOCS = parts_docs.DOCS
PUBLISHED = Path(__file__).parents[1] / "domain" / "thresholds"
START = datetime(2026, 3, 1, 12, tzinfo=UTC)
WIDTH = timedelta(minutes=5)
CONFIG: dict[str, Any] = {
    "model_type": "classification",
    "input_data_type": "image",
    "drift": {
        "enabled": True,
        "image": {"height": SIDE, "width": SIDE, "channels": 1, "channel_order": "channels_last"},
        "train_data": {"dataset": "chest-xray", "version": 1, "images_saved_as": "labelled_folders"},
    },
    "performance": {"enabled": True},
}


@pytest.fixture(scope="module")
def bucket(s3_endpoint: str) -> ObjectStore:
    """The bucket with the logs and labels of the other product, a prefix for each deployment."""
    return ObjectStore(f"s3://{BUCKET}?endpoint={s3_endpoint}&region=eu-central-1")


@pytest.fixture(scope="module")
def client(
    tmp_path_factory: pytest.TempPathFactory, s3_endpoint: str, bucket: ObjectStore
) -> Iterator[Client]:
    """A server with its store in the bucket ``cluster``, and ``image-mm-kf`` deployed and monitored."""
    folder = tmp_path_factory.mktemp("old")
    httpx.put(f"{s3_endpoint}/cluster").raise_for_status()
    store = f"s3://cluster?endpoint={s3_endpoint}&region=eu-central-1"
    with (
        pytest.MonkeyPatch.context() as environment,
        running_server(folder / "home", store_url=store) as client,
    ):
        environment.setenv("AWS_ENDPOINT", s3_endpoint)
        client.datasets.create("chest-xray", folder=write_images(folder / "images", 10))
        client.datasets.add_version("chest-xray")
        client.models.create("image-mm-kf")
        client.models.add_version("image-mm-kf", write_model(folder / "model"))
        client.deployments.create("image-mm-kf", "image-mm-kf", 1)
        client.deployments.wait("image-mm-kf")
        start(client, "image-mm-kf", CONFIG)
        yield client


def label_file(labels: list[tuple[str, str]], start: datetime) -> bytes:
    """Write what pandas does of a date_range: times without a zone, with nanoseconds."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["timestamp", "output", "label"])
    for place, (output, label) in enumerate(labels):
        moment = start + place * timedelta(seconds=10) / len(labels)
        rows.writerow([f"{moment:%Y-%m-%d %H:%M:%S.%f}111", output, label])
    return text.getvalue().encode()


def start(client: Client, deployment: str, config: dict[str, Any]) -> str:
    monitor = client.monitors.create(deployment, config)
    client.monitors.wait(monitor.id)
    client.monitors.add_feature(monitor.id, "prediction", "prediction_output", "categorical")
    client.monitors.set_thresholds(monitor.id, (PUBLISHED / "image_cloudevents.json").read_bytes())
    return client.monitors.start(monitor.id).id


def test_its_request_body_and_its_label_file_in_the_bucket(client: Client, s3_endpoint: str) -> None:
    """Ask as its data generation does, every other image turned, and put the labels beside the log."""
    deployment = client.deployments.get("image-mm-kf")
    url = client.deployments.predict_url(deployment)
    rng = np.random.default_rng(0)
    rows = []
    for place in range(10):
        label = CLASSES[place % 2]
        x = image(label, rng)[np.newaxis]
        payload = {"inputs": {"input_1": (x if place % 2 else x.T).tolist()}}
        headers = {
            "authorization": f"Bearer {client.token}",
            "ce-time": (START + place * WIDTH / 20).isoformat(),
        }
        answer = httpx.post(url, json=payload, headers=headers)
        assert list(answer.json()) == ["outputs"]
        output = CLASSES[int(np.array(answer.json()["outputs"]).argmax(axis=1)[0])]
        rows.append((output, label if place else CLASSES[1]))  # the expert disagrees once
    labels = f"{deployment.id}/livedata/lablled_data_10.csv"
    cluster = ObjectStore(f"s3://cluster?endpoint={s3_endpoint}&region=eu-central-1")
    cluster.put(labels, label_file(rows, START + WIDTH / 2))
    wait_for(
        lambda: client.request("GET", f"/serve/{deployment.id}/healthz").json()["queued"],
        lambda queued: queued == 0,
        "the log",
        10,
    )
    run = client.monitors.run(deployment.id, START, START + WIDTH)
    accuracy, drift = run.metric("accuracy"), run.metric("image")
    assert run.problems == ()
    assert accuracy
    assert (accuracy.value, accuracy.n) == (0.9, 10)
    assert drift
    assert drift.value is not None


def test_its_bucket_with_a_prefix_for_each_deployment(client: Client, bucket: ObjectStore) -> None:
    """Logs below ``<deployment id>``, by hours, an event a file or many; labels below ``/livedata``."""
    old = "mlmodel-7f3a"  # what the other product called the deployment
    rng = np.random.default_rng(1)
    events = []
    for place in range(12):
        label = CLASSES[place % 2]
        moment = (START + WIDTH + place * timedelta(seconds=5)).isoformat()
        common = {"specversion": "1.0", "id": f"old-{place}", "source": "http://old", "time": moment}
        picture = base64.b64encode(encode_png(image(label, rng))).decode()
        scores = [0.9, 0.1] if label == CLASSES[0] else [0.1, 0.9]
        asked = {"inputs": {"input_1": [{"b64": picture}]}}
        events.append(
            (
                {**common, "type": REQUEST_TYPE, "data": asked},
                {**common, "type": RESPONSE_TYPE, "data": {"outputs": [scores]}},
            )
        )
    hour = f"{old}/2026/03/01/12"
    bucket.put(f"{hour}/one.json", orjson.dumps(events[0][0], option=orjson.OPT_INDENT_2))
    bucket.put(f"{hour}/other.json", orjson.dumps(events[0][1]))
    bucket.put(f"{hour}/list.json", orjson.dumps([event for pair in events[1:6] for event in pair]))
    lines = b"\n".join(orjson.dumps(event) for pair in events[6:] for event in pair)
    bucket.put(f"{hour}/lines.json", lines)
    rows = [(CLASSES[place % 2],) * 2 for place in range(12)]
    bucket.put(f"{old}/livedata/lablled_data_12.csv", label_file(rows, START + WIDTH))

    client.datasets.create("image-mm-kf-s3", folder=f"s3://{BUCKET}")
    watched = client.deployments.register("old", model="image-mm-kf", version=1)
    logs = {"predict_data": "dataset", "predict_dataset": "image-mm-kf-s3", "predict_prefix": old}
    labels = {"enabled": True, "dataset": "image-mm-kf-s3", "prefix": f"{old}/livedata"}
    config = {**CONFIG, "drift": {**CONFIG["drift"], **logs}, "performance": labels}
    monitor = start(client, watched.id, config)
    run = client.monitors.run(monitor, START + WIDTH, START + 2 * WIDTH)
    requests, accuracy = run.metric("requests"), run.metric("accuracy")
    assert run.problems == ()
    assert requests
    assert requests.value == 12
    assert accuracy
    assert (accuracy.value, accuracy.n) == (1.0, 12)


def test_its_threshold_files_through_the_sdk(client: Client) -> None:
    """Each loads or is refused, with the reason for each metric, and what held before stays."""
    monitor = client.monitors.get("image-mm-kf")
    for name in ("image_cloudevents", "image_sagemaker"):
        client.monitors.set_thresholds(monitor.id, (PUBLISHED / f"{name}.json").read_bytes())
    with pytest.raises(InvalidInputError) as caught:
        client.monitors.set_thresholds(monitor.id, (PUBLISHED / "precomputed_scores.json").read_bytes())
    assert [error.field for error in caught.value.errors] == [
        "accuracy.hard",
        "precision.hard",
        "f1_score.hard",
    ]
    assert "accuracy has soft 0.81627 and hard 0.890476" in caught.value.message
    assert client.monitors.get(monitor.id).thresholds["accuracy"].soft == 0.8


@pytest.mark.parametrize(
    ("url", "remedy"),
    [
        (
            "https://github.com/example/xrays/tree/main/images",
            "'https://github.com/example/xrays.git', source.branch 'main' and source.sub_path 'images'.",
        ),
        (
            "https://me:word@gitlab.com/a/b/c/-/tree/main",
            "'https://gitlab.com/a/b/c.git', source.branch 'main'.",
        ),
    ],
)
def test_a_url_of_a_page_is_refused_with_what_to_give_instead(url: str, remedy: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        Source(SourceType.GIT, url).check()
    assert caught.value.message.endswith(remedy)
    assert "word" not in caught.value.message


def test_its_page_names_calls_that_there_are(client: Client) -> None:
    text = (DOCS / "how-to" / "coming-from-dkube.md").read_text()
    named = set(re.findall(r"`client\.([a-z_.]+)", text))
    assert len(named) > 25
    assert [name for name in named if not callable(attrgetter(name)(client))] == []


def test_the_code_of_its_page_runs(client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts_docs.at(tmp_path, client.url, client.token, monkeypatch)
    names = parts_docs.run_python("how-to/coming-from-dkube.md")
    assert names["output"] == "NORMAL"
