"""Tidegauge's collector alone: fsyncs every batch before it answers, writes Parquet in the background.

python benchmarks/_collector.py FOLDER PORT
"""

from __future__ import annotations

import sys
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from tidegauge.api.collector import build_router
from tidegauge.services.collector import Collector
from tidegauge.storage.objects import ObjectStore
from tidegauge.web.bodies import Bounding


def anybody() -> None:
    """Let every sender in; tokens cost the same wherever they are checked."""


if __name__ == "__main__":
    folder, port = Path(sys.argv[1]), int(sys.argv[2])
    collector = Collector(
        folder / "segments",
        ObjectStore(str(folder / "store")),
        exists=lambda _: True,
        find_service=lambda _service, _namespace: None,
    )
    collector.start()
    app = FastAPI()
    app.include_router(build_router(collector, anybody))
    app.add_middleware(Bounding)
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning", access_log=False)
    collector.close()
