"""Two clusters on one machine: an authority of their own, and a serving one behind https."""

from __future__ import annotations

import contextlib
import hashlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import uvicorn
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tidegauge.app import create_app
from tidegauge.links.processes import free_port
from tidegauge.services.bundle import Services


@dataclass(frozen=True)
class Authority:
    """A certificate authority (PEM), with a server's certificate and key in files."""

    ca: str
    certificate: Path
    key: Path

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the server's certificate."""
        found = x509.load_pem_x509_certificate(self.certificate.read_bytes())
        return hashlib.sha256(found.public_bytes(serialization.Encoding.DER)).hexdigest()


def authority(folder: Path, *hosts: str) -> Authority:
    """Make an authority and a certificate of it for hosts, by default 127.0.0.1 and localhost."""
    folder.mkdir(parents=True, exist_ok=True)
    signer, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    issuer = _name("Test authority")
    ca = _certificate(issuer, issuer, signer.public_key(), signer, is_authority=True)
    names: list[x509.GeneralName] = [
        x509.IPAddress(ip_address(host)) if host[0].isdigit() else x509.DNSName(host)
        for host in hosts or ("127.0.0.1", "localhost")
    ]
    leaf = _certificate(_name("server"), issuer, key.public_key(), signer, names=names)
    made = Authority(_pem(ca), folder / "server.pem", folder / "server.key")
    made.certificate.write_text(_pem(leaf))
    made.key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return made


class Door:
    """The address of services that can be shut, as when their process is stopped, and opened again."""

    def __init__(self, services: Services, tls: Authority | None) -> None:
        self._services = services
        self._tls = tls
        self._port = free_port()
        self._server: uvicorn.Server | None = None

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self._port}"

    def open(self) -> None:
        keys = (
            {"ssl_certfile": str(self._tls.certificate), "ssl_keyfile": str(self._tls.key)}
            if self._tls
            else {}
        )
        self._server = uvicorn.Server(
            uvicorn.Config(
                create_app(self._services),
                host="127.0.0.1",
                port=self._port,
                log_level="error",
                lifespan="off",  # nothing runs by itself: tests have a clock of their own
                **keys,  # type: ignore[arg-type]
            )
        )
        self._thread = threading.Thread(target=self._server.run)
        self._thread.start()
        deadline = time.monotonic() + 30
        while not self._server.started and time.monotonic() < deadline:
            time.sleep(0.01)

    def shut(self) -> None:
        if self._server is not None:
            self._server.should_exit = True
            self._thread.join()
            self._server = None


@contextlib.contextmanager
def door(services: Services, tls: Authority | None = None) -> Iterator[Door]:
    """Let services be asked over HTTP, or https, while none of their background work runs."""
    made = Door(services, tls)
    made.open()
    try:
        yield made
    finally:
        made.shut()


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _certificate(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    signer: ec.EllipticCurvePrivateKey,
    *,
    names: list[x509.GeneralName] | None = None,
    is_authority: bool = False,
) -> x509.Certificate:
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=30))
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
    )
    if is_authority:
        usage = x509.KeyUsage(*[False] * 5, True, True, False, False)
        builder = builder.add_extension(usage, critical=True)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(signer, hashes.SHA256())


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()
