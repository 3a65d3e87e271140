"""Tidegauge's peak memory, fitting and comparing a large table in a fresh process."""

from __future__ import annotations

from pathlib import Path

from _table import read_table
from _timing import hand_over, read_task

from tidegauge.stats import tables


def resident(what: str) -> int:
    """Return the bytes of memory in use (VmRSS) or in use at most since the last ``forget`` (VmHWM)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(what))


def forget() -> None:
    Path("/proc/self/clear_refs").write_text("5")


if __name__ == "__main__":
    folder = read_task().folder
    baseline, window = read_table(folder, "baseline"), read_table(folder, "window")
    size = sum(column.nbytes for table in (baseline, window) for column in table.values())
    forget()
    before = resident("VmRSS")
    fitted = tables.fit_baseline(baseline)
    fit = resident("VmHWM") - before
    held = resident("VmRSS")
    forget()
    tables.compare(fitted, window)
    compare = resident("VmHWM") - held
    whole = max(fit, resident("VmHWM") - before)
    hand_over({"memory": {"whole": 1 + whole / size, "fit": fit / size, "compare": compare / size}})
