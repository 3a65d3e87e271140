"""What others would write to take events in an afternoon, each by itself on a port.

    python benchmarks/contestants/ingest_servers.py pydantic|parquet PORT FOLDER

``pydantic``: FastAPI with a model of the event, which stores nothing. ``parquet``: Starlette that gathers
events and writes Parquet every 5 s, without fsync: what a crash finds in memory is lost.
"""

from __future__ import annotations

import base64
import sys
import threading
import time
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route


class Payload(BaseModel):
    instances: list[list[list[list[int]]]]


class CloudEvent(BaseModel):
    specversion: str
    id: str
    source: str
    type: str
    data: Payload


def pydantic_app() -> FastAPI:
    app = FastAPI()

    @app.post("/v1/events", status_code=202)
    async def take(event: CloudEvent) -> dict[str, int]:
        return {"accepted": int(bool(event.id))}

    return app


def parquet_app(folder: Path) -> Starlette:
    waiting: list[dict[str, Any]] = []

    async def take(request: Request) -> JSONResponse:
        body = orjson.loads(await request.body())
        events = body if isinstance(body, list) else [body]
        for event in events:
            event["data"] = base64.b64decode(event.pop("data_base64"))
            waiting.append(event)
        return JSONResponse({"accepted": len(events)}, 202)

    def write() -> None:
        while True:
            time.sleep(5)
            rows, waiting[:] = list(waiting), []
            if rows:
                pq.write_table(
                    pa.Table.from_pylist(rows), folder / f"{time.time_ns()}.parquet", compression="zstd"
                )

    threading.Thread(target=write, daemon=True).start()
    return Starlette(routes=[Route("/v1/events", take, methods=["POST"])])


if __name__ == "__main__":
    kind, port, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    app = pydantic_app() if kind == "pydantic" else parquet_app(folder)
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning", access_log=False)
