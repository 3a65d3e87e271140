"""Evidence: an e-process over a monitor's whole life, and its alarm."""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt

from tidegauge.stats.evidence.onsets import Onsets
from tidegauge.stats.evidence.ranks import Ranks, Tolerated
from tidegauge.stats.evidence.stakes import CHUNK, Stakes
from tidegauge.stats.evidence.thinning import Thinning

Floats = npt.NDArray[np.float64]

#: Observations in a life unless stated: about a year of 12 every five minutes.
LIFE = 1_300_000

_LEAST = 1e-300  # capital; less has no logarithm


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
    probability of at most 1 / x; ``log_peak`` is its highest so far. ``alarm`` stays on until it is
    acknowledged; ``alarm_at`` is the observation, counted from 0, that raised it. ``feature`` leads: it has
    the largest share in the evidence; ``since`` is the observation at which its change likely began, and
    ``effect`` its mean since then in standard deviations of the baseline (on the scale of normal scores),
    with a sign.
    """

    log_e: float
    log_peak: float
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

    Assumption: observations are exchangeable: their order says nothing. Repeats of one patient and slow
    cycles of a device break it. ``per_source`` = g then lets only one observation of a source count within g
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
        if not size:
            raise ValueError("the baseline has no features, since too little was fitted; give it more to fit")
        onsets = Onsets(np.full(size, float(life)), np.zeros(size, np.bool_))
        ranks = Ranks.of(baseline.fitted, baseline.ranked, baseline.tolerated)
        self.features = tuple(baseline.features)
        self.stakes = Stakes.unspent(alpha * np.asarray(baseline.weights, np.float64), onsets, ranks)
        self.resets = 0
        self.alarm_at: int | None = None
        self.minimum_effect = minimum_effect
        self.thinning = Thinning(per_source) if per_source else None
        self.rng = rng if rng is not None else np.random.default_rng(0)

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
        evidence = cls(
            baseline, 0.5, false_alarm_every, rng, minimum_effect=minimum_effect, per_source=per_source
        )
        # Stakes of 1 / false_alarm_every an observation: the bound is on the capital as it is.
        evidence.stakes.alphas = np.asarray(baseline.weights, np.float64)
        evidence.stakes.onsets = replace(
            evidence.stakes.onsets, forever=np.ones(len(evidence.features), np.bool_)
        )
        return evidence

    @property
    def alpha(self) -> float:
        """The bound on the chance of a false alarm from one start; 1 for one without an end."""
        return float(self.stakes.alphas.sum())

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
        place of ``rng``, for who wants the same result elsewhere. Raises ValueError for other shapes.
        """
        values = np.asarray(observations, np.float64)
        if values.ndim != 2 or values.shape[1] != len(self.features):
            raise ValueError(f"observations have shape {values.shape}; give [n, {len(self.features)}]")
        toss = self.rng.random(len(values)) if chance is None else np.asarray(chance, np.float64)
        if toss.shape != (len(values),):
            raise ValueError(f"chance has shape {toss.shape}; give [{len(values)}]")
        if self.thinning is not None:
            if sources is None or len(sources) != len(values):
                raise ValueError("sources are missing; per_source needs one for each observation")
            kept = self.thinning.keep(sources)
            values, toss = values[kept], toss[kept]
        for start in range(0, len(values), CHUNK):
            chunk = slice(start, start + CHUNK)
            self._judge(self.stakes.bet(values[chunk], toss[chunk]))
        return self.step()

    def step(self) -> EvidenceStep:
        """Return where evidence stands."""
        stakes = self.stakes
        shares, peaks = (
            np.log(np.maximum(capital, _LEAST)) + np.log(stakes.alphas) - np.log(self.alpha)
            for capital in (stakes.capital(), stakes.peak)
        )
        leader = int(shares.argmax())
        since, effects = stakes.leads()
        return EvidenceStep(
            log_e=float(shares[leader]),
            log_peak=float(peaks.max()),
            alarm=self.alarm_at is not None,
            alarm_at=self.alarm_at,
            since=round(since[leader]),
            feature=self.features[leader],
            effect=float(effects[leader]),
            n=int(stakes.seen[leader]),
        )

    def acknowledge(self) -> None:
        """Begin again after an alarm: a further share ``alpha`` of false alarms is spent."""
        self.resets += 1
        self.alarm_at = None
        self.stakes.restart()

    def beside(self, other: Evidence) -> Evidence:
        """Return evidence over the features of both: alphas add up, observations stand side by side.

        Thinning, minimum effect and rng are those of this one.
        """
        joint = copy(self)
        joint.features = (*self.features, *other.features)
        joint.stakes = self.stakes.beside(other.stakes)
        alarms = [at for at in (self.alarm_at, other.alarm_at) if at is not None]
        joint.alarm_at = min(alarms, default=None)
        return joint

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return all that is known as arrays by name, for storage."""
        rest = {
            "features": self.features,
            "resets": self.resets,
            "alarm_at": self.alarm_at,
            "minimum_effect": self.minimum_effect,
            "thinning": self.thinning.to_dict() if self.thinning else None,
            "rng": self.rng.bit_generator.state,
        }
        return {**self.stakes.to_arrays(), "rest": np.frombuffer(json.dumps(rest).encode(), np.uint8)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> Self:
        """Go on where the evidence that gave these arrays stood."""
        rest = json.loads(bytes(arrays["rest"]))
        evidence = cls.__new__(cls)
        evidence.features = tuple(rest["features"])
        evidence.stakes = Stakes.from_arrays(arrays)
        evidence.resets = rest["resets"]
        evidence.alarm_at = rest["alarm_at"]
        evidence.minimum_effect = rest["minimum_effect"]
        evidence.thinning = Thinning.from_dict(rest["thinning"]) if rest["thinning"] else None
        bits = getattr(np.random, rest["rng"]["bit_generator"])()
        bits.state = rest["rng"]
        evidence.rng = np.random.Generator(bits)
        return evidence

    def _judge(self, sure: npt.NDArray[np.bool_]) -> None:
        if self.alarm_at is not None or not sure.any():
            return
        _, effects = self.stakes.leads()
        raised = (sure & (np.abs(effects) >= self.minimum_effect)).any(axis=1)
        if raised.any():
            self.alarm_at = int(self.stakes.seen.max()) - len(sure) + int(raised.argmax())
