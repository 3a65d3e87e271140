"""One thread for the numbers of a process: matrices and images are small, and threads wait for each other."""

from __future__ import annotations

import os


def use_one() -> None:
    """Keep BLAS and OpenCV to one thread unless the environment says otherwise; before either is loaded.

    On a busy machine with two cores a baseline of 300 images took 33 s in place of 0.2 s, and a third of the
    time in which features were extracted went into waiting.
    """
    for name in ("OPENBLAS_NUM_THREADS", "OPENCV_FOR_THREADS_NUM"):
        os.environ.setdefault(name, "1")
