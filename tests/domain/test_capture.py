from __future__ import annotations

from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegauge.domain.capture import (
    MINUTE,
    MOST_MINUTES,
    Capture,
    Coverage,
    coverage_of,
    joined,
    needs_more,
    numbered,
    report,
    reported,
    whole_minutes,
)
from tidegauge.domain.events import RESPONSE_TYPE, SERVED_TYPE, Event
from tidegauge.errors import InvalidInputError

START = datetime(2026, 11, 27, 5, 40, tzinfo=UTC)
COUNTS = st.integers(0, 50)


def of(minute: int = 0, *numbers: int, **known: int) -> Capture:
    at = START + minute * MINUTE
    return Capture.of("d", "s", at, numbers=joined((n, n) for n in numbers), **known)


@st.composite
def captures(draw: st.DrawFn) -> Capture:
    known = {name: draw(COUNTS) for name in ("overflow", "refused")}
    served = draw(st.none() | COUNTS)
    return of(0, *draw(st.lists(st.integers(1, 40))), served=served, **known)


@given(captures(), captures(), captures())
def test_merging_is_idempotent_commutative_and_associative(a: Capture, b: Capture, c: Capture):
    assert a.merged(a) == a
    assert a.merged(b) == b.merged(a)
    assert a.merged(b).merged(c) == a.merged(b.merged(c))


@given(st.lists(st.integers(1, 60)))
def test_ranges_hold_the_same_numbers(numbers: list[int]):
    ranges = joined((number, number) for number in numbers)
    assert {n for first, last in ranges for n in range(first, last + 1)} == set(numbers)
    assert all(before[1] + 1 < after[0] for before, after in pairwise(ranges))


@given(st.lists(captures(), max_size=6), st.integers(0, 3), st.integers(1, 4))
def test_the_log_never_has_more_than_was_served(rows: list[Capture], start: int, minutes: int):
    rows = [of(minute, served=row.served).merged(row) for minute, row in enumerate(rows)]
    first = START + start * MINUTE
    found = coverage_of(rows, first, first + minutes * MINUTE)
    assert 0 <= found.captured <= found.served
    assert found.served == found.captured + found.overflow + found.refused + found.missing
    assert min(found.overflow, found.refused, found.missing) >= 0


REASONS = st.sampled_from(["logged", "logged", "overflow", "refused"])
MINUTES = st.integers(0, 4)
TOLD = st.lists(st.tuples(MINUTES, REASONS), max_size=40).map(lambda told: [(0, "logged"), *told])


def known(served: list[tuple[int, str]], told: int) -> list[Capture]:
    """Return what is known of requests, each of a minute and with a fate; a report came after the first."""
    rows = {minute: of(minute) for minute, _ in served}
    for number, (minute, fate) in enumerate(served, 1):
        if fate == "logged":
            rows[minute] = rows[minute].merged(of(minute, number))
    counts: dict[int, Counter[str]] = defaultdict(Counter)
    for minute, fate in served[:told]:
        counts[minute].update(["served", fate])
    for minute, count in counts.items():
        report = {name: count[name] for name in ("served", "overflow", "refused")}
        rows[minute] = rows[minute].merged(of(minute, **report))
    return list(rows.values())


def whole(rows: list[Capture]) -> Coverage:
    return coverage_of(rows, START, START + 10 * MINUTE)


@settings(max_examples=500)
@given(TOLD, st.lists(MINUTES, max_size=20))
def test_what_was_reported_is_exact(told: list[tuple[int, str]], queued: list[int]):
    """The process was killed after its report: what was in its queue never arrives."""
    served = [*told, *((minute, "queued") for minute in queued)]
    fates = Counter(fate for _, fate in served)
    expected = (fates["logged"], fates["overflow"], fates["refused"], fates["queued"])
    assert whole(known(served, len(served))) == Coverage(len(served), *expected)


@settings(max_examples=500)
@given(TOLD, st.lists(st.tuples(MINUTES, REASONS), max_size=40))
def test_what_was_not_reported_shows_as_gaps(told: list[tuple[int, str]], later: list[tuple[int, str]]):
    """The process was killed long after its report: nobody knows what became of the gaps since."""
    found = whole(known([*told, *later], len(told)))
    fates, since = Counter(fate for _, fate in told), [fate for _, fate in later]
    seen = since[
        : len(since) - next((n for n, fate in enumerate(since[::-1]) if fate == "logged"), len(since))
    ]
    missing = sum(fate != "logged" for fate in seen)
    logged = fates["logged"] + since.count("logged")
    expected = (logged, fates["overflow"], fates["refused"], missing)
    assert found == Coverage(sum(expected), *expected)


def test_a_gap_without_a_report_belongs_to_the_minute_of_the_number_after_it():
    rows = [of(0, 1, 2, 3), of(1, 7, 8), of(2, 9)]
    minutes = [coverage_of(rows, START + n * MINUTE, START + (n + 1) * MINUTE) for n in range(3)]
    assert minutes == [Coverage(3, 3), Coverage(5, 2, missing=3), Coverage(1, 1)]


def test_numbers_that_other_minutes_have_are_no_gap():
    rows = [of(0, 1, 4, 6), of(1, 2, 3, 5)]
    assert coverage_of(rows, START, START + MINUTE) == Coverage(3, 3)


def test_a_sender_may_begin_anywhere():
    assert coverage_of([of(0, 1000, 1001)], START, START + MINUTE) == Coverage(2, 2)


