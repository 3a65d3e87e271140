from __future__ import annotations

import os
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tidegauge.domain.events import Event
from tidegauge.errors import ConflictError, UnavailableError
from tidegauge.storage.segments import Record, Segments, parse_segment

NOW = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)


def record(name: str, data: bytes = b"payload") -> Record:
    event = Event(name, "/deployments/d", "request", NOW, "application/json", data, {"status": 200, "a": "é"})
    return Record("d", NOW, event)


def read_all(folder: Path) -> list[Record]:
    return [
        found
        for path in sorted(folder.glob("*.segment"))
        for found in parse_segment(path.stem, path.read_bytes()).records
    ]


def test_what_was_appended_is_read_back_equal(tmp_path: Path) -> None:
    segments = Segments(tmp_path)
    written = [record("a"), record("b", b""), record("ü", bytes(range(256)))]
    segments.append(written[:1])
    segments.append(written[1:])
    segments.append([])
    assert segments.sealed() == []  # the open segment is nobody's to read
    segments.seal()
    (name,) = segments.sealed()
    segment = segments.read(name)
    assert segment.records == written
    assert (segment.id, segment.torn, segment.damaged) == (name, 0, ())
    segments.close()


def test_append_returns_only_after_its_fsync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    segments = Segments(tmp_path)
    segments.append([record("first")])
    (path,) = tmp_path.glob("*.segment")
    fsync, synced = os.fsync, []

    def remember(file: int) -> None:
        fsync(file)
        synced.append(os.fstat(file).st_size)

    monkeypatch.setattr(os, "fsync", remember)

    def append(n: int) -> bool:
        segments.append([record(f"event-{n:03}-end")])
        return path.read_bytes().find(b"event-%03d-end" % n) < max(synced)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(append, range(100)))
    segments.close()


def test_the_folder_is_synced_when_a_segment_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    segments = Segments(tmp_path)
    fsync, synced = os.fsync, []
    monkeypatch.setattr(os, "fsync", lambda file: (fsync(file), synced.append(os.fstat(file).st_ino)))
    segments.append([record("a")])
    (path,) = tmp_path.glob("*.segment")
    assert synced == [tmp_path.stat().st_ino, path.stat().st_ino]
    segments.close()


def test_segments_rotate_by_size_and_age(tmp_path: Path) -> None:
    by_size = Segments(tmp_path / "size", max_bytes=1000)
    for n in range(10):
        by_size.append([record(str(n), b"x" * 300)])
    assert len(by_size.sealed()) == 3  # three records of some 400 bytes pass 1,000
    by_size.close()
    by_age = Segments(tmp_path / "age", max_age=0)
    by_age.append([record("a")])
    by_age.append([record("b")])
    assert len(by_age.sealed()) == 2
    by_age.close()


def test_a_torn_last_record_is_dropped_at_every_byte(tmp_path: Path) -> None:
    segments = Segments(tmp_path)
    segments.append([record("a"), record("b")])
    (path,) = tmp_path.glob("*.segment")
    safe = path.stat().st_size
    segments.append([record("c", b"last payload")])
    segments.close()
    whole = path.read_bytes()
    for cut in range(safe, len(whole)):
        path.write_bytes(whole[:cut])
        segment = parse_segment(path.stem, path.read_bytes())
        assert [found.event.id for found in segment.records] == ["a", "b"]
        assert (segment.torn, segment.damaged) == (cut - safe, ())
        path.write_bytes(whole[:cut] + bytes(len(whole) - cut))  # length on the disk, contents not
        zeroed = parse_segment(path.stem, path.read_bytes())
        if whole[cut:].strip(b"\0"):
            assert [found.event.id for found in zeroed.records] == ["a", "b"]


