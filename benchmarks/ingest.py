"""The collector under load: how many events it makes durable and stores, and what it does with too many.

    python benchmarks/ingest.py            about four minutes
    python benchmarks/ingest.py --quick    within a minute: short rounds

One `tidegauge collector` process, with its tokens, fsyncs and bounds, has core 0 to itself (where there are
two); the senders have core 1. A round lasts until every acknowledged event is in the log of a collector that
is told to end, and counts with that time. Rounds alternate with those of the named alternatives; each one's
quietest round counts.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import cv2
import numpy as np
import orjson
import pyarrow.dataset as ds

from _collector import DEPLOYMENT, Running, collecting
from _reporting import ID
from _shared import Claim, report
from tidegauge.domain.events import BATCH_CONTENT_TYPE, REQUEST_TYPE
from tidegauge.links.processes import free_port

HERE = Path(__file__).resolve().parent
CORE, OTHER_CORE = 0, min(1, (os.cpu_count() or 1) - 1)
SIDE = 200
STRUCTURED = "application/cloudevents+json"
EVENTS = "/v1/events"
MEMORY = 400 << 20


def http(headers: Mapping[str, str], body: bytes, token: str) -> bytes:
    lines = [f"POST {EVENTS} HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in {**headers, "Authorization": f"Bearer {token}"}.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def attributes() -> dict[str, str]:
    source = f"/deployments/{DEPLOYMENT}"
    return {"specversion": "1.0", "id": ID.decode(), "source": source, "type": REQUEST_TYPE}


def an_image() -> np.ndarray:
    """Return what an X-ray is to a compressor: smooth, with some noise."""
    rng = np.random.default_rng(0)
    rough = cv2.resize(
        rng.integers(0, 256, (12, 12)).astype(np.float32), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC
    )
    return np.clip(rough + rng.normal(0, 6, (SIDE, SIDE)), 0, 255).astype(np.uint8)


def nested(token: str) -> bytes:
    """A structured event of 256 KB: 200 x 200 whole numbers in nested lists."""
    rows = an_image()[np.newaxis, :, :, np.newaxis].tolist()
    # With spaces, as Python's own encoder writes it.
    body = json.dumps({**attributes(), "datacontenttype": "application/json", "data": {"instances": rows}})
    return http({"Content-Type": STRUCTURED}, body.encode(), token)


def jpeg() -> bytes:
    """A picture of 12 KB."""
    image = cv2.resize(an_image(), (400, 400))
    noisy = np.clip(image + np.random.default_rng(1).normal(0, 2.5, image.shape), 0, 255).astype(np.uint8)
    for quality in range(95, 5, -1):
        data = cv2.imencode(".jpg", noisy, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
        if len(data) <= 12 << 10:
            return data
    raise AssertionError


def batch(token: str) -> bytes:
    """A hundred pictures in one batch, as base64."""
    data = base64.b64encode(jpeg()).decode()
    event = {**attributes(), "datacontenttype": "image/jpeg", "data_base64": data}
    return http({"Content-Type": BATCH_CONTENT_TYPE}, orjson.dumps([event] * 100), token)


def one(token: str) -> bytes:
    """One picture in binary mode, as KServe's logger sends it."""
    headers = {f"ce-{name}": value for name, value in attributes().items()}
    return http({**headers, "Content-Type": "image/jpeg"}, jpeg(), token)


def send(port: int, file: Path, connections: int, seconds: float) -> dict[str, float]:
    script = [
        sys.executable,
        str(HERE / "_reporting.py"),
        str(port),
        str(file),
        str(connections),
        str(seconds),
    ]
    command = ["taskset", "-c", str(OTHER_CORE), *script]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    result: dict[str, float] = json.loads(done.stdout)
    return result


def stored(home: Path) -> int:
    """Return how many events the inference log has, by plain Parquet."""
    folder = home / "store" / DEPLOYMENT / "log"
    return ds.dataset(folder).count_rows() if folder.exists() else 0


def waiting(home: Path) -> bool:
    return any((home / "collector").rglob("*.segment"))


def a_round(
    collector: Running, file: Path, connections: int, seconds: float
) -> tuple[float, dict[str, float]]:
    """Send, and wait until all of it is in the log; return the events a second, waiting included."""
    before, start = stored(collector.home), time.perf_counter()
    result = send(collector.port, file, connections, seconds)
    os.kill(collector.process, signal.SIGTERM)  # it writes what there is at once, not when more has come
    while waiting(collector.home):
        time.sleep(0.02)
    took = time.perf_counter() - start
    found = stored(collector.home) - before
    if found != result["acknowledged"]:
        sys.exit(f"{result['acknowledged']} events were acknowledged, {found} are in the log.")
    return found / took, result


