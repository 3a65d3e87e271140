"""The contestants of benchmarks/statistics.py: their environments, and a run on one core."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
#: The alternatives and what pip installs of each: their pins fit neither ours nor each other's.
RIVALS = {
    "alibi": ["alibi-detect==0.13.0", "torch==2.13.0"],
    "evidently": ["evidently==0.7.23", "pandas<3"],
    "nannyml": ["nannyml==0.13.1", "statsmodels"],
}
_ONE_THREAD = dict.fromkeys(
    ["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"], "1"
)
_SILENT = {"NML_DISABLE_USAGE_LOGGING": "1", "DO_NOT_TRACK": "1", "PYTHONWARNINGS": "ignore"}


def make_environments() -> None:
    """Install each alternative once, in an environment of its own."""
    for rival, packages in RIVALS.items():
        folder = _environment(rival)
        if (folder / ".installed").exists():
            continue
        print(f"making {folder.name} ...", flush=True)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet"]
        subprocess.run([*pip, "--disable-pip-version-check", *packages], check=True)
        (folder / ".installed").touch()


def run(contestant: str, folder: Path, least: int, seconds: float) -> dict[str, Any]:
    """Let a contestant do its work on the data in ``folder`` and return what it handed over."""
    python = str(_environment(contestant) / "bin" / "python") if contestant in RIVALS else sys.executable
    script = str(HERE / "contestants" / f"run_{contestant}.py")
    command = [python, script, str(folder), "--least", str(least), "--seconds", str(seconds)]
    if shutil.which("taskset"):
        core = min(os.sched_getaffinity(0))
        command = ["taskset", "-c", str(core), *command]
    print(f"{contestant} ...", flush=True)
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, env={**os.environ, **_ONE_THREAD, **_SILENT}
    )
    if done.returncode:
        sys.exit(f"{contestant} failed:\n{done.stderr[-3000:]}")
    results: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return results


def _environment(rival: str) -> Path:
    return HERE.parent / f".venv-{rival}"
