"""Train the example's classifier: a folder of labelled images in, a model folder with its references out.

No image of the held-out patients takes part in any choice. For two classes the decision threshold is chosen
on the validation patients and folded into the last bias, so that *argmax is the decision everywhere*: a
probability of 0.5 of the exported model is that threshold.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import polars as pl
from augmentation import augmented, jittered
from numpy.typing import NDArray
from patients import Split, split_by_patient
from scores import choose_threshold, evaluate

from tidegauge.domain.images import decode_image, to_shape
from tidegauge.errors import InvalidInputError

HEIGHT, WIDTH, CHANNELS = 200, 200, 1
COARSE = 152  # pixels, in the first stage of a long training
SMALL = 1000  # training images up to which validation after every epoch costs little
TINY = 100  # training images below which there is more to fit than to generalise


@dataclass(frozen=True)
class Prepared:
    """Images uint8 [n, 200, 200, 1] with label indices into the sorted class names."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    files: list[str]  # <class>/<file>
    classes: list[str]
    problems: list[str]  # one sentence for each image left out


def prepare(folder: Path) -> Prepared:
    """Read ``folder/<class>/<image>``; ValueError when fewer than two classes hold images."""
    paths = sorted(path for path in folder.glob("*/*") if path.is_file() and not path.name.startswith("."))
    images, names, files, problems = [], [], [], []
    for path in paths:
        try:
            image = decode_image(path.read_bytes(), path.name)
        except InvalidInputError as error:
            problems.append(f"{path.parent.name}/{path.name} is left out: {error.message}")
            continue
        images.append(to_shape(image, HEIGHT, WIDTH, CHANNELS))
        names.append(path.parent.name)
        files.append(f"{path.parent.name}/{path.name}")
    classes = sorted(set(names))
    if len(classes) < 2:
        found = ", ".join(classes) or "none"
        raise ValueError(
            f"The data set holds images of these classes: {found}; give one folder per class, at least two."
        )
    labels = np.array([classes.index(name) for name in names], dtype=np.int64)
    return Prepared(np.stack(images), labels, files, classes, problems)


def save_prepared(prepared: Prepared, file: Path) -> None:
    """Write what ``prepare`` read as one .npz file."""
    with file.open("wb") as stream:
        np.savez(
            stream,
            images=prepared.images,
            labels=prepared.labels,
            files=np.array(prepared.files),
            classes=np.array(prepared.classes),
            problems=np.array(prepared.problems, dtype=str),
        )


def load_prepared(file: Path) -> Prepared:
    """Read what ``save_prepared`` wrote."""
    with np.load(file) as saved:
        texts = {key: [str(text) for text in saved[key]] for key in ("files", "classes", "problems")}
        return Prepared(saved["images"], saved["labels"], **texts)


