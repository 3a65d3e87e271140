"""What a server takes in each role, on an empty home: seconds of CPU until it is ready, and memory (PSS).

python benchmarks/roles.py
"""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx

from tidegauge.links.processes import free_port
from tidegauge.settings import ClusterRole

_RUNS = 3
_SETTLE_SECONDS = 2.0


def measure(role: str, home: Path) -> tuple[float, float, int]:
    """Return the seconds of CPU until it is ready, its megabytes and its threads."""
    port = free_port()
    command = [sys.executable, "-m", "tidegauge", "up", "--home", str(home), "--port", str(port)]
    quiet = subprocess.DEVNULL
    with subprocess.Popen([*command, "--role", role], stdout=quiet, stderr=quiet) as process:
        while True:
            try:
                if httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=2, trust_env=False).is_success:
                    break
            except httpx.HTTPError:
                time.sleep(0.02)
        own = Path(f"/proc/{process.pid}")
        ticks = sum(map(int, (own / "stat").read_text().rpartition(")")[2].split()[11:13]))
        time.sleep(_SETTLE_SECONDS)
        found = re.search(r"Pss:\s+(\d+)", (own / "smaps_rollup").read_text())
        threads = len(list((own / "task").iterdir()))
        process.terminate()
    return ticks / os.sysconf("SC_CLK_TCK"), int(found[1]) / 1000 if found else 0.0, threads


def main() -> None:
    print(f"{'role':<12}{'CPU s':>8}{'MB':>8}{'threads':>9}   median of {_RUNS}")
    for role in ClusterRole:
        with tempfile.TemporaryDirectory() as folder:
            runs = [measure(role, Path(folder) / str(number)) for number in range(_RUNS)]
        seconds, megabytes, threads = (statistics.median(column) for column in zip(*runs, strict=True))
        print(f"{role:<12}{seconds:>8.1f}{megabytes:>8.0f}{threads:>9.0f}", flush=True)


if __name__ == "__main__":
    main()
