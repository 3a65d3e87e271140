"""Running the command in tests: in this process, or as a user does."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str


Run = Callable[..., Outcome]


def environment(**given: str) -> dict[str, str]:
    """The environment without any setting of Tidegauge but these."""
    return {**{k: v for k, v in os.environ.items() if not k.startswith("TIDEGAUGE_")}, **given}


def start(*arguments: str, env: dict[str, str] | None = None, **options: Any) -> subprocess.Popen[str]:
    """Start the command as a process of its own."""
    given = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    return subprocess.Popen(
        [sys.executable, "-m", "tidegauge", *arguments], env=env or environment(), text=True, **given
    )
