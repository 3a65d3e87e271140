"""How a step of a pipeline tells the server where it stands: a marked line on standard output."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

MARK = "tidegauge-step: "
#: Tells a step on Kubeflow which pipeline run it is of; the SDK passes it on in a header of RUN_HEADER.
RUN_VARIABLE, RUN_HEADER = "TIDEGAUGE_PIPELINE_RUN", "Tidegauge-Pipeline-Run"


@contextmanager
def step(name: str) -> Iterator[None]:
    """Print that the step is running, then that it has succeeded or failed; the error goes on."""
    _tell(name, "running")
    try:
        yield
    except BaseException as error:
        _tell(name, "failed", " ".join(f"{error}".split()) or type(error).__name__)
        raise
    _tell(name, "succeeded")


def _tell(name: str, state: str, message: str = "") -> None:
    record = {"name": name, "state": state, "time": datetime.now(UTC).isoformat()}
    if message:
        record["message"] = message
    print(MARK + json.dumps(record), flush=True)  # noqa: T201 - standard output is the interface
