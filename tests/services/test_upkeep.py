"""What monitors see of a log that is merged, and that is kept for a limited time."""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from parts import CLASSES, SIDE
from parts_log import NEVER
from parts_ward import STEP, Ward, build
from simulated import START, Site
from tidegauge.app import utc_now
from tidegauge.domain.identity import new_id
from tidegauge.domain.metrics import MetricType
from tidegauge.domain.monitor import EvidenceState, MonitorState
from tidegauge.domain.monitor_config import ImageShape
from tidegauge.errors import NotFoundError
from tidegauge.services.backups import back_up, restore
from tidegauge.services.extraction import Extraction, extraction_of
from tidegauge.services.retraining.truth import live_images
from tidegauge.services.upkeep.compaction import Compaction
from tidegauge.storage.database import Database
from tidegauge.storage.log import InferenceLog, is_merged
from tidegauge.storage.objects import ObjectStore
from tidegauge.storage.observations import Observations

WINDOWS = 6
EACH = 20  # images of a window
HOUR = timedelta(hours=1)
SECOND_READER = Extraction(ImageShape(SIDE, SIDE), len(CLASSES), source="patient")


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a monitor that has looked at half an hour: a file of the log for each window."""
    home = build(tmp_path_factory.mktemp("template"))
    with closing(Site.build(home, CLASSES)) as site:
        ward = Ward(site)
        for window in range(WINDOWS):
            ward.send(window, EACH, blur=window >= 3)
            ward.look(window)
    return home


def open_copy(template: Path, home: Path) -> Ward:
    shutil.copytree(template, home)
    ward = Ward(Site.build(home, CLASSES))
    ward.site.clock.now = START + 3 * HOUR
    return ward


@pytest.fixture
def ward(tmp_path: Path, template: Path) -> Iterator[Ward]:
    made = open_copy(template, tmp_path / "home")
    yield made
    made.site.close()


def compact(ward: Ward) -> int:
    compaction = Compaction(ward.services.database, InferenceLog(ward.services.store))
    done = compaction.work(ward.site.deployment.id, ward.site.clock(), NEVER)
    assert done is not None
    return done


def read_anew(ward: Ward) -> list[Observations]:
    """Have another extraction read the log from its first file; return its batches."""
    services, id_ = ward.services, ward.site.deployment.id
    services.observing.advance(id_, SECOND_READER, lambda _: None)
    return list(services.runs._files.after(id_, SECOND_READER.id, 0))


def evidence_of(ward: Ward) -> tuple[EvidenceState, bytes]:
    """Return the evidence that comes of what the second extraction has read, and its checkpoint."""
    runs = ward.services.runs
    monitor = replace(ward.monitor, id=new_id(), evidence=None)
    baseline = ward.services.baselines.load(ward.monitor)
    state = runs._evidences.advance(monitor, baseline, SECOND_READER, 0, START + HOUR)
    assert state is not None
    return replace(state, checkpoint=""), ward.services.store.get(
        next(info.path for info in ward.services.store.list(f"monitors/{monitor.id}"))
    )


def test_evidence_is_the_same_to_the_bit_whether_the_log_was_merged_before_it_was_read(
    template: Path, tmp_path: Path
) -> None:
    merged, plain = (open_copy(template, tmp_path / name) for name in ("merged", "plain"))
    with closing(merged.site), closing(plain.site):
        assert compact(merged) == WINDOWS
        assert len(merged.services.collector.log.files(merged.site.deployment.id)) == 1
        found, expected = read_anew(merged), read_anew(plain)
        assert len(found) == len(expected) == WINDOWS * 5  # one of each minute
        for one, other in zip(found, expected, strict=True):
            assert one.event_id.tolist() == other.event_id.tolist()
            assert one.log_file.tolist() == other.log_file.tolist()
            assert one.sequence.tolist() == other.sequence.tolist()
            assert np.array_equal(one.time, other.time)
            assert np.array_equal(one.scores, other.scores)
        state, checkpoint = evidence_of(merged)
        assert (state, checkpoint) == evidence_of(plain)
        assert state.result is not None
        assert state.result.alarm


def test_images_and_events_of_a_merged_hour_are_shown(ward: Ward) -> None:
    run = ward.services.monitors.runs(ward.monitor, START, START + STEP)[-1]
    shown = run.images[0]
    image = ward.services.showing.image(ward.monitor, run, shown.event_id, shown.index)
    assert compact(ward) == WINDOWS
    ward.services.showing._kept = None
    assert ward.services.showing.image(ward.monitor, run, shown.event_id, shown.index) == image
    request, response = ward.services.showing.events(ward.monitor, shown)
    assert request is not None
    assert response is not None


def test_an_event_of_a_merged_hour_is_deleted_everywhere(ward: Ward) -> None:
    run = ward.services.monitors.runs(ward.monitor, START, START + STEP)[-1]
    event_id = run.images[0].event_id
    compact(ward)
    ward.forget(event_id)
    log, id_ = ward.services.collector.log, ward.site.deployment.id
    (path,) = log.files(id_)
    assert is_merged(path)
    assert log.holding([path], {event_id}) == {}
    assert not any(event_id in batch.event_id for batch in read_anew(ward))
    assert sum(map(len, read_anew(ward))) == EACH * WINDOWS - 1


def test_an_accepted_baseline_is_made_of_merged_images(ward: Ward) -> None:
    compact(ward)
    accept(ward)
    assert ward.monitor.message == ""
    assert ward.services.database.acknowledgements.count(monitor_id=ward.monitor.id) == 1


def test_what_needs_an_image_that_is_kept_no_more_says_so(ward: Ward) -> None:
    run = ward.services.monitors.runs(ward.monitor, START, START + STEP)[-1]
    drop(ward, START + 30 * HOUR)
    with pytest.raises(NotFoundError, match=r"has no image .* any more"):
        ward.services.showing.image(ward.monitor, run, run.images[0].event_id, run.images[0].index)
    accept(ward)
    assert "is kept for a limited time or size" in ward.monitor.message


def test_retraining_counts_images_that_are_kept_no_more_as_gone(ward: Ward) -> None:
    services, id_ = ward.services, ward.site.deployment.id
    collecting = services.retrainings._collecting
    baseline = services.baselines.load(ward.monitor)
    extraction = extraction_of(ward.monitor, baseline)
    lives = list(
        live_images(
            services.database, services.runs._files, id_, extraction, baseline.classes, START, START + HOUR
        )
    )
    drop(ward, START + 30 * HOUR)
    growing = SimpleNamespace(counts=Counter(), units=[])
    shape = ward.monitor.config.drift.image
    assert list(collecting._images(ward.monitor, shape, lives, growing)) == []  # type: ignore[arg-type]
    assert growing.counts == {"gone": len(lives)}


def test_results_and_observations_stay_when_the_log_goes(ward: Ward) -> None:
    before = ward.services.monitors.runs(ward.monitor, None, None)
    (first,) = (run for run in before if run.start == START)
    drop(ward, START + 30 * HOUR)
    assert ward.services.monitors.runs(ward.monitor, None, None) == before
    again = ward.services.runs.run(ward.monitor, START, START + STEP)
    assert (again.revision, again.problems) == (first.revision + 1, ())
    # What is expected without labels depends on the alarm, which came later.
    observed = (MetricType.HEALTH, MetricType.DRIFT)
    assert [metric for metric in again.metrics if metric.type in observed] == [
        metric for metric in first.metrics if metric.type in observed
    ]


def test_a_window_whose_log_has_gone_before_it_was_read_says_so(ward: Ward) -> None:
    ward.site.clock.now = START + 2 * HOUR + 6 * STEP
    ward.send(24 + 5)
    ward.look(24 + 5)
    drop(ward, START + 26 * HOUR)
    config = replace(ward.monitor.config, segments="hospital")
    ward.services.monitors.stop(ward.monitor, "operator")
    changed = ward.services.monitors.configure(ward.monitor, config, "operator")
    while ward.monitor.state is MonitorState.BASELINING:
        time.sleep(0.02)
    run = ward.services.runs.run(ward.monitor, START, START + STEP)
    assert changed.config.segments == "hospital"
    assert "The log begins at 2026-03-01T02:00:00+00:00" in run.problems[0]
    assert run.metric("requests").value == 0  # type: ignore[union-attr]


def accept(ward: Ward) -> None:
    ward.services.acceptance.accept(ward.monitor, START, START + WINDOWS * STEP, "operator", "")
    while ward.monitor.progress:
        time.sleep(0.02)


def drop(ward: Ward, now: datetime) -> None:
    ward.services.database.deployments.update(ward.site.deployment.id, keep_days=1)
    deployment = ward.services.database.deployments.get(ward.site.deployment.id)
    assert ward.services.retention.work(deployment, now, NEVER)


@pytest.mark.parametrize("moment", ["objects 1", "rows of log_files", "objects 2"])
def test_a_backup_of_a_log_that_is_merged_meanwhile_is_whole(ward: Ward, tmp_path: Path, moment: str) -> None:
    """As objects are copied, the rows are written, or what came since the first copy is copied."""
    log, id_ = ward.services.collector.log, ward.site.deployment.id
    told: Counter[str] = Counter()

    def tell(step: str, done: int, _total: int) -> None:
        if done:
            return
        told[step] += 1
        if moment in (step, f"{step} {told[step]}"):
            compact(ward)
        elif moment == "objects 2" and (step, told[step]) == ("objects", 1):
            for window in range(4):  # that the first copy does not see
                ward.send(window, 2)
                ward.services.collector.flush()

    services, home = ward.services, tmp_path / "copy"
    home.mkdir()
    segments = services.settings.home / "collector"
    back_up(services.database, services.store, segments, tmp_path / "backup.tar", utc_now(), tell)
    logs = ward.services.playground._logs
    before = {file.id: logs.file(id_, file.id) for file in ward.services.database.log_files.where()}
    assert len(log.files(id_)) == 1
    database = Database(f"sqlite:///{home / 'tidegauge.sqlite'}")
    with closing(database):
        store = ObjectStore(str(home / "store"))
        restore(database, store, home / "collector", tmp_path / "backup.tar", lambda *_: None)
        copy = InferenceLog(store)
        found = {file.id: copy.file(id_, file.id, file.merged_into) for file in database.log_files.where()}
        assert found == before
        assert sum(len(copy.file(id_, path)) for path in copy.files(id_) if not is_merged(path)) + sum(
            len(copy.keys(path)) for path in copy.files(id_) if is_merged(path)
        ) == sum(map(len, before.values()))


def test_the_api_tells_the_size_of_the_log(ward: Ward) -> None:
    compact(ward)
    size = ward.services.retention.size(ward.site.deployment)
    assert (size.files, size.merged, size.gone) == (1, WINDOWS, 0)
    assert size.last is not None
    assert size.last < START + WINDOWS * STEP
