from __future__ import annotations

import os

import pytest

from tidegauge.errors import InvalidInputError
from tidegauge.links import folders


def reasons(tree):
    return {problem.file: problem.reason for problem in tree.problems}


def test_lists_sorted_without_hidden_files(tmp_path):
    for name in ("b/2", "b/1", "a", ".git/config", "b/.DS_Store", "__MACOSX/._a", "b/Thumbs.db"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    tree = folders.walk(tmp_path)
    assert tree.paths == ("a", "b/1", "b/2")
    assert tree.problems == ()


def test_links_are_followed_only_to_files_within(tmp_path):
    root = tmp_path / "root"
    (root / "folder").mkdir(parents=True)
    (root / "real").write_text("x")
    (root / ".secret").write_text("x")
    (tmp_path / "outside").write_text("x")
    (root / "fine").symlink_to("real")
    (root / "out").symlink_to(tmp_path / "outside")
    (root / "hidden").symlink_to(".secret")
    (root / "nothing").symlink_to("missing")
    (root / "loop").symlink_to("loop")
    (root / "folder" / "up").symlink_to(root)
    os.mkfifo(root / "pipe")
    tree = folders.walk(root)
    assert tree.paths == ("fine", "real")
    found = reasons(tree)
    assert sorted(found) == ["folder/up", "hidden", "loop", "nothing", "out", "pipe"]
    assert "outside" in found["out"]
    assert "hidden" in found["hidden"]
    assert "nothing" in found["nothing"]
    assert found["pipe"] == "It is not a regular file."


def test_a_folder_reached_by_a_link_is_read(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a").write_text("x")
    (tmp_path / "link").symlink_to("real")
    assert folders.walk(tmp_path / "link").paths == ("a",)


def test_names_that_are_no_text_are_problems_that_can_be_shown(tmp_path):
    (tmp_path / os.fsdecode(b"caf\xe9")).symlink_to("nowhere")
    (problem,) = folders.walk(tmp_path).problems
    assert problem.file == "caf\ufffd"


def test_number_of_files_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(folders, "MAX_FILES", 3)
    for name in "abc":
        (tmp_path / name).write_text("x")
    assert len(folders.walk(tmp_path).paths) == 3
    (tmp_path / "d").write_text("x")
    with pytest.raises(InvalidInputError, match="more than 3 files"):
        folders.walk(tmp_path)
