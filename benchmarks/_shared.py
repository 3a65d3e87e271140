"""What every benchmark prints: claims with what was measured, the goal, and whether it holds."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Claim:
    """One line of the table; ``measured`` and ``goal`` are written as people read them."""

    claim: str
    measured: str
    goal: str
    holds: bool


def report(title: str, claims: Sequence[Claim]) -> int:
    """Print the table and return the exit code: 1 when a claim does not hold."""
    rows = [("claim", "measured", "goal", "holds")]
    rows += [(claim.claim, claim.measured, claim.goal, "yes" if claim.holds else "NO") for claim in claims]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    print(f"\n{title} ({machine()})")
    for row in rows:
        print("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())
    return 0 if all(claim.holds for claim in claims) else 1


def machine() -> str:
    """Say how large this machine is and how busy it was in the last minute."""
    return f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
