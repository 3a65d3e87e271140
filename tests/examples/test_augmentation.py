from __future__ import annotations

import numpy as np
import pytest
from augmentation import augmented, jittered

from tidegauge.phantoms import draw

IMAGE = draw("NORMAL", np.random.default_rng(0), size=80)


@pytest.mark.parametrize("change", [augmented, jittered])
def test_changes_are_seeded_and_leave_the_original_alone(change: type[augmented]) -> None:
    before = IMAGE.copy()
    for seed in range(40):
        first, again = (change(IMAGE, np.random.default_rng(seed)) for _ in range(2))
        assert first.shape == IMAGE.shape
        assert first.dtype == np.uint8
        assert np.array_equal(first, again)
        assert not np.array_equal(first, IMAGE)
    assert np.array_equal(before, IMAGE)


def test_jitter_is_milder_than_augmentation() -> None:
    strong, mild = (
        np.mean([np.abs(change(IMAGE, np.random.default_rng(i)).astype(float) - IMAGE) for i in range(60)])
        for change in (augmented, jittered)
    )
    assert 0 < mild < 0.75 * strong
