import contextlib
import io
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import obstore
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from fastapi.testclient import TestClient

import parts_races
import parts_s3
from tidegauge.app import build_services, create_app
from tidegauge.domain.content import is_object_name
from tidegauge.errors import ConflictError, InvalidInputError, NotFoundError, UnavailableError
from tidegauge.settings import load_settings
from tidegauge.storage import buckets, objects
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


@pytest.fixture
def store(store_url: str) -> ObjectStore:
    return ObjectStore(store_url)


def as_threads(race: str, url: str) -> list[list[int]]:
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(parts_races.RACES[race], [ObjectStore(url), ObjectStore(url)], "ab"))


def as_processes(race: str, url: str) -> list[list[int]]:
    with contextlib.ExitStack() as stack:
        racers = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, parts_races.__file__, race, url, name],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            for name in "ab"
        ]
        assert [racer.stdout and racer.stdout.readline() for racer in racers] == ["ready\n"] * 2
        for racer in racers:
            assert racer.stdin
            racer.stdin.write("go\n")
            racer.stdin.flush()
        return [json.loads(racer.communicate()[0]) for racer in racers]


RUNS = pytest.mark.parametrize("run", [as_threads, as_processes])


@RUNS
def test_of_two_that_create_an_object_exactly_one_does(
    run: Callable[[str, str], list[list[int]]], store_url: str
) -> None:
    first, second = run("create", store_url)
    assert sorted(first + second) == list(range(parts_races.ROUNDS))
    store = ObjectStore(store_url)
    for name, won in ((b"a", first), (b"b", second)):
        assert {store.get(f"races/{number}") for number in won} <= {name}


@RUNS
def test_of_two_that_replace_an_object_as_they_read_it_exactly_one_does(
    run: Callable[[str, str], list[list[int]]], store_url: str
) -> None:
    store = ObjectStore(store_url)
    store.put("count", b"0")
    first, second = run("count", store_url)
    assert sorted(first + second) == list(range(1, 2 * parts_races.ROUNDS + 1))
    assert store.get("count") == str(2 * parts_races.ROUNDS).encode()


def test_an_object_that_is_there_is_not_created(store: ObjectStore) -> None:
    assert store.create("a/b", b"first")
    assert not store.create("a/b", b"second")
    assert store.get("a/b") == b"first"
    store.delete("a/b")
    assert store.create("a/b", b"second")
    assert [info.path for info in store.list("")] == ["a/b"]


@pytest.mark.parametrize("change", ["put", "replace", "delete"])
def test_an_object_that_changed_is_not_replaced(store: ObjectStore, change: str) -> None:
    store.put("a", b"old")
    data, tag = store.get_tagged("a")
    assert data == b"old"
    getattr(store, change)(*(("a",) if change == "delete" else ("a", b"new")))
    with pytest.raises(ConflictError, match="'a' has changed since it was read"):
        store.replace("a", b"mine", tag)
    assert store.exists("a") == (change != "delete")
    store.put("a", b"new")
    store.replace("a", b"mine", store.get_tagged("a")[1])
    assert store.get("a") == b"mine"
    assert [info.path for info in store.list("")] == ["a"]


def test_nobody_writes_between_a_look_and_the_write_that_depends_on_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = ObjectStore(str(tmp_path))
    store.put("a", b"old")
    tag = store.get_tagged("a")[1]
    other = threading.Thread(target=store.put, args=("a", b"theirs"))

    def slowly(path: Path) -> str:
        other.start()
        other.join(0.2)
        return tag

    monkeypatch.setattr(objects, "_tag", slowly)
    store.replace("a", b"mine", tag)
    other.join()
    assert store.get("a") == b"theirs"  # after it, not lost under it


def test_a_store_does_what_it_says(store: ObjectStore) -> None:
    assert list(store.list("")) == []
    large = random.Random(1).randbytes(9 << 20)  # in more than one request each way
    for path, data in (("a/date=1/x", b"1"), ("a/y", b""), ("b/z", large)):
        store.put(path, data)
        assert store.get(path) == data
        assert store.exists(path)
    assert [(info.path, info.size) for info in store.list("")] == [
        ("a/date=1/x", 1),
        ("a/y", 0),
        ("b/z", len(large)),
    ]
    assert [info.path for info in store.list("a")] == ["a/date=1/x", "a/y"]
    assert (store.folders(), store.folders("a")) == (("a", "b"), ("a/date=1",))
    store.replace("a/y", b"new")
    store.sync("a/y")
    assert store.get("a/y") == b"new"
    store.delete("a/nobody")
    for read in (store.get, store.open, store.get_tagged):
        with pytest.raises(NotFoundError):
            read("a/nobody")
    assert not store.exists("a/nobody")
    store.delete_below("a")
    store.delete_below("a")
    assert store.folders() == ("b",)
    store.sweep()
    store.check()
    with io.BufferedReader(store.open("b/z")) as file:  # type: ignore[type-var]
        assert file.read() == large


