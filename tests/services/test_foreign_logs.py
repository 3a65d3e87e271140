"""What another cluster has logged, read from a Dataset: once each, on a clock of the test's own."""

from __future__ import annotations

import base64
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from threading import Thread

import numpy as np
import orjson
import pytest

from parts import CLASSES, SIDE, image
from parts_s3 import prefix
from simulated import OWNER, START, Site
from tidegauge.app import build_monitoring
from tidegauge.domain.catalogue import RepositoryKind, Source, SourceType, VersionState
from tidegauge.domain.events import REQUEST_TYPE, RESPONSE_TYPE
from tidegauge.domain.images import decode_image
from tidegauge.domain.monitor import Feature, FeatureKind, MonitorRun, MonitorState, ValueType
from tidegauge.domain.monitor_config import DriftConfig, ImageShape, MonitorConfig, TrainData
from tidegauge.domain.users import Role
from tidegauge.errors import InvalidInputError, UnavailableError
from tidegauge.services.catalogue import Catalogue
from tidegauge.services.notifications import Notifications
from tidegauge.services.sources.files import Bucket
from tidegauge.services.upkeep.compaction import Compaction
from tidegauge.services.worker import Worker
from tidegauge.storage.objects import ObjectStore

STEP = timedelta(minutes=5)
LOGS = DriftConfig(predict_data="dataset", predict_dataset="logs")


class Pair:
    """The cluster that serves, the folder that its log is copied to, and the cluster that watches."""

    def __init__(self, serving: Site, watching: Site, folder: Path) -> None:
        self.serving = serving
        self.watching = watching
        self.database = watching.services.database
        self.folder = folder
        self.rng = np.random.default_rng(1)

    def watch(self, drift: DriftConfig = LOGS) -> None:
        monitors = self.watching.services.monitors
        monitor = monitors.create(self.watching.deployment, MonitorConfig(drift=drift), OWNER)
        while (monitor := self.database.monitors.get(monitor.id)).state is MonitorState.BASELINING:
            time.sleep(0.01)
        prediction = Feature("prediction", FeatureKind.PREDICTION, ValueType.CATEGORICAL)
        monitor = monitors.add_feature(monitor, prediction, OWNER)
        assert monitor.state is MonitorState.READY, monitor.message
        self.monitor = monitors.start(monitor, OWNER)

    def serve(self, window: int, n: int = 6) -> np.ndarray:
        """Serve requests of one window in the other cluster, and copy its log."""
        images = np.stack([image(CLASSES[k % 2], self.rng) for k in range(n)])
        scores = np.tile(np.float32([[0.9, 0.1], [0.1, 0.9]]), (n, 1))[:n]
        self.serving.send(images, scores, [START + STEP * (window + k / n) for k in range(n)])
        self.serving.services.collector.flush()
        store = Path(self.serving.services.settings.store) / self.serving.deployment.id
        shutil.copytree(store, self.folder / "theirs", dirs_exist_ok=True)
        return images

    def pass_by(self, window: int) -> MonitorRun:
        self.watching.clock.now = START + (window + 1) * STEP + timedelta(seconds=10)
        self.watching.work()
        return self.run(window)

    def run(self, window: int) -> MonitorRun:
        return self.runs(window)[-1]

    def runs(self, window: int) -> tuple[MonitorRun, ...]:
        start = START + window * STEP
        return self.database.monitor_runs.where(monitor_id=self.monitor.id, start=start, sort="revision")

    def requests(self, window: int) -> float | None:
        metric = self.run(window).metric("requests")
        return metric.value if metric else None


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("template")
    site = Site.build(folder / "home", CLASSES)
    site.deploy(folder / "model", ["NORMAL", "PNEUMONIA"] * 5, "PNEUMONIA")
    rng = np.random.default_rng(0)
    labels = np.array(CLASSES * 60)
    site.add_images("pool", folder / "pool", np.stack([image(label, rng) for label in labels]), labels)
    site.close()
    return folder / "home"


