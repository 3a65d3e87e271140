"""Receivers of notifications: real HTTP and SMTP servers that fail, hang and restart as a test wants."""

from __future__ import annotations

import contextlib
import ipaddress
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, Envelope
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tidegauge.domain.alert import AlertEvent, Severity
from tidegauge.domain.channel import Channel, ChannelKind, Message, Setting
from tidegauge.domain.identity import new_id
from tidegauge.links.processes import free_port
from tidegauge.storage.database import Database

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
MESSAGE = Message(
    told="fired",
    alert="low-accuracy",
    monitor="xray",
    monitor_id="m1",
    severity=Severity.CRITICAL,
    status="critical",
    start=NOW - timedelta(minutes=5),
    end=NOW,
    summary="xray: accuracy < 0.85 & falling.",
    facts=("accuracy 0.71 (120 samples)", "Drift <healthy>."),
    tags=("ward-3", "lung"),
    run_id="r1",
    alert_id="a1",
)
EVENT = AlertEvent("e1", "a1", "m1", "r1", "low-accuracy", "accuracy < 0.85", 0.71, NOW)


class Clock:
    def __init__(self, now: datetime = NOW) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def forward(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


def add_channel(
    database: Database,
    name: str,
    settings: dict[str, Setting],
    kind: ChannelKind = ChannelKind.WEBHOOK,
    secret: str = "",
) -> Channel:
    return database.channels.add(Channel(new_id(), "ward", name, kind, settings, NOW, secret))


@dataclass(frozen=True)
class Request:
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Receiver:
    """An HTTP server: it takes ``answers`` (status, headers, body, seconds before) in turn, then 200."""

    port: int = 0
    requests: list[Request] = field(default_factory=list)
    answers: list[tuple[int, dict[str, str], bytes, float]] = field(default_factory=list)

    scheme: str = "http"
    redirect: str = ""  # where a GET is sent to

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    def answer(
        self, status: int, headers: dict[str, str] | None = None, body: bytes = b"", after: float = 0.0
    ) -> None:
        self.answers.append((status, headers or {}, body, after))


@contextlib.contextmanager
def http_receiver(tls: ssl.SSLContext | None = None) -> Iterator[Receiver]:
    receiver = Receiver(scheme="https" if tls else "http")

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            receiver.requests.append(Request(self.path, headers, body))
            status, extra, said, after = receiver.answers.pop(0) if receiver.answers else (200, {}, b"ok", 0)
            time.sleep(after)
            with contextlib.suppress(OSError):  # the sender may have gone
                self.send_response(status)
                for name, value in {**extra, "content-length": str(len(said))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(said)

        def do_GET(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            receiver.requests.append(Request(self.path, headers, b""))
            self.send_response(302 if receiver.redirect else 200)
            if receiver.redirect:
                self.send_header("location", receiver.redirect)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False

        def handle_error(self, request: Any, client_address: Any) -> None:
            pass  # a sender that does not trust us hangs up

    server = Server(("127.0.0.1", 0), Handler)
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    receiver.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@dataclass
class MailBox:
    """An SMTP server: it answers a letter by ``answers`` in turn, then 250; ``refused`` are no recipients."""

    port: int = 0
    letters: list[EmailMessage] = field(default_factory=list)
    recipients: list[list[str]] = field(default_factory=list)
    logins: list[tuple[bytes, bytes]] = field(default_factory=list)
    encrypted: list[bool] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)
    refused: set[str] = field(default_factory=set)

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, server: Any, session: Any, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address in self.refused:
            return "550 no such user"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Envelope) -> str:  # noqa: N802
        answer = self.answers.pop(0) if self.answers else "250 OK"
        if answer.startswith("250"):
            content = envelope.content
            assert isinstance(content, bytes)
            self.letters.append(message_from_bytes(content, policy=policy.default))  # type: ignore[arg-type]
            self.recipients.append(list(envelope.rcpt_tos))
            transport = getattr(server, "transport", None)
            self.encrypted.append(transport.get_extra_info("sslcontext") is not None)
        return answer


@contextlib.contextmanager
def mail_server(
    tls: ssl.SSLContext | None = None,
    starttls: ssl.SSLContext | None = None,
    password: bytes = b"",
) -> Iterator[MailBox]:
    """Run a mail server on localhost; with a password nobody may send without having signed in."""
    box = MailBox(free_port())

    def sign_in(server: Any, session: Any, envelope: Any, mechanism: str, given: Any) -> AuthResult:
        box.logins.append((given.login, given.password))
        return AuthResult(success=given.password == password, handled=False)

    options: dict[str, Any] = {"require_starttls": True, "tls_context": starttls} if starttls else {}
    if password:
        options |= {"authenticator": sign_in, "auth_required": True, "auth_require_tls": not tls}
    server = Controller(box, hostname="127.0.0.1", port=box.port, ssl_context=tls, **options)
    server.start()
    try:
        yield box
    finally:
        server.stop()


def certificate(folder: Path) -> tuple[Path, ssl.SSLContext]:
    """Write a certificate for localhost; return its file, for who trusts it, and the server's context."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file, key_file = folder / "certificate.pem", folder / "key.pem"
    file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(file, key_file)
    return file, context
