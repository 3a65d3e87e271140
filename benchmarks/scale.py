"""What so many deployments at so many requests a second need, from the rates that docs/benchmarks.md has.

    python benchmarks/scale.py            print the tables of docs/scale.md
    python benchmarks/scale.py --write    write them there
    python benchmarks/scale.py --deployments 50 --rate 20 --sampling 1

Measures nothing: each number is read from a line of docs/benchmarks.md, which names its command.
"""

from __future__ import annotations

import argparse
import math
import re
from dataclasses import dataclass
from pathlib import Path

DOCS = Path(__file__).resolve().parents[1] / "docs"
BEGIN, END = "<!-- benchmarks/scale.py: begin -->", "<!-- benchmarks/scale.py: end -->"
USE = 0.7  # of a core: the rest is for what comes in bursts, and for a pod that is gone
SHARES = (1.0, 0.1, 0.01)  # of the requests that are logged
PICTURE_KB = 12  # of a request, as in the benchmark of ingest
WINDOW_MINUTES = 5


@dataclass(frozen=True)
class Rate:
    """A measured rate: what of, a second, and the line that has it."""

    name: str
    value: float
    line: str


#: What is used, by the first words of its line, and where in it the number stands.
_LINES = (
    ("served, binary v2", "binary v2, times KServe", r"\(([\d,]+)/s against"),
    ("served, v1 nested JSON", "v1 nested JSON, times KServe", r"\(([\d,]+)/s against"),
    ("events with a picture, a hundred a request", "12 KB JPEG, stored, 100 at a time", r"([\d,]+)/s"),
    ("events with a picture, one a request", "12 KB JPEG, stored, one by one", r"([\d,]+)/s"),
    ("pictures made observations", "log to observations, images a second and core", r"  +([\d,]+)"),
    ("windows looked at", "results, those for late labels included", r"\(([\d,]+)/s\)"),
)


def read_rates(text: str) -> dict[str, Rate]:
    """Return the rates by name; ValueError names a line that docs/benchmarks.md has no more."""
    found = {}
    for name, words, pattern in _LINES:
        line = next((one for one in text.splitlines() if one.startswith(words)), "")
        number = re.search(pattern, line.removeprefix(words))
        if number is None:
            raise ValueError(f"docs/benchmarks.md has no line {words!r} with {pattern}")
        found[name] = Rate(name, float(number[1].replace(",", "")), words)
    return found


def cores(demand: float, rate: Rate) -> int:
    """Return how many cores a demand a second takes, each used to ``USE``."""
    return math.ceil(demand / (rate.value * USE))


def size(kilobytes: float) -> str:
    """Return a size in words, by powers of 1,000.

    >>> size(12), size(1_200_000), size(103_680_000_000)
    ('12 KB', '1.2 GB', '103.7 TB')
    """
    for unit in ("KB", "MB", "GB", "TB"):
        if kilobytes < 1000:
            return f"{kilobytes:.3g} {unit}" if kilobytes < 100 else f"{kilobytes:.1f} {unit}"
        kilobytes /= 1000
    return f"{kilobytes:.1f} PB"


def tables(
    rates: dict[str, Rate], deployments: int = 1000, rate: int = 100, shares: tuple[float, ...] = SHARES
) -> str:
    """Return the rates that are used and the sizing that follows from them, as two tables of Markdown."""
    used = ["| rate of one core or process | a second | its line in docs/benchmarks.md |", "|---|---|---|"]
    used += [f"| {one.name} | {one.value:,.0f} | `{one.line}` |" for one in rates.values()]
    asked = deployments * rate
    windows = deployments / (WINDOW_MINUTES * 60)
    head = " | ".join(f"{share:.0%} logged" for share in shares)
    rows = [
        f"| {deployments:,} deployments at {rate:,} requests a second each | {head} |",
        "|---|" + "---|" * len(shares),
    ]

    def row(name: str, cell: object) -> None:
        values = " | ".join(str(cell(asked * share)) for share in shares)  # type: ignore[operator]
        rows.append(f"| {name} | {values} |")

    row("requests a second", lambda _: f"{asked:,}")
    row("model servers: cores, binary v2", lambda _: cores(asked, rates["served, binary v2"]))
    row("model servers: cores, v1 nested JSON", lambda _: cores(asked, rates["served, v1 nested JSON"]))
    row("events a second (a request and its response)", lambda logged: f"{2 * logged:,.0f}")
    row(
        "collectors, our model server's batches",
        lambda logged: cores(2 * logged, rates["events with a picture, a hundred a request"]),
    )
    row(
        "collectors, KServe's logger (one event a request)",
        lambda logged: cores(2 * logged, rates["events with a picture, one a request"]),
    )
    row(
        "workers: cores that read the log",
        lambda logged: cores(logged, rates["pictures made observations"]),
    )
    row(
        f"workers: cores that look at {windows:.1f} windows a second",
        lambda _: cores(windows, rates["windows looked at"]),
    )
    row(f"into the bucket, at {PICTURE_KB} KB a request, a second", lambda logged: size(logged * PICTURE_KB))
    row("into the bucket, a day", lambda logged: size(logged * PICTURE_KB * 86400))
    row(
        f"observations in a window of {WINDOW_MINUTES} minutes of one deployment",
        lambda logged: f"{logged / deployments * WINDOW_MINUTES * 60:,.0f}",
    )
    return "\n".join([*used, "", *rows])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--deployments", type=int, default=1000)
    parser.add_argument("--rate", type=int, default=100, help="requests a second of each")
    parser.add_argument("--sampling", type=float, help="share that is logged, in place of 1, 0.1 and 0.01")
    parser.add_argument("--write", action="store_true", help="into docs/scale.md")
    options = parser.parse_args()
    rates = read_rates((DOCS / "benchmarks.md").read_text())
    shares = (options.sampling,) if options.sampling else SHARES
    found = tables(rates, options.deployments, options.rate, shares)
    print(found)
    if options.write:
        page = DOCS / "scale.md"
        before, _, rest = page.read_text().partition(BEGIN)
        page.write_text(f"{before}{BEGIN}\n\n{found}\n\n{END}{rest.partition(END)[2]}")


if __name__ == "__main__":
    main()
