"""The demo on phantoms and, where they are beside the checkout, on real X-rays: what it shows, how fast."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from _shared import Claim, report

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
MINUTES = 3.0


def play(arguments: list[str]) -> tuple[dict[str, Any], float]:
    """Run the demo; return its JSON and the seconds it took."""
    began = time.monotonic()
    command = [sys.executable, "-m", "tidegauge", "demo", "--no-wait", "--json", *arguments]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr[-4000:]}")
    return json.loads(done.stdout), time.monotonic() - began


def check(name: str, result: dict[str, Any]) -> list[Claim]:
    """Turn the cycles of a demo into claims."""
    claims = []
    for kind in ("normal", "transposed", "blurred"):
        cycles = [cycle for cycle in result["cycles"] if cycle["kind"] == kind]
        found = ", ".join(f"{cycle['image']['score']:.2f} {cycle['image']['status']}" for cycle in cycles)
        if kind == "normal":
            holds = all(cycle["image"]["status"] in ("healthy", "warning") for cycle in cycles)
        else:
            holds = all(cycle["image"]["status"] == "critical" for cycle in cycles)
        goal = "not critical" if kind == "normal" else "critical"
        claims.append(
            Claim(f"{name}: image drift, both {kind} cycles", found, goal, holds and len(cycles) == 2)
        )
    accuracy = [cycle["accuracy"]["value"] for cycle in result["cycles"] if cycle["kind"] == "normal"]
    text = ", ".join(f"{value:.2f}" for value in accuracy)
    claims.append(Claim(f"{name}: accuracy of the normal cycles", text, "for information", True))
    return claims


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="phantoms only")
    quick = parser.parse_args().quick
    result, seconds = play([])
    claims = check("phantoms", result)
    claims.append(
        Claim(
            "phantoms: the whole demo", f"{seconds:.0f} s", f"< {60 * MINUTES:.0f} s", seconds < 60 * MINUTES
        )
    )
    for name in () if quick or not SHARED.is_dir() else ("chest-xray-mini", "chest-xray"):
        result, seconds = play(["--data", str(SHARED / name)])
        claims += check(name, result)
        claims.append(Claim(f"{name}: the whole demo", f"{seconds:.0f} s", "for information", True))
    return report("The demo", claims)


if __name__ == "__main__":
    sys.exit(main())
