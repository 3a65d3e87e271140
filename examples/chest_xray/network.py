"""The network: a small CNN in Keras, its training and its export. The only module that imports TensorFlow."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow greets on import otherwise

import cv2
import keras
import onnx
from keras import layers

INPUT = "input_1"
OUTPUT = "probabilities"

Images = NDArray[np.uint8]  # [n, height, width, 1]
Labels = NDArray[np.int64]
Change = Callable[[NDArray[np.uint8], np.random.Generator], NDArray[np.uint8]]


def start_from(seed: int) -> None:
    """Seed Python, numpy and TensorFlow: the first weights and the dropout."""
    keras.utils.set_random_seed(seed)


def build(
    classes: int,
    height: int | None = None,
    width: int | None = None,
    widths: tuple[int, ...] = (16, 24, 48, 96, 160),
) -> Any:
    """Uncompiled model: pixels 0..255, float32 [n, height, width, 1], to class probabilities [n, classes].

    Without height and width it takes images of any size. Each image is brought to mean 0 and standard
    deviation 1 inside the graph, so that exposure says nothing.
    """
    pixels = keras.Input((height, width, 1), name=INPUT, dtype="float32")
    x = layers.Rescaling(1 / 255)(pixels)
    x = x - keras.ops.mean(x, axis=(1, 2, 3), keepdims=True)
    x = x * keras.ops.rsqrt(keras.ops.mean(x * x, axis=(1, 2, 3), keepdims=True) + 1e-4)
    x = _convolved(x, widths[0], kernel=5, strides=2)
    for depth, filters in enumerate(widths[1:]):
        x = layers.MaxPooling2D()(x)
        for _ in range(1 if depth == 0 else 2):
            x = _convolved(x, filters)
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dropout(0.3)(x)
    return keras.Model(pixels, layers.Dense(classes, activation="softmax", name=OUTPUT)(x))


def _convolved(x: Any, filters: int, kernel: int = 3, strides: int = 1) -> Any:
    x = layers.Conv2D(filters, kernel, strides=strides, padding="same", use_bias=False)(x)
    return layers.ReLU()(layers.BatchNormalization(momentum=0.95)(x))


class Batches(keras.utils.PyDataset):  # type: ignore[misc]
    """Shuffled batches of changed images, ``side`` pixels high and wide, with class weights.

    The same seed and first epoch give the same batches.
    """

    def __init__(
        self,
        images: Images,
        labels: Labels,
        *,
        classes: int,
        batch: int,
        seed: int,
        change: Change,
        side: int,
        epoch: int,
    ) -> None:
        super().__init__(workers=1, use_multiprocessing=False, max_queue_size=8)
        counts = np.bincount(labels, minlength=classes)
        self._weights = (labels.size / (classes * np.maximum(counts, 1)))[labels].astype(np.float32)
        self._images, self._targets = images, np.eye(classes, dtype=np.float32)[labels]
        self._batch, self._seed, self._epoch, self._change = batch, seed, epoch, change
        self._side = side
        self._order = np.random.default_rng([seed, epoch]).permutation(labels.size)

    def __len__(self) -> int:
        return math.ceil(self._order.size / self._batch)

    def __getitem__(self, index: int) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        chosen = self._order[index * self._batch : (index + 1) * self._batch]
        rng = np.random.default_rng([self._seed, self._epoch, index, 1])
        pixels = np.stack([self._sized(self._change(self._images[place, :, :, 0], rng)) for place in chosen])
        return pixels[..., None].astype(np.float32), self._targets[chosen], self._weights[chosen]

    def _sized(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if image.shape == (self._side, self._side):
            return image
        return np.asarray(cv2.resize(image, (self._side, self._side), interpolation=cv2.INTER_AREA), np.uint8)

    def on_epoch_end(self) -> None:
        self._epoch += 1
        self._order = np.random.default_rng([self._seed, self._epoch]).permutation(self._order.size)


class _Progress(keras.callbacks.Callback):  # type: ignore[misc]
    """One line an epoch, and an early end when ``learned`` says so twice running."""

    def __init__(self, epochs: int, learned: Callable[[], bool] | None, log: Callable[[str], None]) -> None:
        super().__init__()
        self._epochs, self._learned, self._log, self._streak = epochs, learned, log, 0

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        logs = logs or {}
        loss, accuracy = logs.get("loss", math.nan), logs.get("accuracy", math.nan)
        self._log(f"epoch {epoch + 1}/{self._epochs}: loss {loss:.3f}, accuracy {accuracy:.3f}")
        if self._learned is not None:
            self._streak = self._streak + 1 if self._learned() else 0
            if self._streak == 2:
                self._log("every validation image is right twice running: training ends early")
                self.model.stop_training = True


def fit(
    model: Any,
    images: Images,
    labels: Labels,
    *,
    classes: int,
    stages: Sequence[tuple[int, int]],
    batch: int,
    seed: int,
    change: Change,
    learned: Callable[[], bool] | None,
    log: Callable[[str], None],
) -> int:
    """Train in place; returns the epochs run.

    ``stages`` are pairs of image side and epochs: coarse epochs are cheap. AdamW, one cosine schedule with a
    short warm-up, label smoothing, class weights. ``change`` is the augmentation of one image; training ends
    early when ``learned`` says so twice running.
    """
    epochs = sum(length for _, length in stages)
    steps = math.ceil(labels.size / batch) * epochs
    warm_up = max(1, steps // 12)
    rate = keras.optimizers.schedules.CosineDecay(
        2e-4, steps - warm_up, alpha=0.01, warmup_target=3e-3, warmup_steps=warm_up
    )
    model.compile(
        optimizer=keras.optimizers.AdamW(rate, weight_decay=0.02),
        loss=keras.losses.CategoricalCrossentropy(label_smoothing=0.05),
        metrics=["accuracy"],
    )
    progress = _Progress(epochs, learned, log)
    begun = run = 0
    for side, length in stages:
        batches = Batches(
            images,
            labels,
            classes=classes,
            batch=batch,
            seed=seed,
            change=change,
            side=side,
            epoch=begun,
        )
        history = model.fit(
            batches, initial_epoch=begun, epochs=begun + length, verbose=0, callbacks=[progress]
        )
        begun += length
        run += len(history.epoch)
        if model.stop_training:
            break
    return run


def probabilities(model: Any, images: Images) -> NDArray[np.float64]:
    """Class probabilities [n, classes] of uint8 images [n, height, width, 1]."""
    return np.asarray(model.predict(images.astype(np.float32), batch_size=64, verbose=0), np.float64)


def fold_threshold(model: Any, threshold: float) -> None:
    """Move the last bias so that the second class wins the argmax exactly above ``threshold``."""
    last = model.get_layer(OUTPUT)
    last.bias.assign_sub(np.array([0.0, math.log(threshold / (1 - threshold))], np.float32))


def sized(model: Any, height: int, width: int) -> Any:
    """Return the model, trained on any size, for one size of image; they share their weights."""
    pixels = keras.Input((height, width, 1), name=INPUT, dtype="float32")
    fixed = keras.Model(pixels, model(pixels))
    fixed.predict(np.zeros((1, height, width, 1), np.float32), verbose=0)  # exporters want a model that ran
    return fixed


def export(model: Any, folder: Path) -> None:
    """Write ``model.onnx`` and the SavedModel ``saved_model/`` into the folder."""
    file = str(folder / "model.onnx")
    model.export(file, format="onnx", verbose=False)
    model.export(str(folder / "saved_model"), format="tf_saved_model", verbose=False)
    exported = onnx.load(file)
    (given,) = exported.graph.output  # the exporter calls it Identity:0
    for node in exported.graph.node:
        node.output[:] = [OUTPUT if name == given.name else name for name in node.output]
    given.name = OUTPUT
    onnx.checker.check_model(exported)
    onnx.save(exported, file)
