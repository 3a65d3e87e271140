"""Senders that kill themselves and receivers that fail, hang and forget to answer; each a process."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller

from tidegauge.links.channels.kinds import TRANSPORTS
from tidegauge.links.channels.transport import Outgoing, SendError, Transport
from tidegauge.services.gates import Gates
from tidegauge.services.notifications import Notifications, Pace
from tidegauge.storage.database import Database

#: All is faster than in earnest, but in the same proportions: a lease outlives several time-outs.
PACE = Pace(timeout=2.0, lease=5.0, first_pause=0.2, longest_pause=1.0, look=0.1)
CALM = "calm"  # the channel that nothing is done to
_HANG = 4.0
_KILL = 0.03  # share of tries in which a sender dies before it sends, and again after


@dataclass(frozen=True)
class Fire:
    """What all processes know; ``folder`` holds what they noted.

    Receivers fail and hang until ``until``; senders are killed from ``kills_from`` on.
    """

    url: str
    folder: Path
    kills_from: float
    until: float

    @property
    def burns(self) -> bool:
        return time.time() < self.until

    def note(self, file: str, line: str) -> None:
        """Add a line; one write, so that processes do not mix and a kill leaves all or nothing of it."""
        handle = os.open(self.folder / file, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(handle, f"{line}\n".encode())
        os.close(handle)

    def noted(self, file: str) -> list[str]:
        path = self.folder / file
        return path.read_text().splitlines() if path.exists() else []


def utc_now() -> datetime:
    return datetime.now(UTC)


def run_sender(fire: Fire, seed: int) -> None:
    """Send until killed, now and then by itself: between claim and send, or between send and mark."""
    rng = random.Random(seed)
    transports = {kind: _deadly(transport, fire, rng) for kind, transport in TRANSPORTS.items()}
    database = Database(fire.url)
    gates = Gates(database, allow_private=True)
    Notifications(
        database, "http://gauge", utc_now, gates=gates, transports=transports, pace=PACE, rng=rng
    ).start()
    threading.Event().wait()


def _deadly(transport: Transport, fire: Fire, rng: random.Random) -> Transport:
    def die(when: str) -> None:
        if fire.kills_from < time.time() < fire.until and rng.random() < _KILL:
            fire.note("kills", when)
            os.kill(os.getpid(), signal.SIGKILL)

    def send(outgoing: Outgoing, timeout: float) -> dict[str, str]:
        if outgoing.channel.name == CALM:
            return transport.send(outgoing, timeout)
        die("between claim and send")
        try:
            details = transport.send(outgoing, timeout)
        except SendError:
            fire.note("failures", outgoing.delivery_id)
            raise
        die("between send and mark")
        return details

    return replace(transport, send=send)


def run_webhooks(fire: Fire, port: int, file: str, seed: int) -> None:
    """Take webhooks once by their id, but often fail, hang, or take them and never answer."""
    rng, lock = random.Random(seed), threading.Lock()
    known = {line.split()[1] for line in fire.noted(file)}

    def take(delivery_id: str, said: str) -> None:
        with lock:
            fire.note(file, f"{'repeat' if delivery_id in known else 'applied'} {delivery_id} {said}")
            known.add(delivery_id)

    def answer(headers: Any, body: bytes) -> int:
        said = _summary(body.decode())
        mood = rng.random() if fire.burns and file != CALM else 1.0
        if mood < 0.1:
            return 503
        if mood < 0.15:
            time.sleep(_HANG)
            return 500
        take(headers["webhook-id"], f"{said} {time.time()}")
        if mood < 0.2:
            time.sleep(_HANG)
        return 200

    _serve_http(port, answer)


def _serve_http(port: int, answer: Callable[[Any, bytes], int]) -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers["content-length"])
            body = self.rfile.read(length)
            if len(body) < length:
                return  # the sender died in the middle
            status = answer(self.headers, body)
            with contextlib.suppress(OSError):
                self.send_response(status)
                self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()


def run_mail(fire: Fire, port: int, seed: int) -> None:
    """Take mails, but often refuse them for now, hang, or hang up."""
    rng = random.Random(seed)

    class Box:
        async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: ARG002, N802
            mood = rng.random() if fire.burns else 1.0
            if mood < 0.1:
                return "451 not now"
            if mood < 0.15:
                await asyncio.sleep(_HANG)
                return "451 not now"
            if mood < 0.2:
                return "421 going down"
            letter = message_from_bytes(envelope.content)
            fire.note("mails", f"{letter['message-id']} {_summary(str(letter))} {time.time()}")
            return "250 OK"

    Controller(Box(), hostname="127.0.0.1", port=port).start()
    threading.Event().wait()


def _summary(text: str) -> str:
    """Return the name that a message was posted under: channel/number."""
    begin = text.index("<<") + 2
    return text[begin : text.index(">>", begin)]
