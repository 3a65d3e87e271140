"""Looks up every pinned dependency in PyPI's database of advisories, by pip-audit.

Exit 1 for a known vulnerability, 2 where pip-audit itself fails. Where the database cannot be reached, or
the index in its place has no advisories (pip-audit then calls each package "not found" and ends well),
nothing was audited: that is said loudly and passes, since a build without a network must be possible; with
TIDEGAUGE_AUDIT=required it fails, which is for a CI that has one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

LOCK = Path(__file__).resolve().parents[1] / "requirements.lock"
SECONDS = 180


def main() -> int:
    """Audit the lock file; return the exit code."""
    pins = [line for line in LOCK.read_text().splitlines() if "==" in line]
    with tempfile.TemporaryDirectory() as scratch:
        probe = Path(scratch, "one.txt")
        probe.write_text(f"{pins[0]}\n")
        for file in (probe, LOCK):  # where one package has no answer, the others need not be asked
            found = _ask(file)
            if isinstance(found, int):
                return found
            if all("skip_reason" in each for each in found):
                return _not_audited(f"the index has no advisories of {found[0]['name']}, so of none")
    return report(found)


def _ask(file: Path) -> list[dict[str, Any]] | int:
    """Return what pip-audit says of each package of a file, or the exit code where it says nothing."""
    command = [sys.executable, "-m", "pip_audit", "-r", str(file), "--disable-pip", "--no-deps"]
    options = ["--format", "json", "--progress-spinner", "off", "--timeout", "10"]
    try:
        done = subprocess.run(
            [*command, *options], capture_output=True, text=True, timeout=SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return _not_audited(f"the database did not answer within {SECONDS} s")
    try:
        return list(json.loads(done.stdout)["dependencies"])
    except (ValueError, KeyError):
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        if any(sign in done.stderr for sign in ("Connection", "Timeout", "timed out", "resolve")):
            return _not_audited(f"the database cannot be reached ({last})")
        sys.stderr.write(f"pip-audit failed: {last}\n")
        return 2


def report(found: list[dict[str, Any]]) -> int:
    """Say what was found of each dependency; return the exit code."""
    skipped = [each["name"] for each in found if "skip_reason" in each]
    bad = [each for each in found if each.get("vulns")]
    for each in bad:
        for advisory in each["vulns"]:
            fixed = ", ".join(advisory.get("fix_versions", ())) or "no version yet"
            sys.stderr.write(f"{each['name']} {each['version']}: {advisory['id']}, fixed by {fixed}\n")
    if bad:
        sys.stderr.write(f"{len(bad)} dependencies have known vulnerabilities; raise them and `make lock`.\n")
        return 1
    if skipped:
        few = ", ".join(skipped[:5])
        return _not_audited(f"{len(skipped)} of {len(found)} have no advisories there ({few}, ...)")
    sys.stdout.write(f"{len(found)} dependencies audited, no known vulnerability.\n")
    return 0


def _not_audited(why: str) -> int:
    line = "!" * 78
    sys.stderr.write(
        f"{line}\nDEPENDENCIES WERE NOT AUDITED: {why}.\n"
        f"Run `make audit` where pypi.org can be reached before you release.\n{line}\n"
    )
    return 1 if os.environ.get("TIDEGAUGE_AUDIT") == "required" else 0


if __name__ == "__main__":
    sys.exit(main())
