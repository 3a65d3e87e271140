"""The decision about a candidate, on the monitor's page in a real Chromium."""

from __future__ import annotations

import os
from pathlib import Path

from playwright.sync_api import Page, expect

from parts import running_server
from retraining_parts import build


def test_a_candidate_is_promoted_on_the_page(page: Page, tmp_path: Path) -> None:
    with running_server(tmp_path / "home") as client:
        place = build(client, tmp_path)
        place.send(24)
        page.goto(f"{client.url}/sign-in")
        page.get_by_label("Token").fill(client.token)
        page.get_by_role("button", name="Sign in").click()
        page.goto(f"{client.url}/monitors/{client.monitors.get('tiny').id}")
        panel = page.locator("#retraining")
        expect(panel).to_contain_text("There was none.")

        place.retrain()
        page.reload()
        expect(panel).to_contain_text("On held-out v1 the candidate is surely better")
        expect(panel.get_by_role("row", name="balanced accuracy").first).to_be_visible()
        button = panel.get_by_role("button", name="Serve v2 in place of v1, and begin evidence again")
        expect(button).to_be_hidden()  # nothing is promoted by one click
        panel.get_by_text("Promote", exact=True).click()
        panel.get_by_label("Why").first.fill("agreed")
        picture = os.environ.get("TIDEGAUGE_PICTURE")
        if picture:
            panel.screenshot(path=picture)
        button.click()
        expect(panel).to_contain_text("promoted", timeout=60_000)
        panel.get_by_text("History").click()
        expect(panel.get_by_role("row", name="agreed")).to_contain_text("operator")
        assert client.deployments.get("tiny").model_version == 2
