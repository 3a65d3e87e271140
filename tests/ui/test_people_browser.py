"""People in a real browser: an invitation, a password of one's own, what is shown to a colleague."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Page, expect

from parts import running_server
from parts_watched import Watched
from tidegauge.client import Client

OWN = "tide and moon and stars"


def test_a_colleague_is_invited_and_is_shown_a_deployment(page: Page, tmp_path: Path) -> None:
    with running_server(tmp_path / "home") as client:
        client.deployments.register("chest-xray")
        page.set_viewport_size({"width": 1280, "height": 800})
        watched = Watched(page, client.url)
        page.goto(f"{client.url}/users")
        page.get_by_label("Token").fill(client.token)
        page.get_by_role("button", name="Sign in").click()
        expect(page).to_have_url(f"{client.url}/users")

        page.get_by_role("link", name="User", exact=True).click()
        dialog = page.locator("#dialog")
        dialog.get_by_label("Name").fill("Ada L.")
        dialog.get_by_role("button", name="Add User").click()
        expect(dialog.get_by_text("use 1 to 63 of the characters")).to_be_visible()
        dialog.get_by_label("Name").fill("ada")
        dialog.get_by_role("button", name="Add User").click()
        expect(dialog.get_by_text("It is shown this once only.")).to_be_visible()
        one_time = dialog.get_by_label("One-time password").input_value()
        address = dialog.get_by_label("Address").input_value()
        watched.shoot("people-invitation")
        dialog.get_by_role("link", name="Done").click()
        expect(page.get_by_role("heading", name="ada")).to_be_visible()
        watched.shoot("people-user")

        browser = page.context.browser
        assert browser
        theirs = browser.new_context(viewport={"width": 1280, "height": 800}).new_page()
        theirs.goto(address)
        expect(theirs.get_by_label("Name")).to_have_value("ada")
        theirs.get_by_label("One-time password").fill(one_time)
        theirs.get_by_label("New password", exact=True).fill(OWN)
        theirs.get_by_label("New password, again").fill(OWN)
        theirs.get_by_role("button", name="Save and sign in").click()
        expect(theirs.get_by_role("heading", name="Dashboard")).to_be_visible()
        expect(theirs.get_by_role("link", name="Users")).to_have_count(0)
        theirs.get_by_role("button", name="Sign out").click()
        theirs.get_by_label("Name").fill("ada")
        theirs.get_by_label("Password").fill(OWN)
        theirs.get_by_label("Password").press("Enter")
        theirs.goto(f"{client.url}/settings/account")
        expect(theirs.get_by_text("this one")).to_be_visible()
        Watched(theirs, client.url).shoot("people-account")

        theirs.goto(f"{client.url}/deployments")
        expect(theirs.get_by_role("link", name="chest-xray")).to_have_count(0)
        page.goto(f"{client.url}/deployments/chest-xray")
        page.get_by_role("switch", name="Share").click()
        expect(page.get_by_role("switch", name="Shared")).to_have_attribute("aria-checked", "true")
        theirs.reload()
        theirs.get_by_role("link", name="chest-xray").click()
        expect(theirs.get_by_text("operator shares this to be read.")).to_be_visible()
        for hidden in ("Delete", "Change", "Add Monitor"):
            expect(theirs.get_by_role("link", name=hidden)).to_have_count(0)
        expect(theirs.locator("main").get_by_role("button")).to_have_count(0)
        Watched(theirs, client.url).shoot("people-shared")

        page.goto(f"{client.url}/users/ada")
        page.get_by_role("link", name="Disable").click()
        page.locator("#dialog").get_by_role("button", name="Disable").click()
        expect(page.get_by_text("disabled", exact=True)).to_be_visible()
        theirs.goto(f"{client.url}/deployments")
        expect(theirs.get_by_role("heading", name="Sign in")).to_be_visible()

        page.goto(f"{client.url}/audit")
        expect(page.get_by_text("/users/{name}/access")).to_be_visible()
        watched.shoot("people-audit")
        assert not watched.problems
        theirs.context.close()


def test_an_own_session_is_ended_by_its_dialog(page: Page, tmp_path: Path) -> None:
    with running_server(tmp_path / "home") as client:
        page.goto(f"{client.url}/settings/account")
        page.get_by_label("Token").fill(client.token)
        page.get_by_role("button", name="Sign in").click()
        page.get_by_role("link", name="Choose a password").click()
        dialog = page.locator("#dialog")
        dialog.get_by_label("New password", exact=True).fill("short")
        dialog.get_by_label("New password, again").fill("short")
        dialog.get_by_role("button", name="Save").click()
        expect(dialog.get_by_text("has 5 characters")).to_be_visible()
        dialog.get_by_label("New password", exact=True).fill(OWN)
        dialog.get_by_label("New password, again").fill(OWN)
        dialog.get_by_role("button", name="Save").click()
        expect(page.get_by_role("link", name="Change password")).to_be_visible()
        with Client(client.url, "none") as stranger:
            assert stranger.sign_in("operator", OWN).secret
        page.get_by_role("link", name="End the session").click()
        page.locator("#dialog").get_by_role("button", name="End").click()
        expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
