import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from fastapi.testclient import TestClient

from tidegauge.app import build_services, create_app
from tidegauge.settings import load_settings
from tidegauge.storage.objects import ObjectStore

WRITER = """
import sys
from tidegauge.storage.objects import ObjectStore

store, table = ObjectStore(sys.argv[1]), open(sys.argv[2], "rb").read()
print("running", flush=True)
for n in range(1_000_000):
    store.put(f"d/log/{n % 7}.parquet", table)
"""


def test_a_killed_writer_leaves_only_whole_tables(tmp_path: Path) -> None:
    pq.write_table(pa.table({"n": pa.array(range(500_000))}), tmp_path / "one.parquet", compression="none")
    folder = tmp_path / "store"
    for _ in range(8):
        command = [sys.executable, "-c", WRITER, str(folder), str(tmp_path / "one.parquet")]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            assert writer.stdout.readline() == b"running\n"
            time.sleep(0.1)
            writer.send_signal(signal.SIGKILL)
    store = ObjectStore(str(folder))
    names = [info.path for info in store.list("")]
    assert len(names) == 7
    assert ds.dataset(folder / "d" / "log").count_rows() == 7 * 500_000
    assert ds.dataset(folder).count_rows() == 7 * 500_000
    assert store.folders() == ("d",)


def test_what_a_killed_writer_left_is_deleted_after_a_day(tmp_path: Path) -> None:
    services = build_services(load_settings(tmp_path, {"port": 1}, {}))
    staged = tmp_path / "store" / ".staged"
    staged.mkdir(parents=True, exist_ok=True)
    for name in ("old", "old#1", "new"):
        (staged / name).write_bytes(b"half")
    yesterday = time.time() - 25 * 3600
    for name in ("old", "old#1"):
        os.utime(staged / name, (yesterday, yesterday))
    with TestClient(create_app(services)):
        assert [file.name for file in staged.iterdir()] == ["new"]
        assert list(services.store.list("")) == []


def test_a_replacement_is_on_the_disk_before_it_takes_the_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = ObjectStore(str(tmp_path))
    store.put("a/b", b"old")
    synced: list[bytes] = []
    fsync = os.fsync

    def spy(file: int) -> None:
        path = Path(f"/proc/self/fd/{file}").readlink()
        if path.is_file():
            synced.append(path.read_bytes() + b"|" + (tmp_path / "a" / "b").read_bytes())
        fsync(file)

    monkeypatch.setattr("os.fsync", spy)
    store.replace("a/b", b"new")
    assert synced == [b"new|old", b"new|new"]
    assert store.get("a/b") == b"new"