@contextlib.contextmanager
def contestant(kind: str, folder: Path) -> Iterator[int]:
    port = free_port()
    script = [sys.executable, str(HERE / "contestants" / "ingest_servers.py"), kind, str(port), str(folder)]
    process = subprocess.Popen(["taskset", "-c", str(CORE), *script])
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/nothing", timeout=5)
            except urllib.error.HTTPError:
                break
            except OSError:
                time.sleep(0.1)
        yield port
    finally:
        process.terminate()
        process.wait(30)


def compare(
    name: str,
    goal: float,
    make: Callable[[str], bytes],
    connections: int,
    rival: str,
    scratch: Path,
    args: argparse.Namespace,
) -> Claim:
    """Let the collector and a rival take the same events in turn."""
    file = scratch / "request"
    mine, theirs = [], []
    for number in range(args.rounds):
        with collecting(scratch / f"{name} {number}", CORE) as collector:
            file.write_bytes(make(collector.token))
            rate, result = a_round(collector, file, connections, args.seconds)
            mine.append((rate, result["p99"]))
        if rival:
            with contestant(rival, scratch) as port:
                other = send(port, file, connections, args.seconds)
                theirs.append(other["acknowledged"] / other["seconds"])
    rate, p99 = max(mine)
    against = f"; {RIVALS[rival]}: {max(theirs):,.0f}/s" if rival else ""
    return Claim(name, f"{rate:,.0f}/s, p99 {p99:.0f} ms{against}", f">= {goal:,.0f}/s", rate >= goal)


RIVALS = {
    "pydantic": "fastapi + pydantic, storing nothing",
    "parquet": "starlette to Parquet, no fsync",
}


def flood(scratch: Path, seconds: float) -> list[Claim]:
    """Send far more than can be taken, and look at the memory."""
    file = scratch / "request"
    with collecting(scratch / "flood", CORE) as collector:
        file.write_bytes(batch(collector.token))
        half = send(collector.port, file, 96, seconds / 2)
        middle = collector.peak_memory
        rest = send(collector.port, file, 96, seconds / 2)
        peak = collector.peak_memory
        while waiting(collector.home):
            time.sleep(0.05)
        found = stored(collector.home)
    acknowledged = half["acknowledged"] + rest["acknowledged"]
    refused = sum(result["statuses"].get(code, 0) for result in (half, rest) for code in ("429", "503"))
    taken = sum(result["statuses"].get("202", 0) for result in (half, rest))
    other = set(half["statuses"]) | set(rest["statuses"]) - {"202", "429", "503"}
    return [
        Claim(
            f"memory under a flood of {seconds:.0f} s",
            f"{peak / 2**20:.0f} MB ({middle / 2**20:.0f} MB at half)",
            f"<= {MEMORY >> 20} MB",
            peak <= MEMORY,
        ),
        Claim(
            "of the flood's requests",
            f"{taken} taken, {refused} refused with 429 or 503",
            ">= half refused, no other answer",
            refused >= taken and other <= {"202", "503", "429"},
        ),
        Claim("in the log of acknowledged", f"{found} of {acknowledged:.0f}", "all", found == acknowledged),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", default="")
    args = parser.parse_args()
    args.rounds, args.seconds, flooded = (1, 4, 10) if args.quick else (3, 15, 60)
    works: dict[str, Callable[[Path], list[Claim]]] = {
        "nested": lambda s: [
            compare("256 KB of nested JSON, decoded and stored", 700, nested, 8, "pydantic", s, args)
        ],
        "batch": lambda s: [compare("12 KB JPEG, stored, 100 at a time", 8000, batch, 8, "parquet", s, args)],
        "one": lambda s: [compare("12 KB JPEG, stored, one by one", 2500, one, 48, "", s, args)],
        "flood": lambda s: flood(s, flooded),
    }
    claims = []
    for name, work in works.items():
        if args.only in ("", name):
            with tempfile.TemporaryDirectory(dir=HERE.parent) as scratch:
                claims += work(Path(scratch))
    return report("Ingest", claims)


if __name__ == "__main__":
    sys.exit(main())
