"""The contents of versions: recognising the form, ingesting, reading as images, writing back."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from tidegauge.domain.arrays import ImageArrays, read_npz
from tidegauge.domain.content import (
    Column,
    ContentForm,
    Manifest,
    ManifestFile,
    Problem,
    check_path,
    classes_of,
    folder_label,
    printable,
)
from tidegauge.domain.images import Image, decode_image, to_shape
from tidegauge.domain.labels import ImageLabelColumns
from tidegauge.domain.tables import read_table
from tidegauge.errors import InvalidInputError
from tidegauge.links.folders import Tree, visible, walk
from tidegauge.services.image_labels import find_label_files, read_image_labels
from tidegauge.storage.objects import Blobs

Progress = Callable[[int, int], None]

_IMAGES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"})
_TABLES = frozenset({".csv", ".parquet"})
_PAPERS = frozenset({"", ".md", ".txt", ".rst", ".pdf", ".html"})  # README, LICENSE: they come with data
_AHEAD = 4  # pieces of work per thread that wait, or are done and not yet taken
_THREADS = 6  # decoding leaves the interpreter's lock, a store's answer takes its time
_LOOKED_FOR = {
    ContentForm.LABELLED_FOLDERS: "one level of folders, named by label, with JPEG or PNG images in them",
    ContentForm.IMAGES_WITH_LABELS: "a CSV at the top with a file and a label column, and its images",
    ContentForm.NUMPY: ".npz files with the arrays x (or images) and y (or labels)",
    ContentForm.TABLE: ".csv or .parquet files",
    ContentForm.FILES: "files that are not hidden",
}
_TYPES = {ContentForm.NUMPY: frozenset({".npz"}), ContentForm.TABLE: _TABLES}

_In = TypeVar("_In")
_Out = TypeVar("_Out")


def content_root(folder: Path) -> Path:
    """Descend single wrapper folders, as archives have; a lone folder of images is a class, not a wrapper."""
    while True:
        entries = visible(folder)
        if len(entries) != 1 or not entries[0].is_dir(follow_symlinks=False):
            return folder
        inner = Path(entries[0].path)
        types = {_type(entry.name) for entry in visible(inner)}
        if types & _IMAGES and ".csv" not in types:
            return folder
        folder = inner


def detect_form(folder: Path, columns: ImageLabelColumns | None = None) -> ContentForm:
    """Recognise the form by what at least half of the files (papers aside) are; else ``files``."""
    tree = walk(content_root(folder))
    types = Counter(_type(path) for path in tree.paths)
    half = sum(count for suffix, count in types.items() if suffix not in _PAPERS) / 2
    images = [path for path in tree.paths if _type(path) in _IMAGES]
    if images and len(images) >= half:
        if find_label_files(tree, columns or ImageLabelColumns()):
            return ContentForm.IMAGES_WITH_LABELS
        in_folders = sum(path.count("/") == 1 for path in images)
        return ContentForm.LABELLED_FOLDERS if 2 * in_folders > len(images) else ContentForm.FILES
    if types[".npz"] and types[".npz"] >= half:
        return ContentForm.NUMPY
    tables = sum(types[suffix] for suffix in _TABLES)
    return ContentForm.TABLE if tables and tables >= half else ContentForm.FILES


def ingest(
    folder: Path,
    form: ContentForm,
    blobs: Blobs,
    progress: Progress,
    columns: ImageLabelColumns | None = None,
) -> Manifest:
    """Store the files of ``folder`` by content and return their manifest.

    What cannot be used (a corrupt image, a row without its file, a link to the outside) becomes a problem
    by name, and the rest goes on. ``progress(done, total)`` counts files. Raises InvalidInputError when
    nothing is usable.
    """
    # A tree of plain files is kept as it is: a repository may well have nothing but src/.
    tree = walk(folder if form is ContentForm.FILES else content_root(folder))
    plan, problems = _plan(tree, form, columns or ImageLabelColumns())
    problems = [*tree.problems, *problems]
    taken: list[_Taken] = []
    progress(0, len(plan))
    with closing(
        _ahead(partial(_take, tree, form, blobs), plan, 1 if form in _TYPES else _THREADS)
    ) as results:
        for done, result in enumerate(results, 1):
            if isinstance(result, Problem):
                problems.append(result)
            elif taken and [c.name for c in result.columns] != [c.name for c in taken[0].columns]:
                first = taken[0].file.path
                problems.append(Problem(result.file.path, f"Its columns are not those of {first!r}."))
            else:
                taken.append(result)
            progress(done, len(plan))
    if not taken:
        shown = (
            f" The first of {len(problems)} problems: {problems[0].file}: {problems[0].reason}"
            if problems
            else ""
        )
        raise InvalidInputError(
            f"Found nothing usable; form {form.value} looks for {_LOOKED_FOR[form]}.{shown}"
        )
    return Manifest(
        form,
        tuple(one.file for one in taken),
        classes_of(label for one in taken for label in one.labels),
        sum(one.file.rows for one in taken),
        tuple(problems),
        _merge_columns([one.columns for one in taken]),
    )


def read_images(
    manifest: Manifest,
    blobs: Blobs,
    height: int,
    width: int,
    channels: int,
    *,
    indices: Sequence[int] | None = None,
) -> Iterator[tuple[Image, str | None, str]]:
    """Yield (uint8 ``[height, width, channels]``, label, path) of all rows, or of ``indices`` in their order.

    A row of an array has the path ``file.npz#row``. Only a few images are held at a time; arrays one file at
    a time, so sorted indices read fastest. Raises InvalidInputError for a form without images.
    """
    if not manifest.form.holds_images:
        raise InvalidInputError(f"The version has the form {manifest.form.value}, which holds no images.")
    chosen = _rows(manifest, indices)
    if manifest.form is ContentForm.NUMPY:
        return _read_arrays(blobs, chosen, partial(to_shape, height=height, width=width, channels=channels))

    def read(row: tuple[ManifestFile, int]) -> tuple[Image, str | None, str]:
        file = row[0]
        image = decode_image(blobs.get(file.sha256), file.path)
        return to_shape(image, height, width, channels), file.label, file.path

    return _ahead(read, chosen, _THREADS)


def load_images(
    manifest: Manifest,
    blobs: Blobs,
    height: int,
    width: int,
    channels: int,
    *,
    indices: Sequence[int] | None = None,
) -> tuple[npt.NDArray[np.uint8], tuple[str | None, ...], tuple[str, ...]]:
    """Return what ``read_images`` yields as (uint8 ``[n, height, width, channels]``, labels, paths)."""
    count = manifest.rows if indices is None else len(indices)
    images = np.empty((count, height, width, channels), np.uint8)
    labels: list[str | None] = []
    paths: list[str] = []
    for place, (image, label, path) in enumerate(
        read_images(manifest, blobs, height, width, channels, indices=indices)
    ):
        images[place] = image
        labels.append(label)
        paths.append(path)
    return images, tuple(labels), tuple(paths)


def export(manifest: Manifest, blobs: Blobs, folder: Path, progress: Progress | None = None) -> None:
    """Write the files below ``folder``; labelled images as ``<label>/<file>``, equal names kept apart.

    Raises InvalidInputError when a path would lead out of ``folder`` or through a link.
    """
    folder.mkdir(parents=True, exist_ok=True)
    root = folder.resolve()
    places = _places(manifest)

    def write(pair: tuple[ManifestFile, str]) -> None:
        file, place = pair
        path = root / check_path(place)
        if not path.resolve().is_relative_to(root) or path.is_symlink():
            raise InvalidInputError(
                f"{place!r} would be written through a link out of the folder; use an empty one."
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(blobs.get(file.sha256))

    with closing(_ahead(write, zip(manifest.files, places, strict=True), _THREADS)) as written:
        for done, _ in enumerate(written, 1):
            if progress:
                progress(done, len(places))


@dataclass(frozen=True, slots=True)
class _Taken:
    """A stored file with what its content says."""

    file: ManifestFile
    labels: frozenset[str] = frozenset()
    columns: tuple[Column, ...] = ()


def _type(path: str) -> str:
    return PurePosixPath(path).suffix.lower()


def _plan(
    tree: Tree, form: ContentForm, columns: ImageLabelColumns
) -> tuple[list[tuple[str, str | None]], list[Problem]]:
    """Choose the files to take, with labels that do not stand in the content; say what is left out."""
    if form is ContentForm.FILES:
        return [(path, None) for path in tree.paths], []
    wanted = _TYPES.get(form, _IMAGES)
    chosen = [path for path in tree.paths if _type(path) in wanted]
    ignored = _PAPERS | wanted
    if form is ContentForm.IMAGES_WITH_LABELS:
        labels, problems = read_image_labels(tree, chosen, columns)
        used = find_label_files(tree, columns)
        problems += _strangers((path for path in tree.paths if path not in used), ignored, wanted)
        return [(path, labels[path]) for path in chosen if path in labels], problems
    problems = _strangers(tree.paths, ignored, wanted)
    if form in _TYPES:
        return [(path, None) for path in chosen], problems
    plan: list[tuple[str, str | None]] = []
    for path in chosen:
        label, below, rest = path.partition("/")
        if not below:
            problems.append(Problem(printable(path), "It lies in no labelled folder."))
        elif "/" in rest:
            problems.append(
                Problem(printable(path), "It lies deeper than one labelled folder; give a sub-path.")
            )
        else:
            plan.append((path, label))
    return plan, problems


def _strangers(paths: Iterable[str], ignored: frozenset[str], wanted: frozenset[str]) -> list[Problem]:
    reason = f"It is none of {', '.join(sorted(wanted))}."
    return [Problem(printable(path), reason) for path in paths if _type(path) not in ignored]


def _take(tree: Tree, form: ContentForm, blobs: Blobs, entry: tuple[str, str | None]) -> _Taken | Problem:
    """Check and store one file; what cannot be used is a problem with its name."""
    path, label = entry
    try:
        check_path(path)
        if form is ContentForm.LABELLED_FOLDERS and label is not None:
            label = folder_label(label)
        data = tree.full(path).read_bytes()
        rows = 1
        labels = frozenset(() if label is None else (label,))
        columns: tuple[Column, ...] = ()
        if form is ContentForm.NUMPY:
            arrays = read_npz(data, path)
            rows, labels = len(arrays.images), frozenset(arrays.labels or ())
        elif form is ContentForm.TABLE:
            frame = read_table(data, path)
            rows = frame.height
            columns = tuple(Column(name, str(kind)) for name, kind in frame.schema.items())
        elif form.holds_images:
            decode_image(data, path)
    except InvalidInputError as error:
        return Problem(printable(path), error.message)
    except OSError as error:
        return Problem(printable(path), f"It cannot be read: {error.strerror or error}.")
    digest, _ = blobs.put(data)
    return _Taken(ManifestFile(path, digest, len(data), label, rows), labels, columns)


def _merge_columns(schemas: list[tuple[Column, ...]]) -> tuple[Column, ...]:
    return tuple(
        same[0] if len({column.type for column in same}) == 1 else Column(same[0].name, "mixed")
        for same in zip(*schemas, strict=True)
    )


def _rows(manifest: Manifest, indices: Sequence[int] | None) -> list[tuple[ManifestFile, int]]:
    """Return (file, row in the file) of the rows of the manifest with these numbers."""
    starts = np.cumsum([0, *(file.rows for file in manifest.files)])
    numbers = np.arange(manifest.rows) if indices is None else np.asarray(indices, np.int64)
    if numbers.size and not (numbers.min() >= 0 and numbers.max() < manifest.rows):
        raise InvalidInputError.of("indices", f"indices must lie between 0 and {manifest.rows - 1}.")
    places = np.searchsorted(starts, numbers, side="right") - 1
    return [
        (manifest.files[place], int(number - starts[place]))
        for number, place in zip(numbers, places, strict=True)
    ]


def _read_arrays(
    blobs: Blobs, rows: list[tuple[ManifestFile, int]], shape: Callable[[Image], Image]
) -> Iterator[tuple[Image, str | None, str]]:
    opened: tuple[ManifestFile, ImageArrays] | None = None
    for file, row in rows:
        if opened is None or opened[0] is not file:
            opened = None  # free the last one before the next is read
            opened = (file, read_npz(blobs.get(file.sha256), file.path))
        arrays = opened[1]
        label = arrays.labels[row] if arrays.labels is not None else None
        yield shape(arrays.images[row]), label, f"{file.path}#{row}"


def _places(manifest: Manifest) -> list[str]:
    """Return where each file is written; deterministic, and no two alike."""
    if manifest.form not in (ContentForm.LABELLED_FOLDERS, ContentForm.IMAGES_WITH_LABELS):
        return [file.path for file in manifest.files]
    used: set[str] = set()
    labels = classes_of(file.label for file in manifest.files)
    folders = {label: _unused(folder_name(label), "", used) for label in labels}
    places: list[str] = []
    for file in manifest.files:
        name = PurePosixPath(file.path)
        places.append(_unused(f"{folders[file.label or '']}/{name.stem}", name.suffix, used))
    return places


def folder_name(label: str) -> str:
    """Return a label as a folder's name: no separators, and not hidden."""
    name = label.replace("/", "_").replace("\\", "_")
    return f"_{name}" if name.startswith(".") else name


def _unused(stem: str, suffix: str, used: set[str]) -> str:
    """Return the name, or with the first number that makes it unlike (in any case) the ones before."""
    name, number = stem + suffix, 1
    while name.lower() in used:
        number += 1
        name = f"{stem}-{number}{suffix}"
    used.add(name.lower())
    return name


def _ahead(
    function: Callable[[_In], _Out], items: Iterable[_In], threads: int
) -> Generator[_Out, None, None]:
    """Yield function(item) in the order of ``items``, worked out in threads a little ahead of the reader."""
    pool = ThreadPoolExecutor(threads)
    waiting: deque[Future[_Out]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > threads * _AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
