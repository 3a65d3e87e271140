"""Retrainings of monitors."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

from tidegauge.client.connection import Connection, wait_for
from tidegauge.domain.retraining import Retraining, RetrainingPlan, RetrainingState

LATEST = "latest"


class Retrainings:
    """Retrainings of monitors, each of which is named by its id or as the latest."""

    def __init__(self, client: Connection) -> None:
        self._client = client

    def begin(self, monitor: str, plan: RetrainingPlan | Mapping[str, Any] | None = None) -> Retraining:
        """Start one; ``wait`` tells when it needs a decision or has ended."""
        return self._client.read(Retraining, "POST", self._at(monitor), plan or RetrainingPlan())

    def list(self, monitor: str) -> builtins.list[Retraining]:
        return list(self._client.pages(Retraining, self._at(monitor)))

    def get(self, monitor: str, retraining: str = LATEST) -> Retraining:
        return self._client.read(Retraining, "GET", self._at(monitor, retraining))

    def promote(self, monitor: str, retraining: str = LATEST, note: str = "") -> Retraining:
        """Decide for the candidate; ``wait`` tells when it is promoted."""
        path = f"{self._at(monitor, retraining)}/promote"
        return self._client.read(Retraining, "POST", path, {"note": note})

    def refuse(self, monitor: str, retraining: str = LATEST, note: str = "") -> Retraining:
        """Decide against the candidate, or end what is under way."""
        path = f"{self._at(monitor, retraining)}/refuse"
        return self._client.read(Retraining, "POST", path, {"note": note})

    def wait(
        self,
        monitor: str,
        retraining: str = LATEST,
        watch: Callable[[Retraining], None] | None = None,
        timeout: float = 86_400.0,
    ) -> Retraining:
        """Wait until it has ended or a person has to decide; ``watch`` sees it again and again meanwhile."""

        def look() -> Retraining:
            found = self.get(monitor, retraining)
            if watch:
                watch(found)
            return found

        return wait_for(
            look,
            lambda found: found.state.ended or found.state is RetrainingState.WAITING,
            f"The retraining of {monitor}",
            timeout,
        )

    def _at(self, monitor: str, retraining: str = "") -> str:
        path = f"/api/v1/monitors/{quote(monitor, safe='')}/retrainings"
        return f"{path}/{quote(retraining, safe='')}" if retraining else path
