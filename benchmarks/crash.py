"""What kill -9, full disks and absent buckets cost: nothing that was acknowledged.

    python benchmarks/crash.py            about fifteen minutes: 200 rounds of kills, buckets away for 30 s
    python benchmarks/crash.py --quick    within a minute: a few rounds of each kind

Senders repeat each batch until it is acknowledged and write down what was; at the end every file of the log
is read back with pyarrow. The small disk needs root.
"""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests"))  # before this script, which has the name of a package there

import parts_s3
from _shared import Claim, report
from crash.rounds import Result, alone, fleet, full_disk, outages

PHASES = ("starting", "serving", "flushing", "merging", "between merges")
_SOME = 20  # rounds with one home: the log of a home grows


def claims(name: str, result: Result, *, others: bool) -> list[Claim]:
    """``others``: collectors beside the one that died do not know what it had made safe."""
    for fault in result.faults:
        print(f"{name}: {fault}", file=sys.stderr)
    print(f"{name}: {result}", flush=True)
    counts = (result.acknowledged, result.found, result.read)
    wrong = (result.missing, result.changed, result.strange, len(result.faults))
    found = [
        Claim(
            f"{name}: events acknowledged, in the files, in a reader's hands",
            "{}, {}, {}".format(*counts),
            "the same",
            len(set(counts)) == 1 and result.acknowledged > 0,
        ),
        Claim(
            f"{name}: missing, changed, never sent, other faults",
            "{}, {}, {}, {}".format(*wrong),
            "none",
            not any(wrong),
        ),
        Claim(
            f"{name}: more than once in the files",
            f"{result.doubled}, {result.unsure} of these sent again",
            "what was sent again" if others else "0",
            result.doubled == (result.unsure if others else 0),
        ),
    ]
    if result.waits:
        refused = result.answers["503"]
        wait = f"{max(result.waits):.1f} s at most; before that {refused} times 503"
        found.append(Claim(f"{name}: as it was again, by itself", wait, "<= 60 s", max(result.waits) <= 60))
    return found


def told(name: str, result: Result, phases: Sequence[str], least: int) -> Claim:
    """Say of kills what was under way."""
    each = [result.kills[phase] for phase in phases]
    counts = ", ".join(f"{count} {phase}" for count, phase in zip(each, phases, strict=True))
    enough = sum(each) >= least and (all(each) or least < _SOME)
    return Claim(f"{name}: {result.rounds} rounds, killed while", counts, "some of each", enough)


def repeated(run: Callable[[Path, int, int], Result], rounds: int) -> Result:
    """Run so many rounds, some with each home."""
    total = Result()
    for first in range(0, rounds, _SOME):
        with tempfile.TemporaryDirectory() as scratch:
            total.add(run(Path(scratch), min(_SOME, rounds - first), first))
    return total


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    disk = folder / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(disk)], check=True)
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def on_disk(folder: Path, rounds: int, seed: int) -> Result:
    with small_disk(folder) as disk:
        return full_disk(disk, rounds, seed)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", choices=("collector", "fleet", "disk", "bucket"))
    args = parser.parse_args()
    killed, fleets, filled, away, seconds = (4, 2, 2, 1, 1.0) if args.quick else (200, 40, 40, 2, 30.0)
    table: list[Claim] = []
    with parts_s3.s3() as endpoint:
        if args.only in (None, "collector"):
            found = repeated(alone, killed)
            table += [
                told("a collector", found, PHASES, killed),
                *claims("a collector", found, others=False),
            ]
        if args.only in (None, "fleet"):
            found = repeated(lambda folder, n, seed: fleet(folder, endpoint, n, seed), fleets)
            table += [
                told("a fleet of two", found, PHASES[:3], fleets),
                *claims("a fleet of two", found, others=True),
            ]
        if args.only in (None, "disk"):
            table += claims(f"a full disk, {filled} times", repeated(on_disk, filled), others=False)
        for is_fleet, who in ((False, "a collector"), (True, "a fleet of two")):
            if args.only in (None, "bucket"):
                with tempfile.TemporaryDirectory() as scratch:
                    found = outages(Path(scratch), endpoint, seconds, away, 7, fleet=is_fleet)
                name = f"{who}, the bucket away for {seconds:.0f} s, {away} times"
                table += claims(name, found, others=is_fleet)
    return report("Crashes", table)


if __name__ == "__main__":
    sys.exit(main())
