"""Which part of the requests is logged: 1 in n, and each that is logged stands for n."""

from __future__ import annotations

from tidegauge.errors import FieldError

LEAST = 1e-6  # a rate is an integer of 32 bits


def sampling_error(share: float) -> FieldError | None:
    """Say what is wrong with a share; None for one that can be."""
    if LEAST <= share <= 1:
        return None
    return FieldError(
        "sampling", f"sampling is {share:g}; give the share that is logged, from {LEAST:f} to 1."
    )


def one_in(share: float) -> int:
    """Return n, the whole number nearest to 1 / share.

    >>> one_in(0.1), one_in(0.34), one_in(0.7)
    (10, 3, 1)
    """
    return round(1 / share)
