"""A Kubernetes API for tests: kmock's emulator on a port of this machine, and a kubeconfig for it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kmock
import yaml

RESOURCE = "serving.kserve.io/v1beta1/inferenceservices"
_SCHEMA = Path(__file__).parent / "inference_services" / "inferenceservice.schema.json"
#: What KServe takes; schema.py beside it says where it is from.
SCHEMA = json.loads(_SCHEMA.read_text())
BASE = "/apis/serving.kserve.io/v1beta1/namespaces/{}/inferenceservices"


class Kubernetes:
    """A running emulator; what a test says to it goes to its own event loop."""

    def __init__(self, emulator: Any, loop: asyncio.AbstractEventLoop, url: str) -> None:
        self.emulator = emulator
        self._loop = loop
        self.url = url

    def kubeconfig(self, folder: Path) -> str:
        """Write a kubeconfig that leads here; return its path."""
        named = [("clusters", "cluster", {"server": self.url}), ("users", "user", {"token": "of-a-test"})]
        named.append(("contexts", "context", {"cluster": "here", "user": "here"}))
        parts = {many: [{"name": "here", one: value}] for many, one, value in named}
        path = folder / "kubeconfig"
        path.write_text(
            yaml.safe_dump({"apiVersion": "v1", "kind": "Config", "current-context": "here", **parts})
        )
        return str(path)

    def object(self, name: str, namespace: str = "default") -> dict[str, Any] | None:
        """Return an InferenceService as it is now; None where there is none."""
        key = (kmock.resource(RESOURCE), namespace, name)
        found = self.emulator.objects[key] if key in self.emulator.objects else None  # noqa: SIM401 - no dict
        return None if found is None or found.deleted else dict(found.raw)

    def answer(self, method: str, path: str, status: int, body: Any) -> None:
        """Answer every request of a kind with this, whatever is there."""
        text = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        with self.emulator_filter(method, path) as view:
            view << status << text

    @contextlib.contextmanager
    def emulator_filter(self, method: str, path: str) -> Iterator[Any]:
        yield self.emulator[f"{method} {path}"]

    def say(self, name: str, status: dict[str, Any], namespace: str = "default") -> None:
        """Be KServe's controller: write the status of an InferenceService, and tell who watches."""

        async def patch() -> None:
            key = (kmock.resource(RESOURCE), namespace, name)
            self.emulator.objects[key].patch({"status": status})
            event = {"type": "MODIFIED", "object": self.emulator.objects[key].raw}
            await self.emulator._buses[kmock.resource(RESOURCE)].put(event)

        asyncio.run_coroutine_threadsafe(patch(), self._loop).result(10)

    def requests(self, method: str) -> list[Any]:
        return list(self.emulator[method.lower()])


@contextlib.contextmanager
def kubernetes() -> Iterator[Kubernetes]:
    """Run the emulator until the test is over."""
    started: threading.Event = threading.Event()
    made: dict[str, Any] = {}

    async def serve() -> None:
        made["stop"] = asyncio.Event()
        async with kmock.KubernetesEmulator() as emulator, kmock.Server(emulator) as server:
            emulator.resources[RESOURCE] = {}
            made.update(emulator=emulator, url=str(server.url).rstrip("/"), loop=asyncio.get_running_loop())
            started.set()
            await made["stop"].wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    assert started.wait(20), "kmock did not start"
    try:
        yield Kubernetes(made["emulator"], made["loop"], made["url"])
    finally:
        made["loop"].call_soon_threadsafe(made["stop"].set)
        thread.join(20)


def conditions(**found: tuple[str, str, str]) -> list[dict[str, str]]:
    """Return conditions as KServe writes them: type, then status, reason and message."""
    names = ("status", "reason", "message")
    return [{"type": kind, **dict(zip(names, values, strict=True))} for kind, values in found.items()]


READY = {
    "conditions": conditions(PredictorReady=("True", "", ""), Ready=("True", "", "")),
    "url": "http://chest-xray.default.example.org",
}
