"""The pages with 200 monitors and 30 days of 5-minute windows each: how long the server and the browser take.

    python benchmarks/ui.py [--quick]

1.7 million results with their metrics and images stand in SQLite as runs leave them: the month of one monitor
is written window by window, and copied to the others. A real server answers; requests go to one monitor after
another, so that little is in anybody's cache. `--quick`: 10 monitors.
"""

from __future__ import annotations

import argparse
import gzip
import random
import shutil
import sqlite3
import statistics
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tidegauge import threads

threads.use_one()
sys.path.append(str(Path(__file__).parents[1] / "tests"))

import httpx
from playwright.sync_api import Browser, Page, sync_playwright

import report_rows
from _shared import Claim, report
from parts_server import Server
from tidegauge.app import build_services
from tidegauge.client import Client
from tidegauge.services.tallying import Tallying
from tidegauge.settings import load_settings

WINDOWS = 30 * 288
TEMPLATE = "month-000"
ROUNDS = 3  # of requests to each page of a monitor
_COPIED = ("monitor_runs", "window_results", "tallies")
_FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync"]


def fill(home: Path, monitors: int) -> tuple[list[str], str]:
    """Write a home with so many monitors; return their ids, and the operator's token."""
    # The month ends now, as that of a server that runs.
    minutes = timedelta(minutes=report_rows.MINUTES)
    now = datetime.now(UTC)
    report_rows.START = (now - timedelta(days=30)).replace(minute=0, second=0, microsecond=0)
    services = build_services(load_settings(home, {"port": 1}, {}), lambda: now)
    token = services.people.first_start() or ""
    database = services.database
    first = report_rows.add_monitor(database, TEMPLATE)
    report_rows.add_span(database, first, WINDOWS, drift_from=0.9)
    tallying = Tallying(database)
    runs = services.monitors.runs(first, None, None)
    for place in range(0, len(runs), 500):
        with database.transaction():
            for run in runs[place : place + 500]:
                tallying.tallied(first, run, None)
                services.history.note(database.monitors.get(first.id), run)
    last = runs[-1]
    database.monitor_runs.update(last.id, images=())  # there is no log that could show them
    end = report_rows.START + WINDOWS * minutes
    report_rows.add_history(database, first, end + timedelta(days=365))
    known = database.monitors.get(first.id)
    database.monitors.update(first.id, status=last.status, last_run_at=last.end)
    others = [report_rows.add_monitor(database, f"month-{number:03d}") for number in range(1, monitors)]
    for number, other in enumerate(others):
        status = ("healthy", "healthy", "healthy", "warning", "critical")[number % 5]
        database.monitors.update(
            other.id, state="active", due_from=known.due_from, metric_names=known.metric_names,
            status=status, last_run_at=last.end,
        )  # fmt: skip
    services.collector.close()
    database.close()
    copy(home / "tidegauge.sqlite", first.id, [other.id for other in others])
    return [first.id, *(other.id for other in others)], token


def copy(path: Path, source: str, targets: list[str]) -> None:
    """Give each monitor the rows of the first, under ids of their own."""
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA synchronous = OFF")
    for number, target in enumerate(targets):
        for table in _COPIED:
            names = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
            prefix = f"{number:04x}"
            values = {name: f'"{name}"' for name in names}
            values["monitor_id"] = "?1"
            values["id"] = (
                f"'{prefix}' || substr(id, 5)" if table == "monitor_runs" else "replace(id, ?2, ?1)"
            )
            if "run_id" in values:
                values["run_id"] = f"'{prefix}' || substr(run_id, 5)"
            columns = ", ".join(f'"{name}"' for name in names)
            connection.execute(
                f"INSERT INTO {table} ({columns}) SELECT {', '.join(values[name] for name in names)} "
                f"FROM {table} WHERE monitor_id = ?2",
                (target, source),
            )
        connection.commit()
    connection.execute("ANALYZE")
    connection.close()


def timed(http: httpx.Client, path: str) -> tuple[float, int]:
    """Return how long the whole answer took, in milliseconds, and how many bytes came."""
    begun = time.perf_counter()
    with http.stream("GET", path) as answer:
        size = sum(len(chunk) for chunk in answer.iter_raw())
    if answer.status_code != 200:
        raise SystemExit(f"{path} answered {answer.status_code}")
    return (time.perf_counter() - begun) * 1000, size


def p95(values: list[float]) -> float:
    return statistics.quantiles(values, n=20)[-1] if len(values) > 1 else values[0]


