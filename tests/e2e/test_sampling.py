"""A deployment that is served here, of which a part of the requests is logged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from e2e.test_spine import START, WIDTH, configure, deploy
from parts import CLASSES, image, running_server
from tidegauge.client import wait_for
from tidegauge.domain.deployment import DeploymentState
from tidegauge.domain.identity import chance_of
from tidegauge.errors import InvalidInputError

IDS = [f"scan-{number}" for number in range(60)]
LOGGED = [id_ for id_ in IDS if chance_of("sampling", id_) < 0.25]


def test_the_server_is_started_anew_with_the_share_and_monitors_count_with_it(tmp_path: Path) -> None:
    with running_server(tmp_path / "home") as client:
        deployment = deploy(client, tmp_path)
        monitor = configure(client, deployment)
        with pytest.raises(InvalidInputError, match="sampling is 0"):
            client.deployments.update("tiny", sampling=0)
        changed = client.deployments.update("tiny", sampling=0.25)
        assert (changed.sampling, changed.state) == (0.25, DeploymentState.STARTING)
        client.deployments.wait("tiny")
        rng = np.random.default_rng(0)
        for number, id_ in enumerate(IDS):
            body = {"inputs": {"input_1": [image(CLASSES[number % 2], rng).tolist()]}}
            client.deployments.predict(deployment, body, event_id=id_, time=START)
        wait_for(
            lambda: client.request("GET", f"/serve/{deployment.id}/healthz").json(),
            lambda counts: counts["acknowledged"] == len(LOGGED),
            "the log",
            10,
        )
        run = client.monitors.run(monitor, START, START + WIDTH)
        assert (run.metric("requests").value, run.metric("requests").n) == (4 * len(LOGGED), len(LOGGED))
        assert run.metric("image").n == len(LOGGED)
        assert "1 in 4 requests is logged; counts are scaled by 4." in run.problems
