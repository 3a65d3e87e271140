from __future__ import annotations

import io
import os
import zipfile

import numpy as np
import polars as pl
import pytest

from tidegauge.domain.content import Column, ContentForm, Manifest, ManifestFile
from tidegauge.domain.images import encode_png
from tidegauge.domain.labels import ImageLabelColumns
from tidegauge.errors import InvalidInputError
from tidegauge.services import content
from tidegauge.storage.objects import Blobs, ObjectStore


@pytest.fixture
def store(tmp_path):
    return ObjectStore(str(tmp_path / "store"))


@pytest.fixture
def blobs(store):
    return Blobs(store)


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "source"
    folder.mkdir()
    return folder


def picture(level, size=6):
    return encode_png(np.full((size, size), level, np.uint8))


def put(folder, files):
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def npz(**arrays):
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def parquet(frame):
    buffer = io.BytesIO()
    frame.write_parquet(buffer)
    return buffer.getvalue()


def ingest(folder, blobs, form=None, columns=None):
    form = form or content.detect_form(folder)
    return content.ingest(folder, form, blobs, lambda done, total: None, columns)


def problems(manifest):
    return {problem.file: problem.reason for problem in manifest.problems}


def tree(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


LABELLED = {"NORMAL/a.png": picture(10), "NORMAL/b.png": picture(20), "PNEUMONIA/a.png": picture(30)}


# Recognising


@pytest.mark.parametrize(
    ("files", "form"),
    [
        (LABELLED, "labelled_folders"),
        ({f"wrapper/inner/{name}": data for name, data in LABELLED.items()}, "labelled_folders"),
        (LABELLED | {"README.md": b"x", "LICENSE": b"x", ".git/config": b"x"}, "labelled_folders"),
        ({"Hand/a.png": picture(1)}, "labelled_folders"),
        ({"labels.csv": b"image,class\n", "a.png": b""}, "images_with_labels"),
        ({"w/labels.csv": b"path,target\n", "w/a.png": b""}, "images_with_labels"),
        ({"labels.csv": b"File,Label\n", "images/a.png": b""}, "images_with_labels"),
        ({"a.npz": b"", "README.md": b""}, "numpy"),
        ({"a.csv": b"", "deep/b.parquet": b""}, "table"),
        ({"train.py": b"", "docs/a.png": b"", "lib/b.py": b"", "data.csv": b""}, "files"),
        ({"train/A/a.png": b"", "test/A/a.png": b""}, "files"),
        ({"a.png": b"", "b.png": b""}, "files"),
        ({}, "files"),
    ],
)
def test_detect_form(source, files, form):
    put(source, files)
    assert content.detect_form(source) == form


# Labelled folders


def test_labelled_folders(source, blobs):
    put(source, LABELLED | {"NORMAL/.DS_Store": b"x", "__MACOSX/NORMAL/a.png": b"x", "README.md": b"x"})
    steps = []
    manifest = content.ingest(
        source, ContentForm.LABELLED_FOLDERS, blobs, lambda done, total: steps.append((done, total))
    )
    assert [(file.path, file.label, file.rows) for file in manifest.files] == [
        ("NORMAL/a.png", "NORMAL", 1),
        ("NORMAL/b.png", "NORMAL", 1),
        ("PNEUMONIA/a.png", "PNEUMONIA", 1),
    ]
    assert (manifest.classes, manifest.rows, manifest.problems) == (("NORMAL", "PNEUMONIA"), 3, ())
    assert steps == [(0, 3), (1, 3), (2, 3), (3, 3)]
    assert blobs.get(manifest.files[0].sha256) == LABELLED["NORMAL/a.png"]
    assert manifest.files[0].size == len(LABELLED["NORMAL/a.png"])


def test_what_is_no_usable_image_is_named_and_the_rest_goes_on(source, blobs):
    put(
        source,
        LABELLED
        | {
            "NORMAL/cut.png": picture(1)[:-20],
            "NORMAL/empty.jpg": b"",
            "NORMAL/notes.xlsx": b"x",
            "NORMAL/deep/a.png": picture(2),
            "loose.png": picture(3),
        },
    )
    (source / "NORMAL" / "out.png").symlink_to("/etc/passwd")
    manifest = ingest(source, blobs, ContentForm.LABELLED_FOLDERS)
    assert manifest.rows == 3
    found = problems(manifest)
    assert sorted(found) == [
        "NORMAL/cut.png",
        "NORMAL/deep/a.png",
        "NORMAL/empty.jpg",
        "NORMAL/notes.xlsx",
        "NORMAL/out.png",
        "loose.png",
    ]
    assert "cut off" in found["NORMAL/cut.png"]
    assert "outside" in found["NORMAL/out.png"]
    assert "deeper" in found["NORMAL/deep/a.png"]


def test_a_name_that_is_no_text_is_a_problem(source, blobs):
    put(source, LABELLED)
    (source / "NORMAL" / os.fsdecode(b"\xe9.png")).write_bytes(picture(1))
    assert list(problems(ingest(source, blobs))) == ["NORMAL/\ufffd.png"]


def test_the_same_content_adds_no_bytes(source, store, blobs):
    put(source, LABELLED | {"PNEUMONIA/copy.png": LABELLED["NORMAL/a.png"]})
    first = ingest(source, blobs)
    before = [(info.path, info.modified) for info in store.list("blobs")]
    assert len(before) == 3
    assert ingest(source, blobs).digest == first.digest
    assert [(info.path, info.modified) for info in store.list("blobs")] == before


@pytest.mark.parametrize("form", list(ContentForm))
def test_nothing_usable_says_what_was_looked_for(source, blobs, form):
    with pytest.raises(InvalidInputError, match="Found nothing usable; form"):
        ingest(source, blobs, form)


def test_a_split_given_as_labelled_folders_points_to_the_sub_path(source, blobs):
    put(source, {f"{split}/{name}": data for split in ("train", "test") for name, data in LABELLED.items()})
    with pytest.raises(InvalidInputError, match=r"The first of 6 problems: test/NORMAL/a\.png: .* sub-path"):
        ingest(source, blobs, ContentForm.LABELLED_FOLDERS)


def test_real_xrays(shared_data, blobs):
    manifest = ingest(shared_data / "chest-xray-mini", blobs)
    assert (manifest.form, manifest.rows, manifest.problems) == (ContentForm.LABELLED_FOLDERS, 20, ())
    images, labels, paths = content.load_images(manifest, blobs, 200, 200, 1)
    assert images.shape == (20, 200, 200, 1)
    assert 80 < images.mean() < 160
    assert labels == ("NORMAL",) * 10 + ("PNEUMONIA",) * 10
    assert all(path.startswith(label) for path, label in zip(paths, labels, strict=True))


# Images with a labels CSV


def test_images_with_labels(source, blobs):
    csv = (
        b"id,filename,class\n"
        b"1,a.png,cat\n"
        b"2,sub/b.png,dog\n"
        b"3,data/sub/c.png,1.0\n"
        b"4,d,1\n"
        b"5,gone.png,cat\n"
        b"6,,cat\n"
        b"7,e.png,\n"
        b"8,a.png,dog\n"
        b"9,same.png,cat\n"
        b"10,.\\sub\\f.png,cat\n"
    )
    names = ["a", "sub/b", "sub/c", "d", "e", "one/same", "two/same", "sub/f", "spare"]
    put(source, {f"{name}.png": picture(place) for place, name in enumerate(names)} | {"labels.csv": csv})
    manifest = ingest(source, blobs)
    assert manifest.form is ContentForm.IMAGES_WITH_LABELS
    assert {file.path: file.label for file in manifest.files} == {
        "a.png": "cat",
        "sub/b.png": "dog",
        "sub/c.png": "1",
        "d.png": "1",
        "sub/f.png": "cat",
    }
    rows = [problem.reason for problem in manifest.problems if problem.file == "labels.csv"]
    assert rows == [
        "Row 5 names 'gone.png', which is not there.",
        "Row 6 names no file.",
        "Row 7 has no label for 'e.png'.",
        "Row 8 labels 'a.png' 'dog', an earlier row 'cat'; the earlier one counts.",
        "Row 9 names 'same.png', which is more than one file.",
    ]
    others = sorted(problem.file for problem in manifest.problems if problem.file != "labels.csv")
    assert others == ["e.png", "one/same.png", "spare.png", "two/same.png"]


def test_columns_of_the_labels_can_be_named(source, blobs):
    put(source, {"a.png": picture(1), "truth.csv": b"scan,finding\na.png,ok\n"})
    columns = ImageLabelColumns(file=("scan",), label=("finding",))
    assert content.detect_form(source) is ContentForm.FILES
    assert content.detect_form(source, columns) is ContentForm.IMAGES_WITH_LABELS
    assert ingest(source, blobs, ContentForm.IMAGES_WITH_LABELS, columns).classes == ("ok",)


def test_a_damaged_labels_file_is_a_problem(source, blobs):
    put(
        source,
        {"a.png": picture(1), "bad.csv": b"file,label\na.png,x,y\n", "good.csv": b"file,label\na.png,x\n"},
    )
    manifest = ingest(source, blobs, ContentForm.IMAGES_WITH_LABELS)
    assert manifest.rows == 1
    assert list(problems(manifest)) == ["bad.csv"]


# NumPy


def test_numpy(source, blobs):
    grey = np.arange(2 * 4 * 5, dtype=np.uint8).reshape(2, 4, 5)
    put(
        source,
        {
            "1.npz": npz(x=grey, y=np.array([10, 9])),
            "2.npz": npz(images=grey[:1, :, :, None] / 255.0, labels=[9.0]),
        },
    )
    manifest = ingest(source, blobs)
    assert (manifest.form, manifest.rows, manifest.classes) == (ContentForm.NUMPY, 3, ("9", "10"))
    images, labels, paths = content.load_images(manifest, blobs, 4, 5, 1)
    assert np.array_equal(images[..., 0], np.concatenate([grey, grey[:1]]))
    assert labels == ("10", "9", "9")
    assert paths == ("1.npz#0", "1.npz#1", "2.npz#0")
    images, labels, _ = content.load_images(manifest, blobs, 4, 5, 3, indices=[2, 0])
    assert images.shape == (2, 4, 5, 3)
    assert labels == ("9", "10")


X = np.zeros((2, 3, 3), np.uint8)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (npz(z=X), "no array named"),
        (npz(x=X, y=[1]), "expected one for each of 2 images"),
        (npz(x=X, y=np.eye(2)), "expected one for each of 2 images"),
        (npz(x=X, y=[1.0, np.nan]), "not finite"),
        (npz(x=X, y=np.array([{}, {}], object)), "cannot be read"),
        (npz(x=np.array([object()])), "cannot be read"),
        (npz(x=X[0]), "have shape [3, 3]"),
        (npz(x=np.zeros((2, 3, 3, 4))), "have shape [2, 3, 3, 4]"),
        (npz(x=np.zeros((0, 3, 3))), "have shape [0, 3, 3]"),
        (npz(x=X - 1.0), "run from -1 to -1"),
        (npz(x=X + np.nan), "run from nan to nan"),
        (npz(x=X + 256.0), "run from 256 to 256"),
        (npz(x=X.astype(str)), "are <U"),
        (b"no zip", "no readable .npz"),
        (npz(x=X)[:-30], "no readable .npz"),
    ],
)
def test_unusable_arrays_are_named(source, blobs, data, reason):
    put(source, {"good.npz": npz(x=X), "bad.npz": data})
    manifest = ingest(source, blobs)
    assert [file.path for file in manifest.files] == ["good.npz"]
    assert reason in problems(manifest)["bad.npz"]


