"""A cluster that only serves or only monitors: what is on its pages, what is not, and what rests."""

from __future__ import annotations

import re
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page

from parts import running_server
from parts_routes import routes_of
from parts_watched import Watched, monitored
from tidegauge.app import build_services, create_app
from tidegauge.client import Client
from tidegauge.domain.cluster import PARTS, PLACES, Part, absence
from tidegauge.domain.deployment import DeploymentState
from tidegauge.domain.monitor import MonitorState
from tidegauge.errors import ConflictError, NotFoundError
from tidegauge.settings import ClusterRole, load_settings

_LINK = re.compile(r'(href|action|src|hx-get|hx-post)="(/[^"#?]*)')
_NARROW = [ClusterRole.SERVING, ClusterRole.MONITORING]
_MENU = {
    ClusterRole.SERVING: ["Code", "IDE", "Datasets", "Models", "Runs", "Deployments"],
    ClusterRole.MONITORING: ["Dashboard", "Code", "Datasets", "Models", "Deployments"],
}


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A home that was both, with a deployment that is served and an active monitor, and the latter's id."""
    folder = tmp_path_factory.mktemp("roles")
    with running_server(folder / "home") as client:
        monitor = monitored(client, folder)
    return folder / "home", monitor


@pytest.fixture(scope="module")
def routes(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    services = build_services(load_settings(tmp_path_factory.mktemp("bare"), {"port": 1}, {}))
    found = routes_of(create_app(services))
    services.collector.close()
    services.database.close()
    return found


@pytest.fixture(scope="module")
def paths(routes: list[Any]) -> list[str]:
    return [re.sub(r"{[^}]*}", "1", route.path) for route in routes]


@pytest.fixture(params=_NARROW)
def narrow(
    request: pytest.FixtureRequest, lived: tuple[Path, str], tmp_path: Path
) -> Iterator[tuple[Client, ClusterRole, str]]:
    """The same home, started with a narrower role."""
    shutil.copytree(lived[0], tmp_path / "home")
    with running_server(tmp_path / "home", role=request.param) as client:
        yield client, request.param, lived[1]


def browser_of(client: Client) -> httpx.Client:
    return httpx.Client(
        base_url=client.url,
        cookies={"tidegauge_token": client.token},
        headers={"Origin": client.url},
        timeout=30,
    )


def test_no_page_leads_to_what_is_not_there(narrow: tuple[Client, ClusterRole, str]) -> None:
    client, role, _ = narrow
    seen: set[str] = set()
    waiting = ["/", "/deployments", "/clusters", "/settings/developer"]
    with browser_of(client) as http:
        while waiting:
            path = waiting.pop()
            if path in seen:
                continue
            seen.add(path)
            answer = http.get(path, follow_redirects=True)
            assert answer.status_code < 400, f"{role}: {path}"
            if not answer.text.lstrip().startswith("<") or path.startswith("/help/"):
                continue  # the manual tells of all roles
            for kind, link in _LINK.findall(answer.text):
                assert not absence(role, link), f"{role}: {path} leads to {link}"
                if kind in ("href", "hx-get") and not link.startswith(("/static/", "/live", "/choices/")):
                    waiting.append(link)
    assert len(seen) > 25


def test_the_menu_has_what_there_is(narrow: tuple[Client, ClusterRole, str]) -> None:
    client, role, _ = narrow
    with browser_of(client) as http:
        page = http.get("/deployments").text
    menu = page[page.index('<nav aria-label="Main">') : page.index("</nav>")]
    entries = re.findall(r"</svg>([A-Za-z]+)</a>", menu)
    assert entries[: len(_MENU[role])] == _MENU[role]
    assert "Runs" in entries or role is ClusterRole.MONITORING
    assert ("Add Monitor" in page or "Open Monitor" in page) == (role is ClusterRole.MONITORING)
    assert ("Playground" in page) == (role is ClusterRole.SERVING)


def test_every_route_of_an_absent_part_says_one_sentence(
    narrow: tuple[Client, ClusterRole, str], routes: list[Any], paths: list[str]
) -> None:
    client, role, _ = narrow
    asked = 0
    with browser_of(client) as http:
        for route, path in zip(routes, paths, strict=True):
            sentence = absence(role, path)
            if not sentence:
                continue
            for method in sorted(route.methods & {"GET", "POST", "PUT", "PATCH", "DELETE"}):
                asked += 1
                headers = {"Authorization": f"Bearer {client.token}"}
                answer = http.request(method, path, headers=headers)
                assert answer.status_code == 404, f"{method} {path}: {answer.status_code} {answer.text[:300]}"
                assert sentence in answer.text, f"{method} {path}"
                stranger = httpx.request(method, client.url + path, headers={"Origin": client.url})
                assert stranger.status_code in (303, 401), f"{method} {path}: {stranger.status_code}"
    assert asked > (50 if role is ClusterRole.SERVING else 20)


def test_every_route_of_a_part_stands_in_the_table(paths: list[str]) -> None:
    """A new route of monitors, runs or served models must not be forgotten, and no row is of nothing."""
    words = re.compile(r"monitor|pipeline|retrain|playground|channel|notification|/ide|^/serve")
    for path in paths:
        if path.startswith("/api/v1/schemas/"):
            continue  # of files that are written anywhere
        narrow = [role for role in _NARROW if absence(role, path)]
        assert bool(words.search(path)) <= bool(narrow), path
    for place in PLACES:
        assert any(place.holds(path) for path in paths), place


def test_what_was_both_rests_and_comes_back(lived: tuple[Path, str], tmp_path: Path) -> None:
    home, monitor_id = tmp_path / "home", lived[1]
    shutil.copytree(lived[0], home)
    with running_server(home, role="monitoring") as client:
        resting = client.deployments.get("tiny")
        assert (resting.state, resting.wanted) == (DeploymentState.STOPPED, DeploymentState.RUNNING)
        assert "It rests: this cluster only monitors." in resting.message
        assert client.status().resting == (
            "1 deployment that is wanted rests, since the role of this cluster is monitoring.",
        )
        for change in ({"wanted": "stopped"}, {"version": 1, "logging": False}):
            with pytest.raises(ConflictError, match="This cluster only monitors; deploy on the serving"):
                client.deployments.update("tiny", **change)
        assert client.deployments.update("tiny", sampling=1.0, keep_days=9).keep_days == 9
        with pytest.raises(ConflictError, match="This cluster only monitors; deploy on the serving cluster"):
            client.deployments.create("more", "tiny", 1)
        with pytest.raises(NotFoundError, match="only monitors; ask the serving cluster for predictions"):
            client.deployments.predict(resting, {"instances": []})
        assert client.monitors.get(monitor_id).state is MonitorState.ACTIVE
    with running_server(home, role="serving") as client:
        served = client.deployments.wait("tiny")
        assert (served.message, served.keep_days) == ("", 9)
        assert client.status().resting == (
            "1 active monitor rests, since the role of this cluster is serving.",
        )
        with pytest.raises(NotFoundError, match="This cluster only serves; monitor on the monitoring"):
            client.monitors.get(monitor_id)
    with running_server(home) as client:
        assert client.deployments.wait("tiny").state is DeploymentState.RUNNING
        assert client.monitors.get(monitor_id).state is MonitorState.ACTIVE
        assert client.status().resting == ()


def test_background_work_is_that_of_the_parts(narrow: tuple[Client, ClusterRole, str]) -> None:
    _, role, _ = narrow
    names = {thread.name for thread in threading.enumerate()}
    assert ("health" in names) == (Part.SERVING in PARTS[role])
    assert ("window-0" in names) == ("claims" in names) == (Part.MONITORING in PARTS[role])
    assert "retraining" not in names


def test_the_operator_reads_the_role_in_chromium(narrow: tuple[Client, ClusterRole, str], page: Page) -> None:
    client, role, monitor_id = narrow
    page.set_viewport_size({"width": 1280, "height": 900})
    page.context.add_cookies([{"name": "tidegauge_token", "value": client.token, "url": client.url}])
    watched = Watched(page, client.url)
    shown = ["/", "/deployments", "/deployments/tiny", "/clusters"]
    for path in [*shown, f"/monitors/{monitor_id}"] if role is ClusterRole.MONITORING else shown:
        page.goto(client.url + path)
        page.wait_for_timeout(400)
        watched.shoot(f"role-{role}{re.sub('[^a-z]+', '-', path.replace(monitor_id, 'id'))}")
        assert watched.violations() == [], path
        assert watched.overhang() <= 0, path
    assert watched.problems == []
    page.goto(f"{client.url}/")
    assert page.url == client.url + ("/deployments" if role is ClusterRole.SERVING else "/")
    page.goto(f"{client.url}/clusters")
    assert page.locator("dl.facts").first.inner_text().startswith(f"Role\n{role}")
    rests = "1 active monitor rests" if role is ClusterRole.SERVING else "1 deployment that is wanted rests"
    assert rests in page.locator("main").inner_text()
