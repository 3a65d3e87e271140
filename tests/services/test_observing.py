from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import sleep
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tidegauge.domain.deployment import Deployment, DeploymentState, Origin
from tidegauge.domain.events import LATENCY_US, REQUEST_TYPE, RESPONSE_TYPE, SAMPLED_RATE, STATUS, Event
from tidegauge.domain.monitor_config import ImageShape
from tidegauge.services.catalogue import Catalogue
from tidegauge.services.extraction import Extraction
from tidegauge.services.noting import Noting
from tidegauge.services.observing import Observing
from tidegauge.services.sources.files import Datasets
from tidegauge.services.sources.logs import Logs
from tidegauge.services.worker import Worker
from tidegauge.stats.images import extract
from tidegauge.storage.database import Database
from tidegauge.storage.log import InferenceLog
from tidegauge.storage.objects import ObjectStore
from tidegauge.storage.observations import Observations, ObservationStore
from tidegauge.storage.segments import Record

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
EXTRACTION = Extraction(ImageShape(8, 9), 2)
IMAGES = np.random.default_rng(0).integers(0, 255, (6, 8, 9, 1), np.uint8)


class Part:
    """A log, and what is read of it."""

    def __init__(self, folder: Path) -> None:
        self.database = Database(f"sqlite:///{folder / 'observing.sqlite'}")
        self.database.migrate()
        running = DeploymentState.RUNNING
        self.database.deployments.add(
            Deployment("d1", "d1", "ada", "m", "m", 1, True, Origin.LOCAL, running, running, NOW, "")
        )
        self.store = ObjectStore(str(folder / "store"))
        self.log = InferenceLog(self.store)
        catalogue = Catalogue(self.database, self.store, Worker(), folder, lambda: NOW)
        self.logs = Logs(self.database, self.log, Datasets(catalogue), lambda: NOW)
        self.files = ObservationStore(self.database, self.store)
        self.observing = Observing(self.database, self.logs, self.files, lambda: NOW)
        self.heard: list[Observations] = []

    def write(self, segment: str, *events: Event, received: datetime = NOW) -> None:
        Noting(self.database, lambda: NOW).note(
            self.log.write(segment, [Record("d1", received, event) for event in events])
        )

    def advance(self) -> list[Observations]:
        """Read all; return the batches that came of it."""
        before = len(self.heard)
        assert self.observing.advance("d1", EXTRACTION, self.heard.append)
        return self.heard[before:]

    def window(self, start: datetime = NOW, end: datetime = NOW + HOUR) -> Observations:
        return self.files.window("d1", EXTRACTION.id, start, end)

    def letters(self) -> list[str]:
        return [letter.reason for letter in self.database.dead_letters.where()]


@pytest.fixture
def part(tmp_path: Path) -> Iterator[Part]:
    part = Part(tmp_path)
    yield part
    part.database.close()


def event(id_: str, type_: str, data: Any, time: datetime, **extensions: int) -> Event:
    body = orjson.dumps(data, option=orjson.OPT_SERIALIZE_NUMPY)
    return Event(id_, "/deployments/d1", type_, time, "application/json", body, extensions)


def request(id_: str, images: Any = IMAGES[:1], time: datetime = NOW) -> Event:
    return event(id_, REQUEST_TYPE, {"inputs": {"input_1": images}}, time)


def response(id_: str, scores: Any = ((0.2, 0.8),), time: datetime = NOW, status: int = 200) -> Event:
    return event(id_, RESPONSE_TYPE, {"outputs": scores}, time, **{STATUS: status, LATENCY_US: 1500})


def pair(id_: str, time: datetime = NOW) -> tuple[Event, Event]:
    return request(id_, time=time), response(id_, time=time)


