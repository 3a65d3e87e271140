from __future__ import annotations

import json

import pytest

from cli_runs import Run
from tidegauge.client import Client


@pytest.fixture(scope="module", autouse=True)
def deployment(server: Client) -> None:
    server.deployments.register("elsewhere", classes=("a", "b"))


def test_where_nobody_numbers_it_says_so(run: Run) -> None:
    done = run("deployment", "captures", "elsewhere", "--last", "90m")
    assert (done.code, "Nobody numbered what was served in the last 90m." in done.out + done.err) == (0, True)
    found = json.loads(run("deployment", "captures", "elsewhere", "--json").out)
    assert (found["total"]["served"], found["senders"]) == (0, {})


@pytest.mark.parametrize("last", ["", "1", "h", "0h", "1w", "-1h", "32d", "1 h", "99999d"])
def test_a_span_that_is_none_is_refused_with_what_it_may_be(run: Run, last: str) -> None:
    done = run("deployment", "captures", "elsewhere", f"--last={last}")
    assert done.code != 0
    assert "30m, 1h or 7d" in " ".join(done.err.split())
