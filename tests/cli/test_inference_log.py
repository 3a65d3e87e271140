"""The size of an inference log, by the API, the SDK and the command."""

from __future__ import annotations

import json

from cli_runs import Run
from tidegauge.client import Client


def test_the_size_of_a_log_is_told_with_its_bounds(server: Client, run: Run) -> None:
    server.deployments.register("ward", classes=("a", "b"), keep_days=30)
    size = server.deployments.inference_log("ward")
    assert (size.files, size.bytes, size.first, size.last) == (0, 0, None, None)
    assert (size.merged, size.gone, size.keep_days, size.keep_bytes) == (0, 0, 30, 0)
    told = run("deployment", "inference-log", "ward", "--json")
    assert told.code == 0
    assert json.loads(told.out)["keep_days"] == 30
    assert run("deployment", "inference-log", "nobody").code != 0
