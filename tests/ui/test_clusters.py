"""Linking a cluster and importing a deployment by the pages, as section 5 of the workflow does."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Page, expect

from parts import running_server
from parts_watched import Watched, monitored
from tidegauge.domain.users import Scope


def test_a_cluster_is_linked_and_a_deployment_imported_and_monitored(page: Page, tmp_path: Path) -> None:
    with running_server(tmp_path / "serving") as theirs, running_server(tmp_path / "watching") as ours:
        monitored(theirs, tmp_path)
        token = theirs.tokens.create("watch", Scope.LINK).secret
        page.set_viewport_size({"width": 1280, "height": 900})
        page.context.add_cookies([{"name": "tidegauge_token", "value": ours.token, "url": ours.url}])
        watched = Watched(page, ours.url)
        look = Look(watched)

        page.goto(f"{ours.url}/clusters")
        expect(page.locator("#links")).to_contain_text("There is no link to another cluster")
        look("clusters-empty")
        page.get_by_role("link", name="Cluster", exact=True).click()
        dialog = page.locator("#dialog")
        dialog.get_by_label("Name", exact=True).fill("serving")
        dialog.get_by_label("URL").fill(f"{theirs.url}/")
        dialog.get_by_label("Token").fill("tg_wrong")
        dialog.get_by_role("button", name="Add Cluster").click()
        expect(dialog).to_contain_text("refuses the token")
        look("clusters-refused")
        dialog.get_by_label("Token").fill(token)
        dialog.get_by_role("button", name="Add Cluster").click()
        expect(page.locator("#links")).to_contain_text("reachable")
        look("clusters-linked")

        page.goto(f"{ours.url}/deployments")
        page.get_by_role("link", name="Import").click()
        dialog.get_by_label("Name", exact=True).fill("tiny")
        dialog.get_by_label("Cluster").select_option("serving")
        dialog.get_by_label("Namespace").fill("nobody")
        dialog.get_by_role("button", name="Import").click()
        expect(dialog).to_contain_text("no deployment of this name in the namespace 'nobody'")
        look("import-refused")
        dialog.get_by_label("Namespace").fill("operator")
        dialog.get_by_role("button", name="Import").click()
        expect(page).to_have_url(f"{ours.url}/deployments/tiny", timeout=20_000)
        ours.deployments.wait_for_import("tiny")
        page.reload()
        expect(page.locator("#deployment")).to_contain_text("comes over the link")
        expect(page.locator("#deployment")).to_contain_text("running")
        look("import-followed")
        page.set_viewport_size({"width": 360, "height": 800})
        look("import-followed-small")
        page.goto(f"{ours.url}/clusters")
        look("clusters-small")

        page.set_viewport_size({"width": 1280, "height": 900})
        page.get_by_role("link", name="Remove serving").click()
        expect(dialog).to_contain_text("1 deployment comes over this link; delete it first.")
        dialog.get_by_role("button", name="Remove").click()
        expect(dialog).to_contain_text("come the deployments tiny; delete these first")
        (refused,) = watched.problems  # a browser says so of the form that named nobody
        assert "404" in refused


class Look:
    """Looks at a page as it is, and takes a picture of it."""

    def __init__(self, watched: Watched) -> None:
        self._watched = watched

    def __call__(self, name: str) -> None:
        self._watched.page.wait_for_timeout(300)
        self._watched.shoot(name)
        assert self._watched.violations() == [], name
        assert self._watched.overhang() <= 0, name
