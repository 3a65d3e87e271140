from __future__ import annotations

import threading
from pathlib import Path

import pytest

from parts import running_server, write_images, write_model
from tidegauge.client import Client, wait_for
from tidegauge.domain.catalogue import VersionState
from tidegauge.errors import ConflictError, InvalidInputError, NotFoundError, TidegaugeError
from tidegauge.storage.database import Database


def stored_bytes(home: Path) -> int:
    return sum(path.stat().st_size for path in (home / "store" / "blobs").rglob("*") if path.is_file())


def test_the_same_content_twice_adds_no_bytes(client: Client, tmp_path: Path) -> None:
    client.datasets.create("chest", folder=write_images(tmp_path / "images", 3))
    first = client.datasets.add_version("chest")
    before = stored_bytes(tmp_path / "home")
    second = client.datasets.add_version("chest")
    assert (first.number, second.number, second.digest) == (1, 2, first.digest)
    assert stored_bytes(tmp_path / "home") == before > 0


def test_a_corrupt_image_is_named_and_the_rest_goes_on(client: Client, tmp_path: Path) -> None:
    folder = write_images(tmp_path / "images", 3)
    (folder / "NORMAL" / "empty.png").write_bytes(b"")
    client.datasets.create("chest", folder=folder)
    version = client.datasets.add_version("chest")
    assert (version.files, version.classes) == (6, ("NORMAL", "PNEUMONIA"))
    assert [problem.file for problem in version.problems] == ["NORMAL/empty.png"]


def test_an_upload_comes_back_as_it_was(client: Client, tmp_path: Path) -> None:
    (tmp_path / "code" / "inner").mkdir(parents=True)
    (tmp_path / "code" / "inner" / "train.py").write_text("print(1)\n")
    client.code.create("mine")
    client.code.add_version("mine", tmp_path / "code")
    client.code.download("mine", 1, tmp_path / "back")
    assert (tmp_path / "back" / "inner" / "train.py").read_text() == "print(1)\n"


def test_versions_added_at_once_get_numbers_of_their_own(client: Client, tmp_path: Path) -> None:
    client.datasets.create("chest", folder=write_images(tmp_path / "images", 1))
    numbers: list[int] = []
    threads = [
        threading.Thread(target=lambda: numbers.append(client.datasets.add_version("chest").number))
        for _ in range(5)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(numbers) == [1, 2, 3, 4, 5]


def test_a_model_without_onnx_is_refused(client: Client, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.pkl").write_bytes(b"\x80\x04")
    client.models.create("tiny")
    with pytest.raises(TidegaugeError, match=r"no model.onnx at its top level"):
        client.models.add_version("tiny", tmp_path / "model")
    assert client.models.versions("tiny")[0].state is VersionState.FAILED


def test_a_model_in_use_is_not_deleted(client: Client, tmp_path: Path) -> None:
    client.models.create("tiny")
    client.models.add_version("tiny", write_model(tmp_path / "model"))
    client.deployments.create("served", "tiny", 1)
    with pytest.raises(ConflictError, match="is deployed as served"):
        client.models.delete("tiny")
    client.deployments.delete("served")
    client.models.delete("tiny")
    with pytest.raises(NotFoundError):
        client.models.get("tiny")


def test_a_source_that_takes_no_archive_says_so(client: Client, tmp_path: Path) -> None:
    client.datasets.create("chest", folder=write_images(tmp_path / "images", 1))
    with pytest.raises(InvalidInputError, match="send no archive"):
        client.datasets.add_version("chest", tmp_path / "images")
    client.code.create("uploaded")
    with pytest.raises(InvalidInputError, match="takes uploads"):
        client.code.add_version("uploaded")


def test_an_interrupted_import_goes_on_and_leftovers_go(tmp_path: Path) -> None:
    images = write_images(tmp_path / "images", 2)
    with running_server(tmp_path / "home") as client:
        client.datasets.create("chest", folder=images)
        client.datasets.add_version("chest")
    leftovers = tmp_path / "home" / "uploads"
    (leftovers / "half-an-upload").write_bytes(b"x")
    (leftovers / "scratch").mkdir()
    with running_server(tmp_path / "home") as client:
        services_version = client.datasets.versions("chest")[0]
        assert services_version.state is VersionState.READY
        assert list(leftovers.iterdir()) == []
    # What a crash in the middle leaves in the database.

    database = Database(f"sqlite:///{tmp_path / 'home' / 'tidegauge.sqlite'}")
    database.versions.update(services_version.id, state=VersionState.IMPORTING, files=0)
    database.close()
    with running_server(tmp_path / "home") as client:
        again = wait_for(
            lambda: client.datasets.version("chest", 1), lambda v: v.state is VersionState.READY, "it", 10
        )
        assert again.files == 4