@pytest.fixture
def pair(tmp_path: Path, template: Path) -> Iterator[Pair]:
    sites = []
    for name in ("serving", "watching"):
        shutil.copytree(template, tmp_path / name)
        sites.append(Site.build(tmp_path / name, CLASSES))
        (sites[-1].deployment,) = sites[-1].services.database.deployments.where()
    (tmp_path / "logs").mkdir()
    catalogue = sites[1].services.catalogue
    source = Source(SourceType.FOLDER, str(tmp_path / "logs"))
    catalogue.create(RepositoryKind.DATASET, "logs", OWNER, source, None)
    yield Pair(*sites, tmp_path / "logs")
    for site in sites:
        site.close()


class Far:
    """A prefix of a bucket that the logs of the other cluster are copied to."""

    def __init__(self, endpoint: str, folder: Path) -> None:
        whole = prefix(endpoint)
        self.url = whole.partition("?")[0]
        self._store = ObjectStore(whole)
        self._folder = folder

    def copy(self) -> None:
        for path in self._folder.rglob("*"):
            if path.is_file():
                self._store.put(path.relative_to(self._folder).as_posix(), path.read_bytes())


@pytest.fixture
def far(pair: Pair, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Far:
    monkeypatch.setenv("AWS_ENDPOINT", s3_endpoint)  # the URL of a Dataset says nothing of it
    return Far(s3_endpoint, pair.folder)


def line(id_: str, seconds: float, kind: str = REQUEST_TYPE, status: int = 200) -> bytes:
    data = {"predictions": [[0.9, 0.1]]} if kind == RESPONSE_TYPE else {"instances": [[1.0]]}
    return orjson.dumps(
        {
            "specversion": "1.0",
            "id": id_,
            "source": "kserve",
            "type": kind,
            "time": (START + timedelta(seconds=seconds)).isoformat(),
            "status": status,
            "data": data,
        }
    )


def exchange(id_: str, seconds: float) -> bytes:
    return line(id_, seconds) + b"\n" + line(id_, seconds, RESPONSE_TYPE) + b"\n"


def test_windows_are_of_what_the_other_cluster_logged(pair: Pair) -> None:
    pair.watch()
    pair.serve(0)
    assert pair.pass_by(0).problems == ()
    pair.serve(1, 4)
    pair.pass_by(1)
    assert [pair.requests(window) for window in (0, 1)] == [6, 4]
    assert len(pair.runs(0)) == len(pair.runs(1)) == 1


def test_drift_runs_on_images_of_the_other_cluster(pair: Pair) -> None:
    pair.watch(
        replace(
            LOGS,
            enabled=True,
            predict_prefix="theirs",
            image=ImageShape(SIDE, SIDE),
            train_data=TrainData("pool", 1),
        )
    )
    images = pair.serve(0)
    run = pair.pass_by(0)
    found = run.metric("image")
    assert found is not None
    assert found.n == 6
    shown = run.images[2]
    png = pair.watching.services.showing.image(pair.monitor, run, shown.event_id, shown.index)
    assert np.array_equal(decode_image(png).reshape(SIDE, SIDE), images[2].reshape(SIDE, SIDE))


def test_what_comes_late_has_its_window_looked_at_again(pair: Pair) -> None:
    pair.watch()
    assert pair.pass_by(0).metric("requests").value == 0  # type: ignore[union-attr]
    pair.serve(0)
    pair.pass_by(1)
    assert (len(pair.runs(0)), pair.requests(0), pair.run(0).late) == (2, 6, 6)
    assert len(pair.runs(1)) == 1


def test_events_of_this_cluster_do_not_mix_with_them(pair: Pair) -> None:
    pair.watch()
    pair.serve(0)
    own = np.stack([image("NORMAL", pair.rng)])
    pair.watching.send(own, np.float32([[0.9, 0.1]]), [START])
    pair.pass_by(0)
    assert pair.requests(0) == 6


def test_lines_of_a_file_that_grows_are_read_once_each(pair: Pair) -> None:
    pair.watch()
    file = pair.folder / "a" / "events.jsonl"
    file.parent.mkdir()
    half = exchange("b", 20)
    file.write_bytes(exchange("a", 10) + half[:40])
    pair.watching.work()
    file.write_bytes(exchange("a", 10) + half)
    pair.watching.work()
    with file.open("ab") as growing:
        growing.write(line("c", 30) + b"\n")
    pair.watching.work()
    with file.open("ab") as growing:
        growing.write(line("c", 30, RESPONSE_TYPE, 503) + b"\n" + exchange("a", 10))
    run = pair.pass_by(0)
    assert (pair.requests(0), run.metric("5xx_requests").value) == (3, 1)  # type: ignore[union-attr]
    assert (run.problems, pair.database.dead_letters.count()) == ((), 0)
    assert pair.database.log_files.count() == 4


def test_a_file_that_was_replaced_is_read_anew(pair: Pair) -> None:
    pair.watch()
    file = pair.folder / "events.jsonl"
    file.write_bytes(exchange("a", 10))
    pair.watching.work()
    file.write_bytes(exchange("b", 20) + exchange("c", 30))
    pair.watching.work()
    file.write_bytes(exchange("d", 40))
    pair.pass_by(0)
    assert pair.requests(0) == 4


def test_requests_and_responses_may_stand_in_files_of_their_own(pair: Pair) -> None:
    pair.watch()
    (pair.folder / "requests.jsonl").write_bytes(b"".join(line(str(k), k) + b"\n" for k in range(5)))
    pair.watching.work()
    answers = b"".join(line(str(k), k, RESPONSE_TYPE) + b"\n" for k in range(5))
    (pair.folder / "responses.ndjson").write_bytes(answers)
    pair.pass_by(0)
    assert pair.requests(0) == 5


def test_what_cannot_be_read_is_told_and_the_rest_is_read(pair: Pair) -> None:
    pair.watch()
    (pair.folder / "events.jsonl").write_bytes(b'{"id": 1}\nno json\n' + exchange("a", 10))
    hour = pair.folder / "x" / "date=2026-03-01" / "hour=00"
    hour.mkdir(parents=True)
    (hour / "damaged.parquet").write_bytes(b"PAR1 and nothing")
    run = pair.pass_by(0)
    assert pair.requests(0) == 1
    assert len(run.problems) == 3
    told = "\n".join(sorted(run.problems))
    for part in (
        "damaged.parquet",
        "It cannot be read as a file",
        "Line 1 from byte 0",
        "Line 2 from byte 0",
    ):
        assert part in told


def test_a_last_line_without_an_end_is_read_once_the_file_rests(pair: Pair) -> None:
    pair.watch()
    file = pair.folder / "events.jsonl"
    file.write_bytes(exchange("a", 10).rstrip(b"\n"))
    pair.watching.clock.now = START + timedelta(days=3650)  # far past the file's time of change
    pair.watching.services.runs.catch_up(pair.monitor)
    (batch,) = pair.database.observation_files.where()
    assert batch.rows == 1


def test_a_version_is_read_as_it_was(pair: Pair) -> None:
    (pair.folder / "events.jsonl").write_bytes(exchange("a", 10) + exchange("b", 20).rstrip(b"\n"))
    catalogue = pair.watching.services.catalogue
    version = catalogue.add_version(catalogue.get(RepositoryKind.DATASET, OWNER, "logs"))
    while pair.database.versions.get(version.id).state is VersionState.IMPORTING:
        time.sleep(0.01)
    (pair.folder / "events.jsonl").write_bytes(b"")
    pair.watch(replace(LOGS, predict_version=1))
    pair.pass_by(0)
    assert pair.requests(0) == 2


def test_a_dataset_that_goes_away_holds_up_no_window_and_is_told_of(pair: Pair) -> None:
    pair.watch()
    pair.folder.rename(pair.folder.with_name("moved"))
    run = pair.pass_by(0)
    assert run.problems[0].startswith("drift.predict_dataset: The folder ")
    pair.folder.with_name("moved").rename(pair.folder)
    assert pair.pass_by(1).problems == ()


def test_a_bucket_that_goes_away_while_it_is_read_holds_up_no_window(
    pair: Pair, far: Far, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_bucket(pair, far.url)
    pair.watch(replace(LOGS, predict_dataset="far"))
    pair.serve(0)
    far.copy()
    with monkeypatch.context() as patch:
        patch.setattr(Bucket, "part", unavailable)
        run = pair.pass_by(0)
    assert run.problems == ("drift.predict_dataset: The object store does not answer.",)
    pair.pass_by(1)
    assert (pair.requests(0), pair.run(0).problems) == (6, ())


def unavailable(*_: object) -> bytes:
    raise UnavailableError("The object store does not answer.")


def test_a_file_whose_name_cannot_be_kept_is_told_of(pair: Pair) -> None:
    pair.watch()
    (pair.folder / os.fsdecode(b"\xff.jsonl")).write_bytes(exchange("a", 10))
    run = pair.pass_by(0)
    assert run.problems == ("drift.predict_dataset: The file name '\ufffd.jsonl' is not UTF-8; rename it.",)


def test_two_workers_that_look_at_once_read_everything_once(pair: Pair) -> None:
    pair.watch()
    settings, clock = pair.watching.services.settings, pair.watching.clock
    store = pair.watching.services.store
    catalogue = Catalogue(pair.database, store, Worker(), settings.home, clock)
    notifications = Notifications(pair.database, settings.address, clock)
    others = [
        build_monitoring(settings, pair.database, store, catalogue, notifications, lambda: None, clock)
        for _ in range(3)
    ]
    file = pair.folder / "events.jsonl"
    for round_ in range(8):
        with file.open("ab") as growing:
            growing.write(b"".join(exchange(f"{round_}-{k}", round_ * 20 + k) for k in range(15)))
        threads = [Thread(target=other.runs.catch_up, args=(pair.monitor,)) for other in others]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    pair.pass_by(0)
    assert pair.requests(0) == 120
    assert sum(file.rows for file in pair.database.observation_files.where()) == 120


def test_the_logs_of_somebody_else_are_refused(pair: Pair) -> None:
    services = pair.watching.services
    services.accounts.create("mallory", Role.OPERATOR)
    source = Source(SourceType.FOLDER, str(pair.folder))
    services.catalogue.create(RepositoryKind.DATASET, "theirs", "mallory", source, None)
    with pytest.raises(InvalidInputError, match="There is no dataset 'theirs'"):
        pair.watch(replace(LOGS, predict_dataset="theirs"))


def in_bucket(pair: Pair, url: str, name: str = "far", sub_path: str = "") -> None:
    source = Source(SourceType.S3, url, sub_path=sub_path)
    pair.watching.services.catalogue.create(RepositoryKind.DATASET, name, OWNER, source, None)


def test_logs_are_read_from_a_bucket_as_they_come(pair: Pair, far: Far) -> None:
    in_bucket(pair, f"{far.url}/theirs")
    (pair.folder / "outside.jsonl").write_bytes(exchange("z", 1))
    pair.watch(replace(LOGS, predict_dataset="far"))
    pair.serve(0)
    (pair.folder / "theirs" / "events.jsonl").write_bytes(exchange("a", 10) + line("b", 20) + b"\n")
    far.copy()
    pair.pass_by(0)
    assert pair.requests(0) == 7
    with (pair.folder / "theirs" / "events.jsonl").open("ab") as growing:
        growing.write(line("b", 20, RESPONSE_TYPE) + b"\n")
    far.copy()
    pair.pass_by(1)
    assert (pair.requests(0), pair.run(0).problems) == (8, ())


def test_a_version_is_made_of_what_is_in_a_bucket(pair: Pair, far: Far) -> None:
    (pair.folder / "a").mkdir()
    (pair.folder / "a" / "events.jsonl").write_bytes(exchange("a", 10))
    (pair.folder / "ab.jsonl").write_bytes(exchange("b", 10))
    far.copy()
    in_bucket(pair, far.url, sub_path="a")
    catalogue = pair.watching.services.catalogue
    repository = catalogue.get(RepositoryKind.DATASET, OWNER, "far")
    version = catalogue.add_version(repository)
    while (found := pair.database.versions.get(version.id)).state is VersionState.IMPORTING:
        time.sleep(0.01)
    assert [file.path for file in catalogue.manifest(repository, found).files] == ["events.jsonl"]


@pytest.mark.usefixtures("far")
def test_a_bucket_that_is_not_there_is_refused(pair: Pair) -> None:
    in_bucket(pair, "s3://other")
    with pytest.raises(InvalidInputError, match=r"The object store does not answer.*bucket does not exist"):
        pair.watch(replace(LOGS, predict_dataset="far"))


@pytest.mark.parametrize(
    ("url", "sub_path"),
    [
        ("s3://", ""),
        ("http://logs", ""),
        ("s3://logs/../x", ""),
        ("s3://logs/a", ".."),
        ("s3://logs/a", "b/../.."),
        ("s3://logs/%2e%2e", ""),
        ("s3://logs/a?versions", ""),
        ("s3://logs//a", ""),
    ],
)
def test_a_prefix_that_could_lead_elsewhere_is_refused(pair: Pair, url: str, sub_path: str) -> None:
    with pytest.raises(InvalidInputError, match=r"source\.url"):
        in_bucket(pair, url, sub_path=sub_path)


@pytest.mark.parametrize("url", ["s3://logs", "s3://logs/ours", "s3://logs/ours/0/log"])
def test_the_bucket_of_the_store_is_no_dataset(pair: Pair, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pair.watching.services.store, "url", "s3://logs/ours/")
    with pytest.raises(InvalidInputError, match="where this cluster has its store"):
        in_bucket(pair, url)
    in_bucket(pair, "s3://logs/ours2")


def test_files_that_the_other_cluster_merges_are_read_once(pair: Pair) -> None:
    """By whoever has read their parts, by whoever has read some of them, and by whoever comes late."""
    pair.watch()
    for window in range(4):
        pair.serve(window)
        if window < 3:
            pair.pass_by(window)
    read = pair.requests(2)
    serving = pair.serving.services
    compaction = Compaction(serving.database, serving.collector.log)
    assert compaction.work(pair.serving.deployment.id, START + timedelta(hours=3), float("inf")) == 4
    shutil.rmtree(pair.folder / "theirs")
    pair.serve(4)
    pair.pass_by(3)
    pair.pass_by(4)
    assert [pair.requests(window) for window in range(5)] == [6, 6, read, 6, 6]
    assert [len(pair.runs(window)) for window in range(5)] == [1] * 5
    assert not pair.database.dead_letters.where()
    files = pair.database.log_files.where(deployment_id=pair.watching.deployment.id, sort="number")
    logs = pair.watching.services.showing._logs  # what is shown of an event is read anew
    assert [len(logs.file(file.deployment_id, file.id)) for file in files] == [12] * 5


def kserve_object(id_: str, kind: str, data: dict[str, object]) -> bytes:
    """An object as KServe's logger writes it: Go's JSON of its own fields, the payload in base64."""
    fields = {
        "Url": {"Scheme": "s3", "Host": "logs", "Path": ""},
        "Bytes": base64.b64encode(orjson.dumps(data)).decode(),
        "ContentType": "application/json",
        "ReqType": kind,
        "Id": id_,
        "SourceUri": {"Scheme": "http", "Host": "localhost:9081", "Path": "/", "User": None},
        "InferenceService": "chest",
        "Namespace": "ward",
        "Component": "predictor",
        "Endpoint": "default",
        "Metadata": None,
        "Annotations": None,
        "CertName": "",
        "TlsSkipVerify": False,
    }
    return orjson.dumps([fields])


def test_objects_of_kserves_logger_are_read_at_the_time_that_they_have(pair: Pair) -> None:
    pair.watch()
    folder = pair.folder / "ward" / "chest" / "predictor"
    folder.mkdir(parents=True)
    for number in range(3):
        for kind, data in (
            (REQUEST_TYPE, {"instances": [[1.0]]}),
            (RESPONSE_TYPE, {"predictions": [[0.9, 0.1]]}),
        ):
            file = folder / f"id-{number}-{kind.rpartition('.')[2]}.json"
            file.write_bytes(kserve_object(f"id-{number}", kind, data))
            seconds = (START + timedelta(seconds=number + 1)).timestamp()
            os.utime(file, (seconds, seconds))
    (folder / "broken-request.json").write_text("{}")
    (folder / "notes.json").write_text("{}")
    pair.pass_by(0)
    assert pair.requests(0) == 3