def test_one_flipped_byte_in_the_middle_costs_one_record_and_is_reported(tmp_path: Path) -> None:
    segments = Segments(tmp_path)
    segments.append([record("a")])
    (path,) = tmp_path.glob("*.segment")
    first = path.stat().st_size
    segments.append([record("b")])
    second = path.stat().st_size
    segments.append([record("c"), record("d")])
    segments.close()
    whole = path.read_bytes()
    for place in range(first, second):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x5A]) + whole[place + 1 :])
        segment = parse_segment(path.stem, path.read_bytes())
        assert [found.event.id for found in segment.records] == ["a", "c", "d"]
        assert segment.damaged == ((first, second - first),)


def test_record_bytes_inside_a_payload_are_not_resurrected(tmp_path: Path) -> None:
    other = Segments(tmp_path / "other")
    other.append([record("forged")])
    other.close()
    (source,) = (tmp_path / "other").glob("*.segment")
    segments = Segments(tmp_path)
    segments.append([record("real", source.read_bytes() + b"end")])
    segments.close()
    (path,) = tmp_path.glob("*.segment")
    path.write_bytes(path.read_bytes()[:-3])  # torn within the payload, after the forged record
    assert parse_segment(path.stem, path.read_bytes()).records == []


def test_a_second_process_is_refused_the_folder(tmp_path: Path) -> None:
    first = Segments(tmp_path)
    with pytest.raises(ConflictError, match="Another process collects"):
        Segments(tmp_path)
    first.close()
    Segments(tmp_path).close()


def test_a_failed_write_is_refused_and_the_next_append_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    segments = Segments(tmp_path)
    segments.append([record("before")])
    write, left = os.write, [40]

    def full(file: int, content: memoryview) -> int:
        if left[0] == 0:
            raise OSError(28, "No space left on device")
        left[0] -= (done := write(file, content[: left[0]]))
        return done

    with monkeypatch.context() as patched:
        patched.setattr(os, "writev", lambda file, parts: full(file, memoryview(b"".join(parts))))
        patched.setattr(os, "write", full)
        patched.setattr(os, "ftruncate", lambda *_: (_ for _ in ()).throw(OSError(5, "Input/output error")))
        with pytest.raises(UnavailableError, match="No space left"):
            segments.append([record("lost", b"y" * 1000)])
    segments.append([record("after")])
    segments.close()
    assert [found.event.id for found in read_all(tmp_path)] == ["before", "after"]
    assert len(list(tmp_path.glob("*.segment"))) == 2  # the torn tail is the end of its own segment


def test_what_a_short_write_leaves_is_written_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    segments = Segments(tmp_path)
    monkeypatch.setattr(os, "writev", lambda file, parts: os.write(file, b"".join(parts)[:100]))
    sent = [record(str(number), b"z" * 50) for number in range(1000)]
    segments.append(sent)
    segments.close()
    assert read_all(tmp_path) == sent


def test_who_appends_waits_for_who_reads_but_not_for_who_is_away(tmp_path: Path) -> None:
    """What is read back from the disk costs more than the moment in which it is written to the log."""
    segments = Segments(tmp_path, max_bytes=1000)
    large = [record("large", b"z" * 1000)]
    for _ in range(3):  # nobody reads yet, so nobody waits, and the third is kept on the disk alone
        segments.append(large)
    first, second, third = segments.sealed()
    assert segments.read(first).records == large
    segments.append(large)  # there is room again
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(segments.append, large)
        time.sleep(0.05)
        assert not waiting.done()
        segments.read(second)
        assert waiting.result(5)
    assert segments.read(third).records == large
    segments.append(large)
    began = time.monotonic()
    for _ in range(20):
        segments.append(large)  # the first waits; then it is known that nobody reads
    assert time.monotonic() - began < 5
    segments.close()


