"""Phantom chest X-rays: synthetic pictures that the package draws itself, so that the example runs offline.

They look like chest X-rays and are none: no pixel comes from a person, every picture says SYNTHETIC, and
every file name starts with ``phantom-``. The film is a sum of absorbers (torso, spine, ribs, heart, ...) less
the air of the lungs; pneumonia adds water back to a part of a lung.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from tidegauge.errors import InvalidInputError

NORMAL = "NORMAL"
PNEUMONIA = "PNEUMONIA"
LABELS = (NORMAL, PNEUMONIA)

Plane = NDArray[np.float32]  # [size, size], an absorber's thickness or a mask in [0, 1]
Curve = NDArray[np.float64]  # [n, 2], x and y as parts of the picture's side

_SUBPIXEL_BITS = 4
_LEFT, _RIGHT = 0, 1  # sides of the picture; the patient's right lung is on its left


@dataclass(frozen=True)
class _Body:
    """One patient: lengths and places as parts of the picture's side."""

    centre: float
    apex: float  # top of the lungs
    base: tuple[float, float]  # top of the two domes of the diaphragm
    angle: float  # how much deeper than the dome the lung reaches at the side
    width: tuple[float, float]  # from the centre to the outer edge of each lung
    gap: float  # half of the mediastinum
    heart: tuple[float, float]  # half axes
    heart_tilt: float
    ribs: int
    rib_slope: float
    bone: float
    flesh: float


def _body(rng: np.random.Generator) -> _Body:
    half = rng.normal(0.30, 0.012)
    dome = rng.normal(0.735, 0.018)
    return _Body(
        centre=0.5 + rng.normal(0, 0.008),
        apex=rng.normal(0.145, 0.014),
        base=(dome, dome + rng.normal(0.02, 0.008)),
        angle=rng.normal(0.085, 0.012),
        width=(half + rng.normal(0, 0.006), half + rng.normal(0, 0.006)),
        gap=rng.normal(0.062, 0.006),
        heart=(rng.normal(0.128, 0.011), rng.normal(0.178, 0.012)),
        heart_tilt=rng.normal(-32, 5),
        ribs=int(rng.integers(9, 11)),
        rib_slope=rng.normal(0.085, 0.012),
        bone=rng.normal(1.0, 0.1),
        flesh=rng.normal(1.0, 0.06),
    )


def _filled(size: int, curve: Curve, blur: float = 0.004) -> Plane:
    """Mask of a closed curve, its edge softened by ``blur`` of the side."""
    mask = np.zeros((size, size), np.uint8)
    points = np.round(curve * size * (1 << _SUBPIXEL_BITS)).astype(np.int32)
    cv2.fillPoly(mask, [points], 255, cv2.LINE_AA, _SUBPIXEL_BITS)
    return _soft(np.multiply(mask, 1 / 255, dtype=np.float32), blur)


def _stroked(size: int, curves: list[Curve], width: float, blur: float) -> Plane:
    mask = np.zeros((size, size), np.uint8)
    lines = [np.round(curve * size * (1 << _SUBPIXEL_BITS)).astype(np.int32) for curve in curves]
    cv2.polylines(mask, lines, False, 255, max(1, round(width * size)), cv2.LINE_AA, _SUBPIXEL_BITS)
    return _soft(np.multiply(mask, 1 / 255, dtype=np.float32), blur)


def _soft(plane: Plane, blur: float) -> Plane:
    sigma = blur * plane.shape[0]
    if sigma <= 0.2:
        return plane
    if sigma < 6:
        return np.asarray(cv2.GaussianBlur(plane, (0, 0), sigma), np.float32)
    small = cv2.resize(plane, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)  # the same, but fast
    return np.asarray(cv2.resize(cv2.GaussianBlur(small, (0, 0), sigma / 4), plane.shape[::-1]), np.float32)


def _clouds(size: int, rng: np.random.Generator, cells: int) -> Plane:
    """Smooth noise of mean 0 and standard deviation about 1, with ``cells`` bumps along a side."""
    coarse = rng.standard_normal((cells, cells), np.float32)
    field = np.asarray(cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC), np.float32)
    return field / np.float32(max(float(field.std()), 1e-6))


def _side(body: _Body, side: int) -> tuple[int, float]:
    return (-1 if side == _LEFT else 1), body.width[side]