def test_an_array_that_claims_to_be_huge_is_not_believed(source, blobs):
    member = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        member, {"shape": (2**40, 1, 1), "fortran_order": False, "descr": "|u1"}
    )
    with zipfile.ZipFile(source / "bad.npz", "w") as archive:
        archive.writestr("x.npy", member.getvalue())
    put(source, {"good.npz": npz(x=X)})
    assert "cut off, or larger" in problems(ingest(source, blobs))["bad.npz"]


# Tables and plain files


def test_tables(source, blobs):
    frame = pl.DataFrame({"age": [1.5, 2.5], "sex": ["f", "m"]})
    late = "age,sex\n" + "1,f\n" * 500 + "0.5,m\n"
    put(
        source,
        {
            "a.csv": late.encode(),
            "b.parquet": parquet(frame),
            "c.parquet": parquet(frame.with_columns(pl.col("sex").cast(pl.Categorical))),
            "other.csv": b"age\n1\n",
            "ragged.csv": b"age,sex\n1,2,3\n",
            "broken.parquet": b"PAR1",
            "notes.json": b"{}",
        },
    )
    manifest = ingest(source, blobs, ContentForm.TABLE)
    assert [(file.path, file.rows) for file in manifest.files] == [
        ("a.csv", 501),
        ("b.parquet", 2),
        ("c.parquet", 2),
    ]
    assert (manifest.rows, manifest.columns) == (505, (Column("age", "Float64"), Column("sex", "mixed")))
    found = problems(manifest)
    assert sorted(found) == ["broken.parquet", "notes.json", "other.csv", "ragged.csv"]
    assert found["other.csv"] == "Its columns are not those of 'a.csv'."


