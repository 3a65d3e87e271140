"""Which label a logged image has, and which live images the training data take in."""

from __future__ import annotations

import io
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from tidegauge.domain.content import ContentForm, Manifest, ManifestFile
from tidegauge.domain.images import encode_png
from tidegauge.domain.observation import Label
from tidegauge.domain.retraining import DatasetVersion
from tidegauge.services import content
from tidegauge.services.retraining.growing import Growing, pixel_digest
from tidegauge.services.retraining.truth import Live, join
from tidegauge.storage.objects import Blobs, ObjectStore
from tidegauge.storage.observations import Observations, microseconds

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
CLASSES = ("NORMAL", "PNEUMONIA")
BEFORE = DatasetVersion("chest", 1)


# Truth


def observed(*rows: tuple[str, int, str | None]) -> Observations:
    """Observations of (event id, second, answer); without an answer the request failed."""
    n = len(rows)
    scores = np.full((n, 2), np.nan, np.float32)
    for place, (_, _, answer) in enumerate(rows):
        if answer:
            scores[place] = [answer == name for name in CLASSES]
    times = np.array([microseconds(NOW + timedelta(seconds=second)) for _, second, _ in rows], np.int64)
    zeros = np.zeros(n, np.int64)
    names = np.array([event for event, _, _ in rows], object)
    texts = np.array(["a.parquet"] * n, object)
    plain = {"event_id": names, "time": times, "received": times, "scores": scores}
    plain |= {"weight": np.ones(n), "seen": np.ones(n, bool), "images": None}
    for name in ("event_source", "log_file", "source", "segment"):
        plain[name] = texts
    for name in ("index", "sequence", "status", "latency"):
        plain[name] = zeros
    return Observations(**plain)


def label(value: str, event: str = "", output: str = "", second: int = 0, received: int = 0) -> Label:
    moment = NOW + timedelta(seconds=second)
    came = NOW + timedelta(hours=received)
    return Label(f"{received}{value}", "d", moment, event, 0, output, value, "labels.csv", 1, came)


def truths(rows: Observations, *labels: Label) -> list[str | None]:
    return [live.label for live in join(rows, labels, CLASSES)]


def test_a_label_finds_its_image_by_event_id_or_by_time_and_answer() -> None:
    rows = observed(("a", 0, "NORMAL"), ("b", 1, "NORMAL"), ("c", 2, "PNEUMONIA"))
    by_event = label("PNEUMONIA", event="a")
    by_time = label("PNEUMONIA", output="NORMAL", second=1)
    assert truths(rows, by_event, by_time) == ["PNEUMONIA", "PNEUMONIA", None]


def test_a_label_of_another_answer_is_not_its_own() -> None:
    assert truths(observed(("a", 0, "NORMAL")), label("NORMAL", output="PNEUMONIA")) == [None]


def test_what_came_last_counts() -> None:
    first, correction = label("NORMAL", event="a"), label("PNEUMONIA", output="NORMAL", received=1)
    assert truths(observed(("a", 0, "NORMAL")), correction, first) == ["PNEUMONIA"]


def test_requests_of_one_time_and_answer_share_only_labels_that_agree() -> None:
    rows = observed(("a", 0, "NORMAL"), ("b", 0, "NORMAL"))
    one, other = label("NORMAL", output="NORMAL"), label("PNEUMONIA", output="NORMAL", received=1)
    assert truths(rows, one, one) == ["NORMAL", "NORMAL"]
    assert [live.ambiguous for live in join(rows, [one, other], CLASSES)] == [True, True]
    assert truths(rows, one) == [None, None]  # whose it is nobody knows


def test_an_image_that_was_never_answered_has_the_label_of_its_event() -> None:
    rows = observed(("a", 0, None))
    assert truths(rows, label("NORMAL", event="a"), label("PNEUMONIA", output="")) == ["NORMAL"]


# Growing


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    return Blobs(ObjectStore(str(tmp_path / "store")))


def pixels(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (8, 8, 1), np.uint8)


def trained(number: int) -> np.ndarray:
    """The n-th image whose hash does not keep it to compare on."""
    found = (pixels(seed) for seed in range(10_000, 20_000))
    return [image for image in (next(found) for _ in range(200)) if not is_tested(image)][number]


def is_tested(image: np.ndarray) -> bool:
    return int(pixel_digest(image)[:8], 16) % 5 == 0


def folders(blobs: Blobs, images: Sequence[np.ndarray]) -> Manifest:
    files = []
    for number, image in enumerate(images):
        name = CLASSES[number % 2]
        digest, _ = blobs.put(encode_png(image))
        files.append(ManifestFile(f"{name}/{number}.png", digest, 1, name))
    return Manifest(ContentForm.LABELLED_FOLDERS, tuple(files), CLASSES, len(files))


