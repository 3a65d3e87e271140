"""The workflow of a data scientist, section by section, in a real browser: to a critical drift."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from playwright.sync_api import Locator, Page, expect

from parts import absent, running_server
from parts_watched import Watched
from tidegauge.client import Client
from tidegauge.phantoms import LABELS, draw, write_dataset

EXAMPLE = Path(__file__).parents[2] / "examples" / "chest_xray"
NAME = "chest-xray"
SIDE = 200
TRAINING = 240_000  # milliseconds, on two busy cores
MINUTE = timedelta(minutes=1)


def repository(folder: Path) -> str:
    """Put the example into a git repository, on the branch that the workflow names."""
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("__pycache__"))
    who = ["-c", "user.name=ada", "-c", "user.email=ada@example.org"]
    for command in (["init", "-q", "-b", "monitoring"], ["add", "."], [*who, "commit", "-qm", "example"]):
        subprocess.run(["git", "-C", str(folder), *command], check=True)
    return str(folder)


class Walk:
    """A person who clicks and types what the workflow says."""

    def __init__(self, page: Page, client: Client) -> None:
        page.set_viewport_size({"width": 1280, "height": 900})
        self.page = page
        self.client = client
        self.watched = Watched(page, client.url)

    @property
    def sheet(self) -> Locator:
        return self.page.locator("dialog #sheet")

    @property
    def title(self) -> Locator:
        return self.page.locator("main h1")

    def menu(self, name: str) -> None:
        self.page.get_by_role("navigation", name="Main").get_by_role("link", name=name, exact=True).click()

    def press(self, name: str, where: Locator | None = None) -> None:
        place = where or self.page.locator("main")
        # Links that look like buttons are links.
        button = place.get_by_role("button", name=name, exact=True)
        button.or_(place.get_by_role("link", name=name, exact=True)).first.click()

    def fill(self, **fields: str) -> None:
        """Fill in fields of the dialog by their labels, ``_`` for a space."""
        for label, value in fields.items():
            self.field(label.replace("_", " "), value)

    def field(self, label: str, value: str, where: Locator | None = None) -> None:
        field = (where or self.sheet).get_by_label(label, exact=True)
        if field.evaluate("e => e.tagName") == "SELECT":
            field.select_option(label=value)
        else:
            field.fill(value)

    def row(self, name: str) -> Locator:
        return self.page.get_by_role("row").filter(has_text=name)

    def shoot(self, name: str) -> None:
        self.watched.shoot(f"workflow-{name}")


def sign_in(walk: Walk) -> None:
    walk.page.goto(walk.client.url)
    walk.page.get_by_label("Token").fill(walk.client.token)
    walk.page.get_by_role("button", name="Sign in").click()
    expect(walk.title).to_have_text("Dashboard")
    expect(walk.page.locator("main")).to_contain_text("Create the example")
    walk.shoot("00-empty")


def create_code(walk: Walk, url: str) -> None:
    """Section 1."""
    walk.menu("Code")
    walk.press("Code")
    walk.fill(Name=NAME, Source="Git", URL=url, Branch="monitoring")
    walk.press("Add Code", walk.sheet)
    expect(walk.title).to_contain_text(NAME)
    expect(walk.page.locator("#versions")).to_contain_text("ready", timeout=30_000)
    expect(walk.page.locator("#versions")).to_contain_text("commit")
    walk.shoot("01-code")


def open_jupyterlab(walk: Walk) -> None:
    """Section 2; what is done in it is in test_ide_browser.py."""
    walk.menu("IDE")
    walk.press("JupyterLab")
    walk.fill(Name="my-lab", Code=NAME, Framework="tensorflow")
    walk.press("Submit", walk.sheet)
    expect(walk.title).to_contain_text("running", timeout=120_000)
    walk.menu("IDE")
    expect(walk.row("my-lab").get_by_role("link", name="Open JupyterLab")).to_be_visible()
    walk.shoot("02-ide")
    walk.row("my-lab").get_by_role("button", name="Stop").click()
    expect(walk.title).to_contain_text("stopped")


def create_resources(walk: Walk, images: Path) -> None:
    """Section 3: what its notebook makes."""
    walk.menu("Datasets")
    walk.press("Dataset")
    walk.fill(Name=NAME, Source="Folder on the server", URL=str(images))
    walk.press("Add Dataset", walk.sheet)
    expect(walk.page.locator("#versions")).to_contain_text("ready", timeout=60_000)
    expect(walk.page.locator("#versions")).to_contain_text("NORMAL, PNEUMONIA")
    walk.shoot("03-dataset")
    walk.menu("Models")
    walk.press("Model")
    walk.fill(Name=NAME, Source="Upload")
    walk.press("Add Model", walk.sheet)
    expect(walk.title).to_contain_text(NAME)


def train_and_deploy(walk: Walk) -> None:
    """Section 4: preprocess, train, deploy, and the fields used for configuring the monitor."""
    walk.menu("Runs")
    walk.press("Run")
    walk.fill(Code=NAME, Dataset=NAME, Model=NAME, Deployment=NAME, Parameters="epochs=2")
    for version in ("Code Version", "Dataset Version"):
        walk.field(version, "v1")
    walk.press("Run", walk.sheet)
    expect(walk.title).to_contain_text("succeeded", timeout=TRAINING)
    steps = walk.page.locator("#run table").first
    for step in ("preprocess", "train", "deploy"):
        expect(steps).to_contain_text(step)
    expect(walk.page.locator("#fields")).to_contain_text("Fields used for configuring the monitor")
    walk.shoot("04-run")


def import_deployment(walk: Walk) -> None:
    """Section 5, as far as one cluster goes: it says that there is no link to another one."""
    walk.menu("Deployments")
    expect(walk.row(NAME)).to_contain_text("running", timeout=60_000)
    walk.press("Import")
    expect(walk.sheet).to_contain_text("No cluster is linked yet")
    walk.fill(Name="image-mm-kf", Namespace="ada")
    walk.press("Import", walk.sheet)
    expect(walk.sheet.get_by_label("Cluster", exact=True)).to_have_attribute("aria-invalid", "true")
    walk.shoot("05-import")
    walk.page.once("dialog", lambda question: question.accept())  # whether to lose what was typed
    walk.press("Cancel", walk.sheet)


def add_monitor(walk: Walk) -> None:
    """Section 6: the four tabs."""
    walk.menu("Deployments")
    walk.press("Add Monitor", walk.row(NAME))
    tabs = walk.sheet.get_by_role("tab")
    expect(tabs).to_have_text([re.compile(name) for name in ("Settings", "Health", "Drift", "Performance")])
    walk.fill(Model_Type="Classification", Input_Data_Type="Image")
    walk.field("Run Frequency (minutes)", "1")
    walk.sheet.get_by_role("tab", name="Drift").click()
    drift = walk.sheet.get_by_role("tabpanel", name="Drift")
    drift.get_by_label("Enable", exact=True).check()
    walk.field("Algorithm", "Auto", drift)
    for label in ("Height", "Width"):
        walk.field(label, str(SIDE), drift)
    walk.field("Channel", "1", drift)
    walk.field("Channel Order", "Channels Last", drift)
    train = drift.get_by_role("group", name="Train Data")
    walk.field("Dataset", NAME, train)
    walk.field("Dataset Version", "v1", train)
    walk.field("Images Saved As", "Images in labelled folder", train)
    walk.field("Dataset Content", "CloudEventlogs", drift)
    walk.shoot("06-drift")
    walk.sheet.get_by_role("tab", name="Performance").click()
    performance = walk.sheet.get_by_role("tabpanel", name="Performance")
    performance.get_by_label("Enable", exact=True).check()
    walk.field("Compute Metrics", "Labelled Data", performance)
    for label, column in (("Groundtruth", "label"), ("Prediction", "output"), ("Timestamp", "timestamp")):
        walk.field(f"{label} Column Name", column, performance)
    walk.shoot("06-performance")
    walk.press("Submit", walk.sheet)
    expect(walk.sheet).to_contain_text("The monitor of chest-xray is made")
    expect(walk.sheet).not_to_contain_text("The monitor is baselining", timeout=120_000)
    walk.press("Close", walk.sheet)
    expect(walk.page).to_have_url(f"{walk.client.url}/monitors")


def configure_schema(walk: Walk) -> None:
    """Section 7."""
    walk.menu("Deployments")
    walk.press("Monitors")
    walk.press("Update Schema", walk.row(NAME))
    walk.press("+ Add", walk.sheet)
    walk.field("Name", "prediction")
    walk.field("Column/Feature Type", "Prediction Output")
    walk.field("Value Type", "Categorical")
    walk.press("Add", walk.sheet)
    expect(walk.sheet.get_by_role("row").filter(has_text="prediction")).to_contain_text("Categorical")
    walk.shoot("07-schema")
    walk.press("Close", walk.sheet)


def add_alert(walk: Walk) -> None:
    """Section 8."""
    walk.menu("Deployments")
    walk.press("Monitors")
    walk.press("Add Alerts", walk.row(NAME))
    walk.press("Add Alert")
    walk.fill(Alert_Name="accuracy", Alert_Type="Performance Decay", Configure_Based_On="Threshold")
    walk.fill(Metric="accuracy", Operator="<", Value="0.85")
    walk.shoot("08-alert")
    walk.press("Submit", walk.sheet)
    expect(walk.page.locator("#list")).to_contain_text("accuracy < 0.85")


def upload_thresholds(walk: Walk) -> None:
    """Section 9: choose, view, submit."""
    walk.menu("Deployments")
    walk.press("Monitors")
    walk.press("Upload Thresholds", walk.row(NAME))
    walk.press("Upload")
    walk.sheet.get_by_label("File", exact=True).set_input_files(EXAMPLE / "threshold.json")
    walk.press("View", walk.sheet)
    expect(walk.sheet.get_by_role("row").filter(has_text="image")).to_be_visible()
    walk.shoot("09-thresholds")
    walk.press("Submit", walk.sheet)
    expect(walk.page.locator("#list")).to_contain_text("0.55")


def start_monitor(walk: Walk) -> None:
    """Section 10."""
    walk.menu("Deployments")
    walk.press("Monitors")
    expect(walk.row(NAME)).to_contain_text("ready")
    walk.row(NAME).get_by_role("checkbox").check()
    walk.press("Start")
    expect(walk.row(NAME)).to_contain_text("active")
    walk.shoot("10-started")


def send_traffic(client: Client) -> None:
    """The example's traffic of one cycle, blurred, with labels."""
    deployment = client.deployments.get(NAME)
    rng = np.random.default_rng(1)
    rows: list[dict[str, Any]] = []
    for number in range(12):
        label = LABELS[number % 2]
        pixels = cv2.blur(cv2.resize(draw(label, rng), (SIDE, SIDE)), (40, 40))
        moment = datetime.now(UTC)
        body = {"inputs": {"input_1": [pixels[:, :, np.newaxis].tolist()]}}
        answer = client.deployments.predict(deployment, body)
        rows.append(
            {
                "timestamp": moment,
                "output": LABELS[int(np.argmax(answer["outputs"][0]))],
                "label": label,
            }
        )
    client.deployments.put_labels(deployment.id, "cycle.csv", rows)


