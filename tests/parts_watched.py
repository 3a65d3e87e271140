"""A page in Chromium under observation: what it complains of, asks elsewhere for, or moves."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from playwright.sync_api import Page

from parts import SIDE, write_images, write_model
from tidegauge.client import Client

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
START = datetime(2026, 3, 1, 12, tzinfo=UTC)
_AXE = (Path(__file__).parent / "ui" / "vendor" / "axe.min.js").read_text()
_RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]
_GRAVE = ("serious", "critical")
_SHIFTS = """() => {
  window.shifted = 0;
  new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) if (!entry.hadRecentInput) window.shifted += entry.value;
  }).observe({ type: "layout-shift", buffered: true });
}"""
#: A browser says so of every form that comes back with its errors.
_REFUSED = re.compile(r"Failed to load resource: the server responded with a status of 4(09|22)")


@dataclass
class Watched:
    """Notes of a page: console errors and warnings, exceptions, and requests to other hosts."""

    page: Page
    own: str
    problems: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.add_init_script(f"({_SHIFTS})()")
        self.page.on("console", lambda message: self._note(message.type, message.text))
        self.page.on("pageerror", lambda error: self.problems.append(f"exception: {error}"))
        self.page.on("request", lambda request: self._ask(request.url))

    def _note(self, kind: str, text: str) -> None:
        if kind in ("error", "warning") and not _REFUSED.match(text):
            self.problems.append(f"{kind}: {text}")

    def _ask(self, url: str) -> None:
        if not url.startswith((self.own, "data:", "blob:")):
            self.problems.append(f"foreign: {url}")

    def overhang(self) -> int:
        """Return by how many pixels the page is wider than the window."""
        return int(
            self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        )

    def shift(self) -> float:
        """Return the cumulative layout shift since the page was opened."""
        return float(self.page.evaluate("window.shifted ?? 0"))

    def violations(self) -> list[str]:
        """Return what axe-core finds that is serious or critical, a line each."""
        self.page.evaluate(_AXE)
        run = """(rules) => axe.run(document, {
            runOnly: {type: "tag", values: rules}, resultTypes: ["violations"]
        })"""
        found: dict[str, Any] = self.page.evaluate(run, _RULES)
        return [
            f"{item['impact']} {item['id']}: {node['html'][:160]}"
            for item in found["violations"]
            if item["impact"] in _GRAVE
            for node in item["nodes"][:3]
        ]

    def shoot(self, name: str) -> None:
        """Leave a picture where TIDEGAUGE_SCREENSHOTS says; nowhere by default."""
        if folder := os.environ.get("TIDEGAUGE_SCREENSHOTS"):
            Path(folder).mkdir(parents=True, exist_ok=True)
            self.page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


def monitored(client: Client, folder: Path) -> str:
    """Make an active monitor that has looked at an empty window; return its id."""
    client.datasets.create("chest", folder=write_images(folder / "images", 10))
    client.datasets.add_version("chest")
    client.models.create("tiny")
    client.models.add_version("tiny", write_model(folder / "model"))
    client.deployments.create("tiny", "tiny", 1)
    client.deployments.wait("tiny")
    drift = {
        "enabled": True,
        "image": {"height": SIDE, "width": SIDE},
        "train_data": {"dataset": "chest", "version": 1},
    }
    monitor = client.monitors.create("tiny", {"drift": drift})
    client.monitors.wait(monitor.id)
    client.monitors.add_feature(monitor.id, "prediction", "prediction_output", "categorical")
    client.monitors.start(monitor.id)
    client.monitors.run(monitor.id, START, START + timedelta(minutes=5))
    return monitor.id
