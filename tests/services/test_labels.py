from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from parts import meeting
from tidegauge.domain.deployment import Deployment, DeploymentState, Origin
from tidegauge.domain.labels import ImageLabelColumns, LabelColumns, label_text, parse_timestamp
from tidegauge.services.labels import LabelFolder, Labels, PostedLabel
from tidegauge.services.letters import Letters
from tidegauge.services.sources.rows import LabelRows
from tidegauge.storage.database import Database
from tidegauge.storage.objects import ObjectStore

PREFIX = "d1/livedata"
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


LATER = NOON + timedelta(days=3)


class Taken:
    """A store of label files, the labels taken in from it, and the times that were touched."""

    def __init__(self, folder, url=""):
        self.store = ObjectStore(str(folder / "store"))
        self.database = Database(url or f"sqlite:///{folder / 'labels.sqlite'}")
        self.database.migrate()
        running = DeploymentState.RUNNING
        self.database.deployments.add(
            Deployment("d1", "d1", "ada", "m", "m", 1, True, Origin.LOCAL, running, running, NOON, "")
        )
        self.labels = Labels(self.database, lambda: LATER)
        self.touched = set()

    def refresh(self, columns=None):
        self.touched = set()
        folder = LabelFolder(self.store, PREFIX, LabelRows(columns or LabelColumns()))
        self.labels.refresh("d1", folder, self.touched.update)
        return self.touched

    def read(self, start=NOON, end=NOON + HOUR, columns=None):
        self.refresh(columns)
        return self.labels.of_window("d1", start, end)

    def problems(self, start=NOON, end=NOON + HOUR):
        return Letters(self.database).of_window("d1", start, end)[1]

    def post(self, *labels, times=None, answers=1):
        self.touched = set()
        times = times if times is not None else {label.event_id: NOON for label in labels}
        known = {id_: (time, answers) for id_, time in times.items()}
        return self.labels.post("d1", labels, known, "ada", self.touched.update)

    def put(self, path, data):
        self.store.put(path, data)


@pytest.fixture
def store(tmp_path):
    taken = Taken(tmp_path)
    yield taken
    taken.database.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def both(request, tmp_path):
    """The same on both databases."""
    url = request.getfixturevalue("postgres_url") if request.param == "postgresql" else ""
    taken = Taken(tmp_path, url)
    yield taken
    taken.database.close()


def at_once(*deeds):
    """Do these in threads of their own; return what they give, in this order."""
    with ThreadPoolExecutor(len(deeds)) as pool:
        return [future.result(timeout=30) for future in [pool.submit(deed) for deed in deeds]]


def outputs(rows):
    return tuple(row.output for row in rows)


def put_csv(store, text, name="a.csv"):
    store.put(f"{PREFIX}/{name}", text.encode())


def put_parquet(store, frame, name="a.parquet"):
    buffer = io.BytesIO()
    frame.write_parquet(buffer)
    store.put(f"{PREFIX}/{name}", buffer.getvalue())


def test_window_is_half_open(store):
    put_csv(
        store,
        "timestamp,output,label\n"
        "2026-03-01T11:59:59.999Z,A,A\n"
        "2026-03-01T12:00:00Z,B,A\n"
        "2026-03-01T12:59:59.999999Z,C,A\n"
        "2026-03-01T13:00:00Z,D,A\n",
    )
    assert outputs(store.read()) == ("B", "C")


@pytest.mark.parametrize(
    "written",
    [
        "2026-03-01T12:00:00",
        "2026-03-01 12:00:00",
        "2026-03-01T12:00:00Z",
        "2026-03-01T14:00:00+02:00",
        "1772366400",
        "1772366400.0",
        "1.7723664e9",
        "1772366400000",
        " 2026-03-01T12:00:00Z ",
    ],
)
def test_one_time_in_many_forms(store, written):
    put_csv(store, f"timestamp,output,label\n{written},1,1\n")
    assert [row.time for row in store.read()] == [NOON]
    assert parse_timestamp(written).utcoffset() == timedelta(0)


