"""Evidence: an e-process over a monitor's whole life, and its alarm."""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt

from tidegauge.stats.evidence.bets import COUNT, bets, normal_scores
from tidegauge.stats.evidence.onsets import Onsets
from tidegauge.stats.evidence.ranks import Ranks, Tolerated
from tidegauge.stats.evidence.thinning import Thinning

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

#: Observations in a life unless stated: about a year of 12 every five minutes.
LIFE = 1_300_000
#: Below so many ranked observations the guarantee holds, but little can be found early on.
FEW = 50

_CHUNK = 32  # observations whose bets are made at once; products of so many fit in a float
_MOST = 1e60  # capital of a stake; more is written as this


class Reference(Protocol):
    """What evidence needs of a baseline: ``ImageBaseline`` and ``TableBaseline`` have it."""

    @property
    def features(self) -> tuple[str, ...]:
        """Names of K features."""

    @property
    def weights(self) -> Floats:
        """Share ``[K]`` of alpha that each feature gets; they sum to 1."""

    @property
    def fitted(self) -> Floats:
        """Observations ``[f, K]`` of the part that features were fitted on."""

    @property
    def ranked(self) -> Floats:
        """Observations ``[m, K]`` of a part that nothing was fitted on."""

    @property
    def tolerated(self) -> Tolerated | None:
        """Extremes of the ranked observations over harmless variation."""


@dataclass(frozen=True)
class EvidenceStep:
    """Where evidence stands after ``n`` observations.

    ``log_e`` is the natural logarithm of the e-process; under no drift it ever passes log x with a
    probability of at most 1 / x. ``alarm`` stays on until it is acknowledged; ``alarm_at`` is the observation,
    counted from 0, that raised it. ``feature`` leads: it has the largest share in the evidence; ``since`` is
    the observation at which its change likely began, ``effect`` its mean since then in the baseline's
    standard deviations (on the scale of normal scores), with a sign.
    """

    log_e: float
    alarm: bool
    alarm_at: int | None
    since: int
    feature: str
    effect: float
    n: int


