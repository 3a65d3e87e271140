from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from tidegauge.domain.images import decode_image, to_shape
from tidegauge.phantoms import LABELS, draw
from tidegauge.stats.images import ImageBaseline, compare, extract, fit_baseline, sample
from tidegauge.stats.two_sample.kolmogorov_smirnov import kolmogorov_smirnov

SOFT, HARD = 0.42, 0.55
SHARED = Path(__file__).parents[4] / "shared" / "data"


def phantoms(count: int, seed: int) -> np.ndarray:
    """Draw phantoms as files have them: encoded once."""
    rng = np.random.default_rng(seed)
    return encoded(np.stack([draw(LABELS[i % 2], rng, size=128) for i in range(count)])[..., np.newaxis], 95)


def transposed(images: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(images.swapaxes(1, 2))


def blurred(images: np.ndarray) -> np.ndarray:
    side = images.shape[1] // 5
    return np.stack([cv2.blur(image, (side, side)) for image in images]).reshape(images.shape)


def encoded(images: np.ndarray, quality: int = 90) -> np.ndarray:
    jpegs = [
        cv2.imencode(".jpeg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes() for image in images
    ]
    return np.stack([decode_image(data) for data in jpegs]).reshape(images.shape)


@pytest.fixture(scope="module", params=[20, 120, 420])
def training(request: pytest.FixtureRequest) -> np.ndarray:
    """Left out one by one, by folds, split in halves."""
    return phantoms(request.param, 1)


@pytest.fixture(scope="module")
def baseline(training: np.ndarray) -> ImageBaseline:
    return fit_baseline(training)


def share_beyond(baseline: ImageBaseline, images: np.ndarray, bound: float) -> float:
    """Share of windows of 12 images that score above a bound; strangeness is each image's own."""
    strangeness = compare(baseline, images).strangeness
    rng = np.random.default_rng(5)
    windows = [rng.choice(strangeness, 12, replace=False) for _ in range(100)]
    return float(
        np.mean([kolmogorov_smirnov(baseline.strangeness, window).score > bound for window in windows])
    )


def test_an_image_is_as_strange_alone_as_in_a_window(baseline: ImageBaseline, training: np.ndarray):
    window = np.concatenate([training[:3], phantoms(5, 9)])
    alone = [compare(baseline, window[i : i + 1]).strangeness[0] for i in range(len(window))]
    drift = compare(baseline, window)
    assert drift.strangeness == pytest.approx(alone)
    assert drift.score == kolmogorov_smirnov(baseline.strangeness, drift.strangeness).score


def test_replayed_training_images_are_no_drift(baseline: ImageBaseline, training: np.ndarray):
    assert share_beyond(baseline, training, SOFT) <= 0.1
    assert share_beyond(baseline, training, HARD) == 0


def test_replayed_training_images_encoded_again_are_no_drift(baseline: ImageBaseline, training: np.ndarray):
    assert share_beyond(baseline, encoded(training), HARD) <= 0.02


def test_a_replayed_image_finds_itself(baseline: ImageBaseline, training: np.ndarray):
    rows = np.array([7, 3, 11])
    assert compare(baseline, training[rows]).nearest.tolist() == rows.tolist()


def test_a_replayed_image_is_as_strange_as_in_training(baseline: ImageBaseline, training: np.ndarray):
    ranked = np.flatnonzero(~np.isnan(baseline.strangeness))[:15]
    found = compare(baseline, training[ranked]).strangeness
    assert found == pytest.approx(baseline.strangeness[ranked], rel=1e-5)  # distances are in float32


def test_replayed_images_that_span_the_space_have_neighbours_at_a_distance(
    baseline: ImageBaseline, training: np.ndarray
):
    assert compare(baseline, training).strangeness.min() > 0.3 * np.nanmin(baseline.strangeness)


def test_unseen_images_are_no_drift(baseline: ImageBaseline):
    # 20 images are not enough to know what is normal: the soft bound is passed more often.
    assert share_beyond(baseline, phantoms(100, 2), SOFT) <= (0.1 if baseline.n >= 100 else 0.3)


@pytest.mark.parametrize("change", [transposed, blurred])
def test_changed_images_are_drift(baseline: ImageBaseline, training: np.ndarray, change):
    assert share_beyond(baseline, change(phantoms(40, 3)), HARD) == 1
    assert share_beyond(baseline, change(training), HARD) == 1


def test_the_attribute_that_moved_is_named():
    training = phantoms(60, 1)
    baseline = fit_baseline(training)

    def strongest(images: np.ndarray) -> tuple[str, bool]:
        moved = compare(baseline, images).attributes
        name = max(moved, key=lambda key: abs(moved[key]))
        return name, moved[name] > 0

    assert strongest(transposed(training)) == ("orientation", False)
    assert strongest(blurred(training)) == ("sharpness", False)
    assert strongest(np.asarray(np.clip(training.astype(int) + 60, 0, 255), np.uint8))[0] == "brightness"


def test_the_strangest_come_first():
    training, window = phantoms(100, 1), phantoms(12, 2)
    window[[2, 5, 9]] = blurred(window[[2, 5, 9]])
    drift = compare(fit_baseline(training), window)
    assert set(drift.ranking[:3].tolist()) == {2, 5, 9}
    assert np.all(np.diff(drift.strangeness[drift.ranking]) <= 0)


def test_images_and_their_features_give_the_same(baseline: ImageBaseline, training: np.ndarray):
    window = phantoms(12, 4)
    assert compare(baseline, extract(window)).score == compare(baseline, window).score
    assert compare(fit_baseline(sample(training)), window).score == compare(baseline, window).score


def test_a_stored_baseline_gives_the_same(baseline: ImageBaseline, tmp_path: Path):
    np.savez_compressed(tmp_path / "baseline.npz", **baseline.to_arrays())
    with np.load(tmp_path / "baseline.npz", allow_pickle=False) as file:
        stored = ImageBaseline.from_arrays(dict(file))
    window = phantoms(12, 4)
    before, after = compare(baseline, window), compare(stored, window)
    assert (after.score, after.p_value, after.attributes) == (before.score, before.p_value, before.attributes)
    assert np.array_equal(after.strangeness, before.strangeness)


def test_colour_images_drift_when_their_colours_swap():
    grey = phantoms(60, 1)
    tinted = np.concatenate([grey, grey // 2, grey // 4], axis=3)
    baseline = fit_baseline(tinted)
    assert compare(baseline, tinted[:12]).score < HARD
    assert compare(baseline, np.ascontiguousarray(tinted[:12, :, :, ::-1])).score > HARD


def test_grey_and_colour_cannot_be_compared():
    with pytest.raises(ValueError, match="channels"):
        compare(fit_baseline(phantoms(6, 1)), np.zeros((3, 128, 128, 3), np.uint8))


@pytest.mark.parametrize("count", [0, 1, 4])
def test_with_fewer_than_five_training_images_there_is_no_score(count: int):
    images = phantoms(4, 1)
    drift = compare(fit_baseline(images[:count]), images)
    assert (drift.score, drift.p_value, drift.n) == (None, None, 4)


def test_the_smallest_baseline_tells_blurred_from_not():
    images = phantoms(5, 1)
    baseline = fit_baseline(images)
    assert compare(baseline, images).score == 0
    assert compare(baseline, blurred(images)).score > HARD


def test_training_images_that_are_all_the_same():
    images = np.repeat(phantoms(1, 1), 20, axis=0)
    baseline = fit_baseline(images)
    assert compare(baseline, images[:12]).score == 0
    assert compare(baseline, blurred(images[:12])).score == 1


@pytest.mark.skipif(not SHARED.is_dir(), reason="no ../shared/data")
@pytest.mark.parametrize("change", [transposed, blurred])
def test_the_mini_set_replayed(change):
    files = sorted((SHARED / "chest-xray-mini").glob("*/*.jpeg"))
    images = np.stack([to_shape(decode_image(file.read_bytes()), 200, 200, 1) for file in files])
    baseline = fit_baseline(images)
    assert share_beyond(baseline, images, HARD) == 0
    assert share_beyond(baseline, change(images), HARD) == 1
