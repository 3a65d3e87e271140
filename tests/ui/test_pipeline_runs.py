"""Runs of pipelines, as pages."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from parts import write_images
from parts_visits import EVIL, add_folder, eventually, open_pages, services_of, somebody_else
from tidegauge.domain.catalogue import RepositoryKind, Source, SourceType, Version, VersionState
from tidegauge.domain.deployment import Deployment, DeploymentState, Origin
from tidegauge.domain.identity import new_id
from tidegauge.domain.pipeline import PipelineRun, PipelineState, PipelineStep

PATH = "/pipeline-runs"
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SCRIPT = """
import sys, time
from tidegauge.steps import step
with step("preprocess"):
    print("\\033[96mreading\\033[0m with", sys.argv[-2:], flush=True)
with step("train"):
    time.sleep(float(sys.argv[-1]))
"""
FORM = {
    "code": "mine", "code_version": "1", "file": "pipeline.py", "dataset": "chest", "dataset_version": "1",
    "model": "tiny", "deployment": "", "parameters": "seconds=0",
}  # fmt: skip
HTMX = {"HX-Request": "true"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    folder: Path = tmp_path_factory.mktemp("runs")
    (folder / "code").mkdir()
    (folder / "code" / "pipeline.py").write_text(SCRIPT)
    (folder / "code" / "broken.py").write_text(f"raise SystemExit('no data today {EVIL}')\n")
    with open_pages(folder / "home") as pages:
        add_folder(pages, RepositoryKind.CODE, "mine", folder / "code")
        add_folder(pages, RepositoryKind.DATASET, "chest", write_images(folder / "images", 1))
        upload = Source(SourceType.UPLOAD)
        services_of(pages).catalogue.create(RepositoryKind.MODEL, "tiny", "operator", upload, None)
        yield pages


@pytest.fixture
def pages(server: TestClient) -> Iterator[TestClient]:
    yield server
    under_way, rows = services_of(server).pipelines._processes, services_of(server).database.pipeline_runs
    eventually(lambda: dict(under_way), lambda processes: not processes)
    rows.delete_where()


def run_of(pages: TestClient, **changes: object) -> PipelineRun:
    run = PipelineRun(
        new_id(),
        "operator",
        "pipeline.py",
        "mine",
        1,
        "chest",
        1,
        "tiny",
        "tiny",
        PipelineState.SUCCEEDED,
        NOW,
    )
    return services_of(pages).database.pipeline_runs.add(replace(run, **changes))  # type: ignore[arg-type]


def start(pages: TestClient, **changes: str) -> str:
    answer = pages.post(f"{PATH}/new", data={**FORM, **changes}, headers=HTMX)
    assert answer.status_code == 204, answer.text
    return answer.headers["hx-redirect"]


def state_of(pages: TestClient, path: str) -> PipelineState:
    return services_of(pages).pipelines.get("operator", path.rpartition("/")[2]).state


def test_an_empty_list_says_what_to_do_first(pages: TestClient) -> None:
    page = pages.get(PATH).text
    assert "There is no run yet" in page
    assert "press + Run" in page
    assert 'data-live="pipeline-runs"' in page


def test_a_run_is_started_and_followed_to_its_end(pages: TestClient) -> None:
    path = start(pages, parameters="seconds=0")
    eventually(lambda: state_of(pages, path), lambda state: state.ended)
    page = pages.get(path).text
    assert state_of(pages, path) is PipelineState.SUCCEEDED
    assert "reading with" in page
    assert re.search(r"train</th><td[^>]*><span class=\"badge good\">succeeded", page)
    assert "Run again" in page
    assert "hx-trigger" not in page  # nothing grows any more
    assert "all 2 steps" in pages.get(PATH).text


def test_a_run_under_way_is_followed_and_cancelled(pages: TestClient) -> None:
    path = start(pages, parameters="seconds=60")
    eventually(lambda: pages.get(PATH).text, lambda page: "step 2 of 2: train" in page)
    assert f'hx-get="{path}/log" hx-trigger="every 2s"' in pages.get(path).text
    assert "reading with" in eventually(
        lambda: pages.get(f"{path}/log").text, lambda log: "reading with" in log
    )
    assert "what is under way is lost" in pages.get(f"{path}/cancel").text
    answer = pages.post(f"{path}/cancel", headers=HTMX)
    assert answer.headers["hx-redirect"] == path
    assert state_of(pages, path) is PipelineState.CANCELLED
    refused = pages.post(f"{path}/cancel", headers=HTMX)
    assert refused.status_code == 409
    assert "it is cancelled." in refused.text


def test_a_failed_run_says_why_as_text(pages: TestClient) -> None:
    path = start(pages, file="broken.py")
    eventually(lambda: state_of(pages, path), lambda state: state.ended)
    page = pages.get(path).text
    assert "It failed." in page
    assert "no data today" in page
    assert EVIL not in page


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("code", "", "Code is missing; fill it in."),
        ("dataset", "", "Dataset is missing; fill it in."),
        ("model", "", "Model is missing; fill it in."),
        ("code_version", "x", "Code Version is &#39;x&#39;"),
        ("deployment", "Not This", "Deployment is &#39;Not This&#39;"),
        ("parameters", "epochs", "Parameters has the line &#39;epochs&#39;; write name=value."),
        ("parameters", "{epochs", "Parameters is not valid JSON"),
        ("parameters", "A-b=1", "Parameters has &#39;A-b&#39;; use a-z"),
    ],
)
def test_what_is_wrong_stands_at_its_field_and_nothing_typed_is_lost(
    pages: TestClient, field: str, value: str, said: str
) -> None:
    typed = {**FORM, "file": "mine/special.py", field: value}
    answer = pages.post(f"{PATH}/new", data=typed, headers=HTMX)
    assert answer.status_code == 422
    assert f'id="{field}-error">{said}' in answer.text
    assert 'value="mine/special.py"' in answer.text
    assert services_of(pages).database.pipeline_runs.count() == 0


def test_parameters_may_be_json(pages: TestClient) -> None:
    path = start(pages, parameters='{"seconds": 0}')
    eventually(lambda: state_of(pages, path), lambda state: state.ended)
    assert services_of(pages).pipelines.get("operator", path.rpartition("/")[2]).parameters == {"seconds": 0}


def test_a_run_is_run_again_with_what_it_had(pages: TestClient) -> None:
    run = run_of(pages, parameters={"epochs": 7}, deployment="ward")
    page = pages.get(f"{PATH}/new?like={run.id}").text
    assert "epochs=7" in page
    assert 'value="ward"' in page
    assert "<option selected>mine</option>" in page


def test_a_finished_run_shows_what_it_made_and_the_fields_for_the_monitor(pages: TestClient) -> None:
    services, run = services_of(pages), run_of(pages)
    model = services.catalogue.get(RepositoryKind.MODEL, "operator", "tiny")
    meta = {
        "lineage": {"pipeline_run": run.id},
        "inputs": [{"name": "input_1", "shape": [-1, 200, 180, 1]}],
        "metrics": {"accuracy": 0.912},
    }
    services.database.versions.add(Version(new_id(), model.id, 3, VersionState.READY, NOW, meta=meta))
    running = DeploymentState.RUNNING
    deployment = services.database.deployments.add(
        Deployment(
            new_id(),
            "tiny",
            "operator",
            model.id,
            "tiny",
            3,
            True,
            Origin.EXTERNAL,
            running,
            running,
            NOW,
            "/p",
        )
    )
    page = pages.get(f"{PATH}/{run.id}").text
    assert "tiny v3" in page
    assert "0.912" in page
    fields = page.partition("Fields used for configuring the monitor")[2]
    for label, value in (
        ("Deployment ID", deployment.id),
        ("Train Data: Dataset", "chest"),
        ("Train Data: Dataset Version", "v1"),
        ("Images Saved As", "Images in labelled folder"),
        ("Image Shape: Height", "200"),
        ("Image Shape: Width", "180"),
        ("Image Shape: Channel", "1"),
        ("Labelled Data: Prefix/Subpath", f"{deployment.id}/livedata"),
    ):
        assert re.search(rf"<dt>{label}</dt><dd>(<code>)?{value}", fields), label
    services.database.deployments.delete(deployment.id)


def test_the_list_is_searched_and_sorted(pages: TestClient) -> None:
    run_of(pages, code="alpha")
    run_of(pages, code="beta", dataset=EVIL)
    assert "alpha" not in pages.get(f"{PATH}?q=bet").text
    page = pages.get(f"{PATH}?sort=-code").text
    assert page.index("beta") < page.index("alpha")
    assert EVIL not in page
    assert "No run has “x1”" in pages.get(f"{PATH}?q=x1").text


def test_steps_that_are_to_come_wait(pages: TestClient) -> None:
    steps = (PipelineStep("preprocess", "succeeded", NOW, NOW), PipelineStep("train", "running", NOW))
    run = run_of(pages, state=PipelineState.RUNNING, steps=steps)
    assert "step 2 of 3: train" in pages.get(PATH).text
    assert re.search(r"deploy</th><td[^>]*><span[^>]*>waiting", pages.get(f"{PATH}/{run.id}").text)


def test_runs_of_others_are_not_there(pages: TestClient) -> None:
    run = run_of(pages)
    with somebody_else(pages):
        assert run.id not in pages.get(PATH).text
        for path in (f"{PATH}/{run.id}", f"{PATH}/{run.id}/log", f"{PATH}/{run.id}/cancel"):
            assert pages.get(path).status_code == 404
        assert pages.post(f"{PATH}/{run.id}/cancel").status_code == 404


def test_strangers_are_sent_to_the_sign_in(pages: TestClient) -> None:
    cookies = dict(pages.cookies)
    pages.cookies.clear()
    try:
        assert pages.get(f"{PATH}/new").headers["location"].startswith("/sign-in?next=")
    finally:
        pages.cookies.update(cookies)
