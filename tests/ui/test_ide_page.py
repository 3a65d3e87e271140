"""The pages of IDEs: the dialog, the list, and the commands that start one elsewhere; no JupyterLab runs."""

from __future__ import annotations

import html
import re
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from parts_visits import add_folder, open_pages, services_of, somebody_else
from tidegauge.domain.catalogue import RepositoryKind, Source, SourceType
from tidegauge.domain.ide import Ide, IdeState
from tidegauge.links import jupyter

FORM = {
    "name": "my-lab", "code": "mine", "framework": "tensorflow", "framework_version": "2.21",
    "image": "quay.io/jupyter/tensorflow-notebook:latest",
}  # fmt: skip
HTMX = {"HX-Request": "true"}


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    folder: Path = tmp_path_factory.mktemp("ide")
    (folder / "code").mkdir()
    (folder / "code" / "pipeline.py").write_text("print(1)\n")
    with open_pages(folder / "home") as opened:
        services_of(opened).ides._launch = lambda *_: None  # nothing is started: others look at that
        add_folder(opened, RepositoryKind.CODE, "mine", folder / "code")
        source = Source(SourceType.UPLOAD)
        services_of(opened).catalogue.create(RepositoryKind.CODE, "bare", "operator", source, None)
        yield opened


@pytest.fixture
def ide(pages: TestClient) -> Iterator[Ide]:
    answer = pages.post("/ide/new", data=FORM)
    assert answer.headers["location"] == "/ide/my-lab"
    yield services_of(pages).database.ides.find(name="my-lab")
    services_of(pages).database.ides.delete_where(name="my-lab")


def test_an_empty_list_says_what_there_is_to_do(pages: TestClient) -> None:
    assert "There is no JupyterLab yet" in pages.get("/ide").text


def test_the_dialog_has_the_fields_of_the_workflow_with_defaults(pages: TestClient) -> None:
    page = pages.get("/ide/new").text
    labels = re.findall(r"<label for=\"[^\"]+\">([^<]+)</label>", page)
    assert labels == ["Name", "Code", "Framework", "Framework Version", "Image"]
    assert 'value="2.21"' in page
    assert ">Submit</button>" in page


def test_the_page_has_the_state_and_the_commands_for_other_machines(pages: TestClient, ide: Ide) -> None:
    page = html.unescape(pages.get("/ide/my-lab").text)
    assert "starting" in page
    for line in (
        "export TIDEGAUGE_URL=http://testserver",
        "my-lab/bin/pip install tidegauge jupyterlab 'tensorflow-cpu==2.21.*'",
        "my-lab/bin/tidegauge code download mine 1 workspace/mine",
        "docker run --rm --name my-lab",
    ):
        assert line in page
    for block in re.findall(r'<pre class="commands"[^>]*>(.*?)</pre>', page, re.DOTALL):
        subprocess.run(["bash", "-n", "-c", block], check=True)
    assert "tensorflow-cpu==2.20.1'" not in page
    assert "==2.20.1" in "".join(replace(ide.request, framework_version="2.20.1").commands(1, "http://h"))


def test_another_framework_than_was_asked_for_is_told(pages: TestClient, ide: Ide) -> None:
    note = services_of(pages).ides.note
    found = jupyter.version_of(ide.framework)
    assert note(replace(ide, framework_version=found)) == ""
    assert f"tensorflow 1.15 was asked for; the server has {found}" in note(
        replace(ide, framework_version="1.15")
    )


def test_without_jupyterlab_the_pages_say_how_to_install_it(
    pages: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jupyter, "PACKAGES", ("no_such_package",))
    for page in (pages.get("/ide").text, pages.get("/ide/new").text):
        assert "pip install 'tidegauge[ide]'" in html.unescape(page)
    answer = pages.post("/ide/new", data=FORM, headers=HTMX)
    assert (answer.status_code, "JupyterLab is not installed" in answer.text) == (503, True)


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("name", "", "Name is missing; fill it in."),
        ("name", "My Lab", "Name is 'My Lab'; use 1 to 63"),
        ("code", "", "Code is missing; fill it in."),
        ("code", "gone", "There is no Code 'gone'."),
        ("code", "bare", "The Code 'bare' has no version that is ready."),
        ("framework", "torch", "Framework is 'torch'"),
        ("framework_version", "new", "Framework Version is 'new'; give one such as 2.21"),
        ("image", "a b; rm -rf /", "Image is 'a b; rm -rf /'; give a container image"),
    ],
)
def test_what_is_wrong_stands_at_its_field(pages: TestClient, field: str, value: str, said: str) -> None:
    answer = pages.post("/ide/new", data={**FORM, field: value}, headers=HTMX)
    assert answer.status_code == 422
    error = re.search(rf'id="{field}-error">([^<]*)<', answer.text)
    assert error
    assert said in html.unescape(error.group(1))
    assert field == "name" or 'value="my-lab"' in answer.text


def test_everything_that_is_wrong_is_told_at_once(pages: TestClient) -> None:
    wrong = {**FORM, "name": "My Lab", "code": "", "framework_version": "new", "image": "a b"}
    answer = pages.post("/ide/new", data=wrong, headers=HTMX).text
    assert re.findall(r'id="(\w+)-error"', answer) == ["name", "code", "framework_version", "image"]


def test_codes_of_others_are_not_offered(pages: TestClient) -> None:
    with somebody_else(pages):
        assert '<option value="mine"' not in pages.get("/ide/new").text
        assert pages.post("/ide/new", data=FORM, headers=HTMX).status_code == 422


def test_an_operator_lists_and_stops_those_of_others_and_no_more(pages: TestClient, ide: Ide) -> None:
    database = services_of(pages).database
    with somebody_else(pages) as other:
        assert "my-lab" not in other.get("/ide").text
        for path in (f"/ide/{ide.id}", f"/ide/{ide.id}/log", f"/ide/{ide.id}/delete", f"{ide.lab}"):
            assert other.get(path).status_code == 404, path
        assert other.post(f"/ide/{ide.id}/stop").status_code == 404
    database.ides.update(ide.id, owner="other")
    assert "my-lab" in pages.get("/ide").text
    for path in (f"/ide/{ide.id}", f"/ide/{ide.id}/log", f"/ide/{ide.id}/delete", f"{ide.lab}"):
        assert pages.get(path).status_code == 403, path
    assert pages.post(f"/ide/{ide.id}/delete").status_code == 403
    assert pages.post(f"/ide/{ide.id}/start").status_code == 403
    assert pages.post(f"/ide/{ide.id}/stop").headers["location"] == "/ide"
    stopped = database.ides.get(ide.id)
    assert (stopped.wanted, stopped.message) == (IdeState.STOPPED, "The operator operator has stopped it.")


def test_strangers_are_sent_to_the_sign_in(pages: TestClient) -> None:
    cookies = dict(pages.cookies)
    pages.cookies.clear()
    try:
        assert pages.get("/ide").headers["location"] == "/sign-in?next=/ide"
    finally:
        pages.cookies.update(cookies)