def _lung(body: _Body, side: int) -> Curve:
    """Outline of a lung: down the ribs, along the dome of the diaphragm, up beside the mediastinum."""
    sign, width = _side(body, side)
    down = np.linspace(0, 1, 40)
    bottom = body.base[side] + body.angle
    outer_y = body.apex + down * (bottom - body.apex)
    outer = body.gap * 1.3 + (width - body.gap * 1.3) * np.sqrt(1 - (1 - down) ** 2.4)
    outer = outer * (1 + 0.03 * np.sin(np.pi * down))
    along = np.linspace(0, 1, 30)
    dome_x = width + along * (body.gap - width)
    dome_y = bottom - body.angle * np.sin(np.pi * (0.08 + 0.62 * along)) ** 0.9 / np.sin(np.pi * 0.5)
    dome_y[0] = bottom
    inner_y = np.linspace(dome_y[-1], body.apex + 0.01, 20)
    inner = body.gap * (1 + 0.25 * np.cos(np.linspace(0, np.pi, 20)))
    x = np.concatenate([outer, dome_x, inner])
    y = np.concatenate([outer_y, dome_y, inner_y])
    return np.column_stack([body.centre + sign * x, y])


def _torso(size: int, body: _Body) -> Plane:
    down = np.linspace(0, 1.1, 50)
    flank = max(body.width) + 0.065
    neck, shoulder = 0.11, 0.5
    half = np.where(down < 0.06, neck, neck + (shoulder - neck) * np.clip((down - 0.06) / 0.11, 0, 1) ** 0.6)
    arm = flank + (shoulder - flank) * np.exp(-(((down - 0.15) / 0.13) ** 2))
    half = np.where(down > 0.15, arm, half)
    x = np.concatenate([body.centre - half, (body.centre + half)[::-1]])
    return _filled(size, np.column_stack([x, np.concatenate([down, down[::-1]])]), 0.012)


def _ellipse(
    size: int, centre: tuple[float, float], axes: tuple[float, float], tilt: float, blur: float
) -> Plane:
    turn = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    x, y = axes[0] * np.cos(turn), axes[1] * np.sin(turn)
    cos, sin = np.cos(np.deg2rad(tilt)), np.sin(np.deg2rad(tilt))
    return _filled(
        size, np.column_stack([centre[0] + x * cos - y * sin, centre[1] + x * sin + y * cos]), blur
    )


def _rib_cage(size: int, body: _Body, rng: np.random.Generator) -> Plane:
    """Posterior ribs fall from the spine outwards; anterior ribs, fainter, fall inwards."""
    back: list[Curve] = []
    front: list[Curve] = []
    along = np.linspace(0, 1, 24)
    top, bottom = body.apex - 0.005, max(body.base) + 0.12
    for side in (_LEFT, _RIGHT):
        sign, width = _side(body, side)
        for rib in range(body.ribs):
            part = rib / (body.ribs - 1)
            y = top + part * (bottom - top) + rng.normal(0, 0.003)
            reach = 0.05 + (width * 1.04 - 0.05) * np.sqrt(1 - (1 - min(1.0, part * 0.93 + 0.12)) ** 2.4)
            x = 0.045 + along * (reach - 0.045)
            sag = -0.035 * np.sin(np.pi * along * 0.8) + body.rib_slope * (0.5 + 0.6 * part) * along**1.7
            back.append(np.column_stack([body.centre + sign * x, y + sag]))
            if 1 <= rib < body.ribs - 2:
                x = reach - along * (reach - body.gap - 0.08) * 0.85
                drop = body.rib_slope * (0.5 + 0.6 * part) + 0.1 * along**1.3
                front.append(np.column_stack([body.centre + sign * x, y + drop]))
    cage: Plane = 0.05 * _stroked(size, back, 0.016, 0.004) + 0.075 * _stroked(size, back, 0.027, 0.003)
    return cage + 0.045 * _stroked(size, front, 0.024, 0.005)


def _spine(size: int, body: _Body, rng: np.random.Generator) -> Plane:
    y = np.linspace(-0.05, 1.05, 60)
    wave = rng.normal(0, 0.004) * np.sin(2 * np.pi * y)
    centre = body.centre + wave
    column = _stroked(size, [np.column_stack([centre, y])], 0.075, 0.006)
    discs: list[Curve] = []
    step = rng.normal(0.052, 0.002)
    for level in np.arange(rng.uniform(0, step), 1.0, step):
        middle = float(np.interp(level, y, centre))
        discs.append(np.array([[middle - 0.034, level], [middle + 0.034, level + rng.normal(0, 0.001)]]))
    return 0.17 * column - 0.07 * _stroked(size, discs, 0.010, 0.004)


def _clavicles(size: int, body: _Body, rng: np.random.Generator) -> Plane:
    along = np.linspace(0, 1, 20)
    curves: list[Curve] = []
    for side in (_LEFT, _RIGHT):
        sign, width = _side(body, side)
        x = 0.035 + along * (width + 0.04)
        y = body.apex + 0.05 + rng.normal(0, 0.008) - 0.07 * along + 0.022 * np.sin(2 * np.pi * along)
        curves.append(np.column_stack([body.centre + sign * x, y]))
    return 0.13 * _stroked(size, curves, 0.026, 0.004)


