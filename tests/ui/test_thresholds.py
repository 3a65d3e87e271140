"""The thresholds of a monitor, as pages: choose a file, view it, submit."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
from fastapi.testclient import TestClient

from parts import absent
from parts_browser import EVIL, browser, make_monitor, services_of
from parts_visits import somebody_else
from tidegauge.domain.monitor import Monitor
from tidegauge.domain.monitor_config import MonitorConfig, PerformanceConfig
from tidegauge.domain.thresholds import parse_thresholds

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "chest_xray" / "threshold.json"
REFERENCE = ROOT.parent / "shared" / "reference" / "thresholds"
NOW = {
    "image": {"type": "drift", "soft": 0.4, "hard": 0.5},
    "gone": {"type": "drift", "soft": 0.1, "hard": 0.2},
}


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with browser(tmp_path_factory.mktemp("home")) as client:
        yield client


@pytest.fixture
def monitor(pages: TestClient) -> Monitor:
    return make_monitor(services_of(pages), thresholds=parse_thresholds(NOW))


def path(monitor: Monitor) -> str:
    return f"/monitors/{monitor.id}/thresholds"


def upload(pages: TestClient, monitor: Monitor, content: bytes, **fields: str):
    files = {"file": ("threshold.json", content, "application/json")}
    return pages.post(f"{path(monitor)}/upload", files=files, data=fields)


def typed(page: str) -> dict[str, object]:
    """Return what the form of a view would send."""
    found: dict[str, object] = {"row": re.findall(r'name="row" value="(\d+)"', page)}
    for tag in re.findall(r"<input[^>]*>", page):
        name, value = re.search(r' name="([^"]*)"', tag), re.search(r' value="([^"]*)"', tag)
        if name and name[1] != "row" and ("checkbox" not in tag or "checked" in tag):
            found[name[1]] = value[1] if value else ""
    return found


def saved(pages: TestClient, monitor: Monitor) -> dict[str, tuple[float, float]]:
    found = services_of(pages).monitors.get("operator", monitor.id).thresholds
    return {name: (one.soft, one.hard) for name, one in found.items()}


def test_the_published_file_is_chosen_viewed_and_submitted(pages: TestClient, monitor: Monitor) -> None:
    shown = pages.get(path(monitor)).text
    assert "Upload</a>" in shown
    assert ">View</button>" in pages.get(f"{path(monitor)}/upload").text
    page = upload(pages, monitor, EXAMPLE.read_bytes()).text
    for part in (
        ">Submit</button>",
        "<b>f1_score</b>",
        'value="0.42"',
        "0.4 / 0.5",
        "new",
        "No longer judged:</b> gone",
    ):
        assert part in page
    assert saved(pages, monitor) == {"image": (0.4, 0.5), "gone": (0.1, 0.2)}  # nothing yet
    answer = pages.post(f"{path(monitor)}/view", data=typed(page))
    assert answer.headers["location"] == path(monitor)
    assert saved(pages, monitor) == {
        "image": (0.42, 0.55),
        "prediction": (0.2, 0.34),
        "accuracy": (0.8, 0.7),
        "precision": (0.7, 0.4),
        "recall": (0.8, 0.7),
        "f1_score": (0.7, 0.4),
    }


def test_every_published_file_loads_or_is_refused_for_its_reason(pages: TestClient) -> None:
    if not REFERENCE.is_dir():
        absent("../shared/reference")
    for file in sorted(REFERENCE.glob("*.json")):
        regression = "mae" in orjson.loads(file.read_bytes())
        config = MonitorConfig(
            model_type="regression" if regression else "classification",
            performance=PerformanceConfig(True, "precomputed_metrics", dataset="d"),
        )
        monitor = make_monitor(services_of(pages), config=config)
        answer = upload(pages, monitor, file.read_bytes())
        if file.name == "precomputed_scores.json":  # three bounds the wrong way round
            assert answer.status_code == 422
            assert "for accuracy smaller is worse, so soft must not be below hard; swap them." in answer.text
            assert answer.text.count("swap them.") == 3
            continue
        assert answer.status_code == 200, file.name
        assert pages.post(f"{path(monitor)}/view", data=typed(answer.text)).status_code == 303
        assert saved(pages, monitor).keys() == orjson.loads(file.read_bytes()).keys()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"{", "The thresholds are not valid JSON: "),
        (b"[]", "The thresholds must be an object"),
        (b"\xff\xfe\x00", "The file is no UTF-8 text"),
        (b'{"acuracy": {"type": "performance", "soft": 0.8, "hard": 0.7}}', "did you mean accuracy?"),
        (b'{"image": {"type": "drift", "soft": 0.8, "hard": 0.7}}', "swap them."),
        (b'{"mae": {"type": "performance", "soft": 1, "hard": 2}}', "mae is of numbers, but model_type is"),
        (b'{"image": {"type": "drift", "soft": "a", "hard": true, "more": 1}}', "image.more is unknown"),
    ],
)
def test_a_wrong_file_is_refused_at_the_file_in_exact_words(
    pages: TestClient, monitor: Monitor, content: bytes, said: str
) -> None:
    answer = upload(pages, monitor, content)
    assert answer.status_code == 422
    assert said in answer.text
    assert 'aria-describedby="file-errors"' in answer.text
    assert saved(pages, monitor) == {"image": (0.4, 0.5), "gone": (0.1, 0.2)}


def test_what_was_read_can_be_mended_by_hand(pages: TestClient, monitor: Monitor) -> None:
    page = upload(pages, monitor, b'{"image": {"type": "drift", "soft": 1, "hard": 0}}').text
    assert "{&#34;image&#34;: {&#34;type&#34;" in page
    mended = pages.post(
        f"{path(monitor)}/upload", data={"json": '{"image": {"type": "drift", "soft": 0, "hard": 1}}'}
    )
    assert mended.status_code == 200
    assert "<b>image</b>" in mended.text


def test_nothing_chosen_is_said_at_the_file(pages: TestClient, monitor: Monitor) -> None:
    answer = pages.post(f"{path(monitor)}/upload", data={"json": " "})
    assert answer.status_code == 422
    assert "The file is missing; choose a JSON file, or paste its content." in answer.text


def test_a_file_that_is_too_large_is_refused(pages: TestClient, monitor: Monitor) -> None:
    assert upload(pages, monitor, b" " * (2**20 + 1)).status_code == 413


def test_numbers_are_changed_in_the_view(pages: TestClient, monitor: Monitor) -> None:
    page = pages.get(f"{path(monitor)}/edit").text
    changed = {**typed(page), "row.0.soft": "0.33"}
    changed.pop("row.1.keep")
    assert pages.post(f"{path(monitor)}/view", data=changed).status_code == 303
    assert saved(pages, monitor) == {"image": (0.33, 0.5)}


def test_a_wrong_number_comes_back_at_its_row(pages: TestClient, monitor: Monitor) -> None:
    page = pages.get(f"{path(monitor)}/edit").text
    for wrong, said in (
        ("many", "image.soft is &#39;many&#39;"),
        ("0.9", "swap them."),
        ("", "image.soft is &#39;&#39;"),
    ):
        answer = pages.post(f"{path(monitor)}/view", data={**typed(page), "row.0.soft": wrong})
        assert answer.status_code == 422
        assert said in answer.text
        assert f'value="{wrong}"' in answer.text
        assert 'id="row.0.error"' in answer.text
    nothing = {name: value for name, value in typed(page).items() if not name.endswith("keep")}
    assert "No threshold is kept" in pages.post(f"{path(monitor)}/view", data=nothing).text


def test_without_windows_the_view_asks_for_their_size(pages: TestClient, monitor: Monitor) -> None:
    page = pages.get(f"{path(monitor)}/edit").text
    assert "cannot be said yet: size is missing" in page
    again = pages.post(
        f"{path(monitor)}/view", data={**typed(page), "window.size": "12", "again": "true"}
    ).text
    assert "nothing is known of its values on clean data yet" in again
    assert 'value="12"' in again
    wrong = pages.post(f"{path(monitor)}/view", data={**typed(page), "window.size": "0", "again": "true"})
    assert wrong.status_code == 422
    assert 'id="window.size-error"' in wrong.text
    assert saved(pages, monitor) == {"image": (0.4, 0.5), "gone": (0.1, 0.2)}


def test_a_suggestion_without_a_baseline_says_why_not(pages: TestClient, monitor: Monitor) -> None:
    answer = pages.post(f"{path(monitor)}/suggest", data={"size": "12", "soft_per_week": "2"})
    assert answer.status_code == 409
    assert "nothing to go by" in answer.text
    assert 'value="2"' in answer.text
    wrong = pages.post(f"{path(monitor)}/suggest", data={"size": "a dozen", "soft_per_week": "-1"})
    assert wrong.status_code == 422
    for name in ("size", "soft_per_week"):
        assert f'id="{name}-error"' in wrong.text


def test_names_are_text(pages: TestClient, monitor: Monitor) -> None:
    page = upload(pages, monitor, orjson.dumps({EVIL: {"type": "drift", "soft": 0.1, "hard": 0.2}})).text
    assert EVIL not in page
    assert "&lt;script&gt;" in page


def test_the_file_that_holds_now_is_downloaded(pages: TestClient, monitor: Monitor) -> None:
    answer = pages.get(f"{path(monitor)}/threshold.json")
    assert orjson.loads(answer.content) == NOW
    assert "attachment" in answer.headers["content-disposition"]


def test_the_list_is_searched_and_sorted_and_an_empty_one_says_what_to_do(
    pages: TestClient, monitor: Monitor
) -> None:
    page = pages.get(f"{path(monitor)}?sort=-name").text
    assert page.index(">image</td>") < page.index(">gone</td>")
    assert ">gone</td>" not in pages.get(f"{path(monitor)}?q=IMA").text
    empty = make_monitor(services_of(pages))
    assert "Press Upload and choose a threshold file" in pages.get(path(empty)).text


def test_strangers_and_others_see_nothing(pages: TestClient, monitor: Monitor) -> None:
    theirs = make_monitor(services_of(pages), owner="another")
    with somebody_else(pages):
        for below in ("", "/upload", "/suggest", "/edit", "/threshold.json"):
            assert pages.get(path(theirs) + below).status_code == 404
        for below in ("/upload", "/suggest", "/view"):
            assert pages.post(path(theirs) + below, data={"json": "{}"}).status_code == 404
    cookies = dict(pages.cookies)
    pages.cookies.clear()
    assert pages.get(path(monitor)).headers["location"] == f"/sign-in?next={path(monitor)}"
    pages.cookies.update(cookies)
