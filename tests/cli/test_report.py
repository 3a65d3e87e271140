from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from cli_runs import Run
from parts import SIDE, absent, image, write_images, write_model
from tidegauge.client import Client, wait_for

SPAN = ("--from", "2026-03-01T12:00", "--to", "2026-03-01T12:10")


@pytest.fixture(scope="module")
def monitor(server: Client, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A ready monitor of a real model that was asked nothing, with one window."""
    folder = tmp_path_factory.mktemp("report")
    server.datasets.create("reported", folder=write_images(folder / "images", 10))
    server.datasets.add_version("reported")
    server.models.create("reported")
    server.models.add_version("reported", write_model(folder / "model"))
    server.deployments.create("reported", "reported", 1)
    server.deployments.wait("reported")
    drift = {
        "enabled": True,
        "image": {"height": SIDE, "width": SIDE},
        "train_data": {"dataset": "reported", "version": 1},
    }
    made = server.monitors.create("reported", {"drift": drift})
    server.monitors.wait(made.id)
    server.monitors.add_feature(made.id, "prediction", "prediction_output", "categorical")
    return made.id


def test_each_form_is_written_by_the_end_of_the_files_name(run: Run, monitor: str, tmp_path: Path) -> None:
    assert run("monitor", "run", monitor, "--from", SPAN[1], "--to", "2026-03-01T12:05").code == 0
    for form, begin in {"html": b"<!doctype html>", "pdf": b"%PDF-", "json": b"{"}.items():
        file = tmp_path / f"report.{form}"
        done = run("monitor", "report", "reported", *SPAN, "-o", str(file))
        if form == "pdf" and done.code == 6:
            absent("Pango")
        assert (done.code, "is written" in done.err) == (0, True)
        assert file.read_bytes().startswith(begin)
    whole = json.loads((tmp_path / "report.json").read_text())
    assert whole["report"]["subject"]["name"] == "reported"
    assert whole["report"]["shares"][0] == {
        "part": "monitor", "healthy": 0, "warning": 0, "critical": 0, "unknown": 1
    }  # fmt: skip
    assert whole["made"]["sha256"] in (tmp_path / "report.html").read_text()
    assert sorted(path.name for path in tmp_path.glob("*report.*")) == [
        "report.html", "report.json", "report.pdf"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((*SPAN, "-o", "report.docx"), "end it in .html, .pdf or .json"),
        ((*SPAN, "-o", "none/report.pdf"), "there is no folder none"),
        (("--from", SPAN[3], "--to", SPAN[1], "-o", "report.html"), "not after start"),
        (("--from", "soon", "--to", SPAN[1], "-o", "report.html"), "--from is 'soon'"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_written(
    run: Run,
    monitor: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run("monitor", "report", monitor, *arguments)
    assert done.code == 2
    assert message in re.sub(r"\s+", " ", done.err)
    assert not list(tmp_path.glob("**/*report*"))


def test_images_are_in_the_report_only_on_request(
    run: Run, server: Client, monitor: str, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    begin = datetime.now(UTC) - timedelta(minutes=1)
    pixels = np.stack([image("NORMAL", rng) for _ in range(3)])
    server.deployments.predict(server.deployments.get("reported"), {"instances": pixels.tolist()})
    end = datetime.now(UTC) + timedelta(minutes=1)
    wait_for(
        lambda: server.monitors.run(monitor, begin, end),
        lambda found: found.images != (),
        "logged images",
        30,
    )
    file = tmp_path / "report.html"
    span = ("--from", begin.isoformat(), "--to", end.isoformat())
    for flags, count in (((), 0), (("--images",), 3)):
        assert run("monitor", "report", monitor, *span, *flags, "-o", str(file)).code == 0
        assert file.read_text().count('<img src="data:image/png;base64,') == count
