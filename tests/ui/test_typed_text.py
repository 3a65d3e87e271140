"""What a person has typed into a dialog is there until they say otherwise, whatever happens on the way."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Dialog, Locator, Page, Route, expect

from parts import running_server
from parts_pages import add_monitor
from tidegauge.app import build_services
from tidegauge.client import Client
from tidegauge.domain.monitor import MonitorState
from tidegauge.settings import load_settings


class Desk:
    """A person at a browser, who answers what a page asks."""

    def __init__(self, page: Page, client: Client, monitor: str) -> None:
        self.page, self.client, self.monitor = page, client, monitor
        self.asked: list[str] = []
        self.answer = False
        page.on("dialog", self._on_dialog)
        page.set_viewport_size({"width": 1280, "height": 900})
        page.goto(f"{client.url}/sign-in")
        page.get_by_label("Token").fill(client.token)
        page.get_by_role("button", name="Sign in").click()
        expect(page).to_have_url(f"{client.url}/")

    def _on_dialog(self, dialog: Dialog) -> None:
        self.asked.append(dialog.message)
        if self.answer:
            dialog.accept()
        else:
            dialog.dismiss()

    @property
    def sheet(self) -> Locator:
        return self.page.locator("dialog #sheet")

    def add_code(self) -> None:
        self.page.goto(f"{self.client.url}/code")
        self.page.locator("main").get_by_role("link", name="Code").first.click()
        expect(self.sheet).to_be_visible()


@pytest.fixture
def desk(page: Page, tmp_path: Path) -> Iterator[Desk]:
    services = build_services(load_settings(tmp_path / "home", {"port": 1}, {}))
    monitor = add_monitor(services, "ward")
    add_monitor(services, "unfinished", state=MonitorState.INIT, message="The configuration lacks all.")
    services.collector.close()
    with running_server(tmp_path / "home") as client:
        yield Desk(page, client, f"/monitors/{monitor.id}")


def test_escape_and_cancel_ask_before_what_was_typed_is_lost(desk: Desk) -> None:
    desk.add_code()
    desk.page.keyboard.press("Escape")
    expect(desk.sheet).to_be_hidden()
    assert desk.asked == []  # nothing was typed

    desk.add_code()
    desk.sheet.get_by_label("Name").fill("chest-xray")
    desk.page.keyboard.press("Escape")
    expect(desk.sheet.get_by_label("Name")).to_have_value("chest-xray")
    desk.sheet.get_by_text("Cancel").click()
    expect(desk.sheet.get_by_label("Name")).to_have_value("chest-xray")
    assert desk.asked == ["Close this and lose what you typed?"] * 2
    for _ in range(4):  # browsers let a dialog be kept open once; this one stays
        desk.page.keyboard.press("Escape")
        expect(desk.sheet.get_by_label("Name")).to_have_value("chest-xray")
    desk.answer = True
    desk.sheet.get_by_text("Cancel").click()
    expect(desk.sheet).to_be_hidden()


def test_a_dialog_that_is_done_closes_without_a_question(desk: Desk) -> None:
    desk.page.goto(f"{desk.client.url}/settings/developer")
    desk.page.locator("main").get_by_role("link", name="Token").first.click()
    desk.sheet.get_by_label("Name").fill("mine")
    desk.sheet.get_by_role("button").first.click()
    expect(desk.sheet).to_contain_text("Copy it now")
    desk.page.keyboard.press("Escape")
    expect(desk.sheet).to_be_hidden()
    assert desk.asked == []


def test_a_form_stays_when_the_server_is_away_or_nobody_is_signed_in(desk: Desk) -> None:
    desk.add_code()
    name, submit = desk.sheet.get_by_label("Name"), desk.sheet.get_by_role("button", name="Add Code")
    name.fill("chest-xray")
    desk.sheet.get_by_label("URL").fill("/nowhere/at/all")
    desk.page.context.set_offline(True)
    submit.click()
    expect(desk.sheet.get_by_role("alert")).to_contain_text("The form did not arrive")
    desk.page.context.set_offline(False)
    expect(name).to_have_value("chest-xray")

    cookies = desk.page.context.cookies()
    desk.page.context.clear_cookies()
    submit.click()
    expect(desk.sheet.get_by_role("alert")).to_have_text(
        "You are signed out; sign in in another window, and submit this again. What you typed is still here."
    )
    expect(name).to_have_value("chest-xray")
    desk.page.context.add_cookies(cookies)  # type: ignore[arg-type]
    submit.click()
    expect(desk.page).to_have_url(f"{desk.client.url}/code")
    expect(desk.page.locator("main")).to_contain_text("chest-xray")


def test_what_is_too_large_is_told_above_the_form(desk: Desk, tmp_path: Path) -> None:
    desk.page.goto(f"{desk.client.url}{desk.monitor}/thresholds")
    desk.page.locator("main").get_by_role("link", name="Upload").first.click()
    large = tmp_path / "threshold.json"
    large.write_bytes(b" " * (3 << 20))
    desk.sheet.get_by_label("File").set_input_files(large)
    desk.sheet.get_by_label("Or paste the JSON").fill("{}")
    desk.sheet.get_by_role("button", name="View").click()
    expect(desk.sheet.get_by_role("alert")).to_contain_text("The body is larger than 2097152 bytes")
    expect(desk.sheet.get_by_label("Or paste the JSON")).to_have_value("{}")


def test_the_focus_follows_a_condition_that_comes_or_goes(desk: Desk) -> None:
    desk.page.goto(f"{desk.client.url}{desk.monitor}/alerts")
    desk.page.locator("main").get_by_role("link", name="Add Alert").first.click()
    desk.sheet.get_by_label("Alert Name").fill("low")
    desk.sheet.get_by_role("button", name="Add condition").click()
    second = desk.sheet.locator(".condition").nth(1)
    expect(second.get_by_label("Metric", exact=True)).to_be_focused()
    second.get_by_role("button", name="Remove condition").click()
    expect(desk.sheet.get_by_role("button", name="Add condition")).to_be_focused()
    expect(desk.sheet.get_by_label("Alert Name")).to_have_value("low")
    desk.page.keyboard.press("Escape")
    assert desk.asked == ["Close this and lose what you typed?"]


def test_what_a_list_refuses_stands_in_the_list(desk: Desk) -> None:
    desk.page.goto(f"{desk.client.url}/monitors")
    desk.page.get_by_label("Choose unfinished").check()
    desk.page.get_by_role("button", name="Start", exact=True).first.click()
    told = desk.page.locator("#told")
    expect(told).to_contain_text("unfinished")
    expect(told).not_to_contain_text("The server answered")


def test_a_list_that_follows_what_happens_takes_no_focus_from_a_dialog(desk: Desk) -> None:
    desk.add_code()
    desk.sheet.get_by_label("Name").fill("No Name")
    desk.sheet.get_by_role("button", name="Add Code").click()
    expect(desk.sheet.locator("[aria-invalid]").first).to_be_focused()
    desk.sheet.get_by_label("Branch").focus()
    desk.client.code.create("another")  # the list behind is fetched again
    expect(desk.page.locator("main")).to_contain_text("another", timeout=10_000)
    expect(desk.sheet.get_by_label("Branch")).to_be_focused()
    desk.page.keyboard.press("Escape")
    assert desk.asked == ["Close this and lose what you typed?"]


def test_a_dialog_opens_while_the_list_behind_it_is_fetched_again(desk: Desk) -> None:
    """And however often its link is pressed: in its place, not as a page of its own."""
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    desk.page.goto(f"{desk.client.url}/code")
    desk.page.wait_for_timeout(1000)  # until what the list follows is known
    desk.page.route("**/code", hold)
    with desk.page.expect_request("**/code"):
        desk.client.code.create("another")
    desk.page.locator("main").get_by_role("link", name="Code").first.dblclick()
    expect(desk.sheet.get_by_label("Name")).to_be_focused()
    desk.sheet.get_by_label("Name").fill("typed")
    for route in held:
        route.continue_()
    expect(desk.page.locator("main")).to_contain_text("another")
    expect(desk.sheet.get_by_label("Name")).to_have_value("typed")