def test_plain_files_keep_their_tree_even_below_one_folder(source, blobs, tmp_path):
    files = {"src/a.py": b"1", "src/deep/Dockerfile": b"2", "src/a\u0301 b.txt": b"3"}
    put(source, files | {".git/config": b"x"})
    manifest = ingest(source, blobs, ContentForm.FILES)
    assert (manifest.rows, manifest.classes, manifest.problems) == (3, (), ())
    content.export(manifest, blobs, tmp_path / "out")
    assert tree(tmp_path / "out") == files


def test_wrappers_are_descended(source):
    put(source, {"a/b/x.py": b"", "a/b/y.py": b"", "__MACOSX/a": b""})
    assert content.content_root(source) == source / "a" / "b"


# Reading


def test_images_come_in_order_through_one_preprocessing(source, blobs):
    put(source, {f"{n % 2}/{n:03}.png": picture(n, 4 + n % 3) for n in range(100)})
    manifest = ingest(source, blobs)
    images, labels, paths = content.load_images(manifest, blobs, 5, 7, 1)
    assert images.shape == (100, 5, 7, 1)
    assert paths == tuple(file.path for file in manifest.files)
    assert [int(path[2:5]) for path in paths] == images[:, 0, 0, 0].tolist()
    assert labels == ("0",) * 50 + ("1",) * 50
    chosen, _, some = content.load_images(manifest, blobs, 5, 7, 3, indices=[99, 0, 0])
    assert some == (paths[99], paths[0], paths[0])
    assert np.array_equal(chosen[..., 2], images[[99, 0, 0], ..., 0])


