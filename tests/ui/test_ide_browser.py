"""A JupyterLab through the server's own address, in a real browser: a cell runs, signed in as its owner."""

from __future__ import annotations

from pathlib import Path

import nbformat
from playwright.sync_api import Page, expect

from parts import running_server

#: What output of a notebook must not be able to do: ask the API, or read a page, by the sign-in of who looks.
REACH = """async () => {
  const tried = {};
  try { tried.fetch = (await fetch("/api/v1/me")).status; } catch (error) { tried.fetch = "refused"; }
  const opened = window.open("/settings/developer");
  await new Promise((done) => setTimeout(done, 1000));
  tried.window = !opened || opened.closed ? "apart" : opened.document.title;
  return tried;
}"""


def test_a_cell_uses_the_sdk_without_an_address_or_a_token(page: Page, tmp_path: Path) -> None:
    folder = tmp_path / "code" / "image_cloudevents"
    folder.mkdir(parents=True)
    cell = "from tidegauge import Client\nprint('I am', Client().me().name, 6 * 7)"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell)])
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, folder / "resources.ipynb")
    with running_server(tmp_path / "home") as client:
        client.code.create("chest-xray")
        client.code.add_version("chest-xray", folder.parent)
        client.ides.create("my-lab", "chest-xray")
        client.ides.wait("my-lab")
        page.set_viewport_size({"width": 1280, "height": 900})
        page.goto(f"{client.url}/ide")
        page.get_by_label("Token").fill(client.token)
        page.get_by_role("button", name="Sign in").click()
        with page.expect_popup() as opened:
            page.get_by_role("link", name="Open JupyterLab").click()
        lab = opened.value
        lab.set_viewport_size({"width": 1280, "height": 900})
        failed: list[str] = []
        lab.on(
            "response",
            lambda answer: failed.append(f"{answer.status} {answer.url}") if answer.status >= 500 else None,
        )
        for name in ("workspace", "chest-xray", "image_cloudevents", "resources.ipynb"):
            lab.get_by_role("listitem", name=f"Name: {name}").dblclick(timeout=60_000)
        expect(lab.get_by_role("button", name="Python 3 (ipykernel) | Idle")).to_be_visible(timeout=60_000)
        lab.locator(".jp-Notebook .jp-CodeCell .cm-content").first.click()
        lab.keyboard.press("Shift+Enter")
        expect(lab.locator(".jp-OutputArea-output").first).to_contain_text("I am operator 42", timeout=60_000)
        assert lab.evaluate(REACH) == {"fetch": "refused", "window": "apart"}
        assert failed == []
