from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from tidegauge.errors import InvalidInputError
from tidegauge.phantoms import draw, write_dataset


def test_same_seed_draws_the_same_picture() -> None:
    first = draw("PNEUMONIA", np.random.default_rng(5), size=96)
    again = draw("PNEUMONIA", np.random.default_rng(5), size=96)
    other = draw("PNEUMONIA", np.random.default_rng(6), size=96)
    assert first.dtype == np.uint8
    assert first.shape == (96, 96)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_no_single_pixel_tells_the_label() -> None:
    normal = np.stack([draw("NORMAL", np.random.default_rng([0, i]), size=64) for i in range(40)])
    ill = np.stack([draw("PNEUMONIA", np.random.default_rng([1, i]), size=64) for i in range(40)])
    greater = np.mean(ill[:, None].astype(int) > normal[None], axis=(0, 1))
    equal = np.mean(ill[:, None] == normal[None], axis=(0, 1))
    area = greater + equal / 2  # the ROC area of each pixel alone
    assert 0.7 < area.max() < 0.97  # opacities are somewhere in the lungs, not always at one place


def test_lungs_are_darker_than_the_heart_and_brighter_than_air_outside() -> None:
    mean = np.mean([draw("NORMAL", np.random.default_rng(i), size=100) for i in range(20)], axis=0)
    lung, heart, outside = mean[45:60, 28:34].mean(), mean[60:68, 48:56].mean(), mean[40:60, :4].mean()
    assert outside < lung < heart - 60


def test_unknown_label_is_refused() -> None:
    with pytest.raises(InvalidInputError, match=r"'COVID'.*NORMAL, PNEUMONIA"):
        draw("COVID", np.random.default_rng(0))


def test_data_set_is_labelled_folders_of_distinct_phantom_patients(tmp_path: Path) -> None:
    paths = write_dataset(tmp_path, normal=3, pneumonia=4, seed=9, size=64)
    assert sorted(tmp_path.glob("*/*")) == sorted(paths)
    assert [path.parent.name for path in paths] == ["NORMAL"] * 3 + ["PNEUMONIA"] * 4
    assert len({path.stem for path in paths}) == 7
    assert all(path.name.startswith("phantom-") for path in paths)
    assert all(cv2.imread(str(path), cv2.IMREAD_UNCHANGED).shape == (64, 64) for path in paths)


def test_data_set_is_the_same_for_the_same_seed_and_grows_at_the_end(tmp_path: Path) -> None:
    small = write_dataset(tmp_path / "small", normal=2, pneumonia=1, seed=3, size=64)
    large = write_dataset(tmp_path / "large", normal=2, pneumonia=3, seed=3, size=64)
    assert [path.name for path in small] == [path.name for path in large[:3]]
    assert [path.read_bytes() for path in small] == [path.read_bytes() for path in large[:3]]


def test_negative_count_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="normal is -1"):
        write_dataset(tmp_path, normal=-1, pneumonia=1, seed=0)