def automatic_epochs(n: int) -> int:
    """Epochs for n training images: some 50,000 image passes on a large set, few thousand on a small one.

    >>> automatic_epochs(2727), automatic_epochs(300), automatic_epochs(20)
    (18, 9, 40)
    """
    if n < TINY:
        return 40
    return max(6, min(12, 2800 // n)) if n <= SMALL else max(4, round(50_000 / n))


def _stages(size: int, epochs: int) -> list[tuple[int, int]]:
    """On large sets somewhat more than half of the epochs see coarse images, at half the time each."""
    coarse = round(epochs * 0.55) if size > SMALL else 0
    return [(side, length) for side, length in ((COARSE, coarse), (HEIGHT, epochs - coarse)) if length]


def train(
    prepared: Prepared,
    out: Path,
    *,
    name: str,
    epochs: int = 0,
    seed: int = 0,
    log: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Train, export and measure; returns the metrics.

    Writes model.onnx, saved_model/, model.json, metrics.json and reference.parquet into ``out``.
    ``epochs`` 0 means automatic.
    """
    import network  # TensorFlow takes seconds to import: only here

    network.start_from(seed)
    split = split_by_patient(prepared.files, prepared.labels.tolist(), np.random.default_rng([seed, 1]))
    images, labels, classes = prepared.images, prepared.labels, prepared.classes
    size = int(split.train.size)
    epochs = epochs or automatic_epochs(size)
    log(_summary(prepared, split, epochs))
    model = network.build(len(classes))
    tune_images, tune_labels = _validation(prepared, split, np.random.default_rng([seed, 2]))

    def learned() -> bool:
        return bool(np.all(network.probabilities(model, tune_images).argmax(axis=1) == tune_labels))

    run = network.fit(
        model,
        images[split.train],
        labels[split.train],
        classes=len(classes),
        stages=_stages(size, epochs),
        batch=32 if size > SMALL else 16 if size >= TINY else 10,
        seed=seed,
        change=augmented if size >= TINY else jittered,
        learned=learned if size <= SMALL else None,
        log=log,
    )
    tuned = network.probabilities(model, tune_images)
    threshold = None
    if len(classes) == 2:
        threshold = choose_threshold(tuned[:, 1], tune_labels == 1)
        network.fold_threshold(model, threshold)
        tuned = network.probabilities(model, tune_images)
    out.mkdir(parents=True, exist_ok=True)
    network.export(network.sized(model, HEIGHT, WIDTH), out)
    answers = predict_onnx(out / "model.onnx", images[split.held_out])
    metrics = {
        **evaluate(answers, labels[split.held_out], classes),
        "held_out": split.has_hold_out,
        "threshold": threshold,
        "validation": evaluate(tuned, tune_labels, classes),
        "epochs": run,
        "seed": seed,
        "n_train": size,
        "problems": prepared.problems,
    }
    _write_references(out, prepared, split, answers)
    _write_json(out / "metrics.json", metrics)
    _write_json(out / "model.json", _description(name, out / "model.onnx", classes))
    log(f"accuracy {metrics['accuracy']:.3f} on {metrics['n']} images")
    return metrics


def _summary(prepared: Prepared, split: Split, epochs: int) -> str:
    if split.has_hold_out:
        sizes = (split.train.size, split.validation.size, split.held_out.size)
        parts = "{} to train, {} to validate, {} held out".format(*sizes)
    else:
        parts = "all to train (too few patients for a hold-out)"
    return f"{len(prepared.files)} images of {', '.join(prepared.classes)}: {parts}; {epochs} epochs at most"


def _validation(
    prepared: Prepared, split: Split, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Validation images as they are and jittered: a shortcut that a new machine breaks must cost."""
    images = prepared.images[split.validation]
    if not split.has_hold_out:
        return images, prepared.labels
    shaken = np.stack([jittered(image[:, :, 0], rng)[:, :, None] for image in images])
    labels = prepared.labels[split.validation]
    return np.concatenate([images, shaken]), np.concatenate([labels, labels])


def predict_onnx(file: Path, images: NDArray[np.uint8], batch: int = 32) -> NDArray[np.float64]:
    """Class probabilities [n, classes] of an exported model for uint8 images [n, height, width, channels]."""
    options = onnxruntime.SessionOptions()
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    parts = [
        session.run(None, {name: images[start : start + batch].astype(np.float32)})[0]
        for start in range(0, len(images), batch)
    ]
    return np.concatenate(parts).astype(np.float64)


def _write_references(out: Path, prepared: Prepared, split: Split, answers: NDArray[np.float64]) -> None:
    columns: dict[str, Any] = {
        "file": [prepared.files[index] for index in split.held_out],
        "label": [prepared.classes[prepared.labels[index]] for index in split.held_out],
        "output": [prepared.classes[index] for index in answers.argmax(axis=1)],
    }
    columns |= {f"p_{name}": answers[:, index] for index, name in enumerate(prepared.classes)}
    pl.DataFrame(columns).write_parquet(out / "reference.parquet", compression="zstd")


def _description(name: str, file: Path, classes: list[str]) -> dict[str, Any]:
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    return {
        "name": name,
        "classes": classes,
        "inputs": [_tensor(session.get_inputs()[0].name, [-1, HEIGHT, WIDTH, CHANNELS])],
        "outputs": [_tensor(session.get_outputs()[0].name, [-1, len(classes)])],
        "positive": classes[-1] if len(classes) == 2 else None,
    }


def _tensor(name: str, shape: list[int]) -> dict[str, Any]:
    return {"name": name, "datatype": "FP32", "shape": shape}


def _write_json(file: Path, content: dict[str, Any]) -> None:
    file.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
