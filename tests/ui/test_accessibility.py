"""Every page in a real browser: nothing complains, sticks out or moves, and axe-core finds nothing grave."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, sync_playwright

from parts import absent, running_server
from parts_routes import pages_of
from parts_watched import FLAGS, Watched, monitored
from tidegauge.app import build_services, create_app
from tidegauge.client import Client
from tidegauge.settings import load_settings

_MOVES = 0.05  # of the cumulative layout shift; 0.1 counts as good


@dataclass
class Home:
    """A server with a monitor that has looked at a window, and what the parameters of its pages stand for."""

    client: Client
    values: dict[str, str]

    def paths(self, templates: list[str]) -> list[str]:
        """Return the address of each page that can be shown here."""
        found = []
        for template in templates:
            names = re.findall(r"{(\w+)(?::\w+)?}", template)
            values = self._values(template)
            unknown = [name for name in names if name not in values]
            assert not unknown, f"{template}: say what {unknown} stand for in this test"
            found.append(re.sub(r":\w+}", "}", template).format(**values))
        return found

    def _values(self, template: str) -> dict[str, str]:
        kind = template.split("/")[1]
        names = {
            "datasets": "chest",
            "models": "tiny",
            "code": "mine",
            "deployments": "tiny",
            "help": "alerts",
            "users": "operator",
        }
        run = {"run_id": self.values["pipeline_run_id"]} if kind == "pipeline-runs" else {}
        return {**self.values, "name": names.get(kind, "tiny"), **run}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    folder: Path = tmp_path_factory.mktemp("pages")
    with running_server(folder / "home") as client:
        monitor = monitored(client, folder)
        (folder / "code").mkdir()
        (folder / "code" / "pipeline.py").write_text("print('a step')\n")
        client.code.create("mine")
        client.code.add_version("mine", folder / "code")
        alert = client.monitors.add_alert(monitor, "accuracy", "accuracy", "<", 0.85)
        run = client.pipelines.run(code="mine", dataset="chest", model="tiny", deployment="")
        span = {"start": "2026-03-01T12:00:00Z", "end": "2026-03-01T13:00:00Z", "reason": "service"}
        maintenance = client.request("POST", f"/api/v1/monitors/{monitor}/maintenance", json=span).json()
        channel = client.channels.create("ward", "webhook", {"url": "http://127.0.0.1:9/hook"})
        client.clusters.add("here", client.url, client.tokens.create("link", "link").secret)
        ide = client.ides.create("lab", "mine")
        client.ides.stop("lab")
        tokens = client.request("GET", "/settings/developer").text
        values = {
            "monitor_id": monitor,
            "run_id": client.monitors.runs(monitor)[-1].id,
            "pipeline_run_id": run.id,
            "alert_id": alert.id,
            "maintenance_id": maintenance["id"],
            "channel_id": channel.id,
            "token_id": re.findall(r"developer/([^/]+)/revoke", tokens)[0],
            "token": client.deployments.create_token("tiny", "ward").id,
            "number": "1",
            "file": "timeline.svg",
            "event_id": "none",
            "session_id": "none",
            "cluster": "here",
            "ide_id": ide.id,
            "path": "lab",
            "index": "0",
        }
        yield Home(client, values)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = shutil.which("chromium")
    if path is None:
        absent("chromium")
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield found
        found.close()


@pytest.fixture(scope="module")
def pages(home: Home, tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    """The address of every page, and the status that it is answered with."""
    services = build_services(load_settings(tmp_path_factory.mktemp("bare"), {"port": 1}, {}))
    templates = pages_of(create_app(services))
    services.collector.close()
    services.database.close()
    found = {}
    cookies = {"tidegauge_token": home.client.token}
    with httpx.Client(base_url=home.client.url, cookies=cookies, timeout=30) as http:
        for path in home.paths(templates):
            if path == "/live":
                continue  # a stream
            answer = http.get(path)
            if answer.is_redirect or not answer.text.lstrip().startswith("<!doctype html>"):
                continue  # a picture, a file, a part of a page
            found[path] = answer.status_code
    assert len(found) > 40
    return found


@pytest.mark.parametrize(("width", "scheme"), [(360, "light"), (1280, "dark"), (2560, "light")])
def test_every_page_is_sound(
    home: Home, browser: Browser, pages: dict[str, int], width: int, scheme: str
) -> None:
    client = home.client
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)  # type: ignore[arg-type]
    context.add_cookies([{"name": "tidegauge_token", "value": client.token, "url": client.url}])
    watched = Watched(context.new_page(), client.url)
    found: list[str] = []
    for path, status in pages.items():
        watched.problems.clear()
        watched.page.goto(client.url + path)
        watched.page.wait_for_timeout(250)
        if status < 400:
            found += [f"{path}: {text}" for text in watched.problems]
        if width <= 1280:  # on a wide screen is nothing that axe has not seen in both schemes
            found += [f"{path}: {text}" for text in watched.violations()]
        if watched.overhang() > 0:
            found.append(f"{path}: sticks out by {watched.overhang()} pixels")
        if watched.shift() > _MOVES:
            found.append(f"{path}: moves by {watched.shift():.2f}")
        watched.shoot(f"page{re.sub(r'[^a-z]+', '-', re.sub('[0-9a-f-]{36}', 'id', path))}-{width}-{scheme}")
    context.close()
    assert not found, "\n".join(found)
