"""The report as a server gives it: as a page in a real Chromium, as PDF, and as data."""

from __future__ import annotations

import io
import json
import re
import shutil
from collections.abc import Iterator
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from playwright.sync_api import Page, sync_playwright
from pypdf import PdfReader

from parts import absent
from report_rows import MINUTES, START, add_history, add_monitor, add_span, look_again
from tidegauge.app import build_services, create_app
from tidegauge.domain.report import digest
from tidegauge.settings import load_settings

A4 = (794, 1123)  # pixels of a page at 96 dpi
EVIL = "<script>alert(1)</script>"
WINDOWS = 40
END = START + WINDOWS * timedelta(minutes=MINUTES)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    home: Path = tmp_path_factory.mktemp("home")
    services = build_services(load_settings(home, {"port": 1}, {}))
    monitor = add_monitor(services.database)
    add_span(services.database, monitor, WINDOWS)
    add_history(services.database, monitor, END)
    last = services.database.monitor_runs.where(sort="-start", limit=1)[0]
    look_again(services.database, last, problems=(f"event {EVIL} cannot be read",))
    add_monitor(services.database, "empty")
    services.database.monitors.update(monitor.id, state="ready")  # the schedule must not go on with it
    with TestClient(create_app(services), follow_redirects=False) as client:
        client.headers["Authorization"] = f"Bearer {services.people.first_start()}"
        yield client


def get(server: TestClient, name: str = "chest-xray", **query: str) -> bytes:
    span = {"start": START.isoformat(), "end": END.isoformat()}
    answer = server.get(f"/api/v1/monitors/{name}/report", params={**span, **query})
    if answer.status_code == 503:
        absent("Pango")
    assert answer.status_code == 200, answer.text
    return answer.content


@pytest.fixture
def page() -> Iterator[Page]:
    path = shutil.which("chromium")
    if path is None:
        absent("chromium")
    with sync_playwright() as playwright:
        flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
        browser = playwright.chromium.launch(executable_path=path, args=flags)
        yield browser.new_page(viewport={"width": A4[0], "height": A4[1]})
        browser.close()