@pytest.mark.parametrize(
    "written", ["yesterday", "1e99", "99999999999999999999", "2026-13-01", "0001-01-01T00:00+05:00"]
)
def test_unreadable_timestamp_is_listed_with_its_row(store, written):
    put_csv(store, f"timestamp,output,label\n2026-03-01T12:00:00Z,1,1\n{written},1,1\n")
    assert len(store.read()) == 1
    (problem,) = store.problems()
    assert problem.startswith(f"{PREFIX}/a.csv, row 2: ")
    assert written in problem


def test_numbers_agree_however_they_are_written(store):
    put_csv(store, "timestamp,output,label\n1772366400,1,1.0\n1772366400,0.0,0\n", "a.csv")
    frame = pl.DataFrame({"timestamp": [NOON, NOON], "output": [1.0, 0.0], "label": ["1", "0"]})
    put_parquet(store, frame)
    put_parquet(
        store,
        frame.with_columns(pl.col("output").cast(pl.Int8), pl.col("label").cast(pl.Float32)),
        "b.parquet",
    )
    rows = store.read()
    assert outputs(rows) == tuple(row.label for row in rows)
    assert sorted(outputs(rows)) == ["0", "0", "0", "1", "1", "1"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "true"),
        (np.float32(0.1).item(), "0.10000000149011612"),
        ("00", "00"),
        ("1e3", "1000"),
        (".5", "0.5"),
        ("+2", "2"),
        ("-0", "0"),
        ("12345678901234567890", "12345678901234567890"),
        ("1e400", "1e400"),
        (".", "."),
        ("e5", "e5"),
        ("1.2.3", "1.2.3"),
        ("", ""),
    ],
)
def test_label_text(value, text):
    assert label_text(value) == text
    assert label_text(text) == text


@pytest.mark.parametrize(
    "timestamps",
    [
        pl.Series([NOON.replace(tzinfo=None)]),
        pl.Series([NOON]).cast(pl.Datetime("ns", "UTC")),
        pl.Series([NOON]).dt.convert_time_zone("America/New_York").dt.cast_time_unit("ms"),
        pl.Series([1772366400]),
        pl.Series([1772366400000]),
        pl.Series([1772366400.0]),
        pl.Series(["2026-03-01T12:00:00"]),
    ],
    ids=lambda series: str(series.dtype),
)
def test_parquet_timestamps(store, timestamps):
    put_parquet(store, pl.DataFrame({"timestamp": timestamps, "output": ["A"], "label": ["A"]}))
    assert [row.time for row in store.read()] == [NOON]
    assert store.problems() == ()


def test_empty_cells_of_the_window_are_listed(store):
    put_csv(
        store,
        "timestamp,output,label\n"
        "2026-03-01T12:00:00Z,,1\n"
        "2026-03-01T12:00:00Z,1,  \n"
        "2026-03-01T12:00:00Z,,nan\n"
        "2026-03-01T12:00:00Z,1\n"
        ",1,1\n"
        "2026-03-01T15:00:00Z,,\n",
    )
    assert store.read() == ()
    assert [problem.removeprefix(f"{PREFIX}/a.csv, ") for problem in store.problems()] == [
        "row 1: output is empty.",
        "row 2: label is empty.",
        "row 3: output and label are empty.",
        "row 4: label is empty.",
        "row 5: timestamp is empty.",
    ]


def test_files_that_cannot_be_read_do_not_hide_the_others(store):
    put_csv(store, "timestamp,output,label\n2026-03-01T12:00:00Z,1,1\n", "good.csv")
    put_csv(store, "time,output\n1,2\n", "columns.csv")
    put_csv(store, "", "empty.csv")
    put_csv(store, "timestamp,output,label\n1,2,3,4\n", "ragged.csv")
    store.put(f"{PREFIX}/broken.parquet", b"PAR1 not really")
    store.put(f"{PREFIX}/latin.csv", b"timestamp,output,label\n1772366400,\xe9,1\n")
    put_csv(store, "no labels at all", "notes.txt")
    assert outputs(store.read()) == ("1",)
    files = {problem.partition(": ")[0].rpartition("/")[2]: problem for problem in store.problems()}
    assert set(files) == {
        "columns.csv",
        "empty.csv",
        "ragged.csv",
        "broken.parquet",
        "latin.csv",
    }
    assert files["columns.csv"].endswith("It has no column 'timestamp', 'label', but 'time', 'output'.")


