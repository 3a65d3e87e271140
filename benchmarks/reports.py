"""Reports on a month and on a year: how long, and how large is the file?

    python benchmarks/reports.py [--quick]

Windows of 5 minutes with 12 labels each, written to SQLite as monitor runs leave them; each form of the
report is made from the rows anew. `--quick`: the month alone.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path

from tidegauge import threads

threads.use_one()
sys.path.append(str(Path(__file__).parents[1] / "tests"))

from _shared import Claim, report
from report_rows import MINUTES, START, add_history, add_monitor, add_span
from tidegauge.app import build_services
from tidegauge.domain.report import document
from tidegauge.settings import load_settings
from tidegauge.ui.report import to_html
from tidegauge.ui.report_pdf import to_pdf

MONTH, YEAR = 8640, 365 * 288
MEGABYTE = 1e6


def measure(name: str, windows: int, seconds: float, megabytes: float) -> list[Claim]:
    end = START + windows * timedelta(minutes=MINUTES)
    with tempfile.TemporaryDirectory() as folder:
        services = build_services(load_settings(Path(folder), {"port": 1}, {}), lambda: end)
        monitor = add_monitor(services.database)
        for first in range(0, windows, MONTH):
            add_span(services.database, monitor, windows, part=range(first, min(windows, first + MONTH)))
        add_history(services.database, monitor, end)
        monitor = services.database.monitors.get(monitor.id)
        claims = []
        for form in ("html", "pdf", "json"):
            begun = time.monotonic()
            found, made = services.reports.make(monitor, START, end, "benchmark")
            if form == "json":
                content = document(found, made)
            else:
                page = to_html(found, made)
                content = page.encode() if form == "html" else to_pdf(page, document(found, made))
            took = time.monotonic() - begun
            size = len(content) / MEGABYTE
            claims += [
                Claim(
                    f"{name} ({windows:,} windows) as {form}",
                    f"{took:.1f} s",
                    f"<= {seconds:g} s",
                    took <= seconds,
                ),
                Claim(f"{name} as {form}, size", f"{size:.2f} MB", f"<= {megabytes:g} MB", size <= megabytes),
            ]
        services.database.close()
    return claims


def main() -> int:
    parser = argparse.ArgumentParser(description="Time and size of reports.")
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    claims = measure("month", MONTH, 30, 3)
    if not quick:
        claims += measure("year", YEAR, 300, 3)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        claims.append(Claim("memory of the process at most", f"{peak:,.0f} MB", "<= 2,000 MB", peak <= 2000))
    return report("Reports", claims)


if __name__ == "__main__":
    sys.exit(main())
