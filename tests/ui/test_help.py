"""The manual as pages, and the links that lead to it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from parts_visits import EVIL, open_pages
from tidegauge.ui import manual
from tidegauge.ui.site import HERE

ROOT = Path(__file__).resolve().parents[2]
TEMPLATES = HERE / "templates"


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with open_pages(tmp_path_factory.mktemp("home")) as opened:
        yield opened


def check(target: str) -> str:
    """Say what is wrong with a link into the help, or nothing."""
    name, _, heading = target.lstrip("/").partition("#")
    if not name:
        return ""
    if name not in manual.NAMES:
        return f"{target}: no page"
    if heading and heading not in {found.id for found in manual.page(name).headings}:
        return f"{target}: no heading"
    return ""


def links_of_templates() -> list[tuple[str, str]]:
    found = []
    for template in sorted(TEMPLATES.rglob("*.html")):
        text = template.read_text()
        place = str(template.relative_to(TEMPLATES))
        for block in re.findall(r"{% block help %}(.*?){% endblock %}", text, re.DOTALL):
            targets = re.findall(r"/[a-z-]+(?:#[\w-]+)?", block) if "{" in block else [block.strip()]
            found += [(place, target) for target in targets]
        # After the help's own address, and not in what a page makes of a value.
        found += [(place, link) for link in re.findall(r'href="/help(/[^"{]*)"', text)]
    return found


def test_every_link_of_the_pages_leads_to_a_heading_that_is_there() -> None:
    links = links_of_templates()
    assert len(links) > 20
    wrong = [f"{template}: {problem}" for template, link in links if (problem := check(link))]
    assert wrong == []


@pytest.mark.parametrize("name", manual.NAMES)
def test_every_link_within_the_manual_leads_somewhere(pages: TestClient, name: str) -> None:
    html = manual.page(name).html
    for link in re.findall(r'href="([^"]*)"', html):
        target = f"/help/{name}{link}" if link.startswith("#") else link
        if target.startswith("/help/"):
            assert check(target.removeprefix("/help")) == ""
        elif target.startswith("/"):
            assert pages.get(target).status_code == 200
        else:
            assert target.startswith(("https://", "http://"))
    for source in re.findall(r'src="([^"]*)"', html):
        answer = pages.get(source)
        assert (answer.status_code, answer.headers["content-type"]) == (200, "image/svg+xml")


@pytest.mark.parametrize("name", manual.NAMES)
def test_every_page_has_contents_and_one_first_heading(pages: TestClient, name: str) -> None:
    page = pages.get(f"/help/{name}").text
    assert page.count("<h1") == 1
    for heading in manual.page(name).headings:
        assert page.count(f'id="{heading.id}"') == 1
    assert 'aria-label="On this page"' in page


def test_every_document_that_is_written_is_in_the_help() -> None:
    docs = ROOT / "docs"
    written = {file.relative_to(docs).with_suffix("").as_posix() for file in docs.rglob("*.md")}
    assert written == set(manual.NAMES)


def test_the_contents_name_every_page(pages: TestClient) -> None:
    page = pages.get("/help").text
    for name in manual.NAMES:
        assert f'href="/help/{name}"' in page
    assert 'href="/tour"' in page


def test_headings_come_first_in_a_search(pages: TestClient) -> None:
    page = pages.get("/help?q=drift alarm").text
    assert "/help/monitoring#evidence-and-the-drift-alarm" in page
    hits = manual.search("drift alarm")
    titles = [all(word in hit.heading.title.lower() for word in ("drift", "alarm")) for hit in hits]
    assert titles == sorted(titles, reverse=True)
    assert manual.search(" ") == []


def test_a_search_for_html_is_text(pages: TestClient) -> None:
    page = pages.get("/help", params={"q": EVIL}).text
    assert EVIL not in page
    assert "0 sections with" in page


@pytest.mark.parametrize("path", ["/help/nothing", "/help/..%2Fsettings", "/help/pictures/draw.py"])
def test_what_is_not_there_is_not_found(pages: TestClient, path: str) -> None:
    assert pages.get(path).status_code == 404


def test_html_in_a_document_is_text(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "alerts.md").write_text(f"# A {EVIL}\n\n{EVIL} [x](javascript:alert(1))\n")
    monkeypatch.setattr(manual, "_folder", lambda: tmp_path)
    html = manual._read.__wrapped__("alerts").html
    assert "<script>" not in html
    assert 'href="javascript' not in html


def test_strangers_are_sent_to_the_sign_in(pages: TestClient) -> None:
    cookies = dict(pages.cookies)
    pages.cookies.clear()
    try:
        assert pages.get("/help/alerts").headers["location"] == "/sign-in?next=/help/alerts"
    finally:
        pages.cookies.update(cookies)


def test_an_installed_package_has_the_manual_with_it(tmp_path: Path) -> None:
    """Lay the package out as its wheel does, and read the manual there, out of reach of the checkout."""
    site = tmp_path / "site"
    shutil.copytree(ROOT / "src" / "tidegauge", site / "tidegauge", ignore=shutil.ignore_patterns("static"))
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    for source, target in wheel["force-include"].items():
        shutil.copytree(ROOT / source, site / target)
    script = (
        "from tidegauge.ui import manual; print(manual.__file__);"
        "print(len(manual.contents()), len(manual.page('workflow').headings));"
        "print(len(manual.picture('evidence.svg')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={"PYTHONPATH": str(site)},
        check=True,
        capture_output=True,
        text=True,
    )
    place, counts, size = done.stdout.splitlines()
    assert place.startswith(str(site))
    assert counts == f"{len(manual.GROUPS)} {len(manual.page('workflow').headings)}"
    assert int(size) > 1000
