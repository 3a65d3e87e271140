from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from tidegauge.stats.evidence import Evidence
from tidegauge.stats.evidence.ranks import Tolerated


def baseline(n: int = 400, features: int = 3, seed: int = 0, tolerated: Tolerated | None = None):
    rng = np.random.default_rng(seed)
    return SimpleNamespace(
        features=tuple(f"f{i}" for i in range(features)),
        weights=np.full(features, 1 / features),
        fitted=rng.normal(size=(n // 2, features)),
        ranked=rng.normal(size=(n // 2, features)),
        tolerated=tolerated,
    )


def stream(n: int, features: int = 3, seed: int = 1, **moved: float) -> np.ndarray:
    found = np.random.default_rng(seed).normal(size=(n, features))
    for name, shift in moved.items():
        found[:, int(name[1:])] += shift
    return found


def test_a_change_is_found_named_dated_and_measured():
    evidence = Evidence(baseline(), alpha=0.001, rng=np.random.default_rng(0))
    assert not evidence.update(stream(500)).alarm
    step = evidence.update(stream(40, seed=2, f1=-2.0))
    assert step.alarm
    assert (step.feature, step.n) == ("f1", 540)
    assert step.since == pytest.approx(500, abs=3)
    assert step.effect == pytest.approx(-2.0, abs=0.5)
    assert 500 < step.alarm_at < 520
    assert step.log_peak >= step.log_e > np.log(1000)


@pytest.mark.parametrize("references", [20, 60, 400])
def test_false_alarms_keep_their_bound(references: int):
    """200 lives of 200 observations each; 9% is the bound with the error of 200 draws."""
    peaks = []
    for seed in range(200):
        evidence = Evidence(baseline(references, 2, seed), 0.05, 200, np.random.default_rng(seed))
        peaks.append(evidence.update(stream(200, 2, seed + 10_000)).log_peak)
    peaks = np.array(peaks)
    assert np.mean(peaks >= np.log(20)) <= 0.09
    assert np.mean(peaks >= np.log(2)) <= 0.55


def test_without_an_end_the_rate_of_false_alarms_is_bounded():
    alarms = 0
    for seed in range(100):
        evidence = Evidence.restarting(baseline(100, 2, seed), 2000, np.random.default_rng(seed))
        alarms += evidence.update(stream(500, 2, seed + 999)).alarm
    assert alarms <= 100 * 500 / 2000 + 3 * np.sqrt(100 * 0.25)
    assert evidence.alpha == pytest.approx(1)
    assert evidence.update(stream(60, 2, 5, f0=2.0)).alarm


def test_batches_do_not_matter():
    whole, parts = (Evidence(baseline(), rng=np.random.default_rng(4)) for _ in range(2))
    data, chance = stream(300, f2=0.4), np.random.default_rng(5).random(300)
    step = whole.update(data, chance=chance)
    for start in range(0, 300, 7):
        last = parts.update(data[start : start + 7], chance=chance[start : start + 7])
    assert last.alarm_at == step.alarm_at
    assert last.log_e == pytest.approx(step.log_e)
    assert last.since == step.since


def test_stored_evidence_goes_on_alike():
    evidence = Evidence(baseline(), rng=np.random.default_rng(4), minimum_effect=0.1, per_source=5)
    sources = [str(i // 2) for i in range(100)]
    evidence.update(stream(100), sources)
    stored = Evidence.from_arrays({name: array.copy() for name, array in evidence.to_arrays().items()})
    more = stream(100, seed=8, f0=1.0)
    assert stored.update(more, sources) == evidence.update(more, sources)
    assert stored.resets == 0


def test_an_alarm_stays_until_it_is_acknowledged_and_costs_a_share():
    evidence = Evidence(baseline(), alpha=0.01, rng=np.random.default_rng(0))
    evidence.update(stream(20, f0=4.0))
    step = evidence.update(stream(400, seed=3))
    assert step.alarm
    evidence.acknowledge()
    assert not evidence.step().alarm
    assert (evidence.resets, evidence.spent) == (1, pytest.approx(0.02))
    assert not evidence.update(stream(200, seed=6)).alarm
    assert evidence.update(stream(40, seed=7, f2=3.0)).feature == "f2"


def test_small_certain_changes_stay_silent_below_the_minimum_effect():
    data = stream(600, f1=0.5)
    assert Evidence(baseline(), rng=np.random.default_rng(0)).update(data).alarm
    silent = Evidence(baseline(), rng=np.random.default_rng(0), minimum_effect=1.0)
    step = silent.update(data)
    assert step.log_e > np.log(1000)
    assert not step.alarm
    assert silent.update(stream(30, seed=3, f1=4.0)).alarm


def test_what_is_tolerated_stays_silent_and_more_does_not():
    around = baseline(600)
    around.tolerated = Tolerated(around.ranked - 0.6, around.ranked + 0.6, np.full(3, 1.2))
    for shift in (0.5, -0.5):
        assert not Evidence(around, rng=np.random.default_rng(0)).update(stream(3000, f0=shift)).alarm
    wander = stream(3000) + 0.55 * np.sin(np.arange(3000) / 50)[:, np.newaxis]
    assert not Evidence(around, rng=np.random.default_rng(0)).update(wander).alarm
    assert Evidence(around, rng=np.random.default_rng(0)).update(stream(200, f0=2.5)).alarm


def test_repeats_of_a_source_count_once():
    repeated = np.repeat(stream(300), 10, axis=0)
    sources = np.repeat(np.arange(300), 10).tolist()
    naive = Evidence(baseline(), rng=np.random.default_rng(0)).update(repeated)
    careful = Evidence(baseline(), rng=np.random.default_rng(0), per_source=100).update(repeated, sources)
    assert naive.alarm
    assert not careful.alarm
    assert careful.n == 300


def test_sources_are_needed_where_they_count():
    with pytest.raises(ValueError, match="sources are missing"):
        Evidence(baseline(), per_source=3).update(stream(2))


def test_evidence_over_other_features_stands_beside():
    left, right = (Evidence(baseline(seed=s), alpha=0.001, rng=np.random.default_rng(s)) for s in (0, 1))
    right.features = ("g0", "g1", "g2")
    left.update(stream(64))
    joint = left.beside(right)
    assert joint.alpha == pytest.approx(0.002)
    step = joint.update(np.hstack([stream(40, seed=2), stream(40, seed=3, f1=3.0)]))
    assert (step.alarm, step.feature) == (True, "g1")
    assert not left.step().alarm


def test_nothing_seen_is_no_evidence():
    step = Evidence(baseline()).update(np.empty((0, 3)))
    assert (step.alarm, step.n, step.effect) == (False, 0, 0.0)
    assert step.log_e <= 0


def test_missing_values_rank_above_all():
    data = stream(40)
    data[:, 0] = np.nan
    step = Evidence(baseline(), rng=np.random.default_rng(0)).update(data)
    assert step.alarm
    assert (step.feature, step.effect > 0) == ("f0", True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alpha": 0}, "alpha is 0"),
        ({"life": 0}, "life is 0"),
        ({"minimum_effect": -1}, "minimum_effect is -1"),
    ],
)
def test_bad_options_are_named(options: dict[str, float], message: str):
    with pytest.raises(ValueError, match=message):
        Evidence(baseline(), **options)


@pytest.mark.parametrize("shape", [(3,), (4, 2)])
def test_observations_of_another_shape_are_refused(shape: tuple[int, ...]):
    with pytest.raises(ValueError, match="give \\[n, 3\\]"):
        Evidence(baseline()).update(np.zeros(shape))


def test_a_baseline_without_features_is_refused():
    nothing = baseline()
    nothing.features = ()
    with pytest.raises(ValueError, match="no features"):
        Evidence(nothing)
