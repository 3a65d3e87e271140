from __future__ import annotations

import numpy as np
import pytest

from tidegauge.phantoms import LABELS, draw
from tidegauge.stats.evidence import Evidence
from tidegauge.stats.images import (
    CHANGES,
    ImageBaseline,
    brightened,
    compare,
    contrasted,
    extract,
    fit_baseline,
    noisy,
    reencoded,
    resized,
    rotated,
    sample,
    zoomed,
)


def phantoms(count: int, seed: int, size: int = 64) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.stack([draw(LABELS[i % 2], rng, size=size) for i in range(count)])[..., np.newaxis]


TRAINING = phantoms(404, 1)
BASELINE = fit_baseline(TRAINING)


def changed(name: str, images: np.ndarray) -> np.ndarray:
    return np.stack([CHANGES[name][0](image, np.random.default_rng(i)) for i, image in enumerate(images)])


def until_alarm(images: np.ndarray, baseline: ImageBaseline = BASELINE) -> tuple[bool, str]:
    step = Evidence(baseline, rng=np.random.default_rng(0)).update(baseline.observe(images))
    return step.alarm, step.feature


def test_the_two_parts_are_disjoint_and_together_all_images():
    fitted = BASELINE.samples.fitted
    assert len(BASELINE.fitted) == fitted.sum()
    assert len(BASELINE.ranked) == (~fitted).sum()
    assert np.array_equal(np.isnan(BASELINE.strangeness), fitted)


def test_features_have_names_and_weights():
    assert len(BASELINE.features) == len(set(BASELINE.features)) == BASELINE.ranked.shape[1]
    assert BASELINE.weights.sum() == pytest.approx(1)
    weights = dict(zip(BASELINE.features, BASELINE.weights, strict=True))
    assert weights["strangeness"] > weights["mirrored"] > 0


def test_a_merged_baseline_is_that_of_the_union():
    window = phantoms(12, 4)
    for left, right in ((TRAINING[:4], TRAINING[4:]), (TRAINING[:30], TRAINING[30:50])):
        merged = fit_baseline(left).merge(fit_baseline(right))
        union = fit_baseline(np.concatenate([left, right]))
        assert np.allclose(merged.ranked, union.ranked)
        assert np.allclose(merged.observe(window), union.observe(window))
        assert compare(merged, window).score == compare(union, window).score


def test_samples_of_other_tolerances_do_not_merge():
    with pytest.raises(ValueError, match="tolerances differ"):
        sample(TRAINING[:6]).concatenate(sample(TRAINING[:6], tolerances=()))


def test_drawn_samples_are_those_of_the_images():
    whole = sample(TRAINING[:30], every=True)
    rows = np.array([3, 3, 20, 7, 11, 2])
    drawn = whole.take(rows, np.random.default_rng(0))
    assert np.array_equal(drawn.plain.reduced, whole.plain.reduced[rows])
    assert np.array_equal(
        drawn.changed.of(np.arange(6), 4).reduced, whole.changed.of(np.arange(30), 4).reduced[rows]
    )
    with pytest.raises(ValueError, match="every=True"):
        sample(TRAINING).take(rows, np.random.default_rng(0))


def test_images_that_repeat_are_split_by_chance():
    """Equal images must not all be on one side: ranks would miss what the fitted part knows."""
    samples = sample(np.repeat(TRAINING[:50], 10, axis=0), tolerances=())
    sides = samples.fitted.reshape(50, 10).sum(axis=1)
    assert np.mean((sides > 0) & (sides < 10)) > 0.9


def test_progress_counts_to_its_total():
    heard: list[tuple[int, int]] = []
    fit_baseline(TRAINING[:70], progress=lambda done, total: heard.append((done, total)))
    assert heard[-1][0] == heard[-1][1]
    assert [done for done, _ in heard] == sorted(done for done, _ in heard)


def test_progress_of_many_ends_at_its_total_too():
    heard: list[tuple[int, int]] = []
    sample(TRAINING, progress=lambda done, total: heard.append((done, total)))
    assert heard[-1][0] == heard[-1][1]


@pytest.mark.parametrize(
    "name", ["mirrored", "upside down", "transposed", "inverted", "rotated", "noisy", "blurred", "zoomed"]
)
def test_a_change_is_found(name: str):
    assert until_alarm(changed(name, phantoms(40, 3)))[0]


@pytest.mark.parametrize("name", ["mirrored", "rotated"])
def test_a_change_that_nothing_else_shows_is_named(name: str):
    evidence = Evidence(BASELINE, rng=np.random.default_rng(0))
    observed = BASELINE.observe(changed(name, phantoms(40, 3)))
    place = BASELINE.features.index(name)
    moved = (observed - BASELINE.ranked.mean(axis=0))[:, place].mean() / BASELINE.ranked[:, place].std()
    assert evidence.update(observed).alarm
    assert moved > 1.5


def test_more_of_the_same_is_silent():
    assert not until_alarm(phantoms(400, 7))[0]


@pytest.mark.parametrize(
    ("tolerance", "change"),
    [
        (reencoded(75), reencoded(80).variants[0]),
        (resized(), resized().variants[1]),
        (brightened(0.05), brightened(0.05).variants[0]),
        (contrasted(0.05), contrasted(0.04).variants[1]),
        (rotated(3), rotated(2).variants[0]),
        (zoomed(0.03), zoomed(0.02).variants[0]),
        (noisy(2.0), noisy(1.5).variants[0]),
    ],
)
def test_what_is_declared_harmless_stays_silent(tolerance, change):
    images = phantoms(300, 8)
    varied = np.stack([change(image, np.random.default_rng(i)) for i, image in enumerate(images)])
    baseline = fit_baseline(TRAINING[:200], tolerances=(tolerance,))
    assert not until_alarm(varied, baseline)[0]
    assert until_alarm(changed("upside down", images[:60]), baseline)[0]


def test_an_encoder_adds_what_a_model_sees():
    def classes(images: np.ndarray) -> np.ndarray:
        return np.column_stack([images.mean(axis=(1, 2, 3)), images.std(axis=(1, 2, 3))])

    baseline = fit_baseline(TRAINING[:60], encoder=classes)
    assert baseline.features[-2:] == ("embedding 1", "embedding 2")
    assert baseline.observe(TRAINING[:3]).shape == (3, len(baseline.features))
    stored = ImageBaseline.from_arrays(baseline.to_arrays(), encoder=classes)
    assert np.array_equal(stored.observe(TRAINING[:3]), baseline.observe(TRAINING[:3]))


def test_an_encoder_of_another_shape_is_refused():
    with pytest.raises(ValueError, match="encoder gave shape"):
        extract(TRAINING[:3], encoder=lambda _images: np.zeros(3))


def test_float_images_are_grey_levels():
    as_bytes, as_shares = BASELINE.observe(TRAINING[:4]), BASELINE.observe(TRAINING[:4] / 255)
    assert np.allclose(as_bytes, as_shares)
    assert np.allclose(as_bytes, BASELINE.observe(TRAINING[:4].astype(np.float32)))


@pytest.mark.parametrize("value", [np.nan, -1.0, 300.0])
def test_float_images_out_of_range_are_refused(value: float):
    with pytest.raises(ValueError, match="0 to 255"):
        extract(np.full((1, 8, 8, 1), value))


def test_too_small_a_baseline_observes_nothing():
    with pytest.raises(ValueError, match="4 images"):
        fit_baseline(TRAINING[:4]).observe(TRAINING[:4])
