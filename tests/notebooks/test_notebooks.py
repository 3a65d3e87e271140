"""The notebooks of the example, run in order against a fresh server: on one cluster, and on two."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from parts import SHARED, running_server
from tidegauge.client import Client
from tidegauge.domain.status import Status
from tidegauge.errors import NotFoundError
from tidegauge.phantoms import write_dataset

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "chest_xray"
NAMES = ("resources", "train", "modelmonitor", "data_generation")
CELL_SECONDS = 500


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example's own training set; where it is absent, as many phantoms."""
    if (SHARED / "chest-xray-mini").is_dir():
        return SHARED / "chest-xray-mini"
    folder = tmp_path_factory.mktemp("phantoms")
    write_dataset(folder, normal=10, pneumonia=10, seed=1)
    return folder


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Client]:
    with running_server(tmp_path / "serving") as client:
        yield client


class Desk:
    """A copy of the example's folder, as an IDE has it, and kernels that are signed in."""

    def __init__(self, folder: Path, client: Client) -> None:
        self.folder = folder / "chest_xray"
        shutil.copytree(EXAMPLE, self.folder, ignore=shutil.ignore_patterns("__pycache__"))
        self._env = {
            **os.environ,
            "TIDEGAUGE_URL": client.url,
            "TIDEGAUGE_TOKEN": client.token,
            "IPYTHONDIR": str(folder / "ipython"),
        }

    def run(self, name: str, *, clean_up: bool = False, **parameters: Any) -> str:
        """Run a notebook with other values of its variables; return what its cells put out, as JSON."""
        notebook = nbformat.read(self.folder / f"{name}.ipynb", as_version=4)
        tagged = next(cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", ()))
        for variable, value in parameters.items():
            assert f"\n{variable} = " in f"\n{tagged.source}", variable
            tagged.source += f"\n{variable} = {value!r}"
        if clean_up:
            notebook.cells[-1].source = notebook.cells[-1].source.replace("CLEANUP = False", "CLEANUP = True")
        place = {"metadata": {"path": str(self.folder)}}
        client = NotebookClient(notebook, timeout=CELL_SECONDS, kernel_name="python3", resources=place)
        client.execute(env=self._env)
        return json.dumps([cell.get("outputs", []) for cell in notebook.cells])


def play(desk: Desk, watching: Client, images: Path, **where: Any) -> None:
    """Run all four, find the drift, and clean up."""
    desk.run("resources", DATA=str(images), **where)
    trained = desk.run("train", EPOCHS=2)
    deployment = watching.deployments.list() if not where else None
    assert "Deployment ID" in trained
    assert "step 3 of 3: deploy" in trained
    assert deployment is None or deployment[0].id in trained
    assert "active" in desk.run("modelmonitor")
    found = desk.run("data_generation")
    monitor = watching.monitors.get("image-mm-kf")
    looked = watching.monitors.runs(monitor.id)
    runs = [run for run in looked if run.metric("requests").value]  # the schedule may have looked at now, too
    assert [run.drift for run in runs[-2:]] == [Status.CRITICAL, Status.CRITICAL]  # transposed, blurred
    assert all(run.metric("accuracy").n == 12 for run in runs)  # the labels have come
    assert "critical" in found
    assert "application/vnd.vegalite" in found
    assert "data:image/png;base64," in found
    desk.run("resources", DATA=str(images), clean_up=True, **where)


def left(client: Client) -> list[str]:
    """Name what is left on a cluster."""
    lists = (client.code, client.datasets, client.models, client.deployments)
    return [thing.name for things in lists for thing in things.list()]


def test_they_run_on_one_cluster(serving: Client, images: Path, tmp_path: Path) -> None:
    desk = Desk(tmp_path, serving)
    play(desk, serving, images)
    assert left(serving) == []
    with pytest.raises(NotFoundError):
        serving.monitors.get("image-mm-kf")
    assert not (desk.folder / "workflow.json").exists()


def test_they_run_on_two_clusters(serving: Client, images: Path, tmp_path: Path) -> None:
    with running_server(tmp_path / "monitoring", role="monitoring") as monitoring:
        where = {
            "SERVING_CLUSTER_EXECUTION": False,
            "SERVING_URL": f"{serving.url}/",
            "MONITORING_URL": f"{monitoring.url}/",
            "MONITORING_USERNAME": "operator",
            "MONITORING_TOKEN": monitoring.token,
        }
        play(Desk(tmp_path, serving), monitoring, images, **where)
        assert left(serving) == left(monitoring) == []
        assert monitoring.clusters.list() == []


@pytest.mark.parametrize("name", NAMES)
def test_they_stand_without_outputs_and_with_the_variables_of_the_workflow(name: str) -> None:
    notebook = nbformat.read(EXAMPLE / f"{name}.ipynb", as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not any(cell.outputs or cell.execution_count for cell in code)
    if name == "resources":
        assert notebook.cells[2].source.startswith("# User-Defined Variables")
        assert "CLEANUP = False" in notebook.cells[-1].source
    if name == "train":
        assert notebook.cells[-2].source.startswith("## Fields used for configuring the monitor")