def test_the_page_stands_alone_and_fits_a4(server: TestClient, page: Page, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    file.write_bytes(get(server))
    heard: list[str] = []
    page.on("console", lambda message: heard.append(message.text))
    page.on("pageerror", lambda error: heard.append(str(error)))
    page.on("request", lambda request: heard.append(request.url) if request.url != file.as_uri() else None)
    page.emulate_media(media="print")
    page.goto(file.as_uri())
    assert heard == []
    assert page.evaluate("document.documentElement.scrollWidth") <= A4[0]
    # Nothing is wider than what holds it, charts and tables included.
    wide = page.evaluate(
        "[...document.querySelectorAll('main *')].filter(e => !e.closest('svg') && "
        "e.getBoundingClientRect().right > document.body.getBoundingClientRect().right + 1).length"
    )
    assert wide == 0
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    printed = PdfReader(io.BytesIO(page.pdf(format="A4", print_background=True)))
    assert 4 <= len(printed.pages) <= 12


def test_the_page_can_be_read_without_seeing_it(server: TestClient, page: Page, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    file.write_bytes(get(server))
    page.goto(file.as_uri())
    charts = page.locator("figure svg").evaluate_all(
        "all => all.map(svg => [svg.getAttribute('role'), svg.getAttribute('aria-label')])"
    )
    assert len(charts) == 13
    assert all(role == "img" and len(label) > 10 for role, label in charts)
    levels = page.locator("h1, h2, h3").evaluate_all("all => all.map(h => +h.tagName[1])")
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    tables = page.locator("table").evaluate_all(
        "all => all.map(t => t.querySelectorAll('thead th[scope=col]').length > 0 && "
        "[...t.querySelectorAll('tbody tr')].every(r => r.querySelector('th')))"
    )
    assert len(tables) >= 10
    assert all(tables)
    ids = page.locator("[id]").evaluate_all("all => all.map(e => e.id)")
    assert len(ids) == len(set(ids))
    assert page.evaluate("document.documentElement.lang") == "en"


def test_the_page_has_no_script_and_nothing_from_elsewhere(server: TestClient) -> None:
    answer = server.get(
        "/api/v1/monitors/chest-xray/report", params={"start": START.isoformat(), "end": END.isoformat()}
    )
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert 'filename="chest-xray-2026-03-01-to-2026-03-01.html"' in answer.headers["content-disposition"]
    text = answer.text
    assert not re.search(r"<script|<link|<iframe|javascript:|@import|\bon\w+=", text)
    foreign = set(re.findall(r"https?://[^\"' <]+", text))
    assert foreign <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}  # names, not addresses
    assert "<img" not in text


def test_what_others_wrote_is_text_and_never_markup(server: TestClient) -> None:
    text = get(server).decode()
    assert EVIL not in text
    assert "event &lt;script&gt;" in text
    assert "&lt;b&gt;known&lt;/b&gt;" in text


def test_the_pdf_says_the_same_as_selectable_text(server: TestClient) -> None:
    reader = PdfReader(io.BytesIO(get(server, format="pdf")))
    text = re.sub(r"\s+", " ", " ".join(found.extract_text() for found in reader.pages))
    data = json.loads(get(server, format="json"))
    for sentence in data["report"]["summary"]:
        assert sentence in text
    assert data["made"]["sha256"] in text
    for words in (
        "accuracy surely < 0.85",
        "dr-miller",
        "new scanner in ward 3",
        "scanner service",
        "late labels",
    ):
        assert words in text
    assert "Mar 01" in text  # of a chart's axis: charts are vectors with text
    assert all(
        [round(float(side)) for side in found.mediabox[2:]] == [595, 842] for found in reader.pages
    )  # A4 in points
    assert f"Page 1 of {len(reader.pages)}" in text
    assert [item.title for item in reader.outline if not isinstance(item, list)]
    assert reader.trailer["/Root"]["/MarkInfo"]["/Marked"]  # tagged for screen readers
    assert "Monitoring report: chest-xray" in (reader.metadata.title or "")
    assert not [image for found in reader.pages for image in found.images]


def test_the_pdf_carries_its_data(server: TestClient) -> None:
    reader = PdfReader(io.BytesIO(get(server, format="pdf")))
    (attached,) = reader.attachments["report.json"]
    whole = json.loads(attached)
    assert digest(whole["report"]) == whole["made"]["sha256"]


def test_all_three_forms_have_the_same_hash(server: TestClient) -> None:
    sha256 = json.loads(get(server, format="json"))["made"]["sha256"]
    assert sha256 in get(server).decode()


def test_a_span_without_runs_is_a_report_in_every_form(server: TestClient) -> None:
    assert "there is nothing to report on" in get(server, "empty").decode()
    assert json.loads(get(server, "empty", format="json"))["report"]["shares"] == []
    reader = PdfReader(io.BytesIO(get(server, "empty", format="pdf")))
    assert "there is nothing to report on" in re.sub(r"\s+", " ", reader.pages[0].extract_text())


def test_a_wrong_question_names_the_field(server: TestClient) -> None:
    path = "/api/v1/monitors/chest-xray/report"
    span = {"start": START.isoformat(), "end": END.isoformat()}
    for query, field in (
        ({**span, "end": span["start"]}, "end"),
        ({**span, "format": "docx"}, "format"),
        ({"start": span["start"]}, "end"),
        ({**span, "start": "yesterday"}, "start"),
    ):
        answer = server.get(path, params=query)
        assert answer.status_code == 422
        assert [error["field"] for error in answer.json()["errors"]] == [field]
    assert server.get("/api/v1/monitors/none/report", params=span).status_code == 404


def test_the_monitors_page_offers_the_report_and_words_its_errors(server: TestClient) -> None:
    (monitor,) = [m for m in server.get("/api/v1/monitors").json()["items"] if m["name"] == "chest-xray"]
    page = server.get(f"/monitors/{monitor['id']}").text
    action = re.search(r'<form class="inline" action="([^"]+/report)">', page)[1]
    start, end = re.findall(r'type="datetime-local" name="\w+" value="([^"]+)"', page)
    made = server.get(action, params={"start": start, "end": end, "format": "html"})
    assert "Tidegauge looked at 40 windows" in made.text
    wrong = server.get(action, params={"start": end, "end": start})
    assert (wrong.status_code, wrong.headers["content-type"]) == (422, "text/html; charset=utf-8")
    assert "not after start" in wrong.text


def test_without_weasyprint_the_pdf_says_what_to_install(
    server: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "weasyprint", None)
    span = {"start": START.isoformat(), "end": END.isoformat()}
    answer = server.get("/api/v1/monitors/chest-xray/report", params={**span, "format": "pdf"})
    assert answer.status_code == 503
    assert "pip install 'tidegauge[report]'" in answer.json()["detail"]


def test_the_check_of_the_hash_in_the_docs_works(
    server: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs/report.md").read_text()
    (code,) = re.findall(r"```python\n(.+?)```", page, re.DOTALL)
    (tmp_path / "march.json").write_bytes(get(server, format="json"))
    monkeypatch.chdir(tmp_path)
    exec(code, {})
    (tmp_path / "march.json").write_bytes(
        get(server, format="json").replace(b'"critical": 1', b'"critical": 2', 1)
    )
    with pytest.raises(AssertionError):
        exec(code, {})
