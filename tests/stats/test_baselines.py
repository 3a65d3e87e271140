from __future__ import annotations

import numpy as np

from tidegauge.phantoms import LABELS, draw
from tidegauge.stats import Evidence, compare, fit_baseline


def test_images_and_tables_go_the_same_way():
    rng = np.random.default_rng(0)
    images = np.stack([draw(LABELS[i % 2], rng, size=64) for i in range(80)])[..., np.newaxis]
    for baseline, window in (
        (fit_baseline(images[:60]), images[60:]),
        (fit_baseline({"dose": np.arange(60.0)}), {"dose": np.arange(20.0)}),
    ):
        drift = compare(baseline, window)
        step = Evidence(baseline, alpha=0.01).update(baseline.observe(window))
        assert 0 <= drift.score <= 1
        assert step.n == 20