def see_the_drift(walk: Walk) -> None:
    """The dashboard, the monitor, the run: what is wrong, since when, what the images look like."""
    walk.menu("Dashboard")
    row = walk.row(NAME)
    expect(row.locator("[data-label=Drift]")).to_contain_text("critical", timeout=150_000)
    walk.shoot("11-dashboard")
    row.get_by_role("link", name=NAME).click()
    expect(walk.title).to_contain_text(NAME)
    expect(walk.page.locator("main")).to_contain_text("standard deviations")
    walk.shoot("12-monitor")
    walk.menu("Dashboard")
    row.locator("[data-label='Last run'] a").click()
    expect(walk.page.locator("main")).to_contain_text("standard deviations")
    image = walk.page.locator("main img").first
    expect(image).to_be_visible()
    walk.page.wait_for_function("[...document.querySelectorAll('main img')].some((i) => i.naturalWidth > 0)")
    walk.shoot("13-run")


def clean_up(walk: Walk) -> None:
    """Stop the monitor, and delete it with what goes with it named before."""
    walk.menu("Deployments")
    walk.press("Monitors")
    walk.row(NAME).get_by_role("checkbox").check()
    walk.press("Stop")
    expect(walk.row(NAME)).to_contain_text("ready")
    walk.press("Delete", walk.row(NAME))
    expect(walk.sheet).to_contain_text("run")
    walk.press("Delete", walk.sheet)
    expect(walk.page.locator("main")).to_contain_text("There is no monitor yet")
    walk.shoot("14-cleaned")


def test_a_person_walks_the_whole_workflow(page: Page, tmp_path: Path) -> None:
    if importlib.util.find_spec("tensorflow") is None:
        absent("tensorflow (the extra 'train')")
    write_dataset(tmp_path / "images", normal=60, pneumonia=60, seed=1)
    with running_server(tmp_path / "home") as client:
        walk = Walk(page, client)
        sign_in(walk)
        create_code(walk, repository(tmp_path / "code"))
        open_jupyterlab(walk)
        create_resources(walk, tmp_path / "images")
        train_and_deploy(walk)
        import_deployment(walk)
        add_monitor(walk)
        configure_schema(walk)
        add_alert(walk)
        upload_thresholds(walk)
        start_monitor(walk)
        send_traffic(client)
        see_the_drift(walk)
        clean_up(walk)
        assert walk.watched.problems == []
        page.close()
