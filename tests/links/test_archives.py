from __future__ import annotations

import gzip
import io
import stat
import struct
import tarfile
import zipfile

import pytest

from tidegauge.errors import InvalidInputError, TooLargeError
from tidegauge.links.archives import unpack

FILES = {"top/A/one.txt": b"one", "top/B/two.txt": b"two" * 100_000, "top/empty": b""}


def make_zip(path, files, kind=0, method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in files.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = method
            info.external_attr = kind << 16
            archive.writestr(info, data)
    return path


def make_tar(path, files, mode="w"):
    with tarfile.open(path, mode) as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def make(path, files):
    """Make an archive of the kind that the file's name says."""
    if path.suffix == ".zip":
        return make_zip(path, files)
    return make_tar(path, files, "w:gz" if path.suffix == ".gz" else "w")


def link(path, kind, target):
    with tarfile.open(path, "w") as archive:
        info = tarfile.TarInfo("bad")
        info.type, info.linkname = kind, target
        archive.addfile(info)
    return path


KINDS = pytest.mark.parametrize("kind", ["a.zip", "a.tar", "a.tar.gz"])


@pytest.fixture
def into(tmp_path):
    folder = tmp_path / "outer" / "into"
    folder.mkdir(parents=True)
    return folder


def written(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@KINDS
def test_unpacks_by_content_whatever_the_name(tmp_path, into, kind):
    nameless = make(tmp_path / kind, FILES).rename(tmp_path / "0190-upload")
    assert unpack(nameless, into) == 3
    assert written(into) == FILES


@KINDS
@pytest.mark.parametrize("name", ["../out", "a/../../out", "/out", "a\\..\\out", "C:/out", "x" * 2000])
def test_ways_out_are_refused_by_name(tmp_path, into, kind, name):
    with pytest.raises(InvalidInputError) as caught:
        unpack(make(tmp_path / kind, {"good": b"1", name: b"2"}), into)
    assert name[:20].replace("\\", "\\\\") in caught.value.message
    assert written(into.parent.parent / "outer") == {"into/good": b"1"}


@pytest.mark.parametrize(
    ("kind", "target"),
    [
        (tarfile.SYMTYPE, "/etc/passwd"),
        (tarfile.LNKTYPE, "../../secret"),
        (tarfile.CHRTYPE, ""),
        (tarfile.FIFOTYPE, ""),
    ],
)
def test_tar_links_and_devices_are_refused(tmp_path, into, kind, target):
    with pytest.raises(InvalidInputError, match="'bad' is a link, a device"):
        unpack(link(tmp_path / "a.tar", kind, target), into)
    assert not list(into.iterdir())


def test_zip_links_are_refused(tmp_path, into):
    with pytest.raises(InvalidInputError, match="'bad' is a link"):
        unpack(make_zip(tmp_path / "a.zip", {"bad": b"/etc/passwd"}, stat.S_IFLNK | 0o777), into)


def test_a_link_that_stood_in_the_folder_is_not_followed(tmp_path, into):
    (into / "a").symlink_to(tmp_path)
    with pytest.raises(InvalidInputError, match="through a link"):
        unpack(make_zip(tmp_path / "a.zip", {"a/file": b"1"}), into)
    assert not (tmp_path / "file").exists()


@KINDS
def test_total_size_is_bounded(tmp_path, into, kind):
    with pytest.raises(TooLargeError, match=r"more than 1000 bytes \(at 'two'\)"):
        unpack(make(tmp_path / kind, {"one": b"1" * 900, "two": b"2" * 101}), into, max_bytes=1000)


@KINDS
def test_number_of_files_is_bounded(tmp_path, into, kind):
    with pytest.raises(TooLargeError, match=r"more than 2 files \(at '2'\)"):
        unpack(make(tmp_path / kind, {str(n): b"" for n in range(3)}), into, max_files=2)


@pytest.mark.parametrize("kind", ["a.zip", "a.tar.gz"])
def test_bomb_is_stopped_early(tmp_path, into, kind):
    with pytest.raises(TooLargeError, match=r"more than 200 times its size \(at 'bomb'\)"):
        unpack(make(tmp_path / kind, {"bomb": bytes(70_000_000)}), into)
    assert (into / "bomb").stat().st_size <= 65 * 1024 * 1024


def test_small_files_may_shrink_a_lot(tmp_path, into):
    assert unpack(make_zip(tmp_path / "a.zip", {"mask": bytes(1_000_000)}), into) == 1


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE])
def test_huge_tar_header_is_not_read_into_memory(tmp_path, into, kind):
    path = tmp_path / "a.tar.gz"
    info = tarfile.TarInfo("long")
    info.type = kind
    info.size = 5_000_000
    with gzip.open(path, "wb", 1) as out:
        out.write(make_tar(tmp_path / "first.tar", {"first": b"1"}).read_bytes()[:1024])
        out.write(info.tobuf(tarfile.GNU_FORMAT))
        out.write(b"x" * 5_000_000)
    with pytest.raises(InvalidInputError, match="a header of 5000"):
        unpack(path, into)


@pytest.mark.parametrize("kind", ["a.zip", "a.tar", "a.tar.gz"])
@pytest.mark.parametrize("share", [0.2, 0.5, 0.7])
def test_cut_off_archive_is_an_error(tmp_path, into, kind, share):
    whole = make(tmp_path / kind, {f"f{n}": bytes([n]) * 700 for n in range(20)}).read_bytes()
    # A tar ends with blocks of zeros up to 10 KiB, which may be cut off without harm.
    size = len(whole) if kind != "a.tar" else 20 * 1536
    (tmp_path / "cut").write_bytes(whole[: int(size * share)])
    with pytest.raises(InvalidInputError):
        unpack(tmp_path / "cut", into)