def server(client: Client, ids: list[str]) -> list[Claim]:
    """Measure what the server takes for its pages."""
    cookies = {"tidegauge_token": client.token}
    claims = []
    with httpx.Client(base_url=client.url, cookies=cookies, timeout=60) as http:
        for path in ("/", "/monitors", f"/monitors/{ids[0]}"):
            timed(http, path)  # templates are compiled at the first visit
        pages = {
            "dashboard": ["/"] * max(20, len(ids) // 2),
            "list of monitors": ["/monitors"] * max(20, len(ids) // 2),
            "monitor page, 30 days": [
                f"/monitors/{id_}?range=30d" for id_ in random.Random(0).choices(ids, k=max(20, len(ids)))
            ],
        }
        for name, paths in pages.items():
            found = [timed(http, path)[0] for path in paths]
            worst = p95(found)
            claims.append(
                Claim(
                    f"{name}: server time, p95 of {len(found)}",
                    f"{worst:.0f} ms (median {statistics.median(found):.0f})",
                    "<= 150 ms",
                    worst <= 150,
                )
            )
    return claims


def visit(browser: Browser, client: Client, path: str) -> tuple[Page, dict[str, Any]]:
    """Open a page for the first time; return it with the bytes by URL, and what was complained of."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.add_cookies([{"name": "tidegauge_token", "value": client.token, "url": client.url}])
    page = context.new_page()
    session = context.new_cdp_session(page)
    session.send("Network.enable")
    urls: dict[str, str] = {}
    seen: dict[str, Any] = {"bytes": {}, "problems": []}
    session.on("Network.responseReceived", lambda e: urls.update({e["requestId"]: e["response"]["url"]}))
    session.on(
        "Network.loadingFinished",
        lambda e: seen["bytes"].update({urls.get(e["requestId"], "?"): e["encodedDataLength"]}),
    )
    page.on("console", lambda m: seen["problems"].append(m.text) if m.type == "error" else None)
    page.on("request", lambda r: None if r.url.startswith(client.url) else seen["problems"].append(r.url))
    begun = time.perf_counter()
    page.goto(client.url + path, wait_until="commit")
    page.locator("#main h1").wait_for()
    if "/monitors/" in path:
        chart = page.locator("[data-chart]").first
        chart.scroll_into_view_if_needed()  # charts are drawn when they come into sight
        chart.locator("svg, canvas").first.wait_for()
    seen["usable"] = (time.perf_counter() - begun) * 1000
    page.wait_for_timeout(1500)
    return page, seen


def browser_claims(client: Client, ids: list[str]) -> list[Claim]:
    """Measure what a browser takes and transfers."""
    chromium = shutil.which("chromium")
    if chromium is None:
        raise SystemExit("chromium is missing; install it (Debian: apt-get install chromium).")
    claims = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=_FLAGS)
        visit(browser, client, "/")  # the browser itself starts
        for name, path in (("dashboard", "/"), ("monitor page", f"/monitors/{ids[-1]}?range=30d")):
            _, seen = visit(browser, client, path)
            own = {url: size for url, size in seen["bytes"].items() if "vega" not in url}
            total = sum(own.values()) / 1000
            claims.append(
                Claim(
                    f"{name}: transferred at the first visit, without the charts' script",
                    f"{total:.0f} KB",
                    "<= 300 KB",
                    total <= 300,
                )
            )
            if seen["problems"]:
                claims.append(Claim(f"{name}: complaints", "; ".join(seen["problems"])[:80], "none", False))
        times = [visit(browser, client, f"/monitors/{id_}?range=30d")[1]["usable"] for id_ in ids[:5]]
        claims.append(
            Claim(
                "monitor page: usable (verdict and first chart drawn), median of 5",
                f"{statistics.median(times):.0f} ms",
                "<= 1,000 ms",
                statistics.median(times) <= 1000,
            )
        )
        browser.close()
    return claims


def points(client: Client, ids: list[str]) -> Claim:
    """Tell how many points the largest chart has."""
    answer = httpx.get(
        f"{client.url}/api/v1/monitors/{ids[0]}/series",
        headers={"Authorization": f"Bearer {client.token}"},
        timeout=60,
    )
    answer.raise_for_status()
    spans = answer.json()["spans"]
    # A line with its extremes and its interval has four points a span, the timeline three.
    most = len(spans) * 5
    packed = len(gzip.compress(answer.content)) / 1000
    return Claim(
        f"points of the largest chart of {WINDOWS:,} windows",
        f"{most:,} ({len(spans)} spans, {packed:.0f} KB)",
        "<= 5,000",
        0 < most <= 5000,
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--quick", action="store_true")
    monitors = 10 if parser.parse_args().quick else 200
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        begun = time.monotonic()
        ids, token = fill(home, monitors)
        size = (home / "tidegauge.sqlite").stat().st_size / 1e9
        made = time.monotonic() - begun
        print(f"{len(ids) * WINDOWS:,} results, {size:.1f} GB, made in {made:.0f} s", file=sys.stderr)
        process = Server(home)
        process.token = token
        client = process.start()
        try:
            claims = [*server(client, ids), *browser_claims(client, ids), points(client, ids)]
        finally:
            process.process.kill()
            process.process.wait()
    claims.append(Claim("results in the database", f"{len(ids) * WINDOWS:,}", "for information", True))
    return report(f"Pages, {monitors} monitors, 30 days of 5-minute windows each", claims)


if __name__ == "__main__":
    sys.exit(main())