def _vessels(size: int, body: _Body, rng: np.random.Generator) -> Plane:
    """Branches that leave each hilum and thin out."""
    thick: list[Curve] = []
    thin: list[Curve] = []
    hilum_y = body.apex + 0.27 + rng.normal(0, 0.01)
    for side in (_LEFT, _RIGHT):
        sign, width = _side(body, side)
        for angle in np.linspace(-1.2, 1.35, 9) + rng.normal(0, 0.12, 9):
            along = np.linspace(0, 1, 14)
            length = rng.uniform(0.5, 0.95) * width
            bend = rng.normal(0, 0.03) * along**2
            x = body.gap + 0.01 + along * length * np.cos(angle) * 0.8
            y = hilum_y + along * length * np.sin(angle) + bend
            branch = np.column_stack([body.centre + sign * x, y])
            thin.append(branch)
            thick.append(branch[:6])
    return 0.07 * _stroked(size, thick, 0.012, 0.008) + 0.05 * _stroked(size, thin, 0.005, 0.004)


def _opacity(size: int, body: _Body, side: int, rng: np.random.Generator) -> Plane:
    """One consolidation: a ragged cloud somewhere in a lung, in [0, 1]."""
    sign, width = _side(body, side)
    x = body.centre + sign * rng.uniform(body.gap + 0.05, width - 0.06)
    y = rng.uniform(body.apex + 0.16, body.base[side] - 0.03)
    axes = (rng.uniform(0.06, 0.12), rng.uniform(0.07, 0.15))
    cloud = _ellipse(size, (x, y), axes, rng.uniform(-40, 40), 0.028)
    ragged = np.clip(cloud * (1 + 0.30 * _clouds(size, rng, 12)), 0, 1.2)
    return np.asarray(ragged, np.float32)


def _infiltrate(size: int, body: _Body, lungs: tuple[Plane, Plane], rng: np.random.Generator) -> Plane:
    """Water in the lungs: lobar (one dense cloud), patchy (several) or interstitial (a net of both lungs)."""
    water = np.zeros((size, size), np.float32)
    kind = rng.choice(3, p=[0.4, 0.35, 0.25])
    first = int(rng.integers(2))
    if kind == 0:
        water += rng.uniform(0.20, 0.34) * _opacity(size, body, first, rng)
    elif kind == 1:
        for spot in range(int(rng.integers(3, 6))):
            water += rng.uniform(0.12, 0.22) * _opacity(size, body, (first + spot) % 2, rng)
    else:
        net = 0.3 * np.abs(_clouds(size, rng, 44)) + 0.5 * np.clip(_clouds(size, rng, 5) + 1.3, 0, 2.5)
        water += rng.uniform(0.10, 0.17) * np.asarray(net, np.float32)
    return np.minimum(water, np.float32(0.36)) * np.maximum(lungs[0], lungs[1])


def _film(thickness: Plane, rng: np.random.Generator) -> Plane:
    """Grey values 0..255 of a film: exposure, contrast, scatter, grain."""
    size = thickness.shape[0]
    scatter = 0.08 * _soft(thickness, 0.06)
    grey = 1 - np.exp(-2.1 * rng.normal(1.0, 0.05) * (thickness + scatter))
    grey = grey ** rng.normal(1.5, 0.08) * rng.normal(1.0, 0.03) + rng.normal(0.015, 0.012)
    grey = grey + rng.uniform(0, 0.03) * np.linspace(-1, 1, size, dtype=np.float32)[None, :] * rng.choice(
        [-1, 1]
    )
    grain = rng.standard_normal((size, size), np.float32)
    grey = grey + rng.uniform(0.008, 0.018) * _soft(grain, rng.uniform(0, 0.003)) * np.sqrt(
        np.clip(grey, 0.05, 1)
    )
    return np.asarray(np.clip(grey, 0, 1) * 255, np.float32)


def _posed(thickness: Plane, rng: np.random.Generator) -> Plane:
    """The patient a little turned, nearer or off centre."""
    size = thickness.shape[0]
    turn = cv2.getRotationMatrix2D((size / 2, size / 2), rng.normal(0, 1.8), rng.normal(1.02, 0.025))
    turn[:, 2] += rng.normal(0, 0.012, 2) * size
    return np.asarray(
        cv2.warpAffine(
            thickness, turn, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        ),
        np.float32,
    )