def test_parts_of_an_object_are_read_wherever_they_are(s3_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(buckets, "_AHEAD", 1000)
    monkeypatch.setattr(buckets, "_MOST_AHEAD", 4000)
    store = ObjectStore(s3_url)
    rng = random.Random(3)
    for size in (0, 1, 1000, 1001, 20_000):
        data = rng.randbytes(size)
        store.put("x", data)
        file = store.open("x")
        for _ in range(60):
            place, count = rng.randrange(size + 50), rng.choice([0, 1, 300, 999, 5000, 30_000])
            assert file.seek(place) == place
            assert file.read(count) == data[place : place + count]
            assert file.tell() == max(place, min(size, place + count))
        assert file.seek(0, os.SEEK_END) == size


def requests(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Note every request that is made to read an object from now on."""
    made: list[str] = []
    get = obstore.get
    monkeypatch.setattr(obstore, "get", lambda *a, **k: made.append(a[1]) or get(*a, **k))
    return made


def test_a_table_in_a_bucket_takes_few_requests(s3_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = ObjectStore(s3_url)
    columns = {f"c{k}": np.random.default_rng(k).random(100_000) for k in range(20)}
    for name, rows in (("small", 1000), ("large", 100_000)):
        sink = io.BytesIO()
        table = pa.table({key: values[:rows] for key, values in columns.items()})
        pq.write_table(table, sink, row_group_size=10_000)
        store.put(name, sink.getvalue())
    made = requests(monkeypatch)
    assert pq.ParquetFile(store.open("small")).read().num_rows == 1000
    assert len(made) == 1
    made.clear()
    large = pq.ParquetFile(store.open("large"))
    assert large.read_row_group(5).num_columns == 20  # 1.6 MB of 16
    assert len(made) <= 6
    made.clear()
    assert pq.ParquetFile(store.open("large")).read()["c7"].to_numpy().tolist() == columns["c7"].tolist()
    assert len(made) <= 9


def test_an_object_that_is_replaced_while_it_is_read_is_not_read_in_part(s3_url: str) -> None:
    store = ObjectStore(s3_url)
    store.put("x", bytes(2 << 20))
    file = store.open("x")
    store.put("x", bytes(2 << 20).replace(b"\0", b"\1"))
    with pytest.raises(UnavailableError, match="'x' was replaced while it was read; read it again"):
        file.read(10)


def with_bucket(url: str, bucket: str) -> str:
    return url.replace(parts_s3.BUCKET, bucket)


def test_a_bucket_that_is_not_there_is_no_empty_one(s3_url: str) -> None:
    store = ObjectStore(with_bucket(s3_url, "nobodys"))
    for ask in (
        lambda: store.get("a"),
        lambda: store.get_tagged("a"),
        lambda: store.open("a"),
        lambda: store.put("a", b""),
        lambda: store.create("a", b""),
        lambda: store.delete("a"),
        lambda: list(store.list("a")),
        store.folders,
        store.check,
    ):
        with pytest.raises(UnavailableError, match="The specified bucket does not exist"):
            ask()


class Nowhere(BaseHTTPRequestHandler):
    """A proxy that knows no server to pass requests to."""

    def do_GET(self) -> None:
        self.send_error(404)

    def do_POST(self) -> None:
        self.send_error(404)

    def log_message(self, *_: object) -> None:
        pass


def test_a_proxy_without_a_server_does_not_say_that_an_object_is_absent(s3_endpoint: str) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Nowhere) as server:
        threading.Thread(target=server.serve_forever).start()
        store = ObjectStore(parts_s3.prefix(f"http://127.0.0.1:{server.server_port}"))
        for ask in (store.get, store.open, store.delete):
            with pytest.raises(UnavailableError, match="404"):
                ask("a")
        server.shutdown()


def test_a_bucket_that_does_not_answer_is_not_asked_for_ever(
    s3_endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert buckets._CLIENT["timeout"] == timedelta(seconds=30)
    monkeypatch.setitem(buckets._CLIENT, "timeout", timedelta(seconds=0.4))
    monkeypatch.setitem(buckets._RETRY, "retry_timeout", timedelta(seconds=0.3))
    gate = parts_s3.Gate(s3_endpoint)
    store = ObjectStore(parts_s3.prefix(gate.endpoint))
    store.put("a", b"1")
    for away in (gate.refuse, gate.be_mute):
        away()
        for ask in (
            lambda: store.put("a", b"2"),
            lambda: store.create("b", b"2"),
            lambda: store.get("a"),
            lambda: store.delete("a"),
            lambda: list(store.list("")),
        ):
            began = time.monotonic()
            with pytest.raises(UnavailableError, match="does not answer"):
                ask()
            assert time.monotonic() - began < 2
    gate.answer()
    assert store.get("a") == b"1"
    gate.refuse()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("s3://b/p?endpoint=http://x&colour=red", "has the parameter 'colour'; s3:// knows endpoint, region"),
        ("gs://b/p?endpoint=http://x", "has the parameter 'endpoint'; gs:// knows no parameters"),
        ("s3://b/p?region=a&region=b", "has the parameter 'region' twice"),
        ("s3://b/p?region", "is no URL; parameters are written"),
        ("s3://b/p?skip_signature=yes", "has skip_signature='yes'; use true or false"),
        ("s3://b/p?endpoint=s3.example.org", "has an endpoint that is none"),
        ("s3://b/p?endpoint=ftp://s3.example.org", "has an endpoint that is none"),
        ("s3://b/p?endpoint=https://me:hidden@s3.example.org", "has an endpoint that is none"),
        ("s3://b/p#a", "has a '#'"),
        ("s3://me:hidden@b/p", "a password before the '@'; put it into the environment: AWS_ACCESS_KEY_ID"),
        (
            "s3://b/p?secret_access_key=hidden",
            "has the secret 'secret_access_key', and URLs are shown; put it",
        ),
        ("s3://b/p?AWS_SESSION_TOKEN=hidden", "has the secret 'AWS_SESSION_TOKEN'"),
        ("s3://b/p?access_key_id=hidden", "has the secret 'access_key_id'"),
        ("ftp://b/p", "'ftp://b/p' cannot be opened"),
    ],
)
def test_a_url_that_cannot_be_meant_is_refused_without_its_secrets(url: str, said: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        ObjectStore(url)
    assert f"store_url {said}" in caught.value.message or said in caught.value.message
    assert caught.value.errors[0].field == "store_url"
    assert "hidden" not in caught.value.message


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", {}),
        ("?region=eu-north-1&skip_signature=true", {"region": "eu-north-1", "skip_signature": "true"}),
        ("?endpoint=http://x:9/s3/", {"endpoint": "http://x:9/s3"}),
        (
            "?endpoint=https://x&virtual_hosted=true",
            {"endpoint": "https://b.x", "virtual_hosted_style_request": "true"},
        ),
    ],
)
def test_what_a_url_says_is_what_the_bucket_is_asked_with(query: str, expected: dict[str, str]) -> None:
    store = ObjectStore(f"s3://b/p{query}")
    config = {name: str(value).lower() for name, value in store._store.config.items()}  # type: ignore[union-attr]
    assert {name: value for name, value in config.items() if name != "bucket"} == expected
    assert store.url == "s3://b/p"


def test_a_bucket_without_credentials_says_where_to_put_them(
    s3_endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in parts_s3.CREDENTIALS:
        monkeypatch.delenv(name)
    monkeypatch.setitem(buckets._CLIENT, "connect_timeout", timedelta(seconds=0.2))
    monkeypatch.setitem(buckets._RETRY, "retry_timeout", timedelta(seconds=0.2))
    with pytest.raises(UnavailableError, match=r"has no credentials .*AWS_ACCESS_KEY_ID"):
        ObjectStore(parts_s3.prefix(s3_endpoint)).check()
    store = ObjectStore(f"{parts_s3.prefix(s3_endpoint)}&skip_signature=true")
    store.put("a", b"")
    with pytest.raises(UnavailableError, match="403"):  # moto answers, but lets nobody unknown read
        store.get("a")


def test_what_is_said_to_be_an_objects_name_is_taken(store_url: str) -> None:
    """The rule is that of the strictest store; a name that it passes comes back from every store."""
    store = ObjectStore(store_url)
    names = ["a b.csv", "ward 10.30\u202fAM.csv", "a%2fb.csv", "x" * 255, "é#1.csv", "deep/er/a.csv"]
    odd = ["", "../a.csv", "/etc/a.csv", "a\\b.csv", "a\tb.csv", "a\x7f.csv", "x" * 256, "\ud800", "a#1"]
    assert ([is_object_name(name) for name in names], any(map(is_object_name, odd))) == ([True] * 6, False)
    for name in names:
        store.put(f"d/livedata/{name}", b"id,label\n")
    assert sorted(info.path for info in store.list("d")) == sorted(f"d/livedata/{name}" for name in names)
