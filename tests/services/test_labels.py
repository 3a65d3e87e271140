from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import polars as pl
import pytest

from tidegauge.domain.labels import ImageLabelColumns, LabelColumns, label_text, parse_timestamp
from tidegauge.errors import InvalidInputError
from tidegauge.services.labels import read_labels
from tidegauge.storage.objects import ObjectStore

PREFIX = "d1/livedata"
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture
def store(tmp_path):
    return ObjectStore(str(tmp_path / "store"))


def read(store, start=NOON, end=NOON + HOUR, columns=None):
    return read_labels(store, PREFIX, columns or LabelColumns(), start, end)


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
    assert read(store).outputs == ("B", "C")


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
    assert read(store).timestamps == (NOON,)
    assert parse_timestamp(written).utcoffset() == timedelta(0)


@pytest.mark.parametrize(
    "written", ["yesterday", "1e99", "99999999999999999999", "2026-13-01", "0001-01-01T00:00+05:00"]
)
def test_unreadable_timestamp_is_listed_with_its_row(store, written):
    put_csv(store, f"timestamp,output,label\n2026-03-01T12:00:00Z,1,1\n{written},1,1\n")
    rows = read(store)
    assert len(rows) == 1
    (problem,) = rows.problems
    assert (problem.file, problem.row) == (f"{PREFIX}/a.csv", 2)
    assert written in problem.reason


def test_numbers_agree_however_they_are_written(store):
    put_csv(store, "timestamp,output,label\n1772366400,1,1.0\n1772366400,0.0,0\n", "a.csv")
    frame = pl.DataFrame({"timestamp": [NOON, NOON], "output": [1.0, 0.0], "label": ["1", "0"]})
    put_parquet(store, frame)
    put_parquet(
        store,
        frame.with_columns(pl.col("output").cast(pl.Int8), pl.col("label").cast(pl.Float32)),
        "b.parquet",
    )
    rows = read(store)
    assert rows.outputs == rows.labels == ("1", "0") * 3


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
    rows = read(store)
    assert not rows.problems
    assert rows.timestamps == (NOON,)


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
    rows = read(store)
    assert len(rows) == 0
    assert [(problem.row, problem.reason) for problem in rows.problems] == [
        (1, "output is empty."),
        (2, "label is empty."),
        (3, "output and label are empty."),
        (4, "label is empty."),
        (5, "timestamp is empty."),
    ]


def test_files_that_cannot_be_read_do_not_hide_the_others(store):
    put_csv(store, "timestamp,output,label\n2026-03-01T12:00:00Z,1,1\n", "good.csv")
    put_csv(store, "time,output\n1,2\n", "columns.csv")
    put_csv(store, "", "empty.csv")
    put_csv(store, "timestamp,output,label\n1,2,3,4\n", "ragged.csv")
    store.put(f"{PREFIX}/broken.parquet", b"PAR1 not really")
    store.put(f"{PREFIX}/latin.csv", b"timestamp,output,label\n1772366400,\xe9,1\n")
    put_csv(store, "no labels at all", "notes.txt")
    rows = read(store)
    assert rows.outputs == ("1",)
    assert {problem.file.rpartition("/")[2] for problem in rows.problems} == {
        "columns.csv",
        "empty.csv",
        "ragged.csv",
        "broken.parquet",
        "latin.csv",
    }
    assert all(problem.row is None and problem.reason for problem in rows.problems)
    reason = next(problem.reason for problem in rows.problems if "columns" in problem.file)
    assert reason == "It has no column 'timestamp', 'label', but 'time', 'output'."


def test_all_problems_are_counted_though_only_the_first_are_listed(store):
    put_csv(store, "timestamp,output,label\n" + "never,1,1\n" * 1500)
    rows = read(store)
    assert len(rows.problems) == 1000
    assert rows.problem_count == 1500


def test_columns_have_other_names_and_a_byte_order_mark(store):
    store.put(f"{PREFIX}/a.CSV", "\ufeffwhen, said , truth,more\n1772366400,x,y,z\n".encode())
    rows = read(store, columns=LabelColumns("when", "said", "truth"))
    assert (rows.outputs, rows.labels) == (("x",), ("y",))


def test_another_deployment_is_not_read(store):
    store.put("d11/livedata/a.csv", b"timestamp,output,label\n1772366400,x,y\n")
    store.put("d1/livedata2/a.csv", b"timestamp,output,label\n1772366400,x,y\n")
    assert read(store).outputs == ()


def test_windows_need_zones_and_order(store):
    with pytest.raises(InvalidInputError, match="two times with zones"):
        read(store, start=NOON.replace(tzinfo=None))
    with pytest.raises(InvalidInputError, match="not valid"):
        read(store, end=NOON - HOUR)
    east = timezone(timedelta(hours=2))
    put_csv(store, "timestamp,output,label\n1772366400,x,y\n")
    assert len(read(store, NOON.astimezone(east), NOON + HOUR)) == 1


def test_names_of_image_label_columns():
    columns = ImageLabelColumns()
    assert columns.find(["id", "Filename", "target"]) == ("Filename", "target")
    assert columns.find(["id", "filename"]) is None
