"""Where performance comes from: files of the store and of Datasets, functions of users."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from parts import CLASSES
from simulated import OWNER, START, Site
from tidegauge.domain.catalogue import RepositoryKind, Source, SourceType, VersionState
from tidegauge.domain.metrics import MetricType
from tidegauge.domain.monitor import Cause, Metric, MonitorRun, MonitorState
from tidegauge.domain.monitor_config import CustomFunction, MonitorConfig, PerformanceConfig
from tidegauge.domain.status import Status
from tidegauge.domain.thresholds import Threshold
from tidegauge.domain.users import Role
from tidegauge.errors import ConflictError, InvalidInputError
from tidegauge.services.labels import PostedLabel

STEP = timedelta(minutes=5)
METRICS = PerformanceConfig(enabled=True, compute="precomputed_metrics")


class Ward:
    """A monitor of performance alone, with three windows that have been looked at."""

    def __init__(self, site: Site, folder: Path) -> None:
        self.site = site
        self.services = site.services
        self.database = site.services.database
        self.folder = folder

    def watch(self, performance: PerformanceConfig, windows: int = 3) -> None:
        monitors = self.services.monitors
        monitor = monitors.create(self.site.deployment, MonitorConfig(performance=performance), OWNER)
        while (monitor := self.database.monitors.get(monitor.id)).state is MonitorState.BASELINING:
            time.sleep(0.01)
        assert monitor.state is MonitorState.READY, monitor.message
        self.monitor = monitors.start(monitor, OWNER)
        self.site.clock.now = START + windows * STEP + timedelta(seconds=10)
        self.site.work()

    def runs(self, window: int = 0) -> tuple[MonitorRun, ...]:
        start = START + window * STEP
        return self.database.monitor_runs.where(monitor_id=self.monitor.id, start=start, sort="revision")

    def metrics(self, window: int = 0) -> dict[str, Metric]:
        found = self.runs(window)[-1].metrics
        return {metric.name: metric for metric in found if metric.type is MetricType.PERFORMANCE}

    def values(self, window: int = 0) -> dict[str, float | None]:
        return {name: metric.value for name, metric in self.metrics(window).items()}

    def drop(self, name: str, text: str) -> None:
        """Put a file into the store of this cluster, where files of the deployment are looked for."""
        self.services.deployments.put_labels(self.site.deployment, name, text.encode())
        self.site.work()


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("template")
    site = Site.build(folder / "home", CLASSES)
    site.deploy(folder / "model", ["NORMAL", "PNEUMONIA"] * 5, "PNEUMONIA")
    site.close()
    return folder / "home"


@pytest.fixture
def ward(tmp_path: Path, template: Path) -> Iterator[Ward]:
    shutil.copytree(template, tmp_path / "home")
    site = Site.build(tmp_path / "home", CLASSES)
    (site.deployment,) = site.services.database.deployments.where()
    yield Ward(site, tmp_path)
    site.close()


def at(window: float) -> str:
    return (START + window * STEP).isoformat()


def live(ward: Ward, name: str = "answers", owner: str = OWNER) -> Path:
    """Make a Dataset whose source is a folder on this machine."""
    folder = ward.folder / name
    folder.mkdir()
    catalogue = ward.services.catalogue
    catalogue.create(RepositoryKind.DATASET, name, owner, Source(SourceType.FOLDER, str(folder)), None)
    return folder


def version_of(ward: Ward, kind: RepositoryKind, name: str) -> None:
    catalogue = ward.services.catalogue
    version = catalogue.add_version(catalogue.get(kind, OWNER, name))
    while (found := ward.database.versions.get(version.id)).state is VersionState.IMPORTING:
        time.sleep(0.01)
    assert found.state is VersionState.READY, found.error


def custom(ward: Ward, *lines: str, function: str = "lib/mine.py:score") -> PerformanceConfig:
    """Register a function with these lines as the version of a Code repository."""
    folder = ward.folder / "code"
    (folder / "lib").mkdir(parents=True)
    body = "\n".join(f"    {line}" for line in lines)
    (folder / "lib" / "mine.py").write_text(f"def score(truth, predictions):\n{body}\n")
    source = Source(SourceType.FOLDER, str(folder))
    ward.services.catalogue.create(RepositoryKind.CODE, "metrics", OWNER, source, None)
    version_of(ward, RepositoryKind.CODE, "metrics")
    return PerformanceConfig(enabled=True, compute="custom", custom=CustomFunction("metrics", 1, function))


def test_metrics_from_files_are_those_of_their_window(ward: Ward) -> None:
    ward.watch(METRICS)
    ward.drop("jan.csv", f"timestamp,accuracy,rmse,n\n{at(0.5)},0.9,3.5,40\n{at(1)},0.8,,30\n")
    assert ward.values(0) == {"accuracy": 0.9, "rmse": 3.5}
    assert ward.values(1) == {"accuracy": 0.8}
    assert (ward.metrics(0)["accuracy"].n, ward.metrics(1)["accuracy"].n) == (40, 30)
    assert ward.values(2) == {}


def test_only_windows_whose_rows_changed_are_looked_at_again(ward: Ward) -> None:
    ward.watch(METRICS)
    first = f"timestamp,accuracy\n{at(0)},0.9\n{at(1)},0.8\n"
    ward.drop("jan.csv", first)
    ward.drop("jan.csv", first.replace("0.8", "0.7"))
    assert [len(ward.runs(window)) for window in range(3)] == [2, 3, 1]
    assert ward.runs(1)[-1].cause is Cause.LATE_LABELS
    assert (ward.values(0), ward.values(1)) == ({"accuracy": 0.9}, {"accuracy": 0.7})
    assert [ward.metrics(window)["accuracy"].detail["corrections"] for window in (0, 1)] == [0, 1]


def test_of_several_rows_of_a_window_the_latest_counts(ward: Ward) -> None:
    ward.watch(METRICS)
    ward.drop("a.csv", f"timestamp,accuracy,recall\n{at(0.9)},0.7,\n{at(0.2)},0.9,0.6\n")
    assert ward.values() == {"accuracy": 0.7, "recall": 0.6}
    assert ward.metrics()["accuracy"].detail == {"rows": 2, "corrections": 0, "uncounted": 1}
    ward.drop("b.csv", f"timestamp,accuracy\n{at(0.9)},0.75\n")
    assert ward.values()["accuracy"] == 0.75
    assert ward.metrics()["accuracy"].detail["corrections"] == 1


def test_labels_by_event_are_refused_where_they_would_count_for_nothing(ward: Ward) -> None:
    ward.watch(METRICS)
    with pytest.raises(ConflictError, match="takes metrics that somebody else computes"):
        ward.services.runs.post_labels(ward.monitor, [PostedLabel("a", "A")], OWNER)


def test_what_is_no_metric_or_no_value_is_told_and_never_used(ward: Ward) -> None:
    ward.watch(METRICS)
    ward.drop(
        "a.csv",
        f"timestamp,accuracy,acuracy,expected_recall,n\n{at(0)},0.9,1,1,10\n{at(0.1)},91,1,1,10\n"
        f"{at(0.2)},inf,1,1,10\n{at(0.3)},NaN,1,1,10\n{at(0.4)},good,1,1,10\n{at(0.5)},0.5,1,1,-3\n",
    )
    assert ward.values() == {"accuracy": 0.9}
    problems = "\n".join(ward.runs()[-1].problems)
    for part in (
        "'acuracy', 'expected_recall' are no metric",
        "row 2: accuracy is 91; it lies from 0 to 1.",
        "row 3: accuracy is inf; write a finite number.",
        "row 5: accuracy is 'good'; write a number.",
        "row 6: n is '-3'; write the number of samples.",
    ):
        assert part in problems
    ward.drop("b.csv", f"timestamp,speed\n{at(1)},3\n")
    letters = ward.database.dead_letters.where(source=f"{ward.site.deployment.livedata}/b.csv")
    assert [letter.reason for letter in letters] == [
        "'speed' is no metric and left out.",
        "It has no column with the name of a metric, such as 'accuracy'.",
    ]


@pytest.mark.parametrize(
    ("columns", "verdict"),
    [
        ("accuracy,n\n{},0.5,4", Status.UNKNOWN),
        ("accuracy,n\n{},0.5,5", Status.CRITICAL),
        ("accuracy\n{},0.5", Status.CRITICAL),
    ],
)
def test_a_verdict_asks_for_enough_samples_where_files_count_them(
    ward: Ward, columns: str, verdict: Status
) -> None:
    ward.watch(METRICS)
    accuracy = Threshold("accuracy", MetricType.PERFORMANCE, 0.9, 0.8)
    ward.database.monitors.update(ward.monitor.id, thresholds={"accuracy": accuracy})
    ward.drop("a.csv", f"timestamp,{columns.format(at(0))}\n")
    assert ward.runs()[-1].performance is verdict


def test_labels_are_read_from_a_live_dataset_as_they_come(ward: Ward) -> None:
    folder = live(ward)
    (folder / "day" / "one").mkdir(parents=True)
    ward.watch(PerformanceConfig(enabled=True, dataset="answers", prefix="day"))
    (folder / "outside.csv").write_text(f"timestamp,output,label\n{at(0)},NORMAL,PNEUMONIA\n")
    (folder / "day" / "one" / "a.csv").write_text(
        f"timestamp,output,label\n{at(0)},NORMAL,NORMAL\n{at(1)},NORMAL,PNEUMONIA\n"
    )
    (folder / "day" / "link.csv").symlink_to("/etc/hostname")
    ward.site.work()
    assert [ward.values(window).get("accuracy") for window in range(3)] == [1.0, 0.0, None]
    (folder / "day" / "one" / "a.csv").unlink()
    ward.site.work()
    assert [ward.values(window).get("accuracy") for window in range(3)] == [None, None, None]


def test_metrics_are_read_from_a_version_of_a_dataset(ward: Ward) -> None:
    folder = live(ward)
    (folder / "a.csv").write_text(f"timestamp,accuracy\n{at(0)},0.9\n")
    version_of(ward, RepositoryKind.DATASET, "answers")
    (folder / "a.csv").write_text(f"timestamp,accuracy\n{at(0)},0.1\n")
    ward.watch(replace(METRICS, dataset="answers", dataset_version=1))
    assert ward.values() == {"accuracy": 0.9}


def test_a_dataset_that_goes_away_holds_up_no_window_and_is_told_of(ward: Ward) -> None:
    folder = live(ward)
    ward.watch(replace(METRICS, dataset="answers"))
    folder.rename(folder.with_name("moved"))
    ward.site.clock.now += STEP
    ward.site.work()
    (run,) = ward.runs(3)
    assert run.problems[-1].endswith("of the dataset 'answers' is not there.")
    folder.with_name("moved").rename(folder)
    ward.site.clock.now += STEP
    ward.site.work()
    assert ward.runs(4)[0].problems == ()


def refusal(ward: Ward, performance: PerformanceConfig) -> str:
    config = MonitorConfig(performance=performance)
    with pytest.raises(InvalidInputError) as caught:
        ward.services.monitors.create(ward.site.deployment, config, OWNER)
    (error,) = caught.value.errors
    return f"{error.field} | {error.message}"


def test_a_dataset_of_somebody_else_is_refused(ward: Ward) -> None:
    ward.services.accounts.create("mallory", Role.OPERATOR)
    live(ward, owner="mallory")
    assert "There is no dataset 'answers'" in refusal(ward, replace(METRICS, dataset="answers"))


def test_a_version_that_is_not_there_is_refused(ward: Ward) -> None:
    live(ward)
    assert "has no version v3" in refusal(ward, replace(METRICS, dataset="answers", dataset_version=3))


@pytest.mark.parametrize(
    "prefix", ["{}", "{}/", "{}/./", "{}/log", "{}/observations/x", "{}x/livedata", "blobs"]
)
def test_a_prefix_outside_the_folder_for_files_of_the_deployment_is_refused(ward: Ward, prefix: str) -> None:
    wanted = prefix.format(ward.site.deployment.id)
    assert refusal(ward, replace(METRICS, prefix=wanted)).startswith("performance.prefix | ")


THREE = f"timestamp,output,label\n{at(0)},A,A\n{at(0.1)},A,B\n{at(0.2)},B,B\n"


def test_a_function_of_the_user_computes_performance_of_labels(ward: Ward) -> None:
    shares = "sum(t == p for t, p in zip(truth, predictions)) / len(truth)"
    ward.watch(custom(ward, f"return {{'jaccard': {shares}, 'rmse': predictions.count('A')}}"))
    ward.drop("a.csv", THREE)
    assert ward.values() == {"jaccard": pytest.approx(2 / 3), "rmse": 2.0}
    assert ward.metrics()["jaccard"].n == 3
    assert (ward.values(1), ward.runs(1)[-1].problems) == ({}, ())  # it is not called without labels


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("raise ValueError('no ward')", "ValueError: no ward (lib/mine.py, line 2)."),
        ("return 0.5", "It returned 0.5, not a number for each name of a metric."),
        ("return {'accuracy': float('nan')}", "It returned nan for accuracy, which is no number."),
        ("return {'accuracy': 1.5}", "It returned what cannot be: accuracy is 1.5; it lies from 0 to 1."),
        ("return {'accuracy': 'high'}", "It returned 'high' for accuracy, which is no number."),
        ("return {'acuracy': 1}", "It returned 'acuracy', which is no metric."),
    ],
)
def test_a_function_that_fails_leaves_its_metric_unknown_and_says_why(
    ward: Ward, line: str, said: str
) -> None:
    ward.watch(custom(ward, line))
    accuracy = Threshold("accuracy", MetricType.PERFORMANCE, 0.9, 0.8)
    ward.database.monitors.update(ward.monitor.id, thresholds={"accuracy": accuracy})
    ward.drop("a.csv", THREE)
    assert ward.values() == {"accuracy": None}
    run = ward.runs()[-1]
    assert (run.performance, run.health) == (Status.UNKNOWN, ward.runs(1)[-1].health)
    assert run.problems == (f"lib/mine.py:score of 'metrics' v1: {said}",)


@pytest.mark.parametrize(
    ("text", "function", "said"),
    [
        ("def score(:\n", "lib/mine.py:score", "lib/mine.py, line 1 of 'metrics' v2 is not valid Python"),
        ("def scores(a, b): ...\n", "lib/mine.py:score", "defines no function 'score'."),
        ("def score(a): ...\n", "lib/mine.py:score", "cannot be called with two arguments"),
        ("def score(a, b, c): ...\n", "lib/mine.py:score", "cannot be called with two arguments"),
        ("def score(a, b, *, c): ...\n", "lib/mine.py:score", "cannot be called with two arguments"),
        ("async def score(a, b): ...\n", "lib/mine.py:score", "is asynchronous"),
        ("", "mine.py:score", "'metrics' v2 has no file 'mine.py'."),
        ("\0", "lib/mine.py:score", "is not valid Python"),
    ],
)
def test_a_function_that_cannot_be_called_is_refused_before_anything_is_saved(
    ward: Ward, text: str, function: str, said: str
) -> None:
    wanted = custom(ward, "return {}", function=function)
    (ward.folder / "code" / "lib" / "mine.py").write_text(text)
    version_of(ward, RepositoryKind.CODE, "metrics")
    newest = replace(wanted, custom=CustomFunction("metrics", 2, function))
    assert said in refusal(ward, newest)
    assert refusal(ward, newest).startswith("performance.custom | performance.custom: ")


@pytest.mark.parametrize(
    "text",
    [
        "def score(a, b, c=1): ...\n",
        "def score(*all): ...\n",
        "def score(a, b=1, /): ...\n",
        "from x import score\n",
        "score = max\n",
    ],
)
def test_a_function_that_can_be_called_with_two_arguments_is_taken(ward: Ward, text: str) -> None:
    wanted = custom(ward, "return {}")
    (ward.folder / "code" / "lib" / "mine.py").write_text(text)
    version_of(ward, RepositoryKind.CODE, "metrics")
    ward.watch(replace(wanted, custom=CustomFunction("metrics", 2, "lib/mine.py:score")))