class Evidence:
    """Anytime-valid evidence that observations no longer come from where the baseline came from.

    P(ever an alarm | no drift) <= ``alpha``, whenever and however often one looks, for ``life`` observations.
    Each feature bets on its conformal ranks, which are uniform and independent for as long as observations
    are exchangeable with the ranked part of the baseline. Each bet is opened anew at every observation with
    a small stake; all stakes of a life sum to 1. A feature with share w of alpha raises the alarm when its
    capital passes 1 / (w alpha); the bound is the sum of theirs (Ville, then Boole), so features may
    depend on each other in any way. Past its life no new stakes are opened.

    Assumption: observations are exchangeable: their order says nothing. Repeats of one patient and slow cycles
    of a device break it. ``per_source`` = g then lets only one observation of a source count within g
    observations; state sources in ``update``, and fit the baseline on one observation of each. Values that
    tie are ranked by chance, missing ones above all numbers.

    ``minimum_effect`` (in standard deviations) keeps the alarm silent on what is certain but small.
    With fewer than about 100 images in the baseline (50 ranked) the bound holds, but ranks are so coarse that
    it takes many images to notice anything: promise no speed then.

    Sources: Vovk, "Testing randomness online", Statistical Science 36 (2021); Shin, Ramdas and Rinaldo,
    "E-detectors", NEJSDS 2 (2023); Ville, "Etude critique de la notion de collectif" (1939).

    >>> from tidegauge.stats.tables import fit_baseline
    >>> rng = np.random.default_rng(0)
    >>> baseline = fit_baseline({"dose": rng.normal(5, 1, 400)})
    >>> evidence = Evidence(baseline, alpha=0.001, rng=rng)
    >>> evidence.update(baseline.observe({"dose": rng.normal(5, 1, 100)})).alarm
    False
    >>> step = evidence.update(baseline.observe({"dose": rng.normal(8, 1, 12)}))
    >>> step.alarm, step.feature, step.since
    (True, 'dose', 100)
    """

    def __init__(
        self,
        baseline: Reference,
        alpha: float = 0.001,
        life: int = LIFE,
        rng: np.random.Generator | None = None,
        *,
        minimum_effect: float = 0.0,
        per_source: int | None = None,
    ) -> None:
        if not 0 < alpha < 1:
            raise ValueError(f"alpha is {alpha}; give a probability between 0 and 1, such as 0.001")
        if life < 1:
            raise ValueError(f"life is {life}; give the number of observations to last for, 1 or more")
        if minimum_effect < 0:
            raise ValueError(f"minimum_effect is {minimum_effect}; give standard deviations, 0 or more")
        size = len(baseline.features)
        self.features = tuple(baseline.features)
        self.resets = 0
        self._alphas = alpha * np.asarray(baseline.weights, np.float64)
        self._onsets = Onsets(np.full(size, float(life)), np.zeros(size, np.bool_))
        self._ranks = Ranks.of(baseline.fitted, baseline.ranked, baseline.tolerated)
        self._seen = np.zeros(size, np.int64)
        self._stakes = np.zeros((3, COUNT, size))  # capital; times its onset; times its normal scores since
        self._alarm_at: int | None = None
        self._minimum_effect = minimum_effect
        self._thinning = Thinning(per_source) if per_source else None
        self._rng = rng if rng is not None else np.random.default_rng(0)

    @classmethod
    def restarting(
        cls,
        baseline: Reference,
        false_alarm_every: int,
        rng: np.random.Generator | None = None,
        *,
        minimum_effect: float = 0.0,
        per_source: int | None = None,
    ) -> Self:
        """Return evidence without an end, for at most one false alarm in so many observations.

        Under no drift the chance of an alarm within any T observations from a start is at most
        T / ``false_alarm_every``, and the average run length to one at least half of it. A budget of 5%
        a year at 1,300,000 observations a year is one every 26,000,000.
        """
        # No rate of false alarms is spent as a whole, so alpha itself has no meaning but 1.
        evidence = cls(
            baseline, 0.5, false_alarm_every, rng, minimum_effect=minimum_effect, per_source=per_source
        )
        evidence._alphas = 2 * evidence._alphas
        evidence._onsets = Onsets(evidence._onsets.lives, np.ones(len(evidence.features), np.bool_))
        return evidence

    @property
    def alpha(self) -> float:
        """The bound on the chance of a false alarm from one start."""
        return float(self._alphas.sum())

    @property
    def spent(self) -> float:
        """The bound on the chance of any false alarm so far, all acknowledged starts included."""
        return min(1.0, self.alpha * (self.resets + 1))

    def update(
        self,
        observations: npt.ArrayLike,
        sources: Sequence[Hashable] | None = None,
        chance: Floats | None = None,
    ) -> EvidenceStep:
        """Take n observations ``[n, K]`` in their order and return where evidence stands.

        ``sources`` ``[n]`` says where each comes from. ``chance`` ``[n]``, uniform on [0, 1), breaks ties in
        place of ``rng``, for who wants the same result elsewhere.
        """
        values = np.asarray(observations, np.float64)
        if values.ndim != 2 or values.shape[1] != len(self.features):
            raise ValueError(f"observations have shape {values.shape}; give [n, {len(self.features)}]")
        toss = self._rng.random(len(values)) if chance is None else np.asarray(chance, np.float64)
        if self._thinning is not None:
            if sources is None or len(sources) != len(values):
                raise ValueError("sources are missing; per_source needs one for each observation")
            kept = self._thinning.keep(sources)
            values, toss = values[kept], toss[kept]
        for start in range(0, len(values), _CHUNK):
            self._bet(values[start : start + _CHUNK], toss[start : start + _CHUNK])
        return self.step()

    def step(self) -> EvidenceStep:
        """Return where evidence stands."""
        shares = np.log(np.maximum(self._capital(), 1e-300)) + np.log(self._alphas)
        leader = int(shares.argmax())
        best = int(self._stakes[0, :, leader].argmax())
        capital, onset, _ = self._stakes[:, best, leader]
        return EvidenceStep(
            log_e=float(shares[leader] - np.log(self.alpha)),
            alarm=self._alarm_at is not None,
            alarm_at=self._alarm_at,
            since=round(onset / capital) if capital > 0 else 0,
            feature=self.features[leader],
            effect=float(self._effects()[leader]),
            n=int(self._seen[leader]),
        )

    def acknowledge(self) -> None:
        """Begin again after an alarm: a further share ``alpha`` of false alarms is spent."""
        self.resets += 1
        self._seen[:] = 0
        self._stakes[:] = 0.0
        self._alarm_at = None

    def beside(self, other: Evidence) -> Evidence:
        """Return evidence over the features of both: alphas add up, observations stand side by side.

        Thinning, minimum effect and rng are those of this one.
        """
        joint = Evidence.__new__(type(self))
        joint.__dict__.update(self.__dict__)
        joint.features = (*self.features, *other.features)
        joint._alphas = np.concatenate([self._alphas, other._alphas])
        joint._onsets = self._onsets.beside(other._onsets)
        joint._ranks = self._ranks.beside(other._ranks)
        joint._seen = np.concatenate([self._seen, other._seen])
        joint._stakes = np.concatenate([self._stakes, other._stakes], axis=2)
        alarms = [at for at in (self._alarm_at, other._alarm_at) if at is not None]
        joint._alarm_at = min(alarms, default=None)
        return joint

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return all that is known as arrays by name, for storage."""
        rest = {
            "features": self.features,
            "resets": self.resets,
            "alarm_at": self._alarm_at,
            "minimum_effect": self._minimum_effect,
            "thinning": self._thinning.to_dict() if self._thinning else None,
            "rng": self._rng.bit_generator.state,
        }
        return {
            **self._ranks.to_arrays(),
            "alphas": self._alphas,
            "lives": self._onsets.lives,
            "forever": self._onsets.forever,
            "seen": self._seen,
            "stakes": self._stakes,
            "rest": np.frombuffer(json.dumps(rest).encode(), np.uint8),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> Self:
        """Go on where the evidence that gave these arrays stood."""
        rest = json.loads(bytes(arrays["rest"]))
        evidence = cls.__new__(cls)
        evidence.features = tuple(rest["features"])
        evidence.resets = rest["resets"]
        evidence._alphas = np.array(arrays["alphas"])
        evidence._onsets = Onsets(np.array(arrays["lives"]), np.array(arrays["forever"]))
        evidence._ranks = Ranks.from_arrays(arrays)
        evidence._seen = np.array(arrays["seen"])
        evidence._stakes = np.array(arrays["stakes"])
        evidence._alarm_at = rest["alarm_at"]
        evidence._minimum_effect = rest["minimum_effect"]
        evidence._thinning = Thinning.from_dict(rest["thinning"]) if rest["thinning"] else None
        bits = getattr(np.random, rest["rng"]["bit_generator"])()
        bits.state = rest["rng"]
        evidence._rng = np.random.Generator(bits)
        return evidence

    def _bet(self, values: Floats, toss: Floats) -> None:
        up, down = (normal_scores(ranks) for ranks in self._ranks.take(values, toss))
        weights = self._onsets.weights(self._seen, len(values))
        starts = weights * (self._seen + np.arange(len(values))[:, np.newaxis])
        scores = np.maximum(up, 0) - np.maximum(down, 0)
        capital, onsets, sums = self._stakes
        means = np.empty(up.shape)
        for i, payoff in enumerate(bets(up, down)):
            capital += weights[i]
            onsets += starts[i]
            self._stakes *= payoff
            sums += scores[i] * capital
            means[i] = capital.sum(axis=0)
        self._stakes /= np.maximum(1.0, capital / _MOST)
        self._seen = self._seen + len(values)
        if self._alarm_at is None:
            self._judge(means * (self._alphas / COUNT) >= 1)

    def _judge(self, passed: npt.NDArray[np.bool_]) -> None:
        if self._minimum_effect > 0:
            passed = passed & (np.abs(self._effects()) >= self._minimum_effect)
        raised = passed.any(axis=1)
        if raised.any():
            self._alarm_at = int(self._seen.max()) - len(passed) + int(raised.argmax())

    def _capital(self) -> Floats:
        return self._stakes[0].mean(axis=0) + self._onsets.unspent(self._seen)

    def _effects(self) -> Floats:
        best = self._stakes[0].argmax(axis=0)
        capital, onset, scores = self._stakes[:, best, np.arange(len(best))]
        lengths = self._seen * capital - onset
        return np.where(lengths > 0, scores / np.where(lengths > 0, lengths, 1.0), 0.0)