def test_tar_that_ends_between_two_members_is_an_error(tmp_path, into):
    whole = make_tar(tmp_path / "a.tar", {"a": b"1" * 512, "b": b"2"}).read_bytes()
    (tmp_path / "cut").write_bytes(whole[:1024])
    with pytest.raises(InvalidInputError, match="cut off"):
        unpack(tmp_path / "cut", into)


def test_wrong_checksum_names_the_member(tmp_path, into):
    path = make_zip(tmp_path / "a.zip", {"good": b"g", "bad": b"x" * 1000}, method=zipfile.ZIP_STORED)
    path.write_bytes(path.read_bytes().replace(b"xxxx", b"xxyx", 1))
    with pytest.raises(InvalidInputError, match="damaged or encrypted at 'bad'"):
        unpack(path, into)


def test_encrypted_zip_names_the_member(tmp_path, into):
    path = make_zip(tmp_path / "a.zip", {"secret": b"x"})
    data = bytearray(path.read_bytes())
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(mark) + offset] |= 1
    path.write_bytes(data)
    with pytest.raises(InvalidInputError, match="encrypted at 'secret'"):
        unpack(path, into)


@KINDS
def test_a_name_that_comes_twice_is_an_error(tmp_path, into, kind):
    path = tmp_path / kind
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a", b"1")
            archive.writestr("./a", b"2")
    else:
        make(path, {"a": b"1", "./a": b"2"})
    with pytest.raises(InvalidInputError, match="twice"):
        unpack(path, into)


def test_file_and_folder_of_one_name_is_an_error(tmp_path, into):
    with pytest.raises(InvalidInputError, match="twice"):
        unpack(make_zip(tmp_path / "a.zip", {"a": b"1", "a/b": b"2"}), into)
    with pytest.raises(InvalidInputError, match="as file and as folder"):
        unpack(make_zip(tmp_path / "b.zip", {"c": b"1", "c/": b""}), into)


@pytest.mark.parametrize("data", [b"", b"just text", b"PK\x03\x04 and no more", b"\x1f\x8b and no more"])
def test_what_is_no_archive_is_refused(tmp_path, into, data):
    (tmp_path / "file").write_bytes(data)
    with pytest.raises(InvalidInputError, match=r"archive"):
        unpack(tmp_path / "file", into)


@KINDS
def test_empty_archive_is_refused(tmp_path, into, kind):
    with pytest.raises(InvalidInputError, match="holds no files"):
        unpack(make(tmp_path / kind, {}), into)


def test_tar_of_many_files(tmp_path, into):
    files = {f"{n % 7}/{n}": str(n).encode() for n in range(500)}
    assert unpack(make(tmp_path / "a.tar.gz", files), into) == 500
    assert written(into) == files


@KINDS
@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("a/One.txt", "a/one.txt"),
        ("Data/x", "data/y"),
        ("caf\u00e9.txt", "cafe\u0301.txt"),
        ("stra\u00dfe", "STRASSE"),
        ("a", "A/b"),
    ],
)
def test_names_that_differ_only_in_capitals_or_accents_are_refused(tmp_path, into, kind, first, second):
    with pytest.raises(InvalidInputError, match="differ only in capitals or accents"):
        unpack(make(tmp_path / kind, {first: b"1", second: b"2"}), into)


@KINDS
@pytest.mark.parametrize("name", ["/".join("a" * 101), "a\nb", "a\x1b[2Jb"])
def test_names_that_harm_whoever_reads_them_are_refused(tmp_path, into, kind, name):
    with pytest.raises(InvalidInputError, match="cannot be kept") as caught:
        unpack(make(tmp_path / kind, {name: b"1"}), into)
    assert "\x1b" not in caught.value.message


def test_folders_are_counted_too(tmp_path, into):
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as archive:
        for _ in range(50):
            info = tarfile.TarInfo("again")
            info.type = tarfile.DIRTYPE
            archive.addfile(info)
    with pytest.raises(TooLargeError, match="more than 20 members"):
        unpack(tmp_path / "a.tar.gz", into, max_files=10)


def test_a_table_of_contents_that_would_fill_the_memory_is_refused(tmp_path, into, monkeypatch):
    make(tmp_path / "a.zip", {f"{n}": b"" for n in range(100)})
    monkeypatch.setattr("tidegauge.links.archives._MAX_CONTENTS", 1000)
    with pytest.raises(TooLargeError, match="table of contents"):
        unpack(tmp_path / "a.zip", into)
    assert written(into) == {}


def test_files_of_a_zip_that_overlap_are_counted_as_often_as_they_unpack(tmp_path, into):
    """As in David Fifield's bomb: many entries of the table of contents name the same bytes."""
    path = make_zip(tmp_path / "a.zip", {"a": bytes(20_000_000)})
    with zipfile.ZipFile(path) as archive:
        entry = archive.infolist()[0]
        start = archive.start_dir
    data = path.read_bytes()
    record = data[start : data.rindex(b"PK\x05\x06")]
    names = [bytes([65 + n]) for n in range(26)]
    table = b"".join(record.replace(b"a", name, 1) if record.count(b"a") == 1 else b"" for name in names)
    if not table:  # the letter stands elsewhere in the record, too
        table = b"".join(record[:-1] + name for name in names)
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 26, 26, len(table), start, 0)
    path.write_bytes(data[:start] + table + end)
    assert entry.file_size == 20_000_000
    with pytest.raises(InvalidInputError):
        unpack(path, into)
    assert sum(file.stat().st_size for file in into.rglob("*") if file.is_file()) < 100_000_000