def test_all_problems_are_counted_though_only_the_first_are_listed(store):
    put_csv(store, "timestamp,output,label\n" + "never,1,1\n" * 1500)
    store.refresh()
    assert len(store.problems()) == 1000
    assert store.database.label_files.get(f"{PREFIX}/a.csv").problems == 1500


def test_columns_have_other_names_and_a_byte_order_mark(store):
    store.put(f"{PREFIX}/a.CSV", "\ufeffwhen, said , truth,more\n1772366400,x,y,z\n".encode())
    (row,) = store.read(columns=LabelColumns("when", "said", "truth"))
    assert (row.output, row.label) == ("x", "y")


def test_another_deployment_is_not_read(store):
    store.put("d11/livedata/a.csv", b"timestamp,output,label\n1772366400,x,y\n")
    store.put("d1/livedata2/a.csv", b"timestamp,output,label\n1772366400,x,y\n")
    assert store.read() == ()


def test_a_file_that_has_not_changed_touches_nothing(store):
    put_csv(store, "timestamp,output,label\n1772366400,x,y\n")
    assert store.refresh() == {NOON}
    assert store.refresh() == set()


def test_a_corrected_file_touches_only_the_rows_that_changed(store):
    head = "timestamp,output,label\n"
    put_csv(store, f"{head}1772366400,x,y\n1772370000,x,y\n")
    store.refresh()
    put_csv(store, f"{head}1772373600,x,x\n1772366400,x,y\n1772370000,x,x\n")
    assert store.refresh() == {NOON + HOUR, NOON + 2 * HOUR}
    assert [row.label for row in store.read(NOON, NOON + 3 * HOUR)] == ["y", "x", "x"]


def test_what_a_correction_replaced_is_kept(store):
    put_csv(store, "timestamp,output,label\n1772366400,x,y\n")
    store.refresh()
    put_csv(store, "timestamp,output,label\n1772366400,x,x\n")
    store.refresh()
    history = store.database.labels.where(deployment_id="d1")
    assert [(row.label, row.superseded_at) for row in history] == [("y", LATER), ("x", None)]


def test_a_deleted_file_takes_its_labels_along(store):
    put_csv(store, "timestamp,output,label\n1772366400,x,y\nnever,x,y\n")
    store.refresh()
    store.store.delete(f"{PREFIX}/a.csv")
    assert store.refresh() == {NOON}
    assert (store.read(), store.problems()) == ((), ())


def test_a_problem_goes_away_with_its_cause(store):
    put_csv(store, "timestamp,output,label\nnever,x,y\n")
    store.refresh()
    put_csv(store, "timestamp,output,label\n1772366400,x,y\n")
    store.refresh()
    assert store.problems() == ()


def test_a_posted_label_stands_at_the_time_of_its_event(store):
    receipt = store.post(PostedLabel("e1", 1.0))
    assert (receipt.accepted, receipt.corrected, receipt.unknown) == (1, 0, ())
    assert store.touched == {NOON}
    (row,) = store.labels.of_window("d1", NOON, NOON + HOUR)
    assert (row.event_id, row.label, row.output) == ("e1", "1", "")


def test_the_last_label_of_an_event_counts(store):
    store.post(PostedLabel("e1", "A"))
    receipt = store.post(PostedLabel("e1", "B"), PostedLabel("e1", "C"))
    assert (receipt.accepted, receipt.corrected) == (1, 1)
    (row,) = store.labels.of_window("d1", NOON, NOON + HOUR)
    assert row.label == "C"


def test_a_label_that_is_posted_again_changes_nothing(store):
    store.post(PostedLabel("e1", "A"))
    assert store.post(PostedLabel("e1", "A")).corrected == 0
    assert store.touched == set()


def test_places_in_one_request_have_labels_of_their_own(store):
    store.post(PostedLabel("e1", "A", 0), PostedLabel("e1", "B", 1), answers=2)
    rows = store.labels.of_window("d1", NOON, NOON + HOUR)
    assert {row.index: row.label for row in rows} == {0: "A", 1: "B"}