def test_a_failed_fsync_acknowledges_none_of_its_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    segments = Segments(tmp_path)
    segments.append([record("before")])
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(5, "Input/output error")))
        with ThreadPoolExecutor(8) as pool:
            answers = [pool.submit(segments.append, [record(str(n))]) for n in range(20)]
        assert all(isinstance(answer.exception(), UnavailableError) for answer in answers)
    segments.append([record("after")])
    segments.close()
    assert [found.event.id for found in read_all(tmp_path)] == ["before", "after"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Path:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode != 0:
        pytest.skip("needs root and mount")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_full_disk_refuses_loses_nothing_and_recovers(small_disk: Path) -> None:
    segments = Segments(small_disk / "segments", max_bytes=100_000)
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(100_000))
    safe, refused = [], 0
    for n in range(40):
        try:
            segments.append([record(str(n), os.urandom(20_000))])
            safe.append(str(n))
        except UnavailableError:
            refused += 1
    assert refused > 20
    ballast.unlink()
    segments.append([record("after", os.urandom(20_000))])
    segments.close()
    assert [found.event.id for found in read_all(small_disk / "segments")] == [*safe, "after"]


def test_no_more_waits_for_the_log_than_was_agreed(tmp_path: Path) -> None:
    segments = Segments(tmp_path, max_bytes=1000, max_waiting_bytes=3000)
    segments.append([record("a", bytes(2000))])
    assert segments.refusal() == ""
    with pytest.raises(UnavailableError, match="wait to be written to the inference log, of at most 3000"):
        segments.append([record("b", bytes(2000))])
    (name,) = segments.sealed()
    segments.discard(name, damaged=False)
    segments.append([record("b", bytes(2000))])
    segments.close()
    again = Segments(tmp_path, max_waiting_bytes=2000)
    assert "of at most 2000" in again.refusal()  # what an earlier process left counts
    again.close()


def test_room_for_writing_the_log_is_left_on_the_disk(small_disk: Path) -> None:
    segments = Segments(small_disk / "segments", max_bytes=30_000)

    def fill() -> None:
        for n in range(100):
            segments.append([record(str(n), os.urandom(10_000))])

    with pytest.raises(UnavailableError, match="; 60000 are kept for writing the log"):
        fill()
    assert 10 < sum(len(segments.read(name).records) for name in segments.sealed()) < 20
    assert os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize >= 60_000
    for name in segments.sealed():
        (small_disk / "log").write_bytes(bytes(30_000))  # there is room for each segment's Parquet
        segments.discard(name, damaged=False)
    segments.append([record("after", os.urandom(10_000))])
    segments.close()


def test_what_a_collector_that_is_no_more_has_left_is_adopted(tmp_path: Path) -> None:
    gone, alive = Segments(tmp_path / "1"), Segments(tmp_path / "2")
    gone.append([record("a")])
    gone.close()
    alive.append([record("b")])
    adopter = Segments(tmp_path, neighbours=[tmp_path, *tmp_path.glob("*/")])
    (name,) = adopter.sealed()
    assert [found.event.id for found in adopter.read(name).records] == ["a"]
    assert list((tmp_path / "1").glob("*.segment")) == []
    assert alive.sealed() == []  # it is open, and its own
    alive.close()
    adopter.close()


def test_a_record_that_nobody_was_told_is_safe_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    segments = Segments(tmp_path)
    segments.append([record("before")])
    broken = OSError(5, "Input/output error")
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(broken))
        patched.setattr(os, "ftruncate", lambda *_: (_ for _ in ()).throw(broken))
        with pytest.raises(UnavailableError):
            segments.append([record("lost")])
    (name,) = segments.sealed()
    assert [found.event.id for found in segments.read(name).records] == ["before"]
    segments.close()


def test_whether_there_is_room_is_told_while_the_disk_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    segments = Segments(tmp_path)
    slow = threading.Event()
    monkeypatch.setattr(os, "fsync", lambda _: slow.wait(20))
    with ThreadPoolExecutor(1) as pool:
        appended = pool.submit(segments.append, [record("a")])
        assert segments.refusal() == ""
        assert not appended.done()
        slow.set()
        appended.result()
    segments.close()
