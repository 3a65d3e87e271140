from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest

from tidegauge.stats.evidence.ranks import Grid, Ranks, Tolerated

NOTHING = np.empty((0, 1))


def column(values: object) -> np.ndarray:
    return np.asarray(values, float)[:, np.newaxis]


values = st.lists(st.floats(-1e6, 1e6) | st.just(float("nan")), min_size=1, max_size=40)


@given(values, values)
def test_larger_values_never_have_smaller_cells(fitted: list[float], found: list[float]):
    cells = Grid.of(column(fitted)).cells(column(found))[:, 0]
    order = np.argsort(found)  # NaN last: it ranks above all
    assert np.all(np.diff(cells[order]) >= 0)


def test_infinite_and_huge_values_have_cells():
    cells = Grid.of(column([1.0, 2.0])).cells(column([-np.inf, -1e308, 1.5, 1e308, np.inf, np.nan]))[:, 0]
    assert np.all(np.diff(cells) >= 0)
    assert cells[-1] == 64 * 64 - 1 > cells[-2]


@settings(max_examples=50)
@given(st.lists(st.integers(0, 5), max_size=20), st.lists(st.integers(0, 5), min_size=1, max_size=20))
def test_ranks_agree_with_counting(ranked: list[int], stream: list[int]):
    ranks = Ranks.of(column(range(6)), column(ranked), None)
    chance = np.full(len(stream), 0.25)
    high, low = (found[:, 0] for found in ranks.take(column(stream), chance))
    known = list(ranked)
    for i, value in enumerate(stream):
        known.append(value)
        above, ties = sum(k > value for k in known), sum(k == value for k in known)
        assert high[i] == pytest.approx((above + 0.75 * ties) / len(known))
        assert low[i] == pytest.approx(1 - high[i])


def test_batches_do_not_matter():
    rng = np.random.default_rng(0)
    stream, chance = rng.normal(size=(60, 3)), rng.random(60)
    tolerated = Tolerated(np.zeros((20, 3)), np.ones((20, 3)), np.full(3, 0.5))
    for around in (None, tolerated):
        whole, parts = (Ranks.of(rng.normal(size=(9, 3)) * 0 + 1, np.ones((20, 3)), around) for _ in range(2))
        together = whole.take(stream, chance)
        one_by_one = [parts.take(stream[i : i + 7], chance[i : i + 7]) for i in range(0, 60, 7)]
        for side in (0, 1):
            assert np.allclose(together[side], np.concatenate([part[side] for part in one_by_one]))


@pytest.mark.parametrize(
    "draw",
    [
        lambda rng, n: rng.normal(size=n),
        lambda rng, n: rng.integers(0, 3, n).astype(float),
        lambda rng, n: np.where(rng.random(n) < 0.3, np.nan, rng.standard_cauchy(n)),
        lambda _rng, n: np.full(n, 7.0),
    ],
)
def test_ranks_are_uniform_and_independent_whatever_the_data(draw):
    """Averaged over baselines: with one baseline, ranks know its error."""
    rng = np.random.default_rng(1)
    found = []
    for _ in range(400):
        ranks = Ranks.of(column(draw(rng, 20)), column(draw(rng, 10)), None)
        found.append(ranks.take(column(draw(rng, 20)), rng.random(20))[0][:, 0])
    high = np.array(found)
    assert kstest(high.ravel(), "uniform").pvalue > 1e-3
    assert abs(np.corrcoef(high[:, 3], high[:, 17])[0, 1]) < 0.17
    assert abs(np.corrcoef(high[:, :-1].ravel(), high[:, 1:].ravel())[0, 1]) < 0.04


def test_tolerated_ranks_are_never_smaller_than_those_of_the_originals():
    rng = np.random.default_rng(2)
    for _ in range(20):
        baseline, stream, chance = rng.normal(size=(30, 1)), rng.normal(size=(50, 1)), rng.random(50)
        # Each stream observation is moved by up to 0.3; its most extreme variants lie 0.3 either side.
        moved = stream + rng.uniform(-0.3, 0.3, stream.shape)
        tolerated = Tolerated(baseline - 0.3, baseline + 0.3, np.array([0.6]))
        found = Ranks.of(baseline, baseline, tolerated).take(moved, chance)
        for side, original in ((0, 0.3), (1, -0.3)):
            latent = Ranks.of(baseline, baseline + original, None).take(stream + original, chance)
            # Up to a cell: values that tie in the grid are ranked by chance.
            assert np.all(found[side] >= latent[side] - 2 / 31)
            assert np.mean(found[side] >= latent[side] - 1e-9) > 0.97


def test_stored_ranks_go_on_alike():
    rng = np.random.default_rng(3)
    tolerated = Tolerated(np.zeros((5, 2)), np.ones((5, 2)), np.full(2, 0.1))
    for around in (None, tolerated):
        ranks = Ranks.of(rng.normal(size=(9, 2)), rng.normal(size=(5, 2)), around)
        stored = Ranks.from_arrays({name: array.copy() for name, array in ranks.to_arrays().items()})
        stream, chance = rng.normal(size=(9, 2)), rng.random(9)
        assert np.array_equal(ranks.take(stream, chance), stored.take(stream, chance))