def arrays(blobs: Blobs, images: Sequence[np.ndarray]) -> Manifest:
    sink = io.BytesIO()
    np.savez(sink, x=np.stack(images), y=np.array([CLASSES[k % 2] for k in range(len(images))]))
    digest, _ = blobs.put(sink.getvalue())
    files = (ManifestFile("all.npz", digest, 1, None, len(images)),)
    return Manifest(ContentForm.NUMPY, files, CLASSES, len(images))


def growing(manifest: Manifest, blobs: Blobs, held_out: Sequence[np.ndarray] = ()) -> Growing:
    made = Growing(manifest, {pixel_digest(image) for image in held_out}, blobs)
    for image, _, path in content.read_images(manifest, blobs, 8, 8, 1):
        made.note(path, pixel_digest(image))
    return made


def rows(manifest: Manifest, blobs: Blobs) -> dict[str, str | None]:
    return {pixel_digest(image): name for image, name, _ in content.read_images(manifest, blobs, 8, 8, 1)}


@pytest.mark.parametrize("form", [folders, arrays])
def test_live_images_join_the_training_data_under_their_label(form, blobs: Blobs) -> None:
    made = growing(form(blobs, [pixels(0), pixels(1)]), blobs)
    for number in range(3):
        made.take(Live(f"e{number}", 0, "f", "PNEUMONIA"), trained(number))
    found = made.manifest("live-r")
    assert found.rows == 5
    assert rows(found, blobs)[pixel_digest(trained(2))] == "PNEUMONIA"
    assert made.collected(BEFORE).added == 3


@pytest.mark.parametrize("form", [folders, arrays])
def test_no_held_out_image_is_in_what_comes_of_it(form, blobs: Blobs) -> None:
    held_out = [pixels(1), trained(0)]
    made = growing(form(blobs, [pixels(0), pixels(1), pixels(2)]), blobs, held_out)
    made.take(Live("e0", 0, "f", "NORMAL"), trained(0))
    made.take(Live("e1", 0, "f", "NORMAL"), trained(1))
    found = rows(made.manifest("live-r"), blobs)
    assert set(found) == {pixel_digest(image) for image in (pixels(0), pixels(2), trained(1))}
    assert found[pixel_digest(pixels(2))] == "NORMAL"  # its own label still
    collected = made.collected(BEFORE)
    assert (collected.held_out, collected.withdrawn, collected.added) == (1, 1, 1)


def test_what_is_kept_to_compare_on_is_not_trained_on(blobs: Blobs) -> None:
    made = growing(folders(blobs, [pixels(0), pixels(1)]), blobs)
    images = [pixels(100 + number) for number in range(60)]
    for number, image in enumerate(images):
        made.take(Live(f"e{number}", 0, "f", "NORMAL"), image)
    kept, tested = rows(made.manifest("live-r"), blobs), rows(made.tested_manifest(), blobs)
    assert set(tested) == {pixel_digest(image) for image in images if is_tested(image)}
    assert not set(kept) & set(tested)
    assert made.collected(BEFORE).tested == len(tested) > 4


def test_an_image_that_is_known_is_left_out(blobs: Blobs) -> None:
    made = growing(folders(blobs, [pixels(0), pixels(1)]), blobs)
    for event in ("e0", "e1"):
        made.take(Live(event, 0, "f", "NORMAL"), trained(0))
    made.take(Live("e2", 0, "f", "NORMAL"), pixels(0))
    assert (made.collected(BEFORE).known, made.manifest("live-r").rows) == (2, 3)


def test_a_later_label_replaces_that_of_an_earlier_retraining(blobs: Blobs) -> None:
    first = growing(folders(blobs, [pixels(0), pixels(1)]), blobs)
    first.take(Live("e0", 0, "f", "NORMAL"), trained(0))
    second = growing(first.manifest("live-r"), blobs)
    second.take(Live("e0", 0, "f", "PNEUMONIA"), trained(0))
    found = second.manifest("live-s")
    assert (found.rows, rows(found, blobs)[pixel_digest(trained(0))]) == (3, "PNEUMONIA")
    assert second.collected(BEFORE).corrected == 1


def test_what_cannot_be_trained_on_is_counted(blobs: Blobs) -> None:
    made = growing(folders(blobs, [pixels(0), pixels(1)]), blobs)
    cases = [
        Live("a", 0, "f", None),
        Live("b", 0, "f", None, ambiguous=True),
        Live("c", 0, "f", "TUBERCULOSIS"),
        Live("d", 0, "f", "NORMAL"),
    ]
    assert [made.is_usable(live) for live in cases] == [False, False, False, True]
    found = made.collected(BEFORE)
    assert (found.unlabelled, found.ambiguous, found.unknown_class) == (1, 1, 1)
