"""The IDE page: what is asked for, and how it is started by hand."""

from __future__ import annotations

import html
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from parts_visits import add_folder, open_pages, services_of, somebody_else
from tidegauge.domain.catalogue import RepositoryKind, Source, SourceType

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
        add_folder(opened, RepositoryKind.CODE, "mine", folder / "code")
        source = Source(SourceType.UPLOAD)
        services_of(opened).catalogue.create(RepositoryKind.CODE, "bare", "operator", source, None)
        yield opened


def submit(pages: TestClient, **changes: str) -> str:
    answer = pages.post("/ide/new", data={**FORM, **changes}, headers=HTMX)
    assert answer.status_code == 200, answer.text
    return html.unescape(answer.text)


def test_an_empty_list_says_what_there_is(pages: TestClient) -> None:
    page = pages.get("/ide").text
    assert "There is no JupyterLab here" in page
    assert "does not run JupyterLab by itself" in page


def test_the_dialog_has_the_fields_of_the_workflow_with_defaults(pages: TestClient) -> None:
    page = pages.get("/ide/new").text
    labels = re.findall(r"<label for=\"[^\"]+\">([^<]+)</label>", page)
    assert labels == ["Name", "Code", "Framework", "Framework Version", "Image"]
    assert '<option value="tensorflow" selected>' in page or '<option value="tensorflow">' in page
    assert 'value="2.21"' in page
    assert ">Submit</button>" in page


def test_the_answer_is_commands_for_this_server_and_code(pages: TestClient) -> None:
    page = submit(pages)
    assert "does not start JupyterLab by itself" in page
    for line in (
        "export TIDEGAUGE_URL=http://testserver",
        "export TIDEGAUGE_TOKEN=tg_...",
        "my-lab/bin/pip install tidegauge jupyterlab 'tensorflow-cpu==2.21.*'",
        "my-lab/bin/tidegauge code download mine 1 workspace/mine",
        "my-lab/bin/jupyter lab workspace",
        "docker run --rm --name my-lab",
    ):
        assert line in page
    assert "With Docker" not in submit(pages, image="")
    assert "'tensorflow-cpu==2.21.0'" not in page
    assert "tensorflow-cpu==2.21.0" in submit(pages, framework_version="2.21.0")
    assert "tensorflow-cpu" not in submit(pages, framework="none")


def test_the_commands_are_a_shells(pages: TestClient) -> None:
    for block in re.findall(r"<pre[^>]*>(.*?)</pre>", submit(pages), re.DOTALL):
        subprocess.run(["bash", "-n", "-c", block], check=True)


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


def test_strangers_are_sent_to_the_sign_in(pages: TestClient) -> None:
    cookies = dict(pages.cookies)
    pages.cookies.clear()
    try:
        assert pages.get("/ide").headers["location"] == "/sign-in?next=/ide"
    finally:
        pages.cookies.update(cookies)
