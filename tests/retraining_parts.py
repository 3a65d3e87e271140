"""A monitored deployment that can be retrained, with live data and a pipeline that takes a second."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from parts import CLASSES, SIDE, image, write_images, write_model
from tidegauge.client import Client, wait_for
from tidegauge.domain.deployment import Deployment
from tidegauge.domain.retraining import Retraining

#: Preprocess, train and deploy: the threshold of brightness that lies between the means of the classes.
PIPELINE = """
import argparse, json, os, sys, time
from pathlib import Path
import cv2, numpy as np, onnx
from onnx import numpy_helper
from tidegauge.client import Client
from tidegauge.steps import step

parser = argparse.ArgumentParser()
parser.add_argument("command")
for name in ("root", "code", "dataset", "model", "deployment"):
    parser.add_argument(f"--{name}", default="")
for name in ("code-version", "dataset-version"):
    parser.add_argument(f"--{name}", type=int)
parser.add_argument("--threshold", type=float)
parser.add_argument("--wait-for", default="")
parser.add_argument("--sabotage", default="")
options = parser.parse_args()
client, root = Client(), Path(options.root)
with step("preprocess"):
    client.datasets.download(options.dataset, options.dataset_version, root / "images")
    means = {}
    for folder in sorted((root / "images").iterdir()):
        means[folder.name] = [cv2.imread(str(p), cv2.IMREAD_GRAYSCALE).mean() for p in folder.iterdir()]
with step("train"):
    if options.wait_for:
        Path(options.wait_for + ".begun").touch()
    while options.wait_for and not Path(options.wait_for).exists():
        time.sleep(0.05)
    if options.sabotage == "train":
        raise SystemExit("the gradient is gone")
    first, second = (np.mean(values) for values in means.values())
    threshold = options.threshold or (first + second) / 2
    model = onnx.load("base/model.onnx")
    for tensor in model.graph.initializer:
        if tensor.name == "bias":
            value = np.array([[0.05 * threshold, -0.05 * threshold]], np.float32)
            tensor.CopyFrom(numpy_helper.from_array(value, "bias"))
    folder = root / "model"
    folder.mkdir()
    if options.sabotage == "model":
        model.graph.node[0].op_type = "NoSuchOperator"
    onnx.save(model, str(folder / "model.onnx"))
    for name in ("model.json", "reference.parquet"):
        (folder / name).write_bytes(Path("base", name).read_bytes())
    if options.sabotage != "add":
        version = client.models.add_version(options.model, folder).number
if options.deployment:
    with step("deploy"):
        client.deployments.update(options.deployment, version=version)
"""
HELD_OUT = {"dataset": "held-out", "version": 1}


@dataclass
class Place:
    """What stands on the server, and the images that were asked about: event id to label."""

    client: Client
    deployment: Deployment
    asked: dict[str, str] = field(default_factory=dict)

    def send(self, count: int, seed: int = 1, name: str = "live", label: bool = True) -> None:
        """Ask about images, and tell the truth about them by event id."""
        rng = np.random.default_rng(seed)
        begin = datetime.now(UTC) - timedelta(hours=1)
        sent = {}
        for number in range(count):
            pixels = image(CLASSES[number % 2], rng)
            moment = begin + timedelta(milliseconds=number)
            event_id = f"{name}-{number}"
            body = {"inputs": {"input_1": [pixels.tolist()]}}
            self.client.deployments.predict(self.deployment, body, event_id=event_id, time=moment)
            sent[event_id] = CLASSES[number % 2]
        health = f"/serve/{self.deployment.id}/healthz"
        wait_for(
            lambda: self.client.request("GET", health).json()["queued"], lambda queued: queued == 0, "log", 10
        )
        self.asked |= sent
        if label:
            self.tell(sent)

    def tell(self, labels: dict[str, str]) -> dict[str, Any]:
        rows = [{"event_id": id_, "label": label} for id_, label in labels.items()]
        return self.client.monitors.post_labels("tiny", rows)

    def retrain(self, **plan: Any) -> Retraining:
        """Retrain and wait until a decision is needed or it has ended."""
        begun = self.client.retrainings.begin("tiny", plan_of(**plan))
        return self.client.retrainings.wait("tiny", begun.id, timeout=120)


def plan_of(**plan: Any) -> dict[str, Any]:
    """Return a plan with a pipeline (``parameters``) and the held-out set, and what else is given."""
    pipeline = {"code": "mine", "parameters": plan.pop("parameters", {})}
    return {"pipeline": pipeline, "held_out": HELD_OUT, "margin": 0.05, **plan}


def build(client: Client, folder: Path, threshold: float = 200) -> Place:
    """Serve a model that calls nearly everything NORMAL (by ``threshold``), watched by an active monitor."""
    code = folder / "code"
    code.mkdir(parents=True)
    (code / "pipeline.py").write_text(PIPELINE)
    write_model(code / "base")
    client.code.create("mine")
    client.code.add_version("mine", code)
    client.datasets.create("chest", folder=write_images(folder / "train", 30, seed=11))
    client.datasets.add_version("chest")
    client.datasets.create("held-out", folder=write_images(folder / "held-out", 60, seed=12))
    client.datasets.add_version("held-out")
    client.models.create("tiny")
    client.models.add_version("tiny", write_model(folder / "model", threshold=threshold))
    client.deployments.create("tiny", "tiny", 1)
    deployment = client.deployments.wait("tiny")
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
    client.monitors.wait(monitor.id)
    client.monitors.add_feature(monitor.id, "prediction", "prediction_output", "categorical")
    client.monitors.start(monitor.id)
    return Place(client, deployment)
