"""Functions of users: each call in a process of its own, with an end to its time and its memory."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tidegauge.errors import ConflictError
from tidegauge.links.processes import tail

_ANSWER_BYTES = 1 << 20
_KEPT = ("PATH", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH", "VIRTUAL_ENV")  # nothing secret


@dataclass(frozen=True)
class Limits:
    """What one call may take: seconds on the clock, bytes of memory."""

    seconds: int = 60
    memory: int = 4 << 30


def call(
    code: Path, file: str, function: str, arguments: Sequence[Path], scratch: Path, limits: Limits
) -> Any:
    """Call ``function`` of ``file`` in the folder ``code`` with the contents of files; return its answer.

    ``arguments`` are .npy, .parquet or .json files; ``scratch`` is an empty folder for this call. Numbers and
    mappings of numbers can be returned. Raises ConflictError, in one sentence, where it fails.
    """
    request = {
        "code": str(code.resolve()),
        "file": file,
        "function": function,
        "arguments": [str(path) for path in arguments],
        "seconds": limits.seconds,
        "bytes": limits.memory,
    }
    (scratch / "request.json").write_text(json.dumps(request))
    home = scratch / "home"
    home.mkdir()
    # -P: what lies in the folder of the call must not come before modules of the same name.
    command = [sys.executable, "-P", "-m", "tidegauge.links.function_child", str(scratch)]
    with (scratch / "output").open("wb") as output:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=home,
            env=_environment(home),
            start_new_session=True,
        )
    try:
        child.wait(limits.seconds)
    except subprocess.TimeoutExpired:
        raise ConflictError(f"It did not return within {limits.seconds} s.") from None
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
    return _answer(scratch, child.returncode)


def _answer(scratch: Path, code: int) -> Any:
    try:
        with (scratch / "answer.json").open("rb") as file:
            content = file.read(_ANSWER_BYTES + 1)
    except FileNotFoundError:
        end = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        said = tail(scratch / "output", 4096).strip().splitlines()
        last = f": {said[-1].strip()[:500]}" if said else ""
        raise ConflictError(f"Its process {end} and without an answer{last}.") from None
    if len(content) > _ANSWER_BYTES:
        raise ConflictError("It returned more than 1 MB.")
    answer: Mapping[str, Any] = json.loads(content)
    if "error" in answer:
        raise ConflictError(f"{str(answer['error'])[:1000].rstrip('.')}.")
    return answer["value"]


def _environment(home: Path) -> dict[str, str]:
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    threads = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1"}
    return {**kept, **threads, "HOME": str(home), "PYTHONDONTWRITEBYTECODE": "1"}