def test_labels_of_answers_that_an_event_does_not_have_are_named_and_listed(store):
    posted = [PostedLabel("a", "A", 0), PostedLabel("a", "B", 7), PostedLabel("a", "C", -1)]
    receipt = store.post(*posted, answers=2)
    assert (receipt.accepted, receipt.unknown) == (1, ("a [7]", "a [-1]"))
    letters = {letter.event_id: letter.reason for letter in store.database.dead_letters.where()}
    assert letters["a [7]"] == "The index is 7, but the event has 2 answers, from 0 on."


def test_a_row_of_the_future_is_listed_and_left_out(store):
    far = datetime.now(UTC) + timedelta(days=900)
    put_csv(store, f"timestamp,output,label\n{far.isoformat()},A,B\n")
    store.refresh()
    assert store.database.labels.where() == ()
    (letter,) = store.database.dead_letters.where()
    assert "which lies in the future" in letter.reason


def test_an_empty_label_is_listed_and_does_not_replace_another(store):
    receipt = store.post(PostedLabel("e1", "A"), PostedLabel("e1", " "), PostedLabel("e2", None))
    assert (receipt.accepted, receipt.unknown, receipt.empty) == (1, (), 2)
    (row,) = store.labels.of_window("d1", NOON, NOON + HOUR)
    assert row.label == "A"
    letters = {letter.event_id: letter.reason for letter in store.database.dead_letters.where()}
    assert letters == {"e1": "label is empty.", "e2": "label is empty."}


def test_labels_of_unknown_events_are_named_and_listed(store):
    receipt = store.post(PostedLabel("e1", "A"), PostedLabel("no", "A"), times={"e1": NOON})
    assert (receipt.accepted, receipt.unknown) == (1, ("no",))
    (letter,) = store.database.dead_letters.where(kind="label")
    assert (letter.event_id, letter.reason) == ("no", "No logged event has this id.")


def test_names_of_image_label_columns():
    columns = ImageLabelColumns()
    assert columns.find(["id", "Filename", "target"]) == ("Filename", "target")
    assert columns.find(["id", "filename"]) is None


def test_a_file_that_two_readers_take_in_at_once_counts_once(both, monkeypatch):
    put_csv(both, "timestamp,output,label\n2026-03-01T12:01:00Z,A,A\n2026-03-01T12:02:00Z,B,A\n,B,A\n")
    folder = LabelFolder(both.store, PREFIX, LabelRows(LabelColumns()))
    monkeypatch.setattr(folder.columns, "parse", meeting(folder.columns.parse), raising=False)
    touched = [set(), set()]
    at_once(*(lambda heard=heard: both.labels.refresh("d1", folder, heard.update) for heard in touched))
    assert outputs(both.read()) == ("A", "B")
    assert sorted(map(len, touched)) == [0, 2]
    assert len(both.problems()) == 1


def test_a_file_that_changed_between_two_readers_counts_as_it_is_now(store):
    put_csv(store, "timestamp,output,label\n2026-03-01T12:01:00Z,A,A\n")
    get, later = store.store.get, Taken.refresh

    def read_before_the_change(path):
        found = get(path)
        store.store.get = get
        put_csv(store, "timestamp,output,label\n2026-03-01T12:01:00Z,B,A\n2026-03-01T12:02:00Z,B,A\n")
        later(store)
        return found

    store.store.get = read_before_the_change
    assert outputs(store.read()) == ("B", "B")


def test_a_file_that_two_readers_find_gone_is_forgotten_once(both, monkeypatch):
    put_csv(both, "timestamp,output,label\n2026-03-01T12:01:00Z,A,A\n")
    both.refresh()
    both.store.delete(f"{PREFIX}/a.csv")
    rows = both.database.label_files
    monkeypatch.setattr(rows, "where", meeting(rows.where))
    at_once(both.refresh, both.refresh)
    assert both.labels.of_window("d1", NOON, NOON + HOUR) == ()


def test_a_label_that_two_post_at_once_counts_once(both, monkeypatch):
    monkeypatch.setattr(both.labels, "_current", meeting(both.labels._current))
    receipts = at_once(*(lambda: both.post(PostedLabel("e1", "A")) for _ in range(2)))
    assert [receipt.accepted for receipt in receipts] == [1, 1]
    assert len(both.labels.of_window("d1", NOON, NOON + HOUR)) == 1
