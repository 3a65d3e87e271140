"""A monitored deployment whose windows tests send images to, look at, and have explained."""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path

import cv2
import numpy as np

from parts import CLASSES, SIDE, image
from simulated import OWNER, START, Site
from tidegauge.domain.monitor import Monitor, MonitorRun

STEP = timedelta(minutes=5)
SURE = np.array([[0.9, 0.1], [0.1, 0.9]], np.float32)


class Ward:
    """A site with a monitor whose windows can be looked at and explained."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.services = site.services
        self.monitor_id = site.services.database.monitors.where()[0].id
        site.deployment = site.services.database.deployments.where()[0]
        self.rng = np.random.default_rng(1)
        self.sent: dict[str, np.ndarray] = {}

    @property
    def monitor(self) -> Monitor:
        return self.services.monitors.get(OWNER, self.monitor_id)

    def send(self, window: int, n: int = 8, *, blur: bool = False) -> list[str]:
        images, labels = draw(n, self.rng)
        if blur:
            images = np.stack([cv2.blur(one, (7, 7))[:, :, np.newaxis] for one in images])
        start = START + window * STEP
        times = [start + STEP * (k + 1) / (n + 1) for k in range(n)]
        ids = self.site.send(images, SURE[(labels == "PNEUMONIA").astype(int)], times)
        self.sent |= dict(zip(ids, images, strict=True))
        return ids

    def look(self, window: int) -> MonitorRun:
        self.site.clock.now = max(self.site.clock.now, START + (window + 1) * STEP + timedelta(seconds=10))
        self.site.work()
        start = START + window * STEP
        return self.services.monitors.runs(self.monitor, start, start + STEP)[-1]

    def forget(self, *ids: str) -> None:
        self.services.erasures.begin(self.site.deployment, ids, OWNER, "asked for")
        while self.services.database.erasures.where(done_at=None):
            time.sleep(0.02)


def draw(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    labels = rng.choice(CLASSES, n)
    return np.stack([image(str(label), rng) for label in labels]), labels


def build(folder: Path) -> Path:
    """Build a home with a monitor of a deployment, to be copied; return it."""
    site = Site.build(folder / "home", CLASSES)
    site.deploy(folder / "model", ["NORMAL", "PNEUMONIA"] * 50, "PNEUMONIA")
    site.add_images("pool", folder / "pool", *draw(120, np.random.default_rng(0)))
    site.monitor("pool", SIDE)
    site.close()
    return folder / "home"
