"""Folders of others: which files they hold, without leaving them."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from tidegauge.domain.content import MAX_FILES, Problem, printable
from tidegauge.errors import InvalidInputError

_SKIPPED = frozenset({"__macosx", "thumbs.db", "desktop.ini"})


@dataclass(frozen=True)
class Tree:
    """The regular files below ``root`` as sorted relative POSIX paths, and what was not followed."""

    root: Path
    paths: tuple[str, ...]
    problems: tuple[Problem, ...]

    def full(self, path: str) -> Path:
        return self.root / path


def walk(folder: Path) -> Tree:
    """List the files below ``folder``, without hidden ones and what desktops leave behind.

    A symbolic link to a file within ``folder`` is read; one to a folder, to the outside or to nothing,
    and anything that is no regular file, is a problem. Raises InvalidInputError past 1,000,000 files.
    """
    root = folder.resolve()
    paths: list[str] = []
    problems: list[Problem] = []
    waiting = [""]
    while waiting:
        below = waiting.pop()
        for entry in visible(root / below):
            path = below + entry.name
            if entry.is_dir(follow_symlinks=False):
                waiting.append(f"{path}/")
                continue
            reason = _refusal(entry, root)
            if reason:
                problems.append(Problem(printable(path), reason))
            else:
                paths.append(path)
        if len(paths) + len(problems) > MAX_FILES:
            raise InvalidInputError(
                f"The folder holds more than {MAX_FILES} files; import it in parts or give a sub-path."
            )
    return Tree(root, tuple(sorted(paths)), tuple(sorted(problems, key=lambda problem: problem.file)))


def visible(folder: Path) -> list[os.DirEntry[str]]:
    """Return the entries of a folder that are not hidden."""
    with os.scandir(folder) as entries:
        return [entry for entry in entries if not _hidden(entry.name)]


def _hidden(name: str) -> bool:
    return name.startswith(".") or name.lower() in _SKIPPED


def _refusal(entry: os.DirEntry[str], root: Path) -> str:
    if not entry.is_symlink():
        return "" if entry.is_file() else "It is not a regular file."
    target = Path(os.path.realpath(entry.path))
    if not target.is_relative_to(root):
        return "It is a symbolic link that points outside the folder; it was not followed."
    if any(_hidden(part) for part in target.relative_to(root).parts):
        return "It is a symbolic link to a hidden file; it was not followed."
    try:
        mode = target.stat().st_mode
    except OSError:
        return "It is a symbolic link that points to nothing."
    if not stat.S_ISREG(mode):
        return "It is a symbolic link to something other than a file; it was not followed."
    return ""


def inside(folder: Path, path: str, field: str) -> Path:
    """Return ``path`` within ``folder``, resolved; refuse a way out of it by ``..`` or a symbolic link."""
    base = folder.resolve()
    if "\0" in path or Path(path).is_absolute() or ".." in Path(path).parts:
        raise InvalidInputError.of(
            field, f"{field} is {path!r}; give a path within the source, without '..'."
        )
    found = (base / path).resolve()
    if not found.is_relative_to(base):
        raise InvalidInputError.of(field, f"{field} {path!r} leads out of the source by a symbolic link.")
    return found


def sub_path(folder: Path, path: str) -> Path:
    """Return the folder ``path`` within ``folder``; raise InvalidInputError where it leads out or is none."""
    found = inside(folder, path, "source.sub_path")
    if not found.is_dir():
        raise InvalidInputError.of(
            "source.sub_path", f"The source has no folder {path!r}; check source.sub_path."
        )
    return found
