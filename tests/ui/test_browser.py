"""The demo's pages in a real Chromium."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from playwright.sync_api import Page, expect

from parts import running_server
from parts_watched import monitored

START = datetime(2026, 3, 1, 12, tzinfo=UTC)


def test_from_the_sign_in_to_a_run(page: Page, tmp_path: Path) -> None:
    with running_server(tmp_path / "home") as client:
        monitor = monitored(client, tmp_path)
        problems: list[str] = []
        page.on("console", lambda m: problems.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on(
            "request",
            lambda r: None if r.url.startswith(client.url) else problems.append(f"foreign: {r.url}"),
        )

        page.goto(f"{client.url}/monitors/{monitor}")
        page.get_by_label("Token").fill(client.token)
        page.get_by_role("button", name="Sign in").click()
        expect(page).to_have_url(f"{client.url}/monitors/{monitor}")  # where the visitor wanted to go
        expect(page.get_by_role("heading", level=1)).to_contain_text("tiny")
        expect(page.locator("#now .cards .status").first).to_have_text("unknown")
        chart = page.get_by_role("img", name="Status of drift, performance and health in each window")
        chart.scroll_into_view_if_needed()
        expect(chart.locator("canvas")).to_be_visible()  # drawn under the strict policy, without a violation
        # Nothing sticks out sideways on a phone.
        assert page.evaluate("document.documentElement.scrollWidth") <= 360

        page.locator("#now .facts-line a").click()
        expect(page.get_by_role("heading", level=1)).to_contain_text("2026-03-01 12:00 UTC")

        client.monitors.stop(monitor)
        with page.expect_response(lambda answer: "/live" in answer.url):
            page.goto(f"{client.url}/monitors/{monitor}")
        page.wait_for_timeout(1000)  # until what it follows is known
        client.monitors.start(monitor)
        expect(page.locator("#now")).to_contain_text("active", timeout=10_000)  # without a reload
        assert problems == []
