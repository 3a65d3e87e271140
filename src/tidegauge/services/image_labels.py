"""The CSV that labels a folder of images."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import PurePosixPath

import polars as pl

from tidegauge.domain.content import Problem, check_label
from tidegauge.domain.labels import ImageLabelColumns, label_text
from tidegauge.domain.tables import read_table
from tidegauge.errors import InvalidInputError
from tidegauge.links.folders import Tree


def find_label_files(tree: Tree, columns: ImageLabelColumns) -> list[str]:
    """Return the CSVs at the top of the tree that have a file and a label column."""
    tops = [path for path in tree.paths if "/" not in path and path.lower().endswith(".csv")]
    return [path for path in tops if columns.find(_header(tree, path))]


def read_image_labels(
    tree: Tree, images: Sequence[str], columns: ImageLabelColumns
) -> tuple[dict[str, str], list[Problem]]:
    """Return the label of each image that a row names, and every row and image that found no partner.

    A row names an image by its path from the top, or by so much of the end of it as is unique, with or
    without the ending of the type. The first row counts where two disagree.
    """
    known: dict[str, list[str]] = defaultdict(list)
    for path in images:
        name = PurePosixPath(path)
        for key in {name.name, name.stem}:
            known[key].append(path)
    labels: dict[str, str] = {}
    problems: list[Problem] = []
    for file in find_label_files(tree, columns):
        try:
            rows = _rows(tree, file, columns)
        except InvalidInputError as error:
            problems.append(Problem(file, error.message))
            continue
        for number, (image, text) in enumerate(rows, 1):
            reason = _add_row(image, text, known, labels)
            if reason:
                problems.append(Problem(file, f"Row {number} {reason}."))
    problems += [Problem(path, "No row of a labels file names it.") for path in images if path not in labels]
    return labels, problems


def _header(tree: Tree, path: str) -> list[str]:
    try:
        return pl.read_csv(tree.full(path), n_rows=0, infer_schema=False).columns
    except (pl.exceptions.PolarsError, OSError):
        return []


def _rows(tree: Tree, file: str, columns: ImageLabelColumns) -> list[tuple[str | None, str | None]]:
    frame = read_table(tree.full(file).read_bytes(), file, as_text=True)
    found = columns.find(frame.columns)
    if found is None:  # it had them a moment ago
        raise InvalidInputError(f"{file} has no file and label column.")
    return list(frame.select(*found).iter_rows())


def _add_row(name: str | None, text: str | None, known: dict[str, list[str]], labels: dict[str, str]) -> str:
    """Add the label of one row; return what is wrong with it."""
    if not name or not name.strip():
        return "names no file"
    name = name.strip().replace("\\", "/").removeprefix("./")
    if not text or not text.strip():
        return f"has no label for {name!r}"
    found = [path for path in known.get(PurePosixPath(name).name, ()) if _agree(path, name)]
    exact = [path for path in found if path == name]
    if len(exact or found) != 1:
        return f"names {name!r}, which " + ("is more than one file" if found else "is not there")
    path = (exact or found)[0]
    try:
        label = check_label(label_text(text))
    except InvalidInputError as error:
        return f"names {name!r} with a label that cannot be kept: {error.message.rstrip('.')}"
    if labels.setdefault(path, label) != label:
        return f"labels {name!r} {label!r}, an earlier row {labels[path]!r}; the earlier one counts"
    return ""


def _agree(path: str, name: str) -> bool:
    bare = str(PurePosixPath(path).with_suffix(""))
    return any(
        f"/{one}".endswith(f"/{other}") or f"/{other}".endswith(f"/{one}")
        for one, other in ((path, name), (bare, name))
    )
