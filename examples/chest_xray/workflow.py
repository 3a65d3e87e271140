"""What the notebooks of the example share: what resources.ipynb was told, and clients of its clusters."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from tidegauge import Client

FILE = Path("workflow.json")  # beside the notebooks, for its owner alone: it may hold a token


@dataclass
class Workflow:
    """One run through the example; with a ``monitoring_url`` another cluster monitors."""

    serving_url: str = ""
    monitoring_url: str = ""
    monitoring_token: str = ""
    serving_cluster_name: str = ""  # the monitoring cluster's link to the serving one
    code: str = "chest-xray"
    dataset: str = "chest-xray"
    model: str = "image-mm-kf"
    monitor_name: str = "image-mm-kf"  # of the deployment, and so of its monitor
    made: tuple[str, ...] = ()  # what was not there before: code, link

    @classmethod
    def load(cls) -> Workflow:
        """Return what resources.ipynb has saved."""
        if not FILE.exists():
            raise FileNotFoundError("Run resources.ipynb first: it creates what this notebook uses.")
        return cls(**json.loads(FILE.read_text()))

    def save(self) -> None:
        """Keep it for the other notebooks."""
        FILE.touch(mode=0o600)
        FILE.write_text(json.dumps(asdict(self), indent=2))

    @property
    def on_two_clusters(self) -> bool:
        return bool(self.monitoring_url)

    def serving(self) -> Client:
        """Return a client of the serving cluster: in an IDE, of the one that it belongs to."""
        return Client(self.serving_url or None)

    def monitoring(self) -> Client:
        """Return a client of the cluster that monitors."""
        return Client(self.monitoring_url, self.monitoring_token) if self.on_two_clusters else self.serving()