class CountingBlobs(Blobs):
    reads = 0

    def get(self, digest):
        self.reads += 1
        return super().get(digest)


def test_reading_stays_close_to_the_reader(source, store):
    blobs = CountingBlobs(store)
    put(source, {f"A/{n}.png": picture(n) for n in range(100)})
    reader = content.read_images(ingest(source, blobs), blobs, 4, 4, 1)
    next(reader)
    reader.close()
    assert 0 < blobs.reads < 50


def test_indices_and_forms_are_checked(source, blobs, tmp_path):
    put(source, LABELLED)
    manifest = ingest(source, blobs)
    for wrong in ([3], [-1]):
        with pytest.raises(InvalidInputError, match="between 0 and 2"):
            content.load_images(manifest, blobs, 4, 4, 1, indices=wrong)
    assert content.load_images(manifest, blobs, 4, 4, 1, indices=[])[0].shape == (0, 4, 4, 1)
    files = ingest(source, blobs, ContentForm.FILES)
    with pytest.raises(InvalidInputError, match="holds no images"):
        content.read_images(files, blobs, 4, 4, 1)


# Writing back


def test_export_writes_labelled_folders_and_keeps_equal_names_apart(source, blobs, tmp_path):
    rows = "file,label\nx/a.png,cat\ny/a.png,cat\nx/b.png,cat/../dog\ny/b.png,cat_.._dog\nc.png,.hidden\n"
    names = ["x/a.png", "y/a.png", "x/b.png", "y/b.png", "c.png"]
    pictures = {name: picture(place) for place, name in enumerate(names)}
    put(source, pictures | {"labels.csv": rows.encode()})
    steps = []
    manifest = ingest(source, blobs)
    content.export(manifest, blobs, tmp_path / "out", lambda done, total: steps.append((done, total)))
    assert steps == [(n, 5) for n in range(1, 6)]
    written = tree(tmp_path / "out")
    assert written == {
        "cat/a.png": pictures["x/a.png"],
        "cat/a-2.png": pictures["y/a.png"],
        "cat_.._dog/b.png": pictures["x/b.png"],
        "cat_.._dog-2/b.png": pictures["y/b.png"],
        "_.hidden/c.png": pictures["c.png"],
    }
    assert ingest(tmp_path / "out", blobs).rows == 5


