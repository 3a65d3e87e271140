"""Run all tests, a folder of them in a process, two at a time; CI has two cores, and an hour.

What a folder printed comes when it is done. Exit code 1 where one failed.
"""

from __future__ import annotations

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

FIRST = ("ui", "services", "stats", "e2e")  # the longest, so that none of them is left alone at the end


def suites() -> list[list[str]]:
    """Return what to give to each pytest: folders below tests, the files beside them, doctests of src."""
    folders = [path for path in Path("tests").iterdir() if any(path.glob("**/test_*.py"))]
    order = {name: place for place, name in enumerate(FIRST)}
    folders.sort(key=lambda path: (order.get(path.name, len(order)), path.name))
    return [*([str(path)] for path in folders), [*map(str, sorted(Path("tests").glob("test_*.py"))), "src"]]


def run(suite: list[str]) -> tuple[int, float, str]:
    """Run one; return its exit code, seconds and output."""
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *suite],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.returncode, time.monotonic() - began, done.stdout


def main() -> int:
    failed = []
    with ThreadPoolExecutor(2) as pool:
        running = {pool.submit(run, suite): suite for suite in suites()}
        for future in as_completed(running):
            code, seconds, output = future.result()
            name = running[future][0]
            sys.stdout.write(f"== {name}: {seconds:.0f} s, exit code {code}\n{output}\n")
            sys.stdout.flush()
            failed += [name] if code else []
    sys.stdout.write(f"Failed: {', '.join(failed)}\n" if failed else "All tests passed.\n")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