def test_an_exchange_becomes_an_observation_for_each_image(part: Part) -> None:
    part.write("s1", request("a", IMAGES[:2]), response("a", [[0.2, 0.8], [0.9, 0.1]]))
    part.advance()
    seen = part.window()
    assert seen.event_id.tolist() == ["a", "a"]
    assert seen.index.tolist() == [0, 1]
    assert (seen.status.tolist(), seen.latency.tolist()) == ([200, 200], [1500, 1500])
    np.testing.assert_allclose(seen.scores, [[0.2, 0.8], [0.9, 0.1]], rtol=1e-6)


def test_features_come_back_as_they_were_extracted(part: Part) -> None:
    for number, image in enumerate(IMAGES):
        part.write(f"s{number}", request(f"e{number}", image[None]), response(f"e{number}"))
    part.advance()
    found, expected = part.window().images, extract(IMAGES)
    assert found is not None
    for name, array in expected.to_arrays().items():
        np.testing.assert_array_equal(getattr(found, name), array)


def test_reading_again_reads_nothing_twice(part: Part) -> None:
    part.write("s1", *pair("a"))
    assert [len(batch) for batch in part.advance()] == [1]
    assert part.advance() == []
    part.write("s2", *pair("b"))
    assert [len(batch) for batch in part.advance()] == [1]
    assert part.window().event_id.tolist() == ["a", "b"]


def test_what_another_extractor_has_read_is_read_and_is_not_late(part: Part) -> None:
    part.write("s1", *pair("a"))
    assert [batch.event_id.tolist() for batch in part.advance()] == [["a"]]
    part.write("s2", *pair("b"))
    other = replace(EXTRACTION, segment="hospital")
    heard: list[Observations] = []
    assert part.observing.advance("d1", other, heard.append)
    part.write("s3", *pair("c"))
    assert part.observing.advance("d1", other, heard.append)
    assert [batch.event_id.tolist() for batch in heard] == [["b"], ["c"]]
    assert len(part.files.window("d1", other.id, NOW, NOW + HOUR)) == 3


def test_halves_in_different_files_are_joined(part: Part) -> None:
    part.write("s1", request("a"))
    assert part.advance() == []
    part.write("s2", response("a"))
    assert [batch.event_id.tolist() for batch in part.advance()] == [["a"]]
    part.write("s3", response("b"))
    part.advance()
    part.write("s4", request("b"))
    part.advance()
    assert part.window().event_id.tolist() == ["a", "b"]
    assert part.letters() == []


def test_a_half_that_stays_alone_becomes_a_dead_letter(part: Part) -> None:
    part.write("s1", request("a"))
    part.advance()
    part.write("s2", *pair("b"), received=NOW + 2 * HOUR)
    part.advance()
    assert part.letters() == ["Its other half, request or response, never came."]


def test_an_event_that_is_delivered_twice_counts_once(part: Part) -> None:
    part.write("s1", *pair("a"), *pair("a"))
    part.advance()
    part.write("s2", *pair("a"), *pair("b"))
    part.advance()
    assert part.window().event_id.tolist() == ["a", "b"]


@pytest.mark.parametrize(
    ("events", "reason"),
    [
        ((request("a", IMAGES[:1, :4]), response("a")), "No input has images of 8x9x1"),
        ((request("a"), response("a", [[0.1, 0.2, 0.7]])), "a score for each of 2 classes"),
        ((request("a"), response("a", [[0.5, 0.5]] * 2)), "has 1 images and the response 2 answers"),
    ],
)
def test_what_cannot_be_decoded_becomes_a_dead_letter_and_counts_in_health(
    part: Part, events: tuple[Event, Event], reason: str
) -> None:
    part.write("s1", *events)
    part.advance()
    (letter,) = part.letters()
    assert reason in letter
    seen = part.window()
    assert (seen.status.tolist(), seen.seen.tolist()) == ([200], [False])


def test_refused_requests_have_a_status_and_nothing_else(part: Part) -> None:
    part.write("s1", request("a", IMAGES[:1, :2]), response("a", None, status=400), *pair("b"))
    part.advance()
    seen = part.window()
    assert (seen.status.tolist(), seen.seen.tolist()) == ([400, 200], [False, True])
    assert np.isnan(seen.scores[0]).all()
    assert part.letters() == []