def test_a_report_tells_in_which_minute_and_why():
    rows = [of(0, 1, 2, served=5, overflow=2, refused=1), of(1, 6, 7, served=2)]
    assert coverage_of(rows, START, START + MINUTE) == Coverage(5, 2, 2, 1, 0)
    assert coverage_of(rows, START + MINUTE, START + 2 * MINUTE) == Coverage(2, 2)


def test_a_report_older_than_the_log_counts_with_what_came_since():
    row = of(0, *range(1, 8), *range(10, 21), served=10, overflow=2)
    assert coverage_of([row], START, START + MINUTE) == Coverage(20, 18, 2, 0, 0)


def test_a_process_that_died_with_a_full_queue_shows_what_never_arrived():
    assert coverage_of([of(0, 1, 2, served=50)], START, START + MINUTE) == Coverage(50, 2, missing=48)


def test_share_and_sentence():
    assert (Coverage().share, Coverage().loss(), Coverage(3, 3).loss()) == (None, "", "")
    found = Coverage(12000, 11963, 30, 0, 7)
    assert found.share == pytest.approx(11963 / 12000)
    assert found.loss() == (
        "37 of 12,000 served requests are not in the log: "
        "30 overflowed the model server's queue, 7 never arrived."
    )
    assert Coverage(2, 1, refused=1).loss() == "1 of 2 served requests is not in the log: 1 was refused."
    assert Coverage(3, 2, 1, 0, 0) + Coverage(5, 4, 0, 0, 1) == Coverage(8, 6, 1, 0, 1)


def test_spans_are_widened_to_whole_minutes():
    start, end = START + timedelta(seconds=10), START + timedelta(seconds=90)
    assert whole_minutes(start, end) == (START, START + 2 * MINUTE)
    assert whole_minutes(START, START + MINUTE) == (START, START + MINUTE)


def test_earlier_rows_are_asked_for_only_where_they_could_explain_something():
    assert not needs_more([of(0, 5, 6, served=2)], START)
    assert needs_more([of(0, 5, 6)], START)
    assert not needs_more([of(-1, 4), of(0, 5, 6)], START)
    assert needs_more([of(-1, 3), of(0, 5, 6)], START)
    assert not needs_more([of(-1, 1, 3, 4), of(0, 5, 6)], START)
    assert not needs_more([of(0, served=3, overflow=3)], START)
    assert not needs_more([of(-1, 1), of(0, 3, served=1), of(1, 4)], START)


def response(**extensions: object) -> Event:
    return Event("e", "/s", RESPONSE_TYPE, START + timedelta(seconds=59.9), "a/b", b"", extensions)


@pytest.mark.parametrize("number", [7, "7", "0007"])
def test_a_numbered_response_is_a_capture(number: object):
    assert numbered("d", response(sender="s", sequence=number)) == of(0, 7)


@pytest.mark.parametrize(
    "extensions",
    [
        {},
        {"sender": "s"},
        {"sequence": 3},
        {"sender": True, "sequence": 3},
        {"sender": "s", "sequence": True},
        {"sender": "s", "sequence": -1},
        {"sender": "s", "sequence": "A7"},
        {"sender": "s", "sequence": "9" * 19},
        {"sender": "two words", "sequence": 3},
        {"sender": "", "sequence": 3},
        {"sender": "x" * 129, "sequence": 3},
    ],
)
def test_a_response_without_a_usable_number_is_none(extensions: dict[str, object]):
    assert numbered("d", response(**extensions)) is None


def told(data: bytes) -> Event:
    return Event("r", "/deployments/d", SERVED_TYPE, START, "application/json", data)


def test_a_report_is_read_as_it_was_written():
    minutes = [{"minute": START + n * MINUTE, "served": 3 + n, "overflow": n, "refused": 1} for n in range(2)]
    data = report("s", minutes)
    assert orjson.loads(data)["minutes"][0]["minute"] == "2026-11-27T05:40:00Z"
    assert reported("d", told(data)) == [
        of(0, served=3, overflow=0, refused=1),
        of(1, served=4, overflow=1, refused=1),
    ]


def test_a_report_of_too_many_minutes_is_refused_and_says_how_many_there_may_be():
    minutes = [{"minute": START, "served": 1, "overflow": 0, "refused": 0}] * (MOST_MINUTES + 1)
    assert len(reported("d", told(report("s", minutes[1:])))) == 1000
    with pytest.raises(InvalidInputError, match="has 1001 minutes; send 1000 at most"):
        reported("d", told(report("s", minutes)))


GOOD = {"minute": "2026-11-27T05:40:00Z", "served": 1, "overflow": 0, "refused": 0}


@pytest.mark.parametrize(
    "value",
    [
        None,
        3,
        [],
        {},
        {"sender": "s"},
        {"sender": 3, "minutes": []},
        {"sender": "a\0", "minutes": []},
        {"sender": "s", "minutes": 3},
        {"sender": "s", "minutes": ["x"]},
        *(
            {"sender": "s", "minutes": [GOOD | change]}
            for change in (
                {"minute": "noon"},
                {"minute": 3},
                {"served": -1},
                {"served": 2**31},
                {"served": True},
                {"served": 1.5},
                {"overflow": None},
            )
        ),
    ],
)
def test_what_is_no_report_is_refused_with_its_id(value: object):
    with pytest.raises(InvalidInputError, match="'r'"):
        reported("d", told(orjson.dumps(value)))
