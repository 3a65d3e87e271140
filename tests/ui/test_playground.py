"""The playground of a deployment: what is dropped is answered, compared, and neither stored nor logged."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import onnx
import orjson
import polars as pl
import pytest
from onnx import TensorProto, helper, numpy_helper
from playwright.sync_api import Page

from parts import SIDE, image, running_server, write_images, write_model
from tidegauge.client import Client, wait_for
from tidegauge.domain.deployment import Deployment
from tidegauge.domain.images import encode_png

EVIL = "<script>alert(1)</script>.png"


@dataclass
class Yard:
    """A server with a monitored deployment of images, one without a monitor, and one of rows."""

    client: Client
    browser: httpx.Client
    home: Path
    monitored: Deployment
    plain: Deployment
    rows: Deployment

    def drop(self, deployment: str, *files: tuple[str, bytes], **headers: str) -> httpx.Response:
        sent = [("image", file) for file in files]
        path = f"/deployments/{deployment}/playground"
        return self.browser.post(path, files=sent or {"image": ("", b"")}, headers=headers)

    def fill(self, values: dict[str, str]) -> httpx.Response:
        sent = [(f"column.{name}", (None, value.encode())) for name, value in values.items()]
        return self.browser.post("/deployments/rows/playground", files=sent)


def write_row_model(folder: Path) -> Path:
    """Write a regression of two columns: age + 2 * dose."""
    folder.mkdir(parents=True)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "weights"], ["y"])],
        "rows",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 1])],
        [numpy_helper.from_array(np.array([[1.0], [2.0]], np.float32), "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, str(folder / "model.onnx"))
    (folder / "model.json").write_bytes(orjson.dumps({"features": ["age", "dose"], "target": "stay"}))
    pl.DataFrame({"output": [float(k) for k in range(40)]}).write_parquet(folder / "reference.parquet")
    return folder


def add_model(client: Client, name: str, folder: Path) -> Deployment:
    client.models.create(name)
    client.models.add_version(name, folder)
    client.deployments.create(name, name, 1)
    return client.deployments.wait(name)


def add_monitor(client: Client, deployment: Deployment, config: dict[str, Any]) -> None:
    client.monitors.create(deployment.id, config)
    wait_for(
        lambda: client.monitors.get(deployment.name).state.value,
        lambda state: state in ("pending", "ready"),
        "the baseline",
        60,
    )


@pytest.fixture(scope="module")
def yard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Yard]:
    folder = tmp_path_factory.mktemp("yard")
    with running_server(folder / "home") as client:
        client.datasets.create("chest", folder=write_images(folder / "train", 30))
        client.datasets.add_version("chest")
        rng = np.random.default_rng(0)
        (folder / "table").mkdir()
        ages = rng.normal(50, 10, 300)
        pl.DataFrame({"age": ages, "dose": rng.uniform(0, 5, 300), "stay": ages}).write_csv(
            folder / "table" / "rows.csv"
        )
        client.datasets.create("patients", folder=folder / "table")
        client.datasets.add_version("patients")
        monitored = add_model(client, "monitored", write_model(folder / "model"))
        plain = add_model(client, "plain", write_model(folder / "other"))
        rows = add_model(client, "rows", write_row_model(folder / "rows"))
        drift = {"enabled": True, "image": {"height": SIDE, "width": SIDE}}
        add_monitor(client, monitored, {"drift": {**drift, "train_data": {"dataset": "chest", "version": 1}}})
        add_monitor(
            client,
            rows,
            {
                "model_type": "regression",
                "input_data_type": "tabular",
                "drift": {"enabled": True, "train_data": {"dataset": "patients", "version": 1}},
            },
        )
        cookies = {"tidegauge_token": client.token}
        with httpx.Client(
            base_url=client.url, headers={"Origin": client.url}, cookies=cookies, timeout=30
        ) as browser:
            yield Yard(client, browser, folder / "home", monitored, plain, rows)


def picture(label: str = "NORMAL", seed: int = 0) -> bytes:
    return encode_png(image(label, np.random.default_rng(seed)))


def encoded(pixels: np.ndarray) -> bytes:
    return bytes(cv2.imencode(".png", pixels)[1])


def files_of(home: Path) -> set[Path]:
    """Return what is in the home, but for the database and what processes say."""
    return {path for path in home.rglob("*") if path.is_file() and "sqlite" not in path.name}


def test_a_dropped_image_is_answered_beside_the_baseline(yard: Yard) -> None:
    answer = yard.drop("monitored", ("a.png", picture("PNEUMONIA")))
    assert answer.status_code == 200
    assert "<b>PNEUMONIA</b>" in answer.text
    assert "Strangeness" in answer.text
    near = re.findall(r'<img src="(/monitors/[^"]+/baselines/1/image\.png\?name=([^"]+))"', answer.text)
    assert len(near) == 5
    assert all(name.startswith("PNEUMONIA/") for _, name in near)
    assert yard.browser.get(near[0][0]).headers["content-type"] == "image/png"


def test_what_is_odd_is_said(yard: Yard) -> None:
    pixels = cv2.blur(image("NORMAL", np.random.default_rng(1)), (9, 9))
    text = yard.drop("monitored", ("blurred.png", encoded(pixels))).text
    assert "standard deviations below the baseline" in text
    assert "stranger than every image of the baseline" in text


def test_nothing_is_logged_and_nothing_is_stored(yard: Yard) -> None:
    before = files_of(yard.home)
    logged = yard.client.request("GET", f"/serve/{yard.monitored.id}/healthz").json()
    for _ in range(3):
        assert yard.drop("monitored", ("a.png", picture())).status_code == 200
    body = {"inputs": {"input_1": [image("NORMAL", np.random.default_rng(2)).tolist()]}}
    yard.client.deployments.predict(yard.plain, body)  # traffic of another, that the log has time to come
    after = yard.client.request("GET", f"/serve/{yard.monitored.id}/healthz").json()
    assert after == logged
    assert not [path for path in files_of(yard.home) - before if yard.monitored.id in str(path)]


def test_a_client_cannot_stay_out_of_the_log(yard: Yard) -> None:
    body = orjson.dumps({"inputs": {"input_1": [image("NORMAL", np.random.default_rng(3)).tolist()]}})
    served = f"/serve/{yard.plain.id}/healthz"
    before = yard.client.request("GET", served).json()["served"]
    headers = {"tidegauge-probe": "1", "Authorization": f"Bearer {yard.client.token}"}
    path = f"/serve/{yard.plain.id}/v1/models/plain:predict"
    assert yard.browser.post(path, content=body, headers=headers).status_code == 200
    assert yard.client.request("GET", served).json()["served"] == before + 1


def test_without_a_monitor_there_is_the_prediction_only_and_why(yard: Yard) -> None:
    text = yard.drop("plain", ("a.png", picture("NORMAL"))).text
    assert "The deployment has no monitor" in text
    assert "<b>NORMAL</b>" in text
    assert "Strangeness" not in text


def test_how_the_model_sees_an_image_stands_in_the_page_and_the_policy_lets_it(yard: Yard) -> None:
    answer = yard.drop("plain", ("a.png", picture()))
    assert 'src="data:image/png;base64,' in answer.text
    policy = answer.headers["content-security-policy"]
    assert "img-src 'self' data:" in policy
    assert "unsafe" not in policy


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "is empty; send a JPEG or PNG image."),
        (b"no image", "cannot be decoded; send a JPEG or PNG image."),
        (picture()[:200], "is cut off before its end; send the whole file."),
        (
            b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + (50_000).to_bytes(4) * 2 + b"\x08\0\0\0\0" + b"\0" * 4,
            "has 50000 x 50000 pixels; send at most 100 megapixels.",
        ),
        (b"\0" * (33 << 20), "has 33 MB; drop a file of 32 MB at most."),
    ],
)
def test_what_cannot_be_used_is_said_in_one_sentence(yard: Yard, data: bytes, said: str) -> None:
    answer = yard.drop("plain", ("mine.png", data))
    assert answer.status_code == 422
    assert f"mine.png {said}" in answer.text


@pytest.mark.parametrize(
    ("pixels", "said"),
    [
        (np.full((SIDE, SIDE), 40_000, np.uint16), "It has 16 bits a pixel; the model sees 8 of them."),
        (np.full((SIDE, SIDE, 3), 90, np.uint8), "It is in colour; the model sees it in grey."),
        (np.full((SIDE, SIDE, 4), 90, np.uint8), "Its transparency is left out."),
        (
            np.full((50, 100), 90, np.uint8),
            "100 by 50 pixels; the model sees 32 by 32, out of proportion.",
        ),
    ],
)
def test_what_is_changed_for_the_model_is_said(yard: Yard, pixels: np.ndarray, said: str) -> None:
    answer = yard.drop("plain", ("mine.png", encoded(pixels)))
    assert answer.status_code == 200
    assert said in answer.text


def test_one_bad_image_does_not_spoil_the_others(yard: Yard) -> None:
    answer = yard.drop("plain", ("good.png", picture()), ("bad.png", b"x"))
    assert answer.status_code == 200
    assert "bad.png cannot be decoded" in answer.text
    assert "good.png, as the model sees it" in answer.text


def test_too_many_and_none_are_refused(yard: Yard) -> None:
    assert "at most 12 images at a time" in yard.drop("plain", *[("a.png", b"x")] * 13).text
    nothing = yard.drop("plain")
    assert (nothing.status_code, "Choose an image first." in nothing.text) == (422, True)


def test_a_stopped_deployment_says_that_it_has_to_be_started(yard: Yard) -> None:
    yard.client.deployments.update("plain", wanted="stopped")
    try:
        page = yard.browser.get("/deployments/plain/playground")
        assert page.status_code == 200
        assert "The deployment &#39;plain&#39; is stopped; start it first." in page.text
        answer = yard.drop("plain", ("a.png", picture()))
        assert (answer.status_code, "is stopped; start it first." in answer.text) == (409, True)
    finally:
        yard.client.deployments.update("plain", wanted="running")
        yard.client.deployments.wait("plain")


def test_a_row_is_filled_in_and_answered_beside_the_baseline(yard: Yard) -> None:
    form = yard.browser.get("/deployments/rows/playground").text
    assert 'name="column.age"' in form
    assert 'type="file"' not in form
    text = yard.fill({"age": "95", "dose": "2.5"}).text
    assert "<b>100</b>" in text
    assert re.search(r"age</th><td>95</td><td[^>]*>larger than (over 99%|all) of the baseline", text)


def test_a_wrong_value_is_told_at_its_field_and_what_was_typed_stays(yard: Yard) -> None:
    answer = yard.fill({"age": "old", "dose": "1.25"})
    assert answer.status_code == 422
    assert "age is &#39;old&#39;; the model takes a number." in answer.text
    assert re.search(r'name="column\.age" value="old"[^>]*aria-invalid="true"', answer.text)
    assert 'value="1.25"' in answer.text


def test_markup_in_file_names_is_text(yard: Yard) -> None:
    for data in (picture(), b"x"):
        text = yard.drop("plain", (EVIL, data)).text
        assert EVIL not in text
        assert "&lt;script&gt;" in text


def test_strangers_and_others_see_nothing(yard: Yard) -> None:
    assert yard.browser.get("/deployments/nobodys/playground").status_code == 404
    assert yard.drop("nobodys", ("a.png", picture())).status_code == 404
    with httpx.Client(base_url=yard.browser.base_url) as stranger:
        answer = stranger.get("/deployments/plain/playground")
        assert answer.headers["location"] == "/sign-in?next=/deployments/plain/playground"


def test_a_form_of_another_site_is_refused(yard: Yard) -> None:
    answer = yard.drop("plain", ("a.png", picture()), Origin="https://evil.example")
    assert answer.status_code == 403


def test_an_image_is_answered_in_place_as_soon_as_it_is_chosen(page: Page, yard: Yard) -> None:
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    base = str(yard.browser.base_url)
    page.context.add_cookies([{"name": "tidegauge_token", "value": yard.client.token, "url": base}])
    page.goto(f"{base}/deployments/monitored/playground")
    page.set_input_files("#image", {"name": "a.png", "mimeType": "image/png", "buffer": picture()})
    page.get_by_text("Nearest training images").wait_for()
    page.wait_for_function("[...document.images].every((one) => one.complete && one.naturalWidth)")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert not complaints