def test_a_crash_before_the_database_knows_leaves_nothing_behind_that_counts(part: Part) -> None:
    part.write("s1", *pair("a"))

    def crash(*_: object) -> None:
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        part.observing.advance("d1", EXTRACTION, crash)
    assert len(part.window()) == 0
    assert [len(batch) for batch in part.advance()] == [1]
    assert part.window().event_id.tolist() == ["a"]


def test_a_slower_reader_of_the_same_files_gives_way(part: Part) -> None:
    part.write("s1", *pair("a"))
    other = Observing(part.database, part.logs, part.files, lambda: NOW)
    reads = iter([lambda: other.advance("d1", EXTRACTION, lambda _: None), lambda: None])
    read = part.log.file

    def overtaken(*args: str) -> list[Record]:
        next(reads)()
        return read(*args)

    part.log.file = overtaken  # type: ignore[method-assign]
    assert part.advance() == []
    assert part.window().event_id.tolist() == ["a"]


def test_a_slower_reader_of_fewer_files_writes_over_nothing(part: Part) -> None:
    """As when somebody runs a window by hand while the schedule reads the log."""
    part.write("s1", *pair("a"))
    other = Observing(part.database, part.logs, ObservationStore(part.database, part.store), lambda: NOW)
    put = part.files.put

    def overtaken(*args: Any) -> Any:
        part.files.put = put  # type: ignore[method-assign]
        part.write("s2", *pair("b"))
        other.advance("d1", EXTRACTION, lambda _: None)
        return put(*args)

    part.files.put = overtaken  # type: ignore[method-assign]
    part.advance()
    assert part.window().event_id.tolist() == ["a", "b"]
    assert len(list(part.store.list("d1/observations"))) == 1


def test_what_a_crash_left_behind_is_swept_after_a_day(part: Part) -> None:
    part.write("s1", *pair("a"))
    part.advance()
    (counting,) = part.database.observation_files.where()
    part.store.put(counting.id.replace(".parquet", "-left.parquet"), part.store.get(counting.id))
    assert part.observing.sweep("d1") == 0  # somebody may be about to let it count
    later = Observing(part.database, part.logs, part.files, lambda: datetime.now(UTC) + timedelta(days=2))
    assert later.sweep("d1") == 1
    assert [info.path for info in part.store.list("d1/observations")] == [counting.id]


def test_late_events_are_heard_with_their_batch(part: Part) -> None:
    part.write("s1", *pair("a"))
    part.advance()
    part.write("s2", *pair("late", NOW - 3 * HOUR))
    part.advance()
    assert [batch.event_id.tolist() for batch in part.heard] == [["a"], ["late"]]


