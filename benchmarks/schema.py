"""Requests drawn from the OpenAPI document by schemathesis: no 5xx, no answer that breaks its schema.

    python benchmarks/schema.py            20,000, about a quarter of an hour
    python benchmarks/schema.py --quick    300, within a minute

They go to every operation of a server in a process of its own, with the token of an operator; on PostgreSQL,
which is stricter about what it is given, or with --sqlite on SQLite. tests/parts_schema.py draws them, and
says what is kept from ending the run; other ones in each run, but for --seed.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import sys
import tempfile
import time
from pathlib import Path

from tidegauge import threads

threads.use_one()
sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))

from _shared import Claim, report
from parts import postgres
from parts_schema import trial

_SHOWN = 10  # faults


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--sqlite", action="store_true", help="on SQLite")
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    args = parser.parse_args()
    wanted = 300 if args.quick else 20_000
    with contextlib.ExitStack() as stack:
        flags: list[str] = []
        if not args.sqlite:
            flags = ["--database-url", f"{stack.enter_context(postgres())}/postgres"]
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        trying, server = stack.enter_context(trial(folder, args.seed, *flags))
        begun = time.monotonic()
        found = trying.run(wanted)
        took = time.monotonic() - begun
        logged = server.log.read_text().count("Traceback (most recent call last)")
    for (operation, kind), told in list(found.faults.items())[:_SHOWN]:
        print(f"{operation}: {kind}\n{told}\n", file=sys.stderr)
    counts = ", ".join(f"{count} times {status}" for status, count in sorted(found.statuses.items()))
    sent = found.sent.total()
    done = sum(count > 0 for count in found.succeeded.values())
    slowest, where = found.slowest
    print(f"seed {args.seed}; answers: {counts}\nslowest: {where}")
    errors = sum(count for status, count in found.statuses.items() if status >= 500)
    return report(
        f"The API against its OpenAPI document, on {'PostgreSQL' if flags else 'SQLite'}",
        [
            Claim("requests", f"{sent}", f">= {wanted}", sent >= wanted),
            Claim(
                "operations asked",
                f"{len(found.sent)} of {len(trying.operations)}",
                "all",
                len(found.sent) == len(trying.operations),
            ),
            Claim("operations that did it at least once", f"{done}", "for information", holds=True),
            Claim("answers from 500 on", f"{errors}", "0", not errors),
            Claim(
                "answers that break their schema, and other faults",
                f"{len(found.faults)}",
                "0",
                not found.faults,
            ),
            Claim("exceptions in the server's log", f"{logged}", "0", not logged),
            Claim("slowest answer", f"{slowest:.1f} s", "for information", holds=True),
            Claim("a second", f"{sent / took:.0f}", "for information", holds=True),
        ],
    )


if __name__ == "__main__":
    sys.exit(main())
