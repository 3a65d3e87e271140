"""Malformed requests to the collector's door: no 5xx, no exception, nothing stored.

    python benchmarks/fuzz.py            until 100,000 were refused, about twelve minutes
    python benchmarks/fuzz.py --quick    3,000, within a minute

Hypothesis draws them (tests/parts_malformed.py); other ones in each run, but for --seed.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent / "tests"))

from hypothesis import HealthCheck, Phase, given, seed, settings

from _shared import Claim, report
from parts_malformed import Door, Sent, bodies

_SHOWN = 10  # faults


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    args = parser.parse_args()
    wanted = 3000 if args.quick else 100_000
    examples = wanted * 4 // 3  # a fifth turns out to be right, and is taken
    statuses: Counter[int] = Counter()
    kinds: Counter[str] = Counter()
    wrong = 0
    faults: list[str] = []
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, Door(Path(folder)) as door:

        @seed(args.seed)
        @given(sent=bodies())
        @settings(
            max_examples=examples,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        def fuzz(sent: Sent) -> None:
            nonlocal wrong
            kinds[sent.kind.partition(",")[0]] += 1
            wrong += sent.is_wrong
            try:
                statuses[door.check(sent)] += 1
            except Exception as error:
                faults.append(f"{sent.kind}: {error!r}"[:1000])

        fuzz()
        accepted = door.collector.counts().received
        stored = door.stored()
    for fault in faults[:_SHOWN]:
        print(fault, file=sys.stderr)
    print(f"seed {args.seed}; by kind: {', '.join(f'{n} {kind}' for kind, n in kinds.most_common())}")
    counts = ", ".join(f"{count} times {status}" for status, count in sorted(statuses.items()))
    sent, refused = sum(kinds.values()), statuses.total() - statuses[202]
    worst = max(statuses, default=0)
    return report(
        "Malformed requests",
        [
            Claim("requests, surely malformed of these", f"{sent}, {wrong}", "for information", holds=True),
            Claim("refused, storing nothing", f"{refused}", f">= {wanted}", refused >= wanted),
            Claim("answers", counts, "none from 500 on", worst < 500),
            Claim("exceptions, wrong answers, miscounts", f"{len(faults)}", "0", not faults),
            Claim("events stored, of those accepted", f"{stored} of {accepted}", "all", stored == accepted),
            Claim("a second", f"{sent / (time.monotonic() - begun):.0f}", "for information", holds=True),
        ],
    )


if __name__ == "__main__":
    sys.exit(main())
