"""Deployments: the list, the dialogs, and the page of each."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from parts_pages import EVIL, Visitor, add_deployment, add_monitor, add_repository, open_pages
from tidegauge.domain.catalogue import RepositoryKind
from tidegauge.domain.deployment import DeploymentState, Origin
from tidegauge.domain.monitor import MonitorState
from tidegauge.domain.status import Status
from tidegauge.errors import NotFoundError


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Visitor]:
    with open_pages(tmp_path_factory.mktemp("home")) as visitor:
        yield visitor


def test_an_empty_list_says_what_to_do_first(tmp_path_factory: pytest.TempPathFactory) -> None:
    with open_pages(tmp_path_factory.mktemp("empty")) as visitor:
        text = visitor.text("/deployments")
        assert "There is no deployment yet" in text
        assert "press + Deployment" in text


def test_strangers_are_sent_to_the_sign_in(pages: Visitor) -> None:
    for path in ("/deployments", "/deployments/new", "/deployments/import", "/deployments/any"):
        answer = pages.stranger().get(path)
        assert (answer.status_code, answer.headers["location"]) == (303, f"/sign-in?next={path}")


def test_what_is_of_somebody_else_is_absent(pages: Visitor) -> None:
    add_deployment(pages.services, "theirs", owner="another")
    assert "theirs" not in pages.text("/deployments")
    for path in ("", "/log", "/version", "/delete"):
        assert pages.get(f"/deployments/theirs{path}").status_code == 404
    for verb in ("start", "stop", "logging", "version", "delete"):
        assert pages.post(f"/deployments/theirs/{verb}").status_code == 404


def test_the_list_has_two_tabs_and_what_can_be_done(pages: Visitor) -> None:
    add_deployment(pages.services, "bare")
    monitor = add_monitor(pages.services, "watched", state=MonitorState.ACTIVE, status=Status.CRITICAL)
    text = pages.text("/deployments")
    assert '<a href="/deployments" aria-current="page">Deployments</a>' in text
    assert '<a href="/monitors">Monitors</a>' in text
    assert (
        'href="/deployments/bare/monitor/new" data-dialog title="Add Monitor" aria-label="Add Monitor"'
        in text
    )
    assert "/deployments/watched/monitor/new" not in text
    assert f'href="/monitors/{monitor.id}"><span class="status status-critical">' in text
    assert 'href="/deployments/bare/playground"' not in text  # its server is not ours


def test_the_list_is_searched_and_sorted(pages: Visitor) -> None:
    for name in ("sort-b", "sort-a"):
        add_deployment(pages.services, name)
    text = pages.text("/deployments", q="sort-", sort="name")
    assert text.index("sort-a</a>") < text.index("sort-b</a>")
    assert "bare</a>" not in text
    assert "“nothing such”" in pages.text("/deployments", q="nothing such")


def test_a_deployment_is_made_of_a_model_version(pages: Visitor) -> None:
    add_repository(pages.services, RepositoryKind.MODEL, "xray", versions=3)
    form = pages.text("/deployments/new")
    assert "<option>xray</option>" in form
    choice = pages.text("/choices/versions", kind="model", of="model", field="version", model="xray")
    assert choice.index(">v3</option>") < choice.index(">v1</option>")
    data = {"name": "made", "model": "xray", "version": "2", "logging": "true"}
    answer = pages.post("/deployments/new", data)
    assert (answer.status_code, answer.headers["location"]) == (303, "/deployments/made")
    made = pages.services.deployments.get("operator", "made")
    assert (made.model_name, made.model_version, made.logging) == ("xray", 2, True)
    assert 'href="/deployments/made/playground"' in pages.text("/deployments")
    pages.post("/deployments/made/logging", {"logging": "off"})
    pages.post("/deployments/made/stop")
    stopped = pages.services.deployments.get("operator", "made")
    assert (stopped.logging, stopped.wanted) == (False, DeploymentState.STOPPED)
    assert pages.post("/deployments/made/version", {"version": "3"}).status_code == 303
    assert pages.services.deployments.get("operator", "made").model_version == 3
    pages.post("/deployments/made/start")
    assert pages.services.deployments.get("operator", "made").wanted is DeploymentState.RUNNING
    pages.services.deployments.delete(pages.services.deployments.get("operator", "made"))


def test_a_wrong_form_comes_back_with_everything_that_is_wrong(pages: Visitor) -> None:
    answer = pages.post("/deployments/new", {"name": "Not A Name", "version": "x"})
    assert answer.status_code == 422
    assert 'value="Not A Name"' in answer.text
    for said in ("Name is &#39;Not A Name&#39;", "Model is missing", "Version is &#39;x&#39;"):
        assert said in answer.text
    assert answer.text.count('aria-invalid="true"') == 3


def test_a_version_that_is_not_there_is_told_at_the_top(pages: Visitor) -> None:
    add_repository(pages.services, RepositoryKind.MODEL, "few")
    answer = pages.post("/deployments/new", {"name": "few", "model": "few", "version": "9"})
    assert answer.status_code == 404
    assert "The model &#39;few&#39; has no version v9." in answer.text
    assert "v9 (not ready, or gone)" in answer.text


def test_an_import_says_that_no_cluster_is_linked(pages: Visitor) -> None:
    assert "No cluster is linked yet" in pages.get("/deployments/import").text
    answer = pages.post("/deployments/import", {"name": "No Name"})
    assert answer.status_code == 422
    assert "Cluster is missing; choose the link to the serving cluster" in answer.text
    assert "Name is &#39;No Name&#39;" in answer.text
    data = {"name": "image-mm-kf", "cluster": "serving", "namespace": "me"}
    answer = pages.post("/deployments/import", data)
    assert answer.status_code == 404
    assert "There is no cluster &#39;serving&#39;" in answer.text
    for field in ("name", "namespace"):
        assert f'value="{data[field]}"' in answer.text


def test_the_page_of_a_deployment_shows_how_to_ask_it(pages: Visitor) -> None:
    model = add_repository(
        pages.services, RepositoryKind.MODEL, "shaped", meta={"inputs": [{"shape": [-1, 20, 30, 1]}]}
    )
    deployment = add_deployment(
        pages.services, "asked", model_id=model.id, origin=Origin.IMPORTED, message="It was slow.", restarts=7
    )
    text = pages.text("/deployments/asked")
    for said in (
        f"http://testserver{deployment.predict_path}", "20 x 30 x 1", f"{deployment.id}/livedata/",
        "It was slow.", "<dd>imported</dd>",
    ):  # fmt: skip
        assert said in text
    assert "Log of the served process" not in text
    assert "The process has written nothing yet." in pages.text("/deployments/asked/log")


def test_a_deployment_is_deleted_after_a_question(pages: Visitor) -> None:
    add_deployment(pages.services, "brief")
    question = pages.text("/deployments/brief/delete")
    assert "inference log, the labels" in question
    answer = pages.post("/deployments/brief/delete", **{"HX-Request": "true"})
    assert (answer.status_code, answer.headers["HX-Redirect"]) == (204, "/deployments")
    with pytest.raises(NotFoundError):
        pages.services.deployments.get("operator", "brief")


def test_a_deployment_with_a_monitor_is_not_deleted(pages: Visitor) -> None:
    monitor = add_monitor(pages.services, "needed")
    question = pages.text("/deployments/needed/delete")
    assert "A deployment with a monitor cannot be deleted" in question
    assert f"/monitors/{monitor.id}/delete" in question
    answer = pages.post("/deployments/needed/delete")
    assert answer.status_code == 409
    assert "has a monitor; delete that first" in answer.text


def test_html_in_names_is_text(pages: Visitor) -> None:
    deployment = add_deployment(pages.services, EVIL, model_name=EVIL, message=EVIL)
    for path in ("/deployments", f"/deployments/{deployment.id}", f"/deployments/{deployment.id}/delete"):
        text = pages.text(path)
        assert EVIL not in text
        assert "&lt;script&gt;" in text
    pages.services.deployments.delete(deployment)