def test_export_does_not_write_through_a_link(source, blobs, tmp_path):
    put(source, LABELLED)
    out = tmp_path / "out"
    out.mkdir()
    (out / "NORMAL").symlink_to(tmp_path)
    with pytest.raises(InvalidInputError, match="through a link"):
        content.export(ingest(source, blobs), blobs, out)
    assert not (tmp_path / "a.png").exists()


# The nouns

HASH = "a" * 64


def test_manifest_survives_json(source, blobs):
    put(source, LABELLED | {"NORMAL/bad.png": b"x"})
    manifest = ingest(source, blobs)
    assert manifest.problems
    assert Manifest.from_json(manifest.to_json()) == manifest


def test_digest_depends_on_content_and_not_on_order():
    one, two = ManifestFile("a", HASH, 1, "x"), ManifestFile("b", HASH, 1, "y")
    digest = Manifest(ContentForm.LABELLED_FOLDERS, (one, two), ("x", "y"), 2).digest
    assert digest == Manifest(ContentForm.LABELLED_FOLDERS, (two, one), (), 2).digest
    others = [
        ManifestFile("a", HASH, 1, "y"),
        ManifestFile("c", HASH, 1, "x"),
        ManifestFile("a", "b" * 64, 1, "x"),
    ]
    for other in others:
        assert Manifest(ContentForm.LABELLED_FOLDERS, (other, two), (), 2).digest != digest


@pytest.mark.parametrize(
    "path", ["", "/a", "../a", "a/../b", "a//b", "a/", "a\\b", "a\0", "a\nb", "\udce9", "x" * 1025]
)
def test_manifest_refuses_paths_that_lead_out(path):
    with pytest.raises(InvalidInputError, match="file name"):
        ManifestFile(path, HASH, 1)


@pytest.mark.parametrize("label", ["", " ", "x" * 201, "é" * 101, "a\nb", "\udce9"])
def test_manifest_refuses_labels(label):
    with pytest.raises(InvalidInputError, match="label"):
        ManifestFile("a", HASH, 1, label)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        b'{"form":"other","files":[],"classes":[],"rows":0,"problems":[],"columns":[]}',
        b'{"form":"files","files":[{"path":"a"}],"classes":[],"rows":1,"problems":[],"columns":[]}',
        b'{"form":"files","files":[],"classes":[],"rows":5,"problems":[],"columns":[]}',
    ],
)
def test_damaged_manifest_is_refused(data):
    with pytest.raises(InvalidInputError, match="manifest"):
        Manifest.from_json(data)


def test_manifest_refuses_a_path_twice():
    file = ManifestFile("a", HASH, 1)
    with pytest.raises(InvalidInputError, match="twice"):
        Manifest(ContentForm.FILES, (file, file), (), 2)
