"""The way of the data from a folder of images to a verdict, on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import cv2
import numpy as np
import pytest

from parts import CLASSES, SIDE, image, running_server, write_images, write_model
from parts_server import Server
from tidegauge.client import Client, wait_for
from tidegauge.domain.deployment import Deployment
from tidegauge.domain.monitor import MonitorRun, MonitorState
from tidegauge.domain.status import Status
from tidegauge.errors import ConflictError, InvalidInputError, NotFoundError
from tidegauge.storage.log import InferenceLog
from tidegauge.storage.objects import ObjectStore

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
WIDTH = timedelta(minutes=5)
THRESHOLDS = {
    "image": {"type": "drift", "soft": 0.42, "hard": 0.55},
    "prediction": {"type": "drift", "soft": 0.2, "hard": 0.34},
    "accuracy": {"type": "performance", "soft": 0.8, "hard": 0.7},
}


@pytest.fixture(params=["sqlite", "postgresql"])
def any_client(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Client]:
    flags = {"database_url": request.getfixturevalue("postgres_url")} if request.param == "postgresql" else {}
    with running_server(tmp_path / "home", **flags) as client:
        yield client


def deploy(client: Client, folder: Path, reference: dict[str, int] | None = None) -> Deployment:
    client.datasets.create("chest", folder=write_images(folder / "images"))
    dataset = client.datasets.add_version("chest")
    assert (dataset.files, dataset.classes) == (60, CLASSES)
    client.models.create("tiny")
    model = client.models.add_version("tiny", write_model(folder / "model", reference=reference))
    client.deployments.create("tiny", "tiny", model.number)
    return client.deployments.wait("tiny")


def configure(client: Client, deployment: Deployment) -> str:
    monitor = client.monitors.create(
        deployment.id,
        {
            "drift": {
                "enabled": True,
                "image": {"height": SIDE, "width": SIDE},
                "train_data": {"dataset": "chest", "version": 1},
            },
            "performance": {"enabled": True},
        },
    )
    assert client.monitors.wait(monitor.id).state is MonitorState.READY  # the prediction output is inferred
    ready = client.monitors.add_feature(monitor.id, "prediction", "prediction_output", "categorical")
    assert ready.state is MonitorState.READY
    client.monitors.set_thresholds(monitor.id, THRESHOLDS)
    client.monitors.add_alert(monitor.id, "accuracy", "accuracy", "<", 0.85)
    assert client.monitors.start(monitor.id).state is MonitorState.ACTIVE
    return monitor.id


def send(client: Client, deployment: Deployment, start: datetime, *, blurred: bool, wrong: bool) -> None:
    rng = np.random.default_rng(start.minute)
    rows = []
    for number in range(12):
        label = CLASSES[number % 2]
        pixels = image(label, rng)
        if blurred:
            pixels = cv2.blur(pixels, (12, 12)).reshape(SIDE, SIDE, 1)
        moment = start + number * timedelta(seconds=20)
        body = {"inputs": {"input_1": [pixels.tolist()]}}
        scores = client.deployments.predict(deployment, body, time=moment)["outputs"][0]
        truth = CLASSES[1 - number % 2] if wrong else label
        rows.append({"timestamp": moment, "output": CLASSES[int(np.argmax(scores))], "label": truth})
    client.deployments.put_labels(deployment.id, f"{start:%H%M}.csv", rows)
    wait_for(
        lambda: client.request("GET", f"/serve/{deployment.id}/healthz").json()["queued"],
        lambda queued: queued == 0,
        "the log",
        10,
    )


def cycle(client: Client, deployment: Deployment, monitor: str, number: int, **kind: bool) -> MonitorRun:
    start = START + number * WIDTH
    send(client, deployment, start, **kind)
    return client.monitors.run(monitor, start, start + WIDTH)


def test_from_images_to_verdicts(any_client: Client, tmp_path: Path) -> None:
    client = any_client
    deployment = deploy(client, tmp_path)
    monitor = configure(client, deployment)

    quiet = cycle(client, deployment, monitor, 0, blurred=False, wrong=False)
    assert quiet.metric("image").n == 12
    assert quiet.drift is not Status.CRITICAL
    assert quiet.metric("accuracy").value == 1.0
    assert quiet.performance is Status.HEALTHY
    assert quiet.metric("requests").value == 12

    blurred = cycle(client, deployment, monitor, 1, blurred=True, wrong=True)
    assert blurred.metric("image").status is Status.CRITICAL
    assert blurred.metric("accuracy").value == 0.0
    assert blurred.performance is Status.CRITICAL
    assert client.monitors.get(monitor).status is Status.CRITICAL
    (fired,) = client.monitors.alert_events(monitor)
    assert (fired.run_id, fired.rule) == (blurred.id, "accuracy < 0.85")

    first = blurred.images[0]
    path = f"/api/v1/monitors/{monitor}/runs/{blurred.id}/images/{first.event_id}/{first.index}"
    assert client.request("GET", path).content.startswith(b"\x89PNG")

    again = client.monitors.run(monitor, START, START + WIDTH)
    assert again.revision == quiet.revision + 1
    assert [m.value for m in again.metrics] == [m.value for m in quiet.metrics]
    assert [run.id for run in client.monitors.runs(monitor)] == [again.id, blurred.id]
    # An old window that is run again says nothing of today.
    assert client.monitors.get(monitor).status is Status.CRITICAL

    with pytest.raises(ConflictError, match="stop it"):
        client.monitors.delete(monitor)
    with pytest.raises(ConflictError, match="has a monitor"):
        client.deployments.delete(deployment.id)
    client.monitors.stop(monitor)
    client.monitors.delete(monitor)
    client.deployments.delete(deployment.id)
    with pytest.raises(NotFoundError):
        client.deployments.get(deployment.id)


def test_the_store_may_be_a_bucket(tmp_path: Path, s3_url: str) -> None:
    server = Server(tmp_path / "home", "--store-url", s3_url)
    client = server.start()
    try:
        deployment = deploy(client, tmp_path)
        monitor = configure(client, deployment)
        quiet = cycle(client, deployment, monitor, 0, blurred=False, wrong=False)
        assert (quiet.metric("image").n, quiet.metric("requests").value) == (12, 12)
        assert quiet.metric("accuracy").value == 1.0
        blurred = cycle(client, deployment, monitor, 1, blurred=True, wrong=True)
        assert blurred.metric("image").status is Status.CRITICAL
    finally:
        server.process.terminate()
        server.process.wait()
        client.close()
    store = ObjectStore(s3_url)
    events = list(InferenceLog(store).read(deployment.id, START, START + 2 * WIDTH))
    assert len({event.id for event in events}) == 24
    assert len(events) == 48
    assert not (tmp_path / "home" / "store").exists()


def test_prediction_drift_against_the_reference(client: Client, tmp_path: Path) -> None:
    deployment = deploy(client, tmp_path, {"NORMAL": 19, "PNEUMONIA": 1})
    monitor = configure(client, deployment)
    run = cycle(client, deployment, monitor, 0, blurred=False, wrong=False)
    # Half of the window is PNEUMONIA, 5% of the reference: total variation 0.45.
    assert run.metric("prediction").value == pytest.approx(0.45)
    assert run.metric("prediction").status is Status.CRITICAL


def test_an_empty_window_is_unknown(client: Client, tmp_path: Path) -> None:
    deployment = deploy(client, tmp_path)
    monitor = configure(client, deployment)
    run = client.monitors.run(monitor, START, START + WIDTH)
    assert (run.status, run.drift, run.performance, run.health) == (Status.UNKNOWN,) * 4
    assert client.monitors.alert_events(monitor) == []


def test_a_window_that_ends_before_it_begins_is_refused(client: Client, tmp_path: Path) -> None:
    monitor = configure(client, deploy(client, tmp_path))
    with pytest.raises(InvalidInputError, match="end is 2026-03-01T11:55:00"):
        client.monitors.run(monitor, START, START - WIDTH)


def test_malformed_thresholds_are_refused_and_the_old_ones_stay(client: Client, tmp_path: Path) -> None:
    monitor = configure(client, deploy(client, tmp_path))
    with pytest.raises(InvalidInputError, match="accuracy smaller is worse"):
        client.monitors.set_thresholds(
            monitor, {"accuracy": {"type": "performance", "soft": 0.6, "hard": 0.7}}
        )
    assert set(client.monitors.get(monitor).thresholds) == set(THRESHOLDS)
