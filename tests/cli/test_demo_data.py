from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from parts import write_images
from tidegauge.cli.demo_play import play
from tidegauge.errors import InvalidInputError, UnavailableError
from tidegauge.services.example.data import Traffic, find_data, load


def test_a_git_url_names_branch_and_sub_path(tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    write_images(repository / "data" / "xrays", 3)
    for command in (
        ["init", "-q", "-b", "monitoring"],
        ["add", "."],
        ["-c", "user.name=t", "-c", "user.email=t@t", "commit", "-q", "-m", "x"],
    ):
        subprocess.run(["git", *command], cwd=repository, check=True)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    data = find_data(f"file://{repository}#monitoring:data/xrays", scratch, seed=1)
    assert len(data.traffic) == 6
    assert data.replayed
    with pytest.raises(InvalidInputError, match="nonsense"):
        find_data(f"file://{repository}#nonsense:data", scratch / "again", seed=1)


def test_a_large_set_keeps_its_traffic_from_training(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "images", 60)
    data = find_data(str(folder), tmp_path / "scratch", seed=1)
    trained = {path.name for path in data.train.rglob("*.png")}
    sent = {image.path.name for image in data.traffic}
    assert not data.replayed
    assert not trained & sent
    assert len(trained) + len(sent) == 120


def test_train_and_test_folders_are_taken_as_they_are(tmp_path: Path) -> None:
    write_images(tmp_path / "set" / "train", 3)
    write_images(tmp_path / "set" / "test", 2)
    data = find_data(str(tmp_path / "set"), tmp_path, seed=1)
    assert data.train == tmp_path / "set" / "train"
    assert len(data.traffic) == 4


def test_cycles_have_ten_to_fifteen_images_and_are_distorted(tmp_path: Path) -> None:
    data = find_data(str(write_images(tmp_path / "images", 5)), tmp_path, seed=1)
    traffic = Traffic(data, seed=1)
    assert all(10 <= len(traffic.draw()) <= 15 for _ in range(20))
    image = data.traffic[0]
    normal = load(image, "normal")
    assert normal.shape == (200, 200, 1)
    assert (load(image, "transposed")[..., 0] == normal[..., 0].T).all()
    assert load(image, "blurred").std() < normal.std()


def test_without_the_training_extra_the_demo_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UnavailableError, match=r"tensorflow and kfp and tf2onnx must be installed"):
        play(None, None, 0, wait=False, as_json=False, seed=1)
