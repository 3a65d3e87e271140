"""``python -m tidegauge``."""

from __future__ import annotations

from tidegauge.cli.main import run

if __name__ == "__main__":
    run()