def test_many_that_ask_at_once_read_a_file_once(part: Part, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        part.write(f"s{number}", *pair(f"e{number}"))
    content, read = part.logs.content, list[str]()

    def counted(deployment_id: str, path: str) -> Any:
        read.append(path)
        sleep(0.05)
        return content(deployment_id, path)

    monkeypatch.setattr(part.logs, "content", counted)
    with ThreadPoolExecutor(8) as pool:
        asked = [
            pool.submit(part.observing.advance, "d1", EXTRACTION, part.heard.append, 20) for _ in range(8)
        ]
        assert all(one.result() for one in asked)
    assert (len(read), len(part.heard)) == (3, 1)
    with ThreadPoolExecutor(1) as pool, part.observing._turns[f"d1/{EXTRACTION.id}"]:
        late = pool.submit(part.observing.advance, "d1", EXTRACTION, part.heard.append, 0.1)
        assert late.result() is False  # it waits no longer than it was told


def test_a_log_that_nobody_took_down_is_found(part: Part) -> None:
    part.log.write("s1", [Record("d1", NOW, item) for item in pair("a")])
    assert part.advance() == []
    part.observing.scan("d1")
    assert [len(batch) for batch in part.advance()] == [1]


def test_windows_are_half_open_and_sorted(part: Part) -> None:
    times = [NOW + MINUTE * k for k in (3, 1, 5, 0, 4, 2)]
    for number, time in enumerate(times):
        part.write(f"s{number}", *pair(f"e{number}", time))
    part.advance()
    assert part.window(NOW + MINUTE, NOW + 4 * MINUTE).event_id.tolist() == ["e1", "e5", "e0"]


def test_batches_after_a_sequence_come_in_the_order_of_reading(part: Part) -> None:
    for number in range(3):
        part.write(f"s{number}", *pair(f"e{number}", NOW - number * MINUTE))
        part.advance()
    found = [batch.event_id.tolist() for batch in part.files.after("d1", EXTRACTION.id, 1)]
    assert found == [["e1"], ["e2"]]


def test_files_of_the_log_that_are_read_at_once_are_batches_of_their_own(part: Part) -> None:
    for number in range(3):
        part.write(f"s{number}", *pair(f"e{number}", NOW - number * MINUTE))
    part.write("s3", request("half"))
    part.write("s4", response("half"), *pair("e4"))
    assert [len(batch) for batch in part.advance()] == [5]
    found = [batch.event_id.tolist() for batch in part.files.after("d1", EXTRACTION.id, 1)]
    assert found == [["e1"], ["e2"], ["half"], ["e4"]]
    assert part.observing.sequence("d1", EXTRACTION) == 5


def test_a_file_of_many_minutes_makes_a_batch_of_each(part: Part) -> None:
    for name in ("s0", "s1"):
        part.write(name, *(event for n in (2, 0, 1, 0) for event in pair(f"{name}-{n}", NOW + n * MINUTE)))
    assert [len(batch) for batch in part.advance()] == [6]
    found = [batch.event_id.tolist() for batch in part.files.after("d1", EXTRACTION.id, 0)]
    assert found == [[f"{name}-{n}"] for name in ("s0", "s1") for n in range(3)]


def test_times_of_events_are_found_by_id(part: Part) -> None:
    part.write("s1", *pair("a"))
    part.write("s2", *pair("b", NOW + MINUTE))
    part.advance()
    assert part.files.times("d1", EXTRACTION.id, {"b", "no"}) == {"b": NOW + MINUTE}


def test_small_files_of_an_hour_that_is_over_become_one(part: Part) -> None:
    for number in range(6):
        part.write(f"s{number}", *pair(f"e{number}", NOW - 3 * HOUR + (5 - number) * MINUTE))
        part.advance()
    part.write("now", *pair("now"))
    part.advance()
    before = part.window(NOW - 4 * HOUR, NOW + HOUR)
    assert part.observing.tidy("d1", EXTRACTION, 6) == 6
    files = part.database.observation_files.where()
    assert sorted(file.rows for file in files) == [1, 6]
    assert {info.path for info in part.store.list("d1/observations")} == {file.id for file in files}
    after = part.window(NOW - 4 * HOUR, NOW + HOUR)
    assert after.event_id.tolist() == before.event_id.tolist()
    assert after.sequence.tolist() == before.sequence.tolist()
    assert after.images is not None
    assert before.images is not None
    np.testing.assert_array_equal(after.images.reduced, before.images.reduced)


def test_readers_find_what_is_joined_while_they_read(part: Part) -> None:
    for number in range(6):
        part.write(f"s{number}", *pair(f"e{number}", NOW - 3 * HOUR + number * MINUTE))
        part.advance()
    files = ObservationStore(part.database, part.store)
    looks: list[Callable[[], Any]] = [
        lambda: list(files.window("d1", EXTRACTION.id, NOW - 4 * HOUR, NOW).event_id),
        lambda: sorted(id_ for _, id_ in files.keys("d1", EXTRACTION.id, NOW - 4 * HOUR, NOW)),
        lambda: sorted(files.answered("d1", EXTRACTION.id, {f"e{k}" for k in range(6)})),
        lambda: files.last_before("d1", EXTRACTION.id, NOW - 3 * HOUR + 90 * timedelta(seconds=1)),
    ]
    expected = [f"e{k}" for k in range(6)]
    for number, look in enumerate(looks):
        name, before = f"again{number}", part.database.observation_files.where()

        def joined(path: str, opened: Any = part.store.open, before: Any = before, name: str = name) -> Any:
            part.store.open = opened  # type: ignore[method-assign]
            whole = part.files.join(before, name)
            part.observing._exchange(before, whole)
            part.files.delete(before)
            return opened(path)

        part.store.open = joined  # type: ignore[method-assign]
        found = look()
        assert found == expected if number < 3 else found == NOW - 3 * HOUR + MINUTE
        assert part.store.open is not joined


def test_batches_that_evidence_may_still_need_are_left_alone(part: Part) -> None:
    for number in range(6):
        part.write(f"s{number}", *pair(f"e{number}", NOW - 3 * HOUR + number * MINUTE))
        part.advance()
    assert part.observing.tidy("d1", EXTRACTION, 3) == 0


def test_a_clock_that_is_far_ahead_is_not_believed(part: Part) -> None:
    part.write("s1", *pair("ahead", NOW + 3 * HOUR), *pair("a_little", NOW + 2 * MINUTE))
    part.advance()
    seen = part.window(NOW, NOW + 4 * HOUR)
    assert dict(zip(seen.event_id, seen.time - seen.received, strict=True)) == {
        "ahead": 0,
        "a_little": 120_000_000,
    }
    assert part.letters() == ["Its clock is 10800 s ahead; it counts at its arrival."]


def test_files_that_another_worker_has_joined_meanwhile_stay_as_it_left_them(part: Part) -> None:
    for number in range(6):
        part.write(f"s{number}", *pair(f"e{number}", NOW - 3 * HOUR + number * MINUTE))
        part.advance()
    join = part.files.join
    other = Observing(part.database, part.logs, ObservationStore(part.database, part.store), lambda: NOW)

    def overtaken(files: Any, name: str) -> Any:
        mine = join(files, name)
        assert other.tidy("d1", EXTRACTION, 6) == 6
        return mine

    part.files.join = overtaken  # type: ignore[method-assign]
    assert part.observing.tidy("d1", EXTRACTION, 6) == 0
    assert part.window(NOW - 4 * HOUR, NOW).event_id.tolist() == [f"e{k}" for k in range(6)]


ZERO = datetime(1, 1, 1, tzinfo=UTC)  # Go's


def test_what_claims_to_be_from_before_1970_counts_at_its_arrival(part: Part) -> None:
    part.write("s1", request("alone", time=ZERO), *pair("a", time=ZERO))
    part.advance()
    part.write("s2", *pair("b"), received=NOW + 2 * HOUR)
    part.advance()
    assert sorted(part.window().event_id) == ["a", "b"]
    assert sorted(part.letters()) == [
        *["Its clock is before 1970; it counts at its arrival."] * 2,
        "Its other half, request or response, never came.",
    ]


def test_a_half_of_the_year_1_that_an_earlier_version_remembered_stops_no_reader(part: Part) -> None:
    part.write("s1", request("alone"))
    part.advance()
    (reader,) = part.database.readers.where()
    old = {key: replace(half, time=ZERO) for key, half in reader.halves.items()}
    part.database.readers.update(reader.id, halves=old)
    part.write("s2", *pair("b"), received=NOW + 2 * HOUR)
    part.advance()
    assert part.letters() == ["Its other half, request or response, never came."]


@pytest.mark.parametrize(("origin", "unstated"), [(Origin.EXTERNAL, 4.0), (Origin.LOCAL, 1.0)])
def test_observations_stand_for_what_their_event_says_or_else_the_owner(
    part: Part, origin: Origin, unstated: float
) -> None:
    part.database.deployments.update("d1", origin=origin, sampling=0.25)
    stated = [replace(half, extensions={**half.extensions, SAMPLED_RATE: 10}) for half in pair("b")]
    wrong = replace(request("c"), extensions={SAMPLED_RATE: 0})
    part.write("s1", *pair("a"), *stated, wrong, response("c"), request("d"), replace(stated[1], id="d"))
    part.advance()
    part.database.deployments.update("d1", sampling=1.0)  # what was read stays what it was
    seen = part.window()
    assert dict(zip(seen.event_id, seen.weight.tolist(), strict=True)) == {
        "a": unstated,
        "b": 10,
        "c": unstated,
        "d": 10,
    }


SOURCES = ("http://hospital-1:9081/", "http://hospital-2:9081/")


def exchanges(n: int = 4) -> list[tuple[Event, Event]]:
    """Requests and responses of two servers that count from 1; each has an image and a score of its own."""
    return [
        tuple(
            replace(half, source=source)
            for half in (
                request(str(number), IMAGES[[(number + place) % 6]], NOW + number * MINUTE),
                response(str(number), ((0.01 * number, 0.5 + 0.1 * place),), NOW + number * MINUTE),
            )
        )
        for number in range(1, n + 1)
        for place, source in enumerate(SOURCES)
    ]


@pytest.mark.parametrize("seed", range(6))
def test_sources_with_the_same_ids_lose_nothing_in_any_order(part: Part, seed: int) -> None:
    rng = np.random.default_rng(seed)
    halves = [half for pair in exchanges() for half in pair]
    sent = halves + [halves[place] for place in rng.integers(len(halves), size=8)]  # some are sent again
    order = rng.permutation(len(sent)).tolist()
    for number, chunk in enumerate(np.array_split(order, 5)):
        part.write(f"s{number}", *(sent[place] for place in chunk), received=NOW + 7 * number * MINUTE)
        if rng.random() < 0.7:
            part.advance()
    part.advance()
    seen = part.window()
    found = zip(seen.event_source, seen.event_id, seen.scores.round(2).tolist(), strict=True)
    expected = [
        (asked.source, asked.id, orjson.loads(answered.data)["outputs"][0]) for asked, answered in exchanges()
    ]
    np.testing.assert_equal(sorted((s, i, [round(x, 2) for x in v]) for s, i, v in found), sorted(expected))
    assert seen.images is not None
    places = zip(seen.event_source, seen.event_id, strict=True)
    pictures = [IMAGES[(int(id_) + SOURCES.index(source)) % 6] for source, id_ in places]
    np.testing.assert_array_equal(seen.images.reduced, extract(np.stack(pictures)).reduced)
    part.write("last", *pair("late", NOW + 9 * MINUTE), received=NOW + 3 * HOUR)
    part.advance()
    assert part.letters() == []  # what was sent again waits for nothing that is missing


def test_what_earlier_versions_remembered_and_observed_is_read_on(part: Part, tmp_path: Path) -> None:
    """They knew neither the source of an observation nor that of a half that waits."""
    first, second, other = exchanges(2)[0], exchanges(2)[2], exchanges(1)[1]
    part.write("s1", *first, second[0])
    part.advance()
    (file,) = part.database.observation_files.where()
    table = pq.read_table(part.store.open(file.id)).drop_columns(["event_source", "weight"])
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    part.store.put(file.id, bytes(sink.getvalue()))
    part.files = ObservationStore(part.database, part.store)
    part.observing = Observing(part.database, part.logs, part.files, lambda: NOW)
    (reader,) = part.database.readers.where()
    part.database.readers.update(reader.id, halves={"2": next(iter(reader.halves.values()))})
    part.write("s2", *first, *other, second[1])  # "1" is known: without a source, it matches any
    part.advance()
    seen = part.window()
    assert seen.event_id.tolist() == ["1", "2"]
    assert seen.event_source.tolist() == ["", SOURCES[0]]
    assert seen.weight.tolist() == [1, 1]
    (reader,) = part.database.readers.where()
    assert dict(reader.halves) == {}
