"""Who did what to a monitor."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

from tidegauge.domain.monitor import Acknowledgement, ConfigVersion, Transition
from tidegauge.domain.observation import Maintenance
from tidegauge.domain.report import ConfigChange
from tidegauge.domain.report_parts import differences
from tidegauge.ui import words


@dataclass(frozen=True)
class Deed:
    """Something that somebody, or the product itself, did."""

    at: datetime
    what: str
    by: str
    why: str


def deeds(
    transitions: Iterable[Transition],
    acknowledgements: Iterable[Acknowledgement],
    versions: Iterable[ConfigVersion],
    maintenances: Iterable[Maintenance],
) -> list[Deed]:
    """Return what was done, newest first."""
    found = [Deed(step.at, f"{step.before} → {step.after}", step.by, step.why) for step in transitions]
    found += (
        Deed(
            one.at,
            f"alarm acknowledged; false alarms at most {words.number(one.spent)} so far",
            one.by,
            one.note,
        )
        for one in acknowledgements
    )
    found += (
        Deed(one.at, f"configuration, version {one.number}", one.by, "") for one in versions if one.number > 1
    )
    found += (
        Deed(one.start, f"maintenance until {words.utc(one.end)}", one.by, one.reason) for one in maintenances
    )
    return sorted(found, key=lambda deed: deed.at, reverse=True)


def changes(versions: Sequence[ConfigVersion]) -> list[ConfigChange]:
    """Return versions of a configuration, newest first, each with what it changed of the one before."""
    return [
        ConfigChange(after.number, after.by, after.at, differences(before.config, after.config))
        for after, before in pairwise(versions)
    ]
