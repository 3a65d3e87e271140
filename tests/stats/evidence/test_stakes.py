from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import quad

from tidegauge.stats.evidence.bets import COUNT, bets, normal_scores
from tidegauge.stats.evidence.onsets import Onsets
from tidegauge.stats.evidence.ranks import Ranks
from tidegauge.stats.evidence.stakes import Stakes


@pytest.mark.parametrize("bet", range(COUNT))
def test_a_bet_is_fair_on_uniform_ranks(bet: int):
    def payoff(rank: float) -> float:
        up, down = (normal_scores(np.array([[side]])) for side in (rank, 1 - rank))
        return float(bets(up, down)[0, bet, 0])

    mean = quad(payoff, 1e-12, 1 - 1e-12, points=[1e-6, 0.25, 0.5, 0.75, 1 - 1e-6], limit=500)[0]
    # Scores end at 6 standard deviations, which costs the boldest bets a little.
    assert mean == pytest.approx(1, abs=5e-3)
    assert mean <= 1 + 1e-6


@pytest.mark.parametrize("bet", range(COUNT))
def test_a_bet_wins_less_on_conservative_ranks(bet: int):
    ranks = np.linspace(0.001, 0.999, 200)[:, np.newaxis]
    exact = bets(normal_scores(ranks), normal_scores(1 - ranks))[:, bet]
    for high, low in ((ranks + 0.1, 1 - ranks), (ranks, 1.1 - ranks), (ranks + 0.2, 1.2 - ranks)):
        assert np.all(bets(normal_scores(high), normal_scores(low))[:, bet] <= exact + 1e-12)


@pytest.mark.parametrize("life", [1, 10, 3000])
def test_stakes_of_a_life_sum_to_one(life: int):
    onsets = Onsets(np.array([float(life)]), np.array([False]))
    weights = onsets.weights(np.zeros(1, np.int64), life + 5)[:, 0]
    assert weights.sum() == pytest.approx(1)
    assert np.all(weights[life:] == 0)
    for start in (0, 1, life // 2):
        assert onsets.unspent(np.array([start]))[0] == pytest.approx(weights[start:].sum())


def test_capital_agrees_with_the_sum_over_onsets():
    rng = np.random.default_rng(0)
    onsets = Onsets(np.array([40.0, 40.0]), np.array([False, True]))
    reference, stream = rng.normal(size=(30, 2)), rng.normal(0.5, 1, (20, 2))
    stakes = Stakes.unspent(np.array([0.1, 0.1]), onsets, Ranks.of(reference, reference, None))
    chance = rng.random(20)
    stakes.bet(stream[:8], chance[:8])
    stakes.bet(stream[8:], chance[8:])
    high, low = Ranks.of(reference, reference, None).take(stream, chance)
    payoffs = bets(normal_scores(high), normal_scores(low))
    weights = onsets.weights(np.zeros(2, np.int64), 20)
    expected = sum(weights[s] * payoffs[s:].prod(axis=0) for s in range(20))
    assert np.allclose(stakes.sums[0], expected)
    late = sum(s * weights[s] * payoffs[s:].prod(axis=0) for s in range(20))
    assert np.allclose(stakes.sums[1], late)


def test_capital_stays_finite():
    reference = np.arange(4000.0)[:, np.newaxis]
    onsets = Onsets(np.array([1e6]), np.array([False]))
    stakes = Stakes.unspent(np.array([0.1]), onsets, Ranks.of(reference, reference, None))
    for _ in range(30):
        stakes.bet(np.full((32, 1), 1e9), np.full(32, 0.5))
    assert np.isfinite(stakes.sums).all()
    assert stakes.capital()[0] > 1e6
