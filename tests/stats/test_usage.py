from __future__ import annotations

import numpy as np
import pytest

from tidegauge.stats.usage import Measured, Usage, summarise

NAN = float("nan")
LIMIT = 4e9


def usage(
    cpu: list[float], started: list[float] | None = None, *, start: float = 0.0, first: float = 0.0
) -> Usage:
    at = first + 15.0 * np.arange(len(cpu))
    return summarise(
        at,
        np.ones(len(cpu), bool),
        cpu,
        np.full(len(cpu), 1e9),
        started or [-100.0] * len(cpu),
        start=start,
        memory_limit=LIMIT,
    )


def test_the_share_of_a_core_is_what_was_spent_over_the_time_between_the_samples():
    assert usage([1.0, 4.0, 7.0, 10.0]).metrics["cpu_utilization"] == Measured(0.2, 3)


def test_a_process_on_two_cores_has_a_share_above_one():
    assert usage([0.0, 30.0]).metrics["cpu_utilization"].value == 2.0


def test_a_sample_from_before_the_window_says_where_the_counter_stood():
    found = usage([1.0, 4.0, 7.0], first=-15.0).metrics
    assert found["cpu_utilization"] == Measured(0.2, 2)
    assert found["ready"].n == found["memory_bytes"].n == 2


def test_windows_side_by_side_count_every_second_and_restart_once():
    cpu, started = [1.0, 4.0, 2.0, 5.0, 8.0], [-100.0, -100.0, 20.0, 20.0, 20.0]
    whole = usage(cpu, started).metrics
    left = usage(cpu[:2], started[:2]).metrics
    right = usage(cpu[1:], started[1:], first=15.0, start=20.0).metrics
    assert left["restarts"].value + right["restarts"].value == whole["restarts"].value == 1
    # 3 seconds in 15, then the new process: 2 in the 10 that it lived, 3 in 15, 3 in 15.
    assert left["cpu_utilization"].value == pytest.approx(3 / 15)
    assert right["cpu_utilization"].value == pytest.approx(8 / 40)
    assert whole["cpu_utilization"].value == pytest.approx(11 / 55)


def test_a_restart_between_two_windows_belongs_to_the_later_one():
    found = usage([9.0, 1.0], [-100.0, -4.0], first=-15.0).metrics
    assert found["restarts"] == Measured(1.0, 1)


def test_a_counter_that_falls_is_a_restart_where_no_start_is_known():
    found = usage([9.0, 3.0, 6.0], [NAN] * 3).metrics
    assert found["restarts"].value == 1
    assert found["cpu_utilization"].value == pytest.approx((3 + 3) / 30)


def test_a_start_that_jitters_with_the_clock_is_no_restart():
    assert usage([1.0, 2.0, 3.0], [0.0, 0.4, 0.1]).metrics["restarts"].value == 0


def test_looks_that_found_nobody_count_for_readiness_alone():
    found = summarise(
        [0, 15, 30, 45],
        [True, False, False, True],
        [1.0, NAN, NAN, 10.0],
        [1e9, NAN, NAN, 3e9],
        [-100.0, NAN, NAN, -100.0],
        start=0.0,
        memory_limit=LIMIT,
    ).metrics
    assert found["ready"] == Measured(0.5, 4)
    assert found["cpu_utilization"] == Measured(pytest.approx(0.2), 1)
    assert found["memory_bytes"] == Measured(2e9, 2)
    assert found["memory_utilization"] == Measured(0.5, 2)


def test_without_samples_every_value_is_unknown():
    found = summarise([], [], [], [], [], start=0.0, memory_limit=LIMIT).metrics
    assert set(found.values()) == {Measured(None, 0)}


def test_one_sample_says_nothing_of_rates():
    found = usage([1.0]).metrics
    assert (found["ready"], found["memory_bytes"]) == (Measured(1.0, 1), Measured(1e9, 1))
    assert found["cpu_utilization"] == Measured(None, 0)
    assert found["restarts"].value is None
