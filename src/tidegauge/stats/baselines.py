"""One way in for images and tables: what is given decides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from tidegauge.stats import images as of_images
from tidegauge.stats import tables as of_tables
from tidegauge.stats.images import ImageBaseline, ImageDrift, ImageFeatures, Images, ImageSamples
from tidegauge.stats.tables import TableBaseline, TableDrift


@overload
def fit_baseline(data: Images | ImageSamples, **options: Any) -> ImageBaseline: ...
@overload
def fit_baseline(data: of_tables.Table, **options: Any) -> TableBaseline: ...
def fit_baseline(data: Any, **options: Any) -> ImageBaseline | TableBaseline:
    """Fit a baseline on training images ``[n, h, w, c]`` or on a table, a mapping or a frame of columns.

    Options are those of ``tidegauge.stats.images.fit_baseline`` and ``tidegauge.stats.tables.fit_baseline``.

    >>> fit_baseline({"dose": [1.0, 2.0, 3.0]}).features
    ('dose',)
    """
    if isinstance(data, Mapping) or hasattr(data, "columns"):
        return of_tables.fit_baseline(data, **options)
    return of_images.fit_baseline(data, **options)


@overload
def compare(baseline: ImageBaseline, window: npt.NDArray[Any] | ImageFeatures) -> ImageDrift: ...
@overload
def compare(
    baseline: TableBaseline, window: of_tables.Table, rng: np.random.Generator | None = None
) -> TableDrift: ...
def compare(baseline: Any, window: Any, rng: np.random.Generator | None = None) -> ImageDrift | TableDrift:
    """Compare a window of images, or of rows, with its baseline."""
    if isinstance(baseline, ImageBaseline):
        return of_images.compare(baseline, window)
    return of_tables.compare(baseline, window, rng)
