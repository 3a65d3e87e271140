"""The example is a user's code: its folder goes on the path, as it does in a step of the pipeline."""

from __future__ import annotations

import sys
from pathlib import Path

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "chest_xray"

sys.path.insert(0, str(EXAMPLE))