def _stamped(film: Plane, rng: np.random.Generator) -> NDArray[np.uint8]:
    """The marker of the side, at a place that says nothing of the label, and SYNTHETIC in a corner."""
    size = film.shape[0]
    image = np.asarray(np.round(film), np.uint8)
    unit = size / 256
    place = (round(rng.uniform(6, 16) * unit), round(rng.uniform(20, 100) * unit))
    cv2.putText(
        image, "R", place, cv2.FONT_HERSHEY_SIMPLEX, rng.uniform(0.35, 0.6) * unit, 225, 1, cv2.LINE_AA
    )
    cv2.putText(
        image, "SYNTHETIC", (round(4 * unit), size - round(5 * unit)), cv2.FONT_HERSHEY_SIMPLEX,
        0.34 * unit, 235, 1, cv2.LINE_AA,
    )  # fmt: skip
    return image


def draw(label: str, rng: np.random.Generator, size: int = 256) -> NDArray[np.uint8]:
    """Draw one synthetic chest X-ray, uint8 [size, size]; InvalidInputError for a label not in LABELS.

    >>> draw("NORMAL", np.random.default_rng(0), size=64).shape
    (64, 64)
    """
    if label not in LABELS:
        raise InvalidInputError.of("label", f"label is {label!r}; a phantom is one of {', '.join(LABELS)}.")
    if not 32 <= size <= 4096:
        raise InvalidInputError.of("size", f"size is {size}; give a side of 32 to 4096 pixels.")
    body = _body(rng)
    lungs = (_filled(size, _lung(body, _LEFT), 0.006), _filled(size, _lung(body, _RIGHT), 0.006))
    air = np.maximum(lungs[0], lungs[1])
    chest = _torso(size, body)
    heart_at = (body.centre + body.heart[0] * 0.42, body.base[_RIGHT] - body.heart[1] * 0.55)
    heart = _ellipse(size, heart_at, body.heart, body.heart_tilt, 0.010)
    great = _ellipse(size, (body.centre + 0.012, body.apex + 0.25), (body.gap * 1.05, 0.22), 0, 0.012)
    windpipe = _stroked(
        size, [np.array([[body.centre, -0.02], [body.centre - 0.006, body.apex + 0.17]])], 0.026, 0.006
    )
    below = _soft(np.repeat(np.linspace(0, 1, size, dtype=np.float32)[:, None], size, axis=1), 0.01)
    belly = np.clip((below - max(body.base) + 0.06) / 0.12, 0, 1)
    tissue = body.flesh * chest * (0.50 + 0.28 * belly)
    lung_tissue = air * (0.36 + 0.28 * belly - 0.014 * _clouds(size, rng, 40) - 0.012 * _clouds(size, rng, 8))
    thickness = tissue - lung_tissue + 0.24 * heart + 0.14 * great - 0.09 * windpipe
    bones = (
        _rib_cage(size, body, rng) * (1 - 0.6 * belly) + _spine(size, body, rng) + _clavicles(size, body, rng)
    )
    thickness = thickness + body.bone * chest * bones + air * _vessels(size, body, rng)
    if label == PNEUMONIA:
        thickness = thickness + _infiltrate(size, body, lungs, rng) * (1 - 0.6 * heart)
    posed = _posed(np.asarray(np.clip(thickness, 0, None), np.float32), rng)
    return _stamped(_film(posed, rng), rng)


def write_dataset(
    folder: str | Path, *, normal: int, pneumonia: int, seed: int, size: int = 256
) -> list[Path]:
    """Write ``folder/NORMAL/phantom-<seed>-0001.jpeg`` and so on; returns the paths in that order.

    Every file is another patient: its number is unique over both labels. Its picture depends on seed, label
    and place within the label alone, so that a larger set of the same seed starts with the same pictures.
    """
    for field, count in (("normal", normal), ("pneumonia", pneumonia), ("seed", seed)):
        if count < 0:
            raise InvalidInputError.of(field, f"{field} is {count}; give 0 or more.")
    folder, jobs = Path(folder), []
    for index, (label, count) in enumerate(((NORMAL, normal), (PNEUMONIA, pneumonia))):
        (folder / label).mkdir(parents=True, exist_ok=True)
        for number in range(1, count + 1):
            path = folder / label / f"phantom-{seed}-{number + index * normal:04d}.jpeg"
            jobs.append((path, label, np.random.default_rng([seed, index, number])))

    def write(job: tuple[Path, str, np.random.Generator]) -> Path:
        path, label, rng = job
        image = draw(label, rng, size)
        quality = int(rng.integers(80, 96))
        path.write_bytes(cv2.imencode(".jpeg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes())
        return path

    with ThreadPoolExecutor() as pool:
        return list(pool.map(write, jobs))
