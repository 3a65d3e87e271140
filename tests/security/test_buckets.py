"""Buckets by an endpoint and keys that a user gives: where they may lead, and what they are told."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from parts_receivers import NOW
from parts_visits import eventually
from tidegauge.app import build_services
from tidegauge.domain.catalogue import Repository, RepositoryKind, Source, SourceType, Version, VersionState
from tidegauge.domain.identity import new_id
from tidegauge.domain.secret import Secret
from tidegauge.domain.users import Role, User
from tidegauge.errors import InvalidInputError, UnavailableError
from tidegauge.links.addresses import Gate, RefusedAddressError
from tidegauge.links.gate_proxy import proxy_of
from tidegauge.services.bundle import Services
from tidegauge.services.sources.files import Bucket, Datasets
from tidegauge.settings import load_settings
from tidegauge.storage.buckets import Access
from tidegauge.storage.objects import ObjectStore

KEY, SECRET = "AKIDEXAMPLE", "wJalrXUtnFEMI-secret"


@dataclass
class Stub:
    """An S3 server with a bucket ``scans``, which remembers what it was told."""

    url: str = ""
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    objects: dict[str, bytes] = field(
        default_factory=lambda: {"day/a.csv": b"x\n1\n", "day/b.csv": b"x\n2\n"}
    )
    elsewhere: str = ""  # that it sends who asks for an object to


@pytest.fixture
def stub() -> Iterator[Stub]:
    found = Stub()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found.asked.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
            parts = urlsplit(self.path)
            name = parts.path.removeprefix("/scans/")
            if "list-type" in parts.query:
                start = parse_qs(parts.query).get("prefix", [""])[0]
                listed = "".join(
                    f"<Contents><Key>{key}</Key><Size>{len(data)}</Size><ETag>e</ETag>"
                    "<LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>"
                    for key, data in found.objects.items()
                    if key.startswith(start)
                )
                whole = f"<ListBucketResult><IsTruncated>false</IsTruncated>{listed}</ListBucketResult>"
                self.answer(200, whole.encode())
            elif found.elsewhere:
                self.answer(302, b"", Location=found.elsewhere)
            else:
                self.answer(200, found.objects[name])

        do_HEAD = do_GET  # noqa: N815 - as it is called

        def answer(self, status: int, body: bytes, **headers: str) -> None:
            self.send_response(status)
            stamps = {"ETag": '"e"', "Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT"}
            for header, value in {**stamps, **headers, "Content-Length": str(len(body))}.items():
                self.send_header(header, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield found
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AWS_ACCESS_KEY_ID", "of-the-server")
        environment.setenv("AWS_SECRET_ACCESS_KEY", "of-the-server-too")
        environment.setenv("AWS_SESSION_TOKEN", "of-its-session")
        made = build_services(load_settings(tmp_path_factory.mktemp("buckets") / "home", {"port": 1}, {}))
        made.people.first_start()
        made.catalogue.start()
        made.database.users.add(User(new_id(), "ada", Role.USER, NOW))
        yield made
        made.worker.close()
        made.collector.close()
        made.database.close()


def source(endpoint: str, key: str = KEY, secret: str = SECRET, **more: str) -> Source:
    return Source(
        SourceType.S3, "s3://scans/day", endpoint=endpoint, access_key=key, secret_key=Secret(secret), **more
    )


def add(services: Services, made: Source, owner: str = "operator") -> Repository:
    return services.catalogue.create(RepositoryKind.DATASET, f"d{new_id()}", owner, made, None)


def imported(services: Services, repository: Repository) -> Version:
    version = services.catalogue.add_version(repository)
    return eventually(
        lambda: services.catalogue.version(repository, version.number),
        lambda one: one.state is not VersionState.IMPORTING,
    )


def test_a_bucket_is_read_with_its_own_keys_and_nothing_of_the_servers(
    services: Services, stub: Stub
) -> None:
    dataset = add(services, source(stub.url, region="eu-central-1"))
    assert imported(services, dataset).files == 2
    files = Datasets(services.catalogue).open("operator", dataset.name, None)
    assert isinstance(files, Bucket)
    assert files.get("a.csv") == b"x\n1\n"
    for _, headers in stub.asked:
        assert f"Credential={KEY}/" in headers["authorization"]
        assert "/eu-central-1/s3/" in headers["authorization"]
        assert "x-amz-security-token" not in headers
    assert SECRET not in repr(dataset)
    assert dataset.source.secret_key == ""
    assert SECRET.encode() not in services.settings.home.joinpath("tidegauge.sqlite").read_bytes()
    assert services.database.repositories.get(dataset.id).secret == SECRET


def test_without_keys_an_endpoint_gets_no_signature(services: Services, stub: Stub) -> None:
    assert imported(services, add(services, source(stub.url, "", ""))).files == 2
    assert not any("authorization" in headers for _, headers in stub.asked)


def test_who_is_no_operator_is_not_led_into_the_house(services: Services, stub: Stub) -> None:
    with pytest.raises(RefusedAddressError, match="only operators may") as caught:
        add(services, source(stub.url), "ada")
    assert caught.value.errors[0].field == "source.endpoint"
    for host in ("169.254.169.254", "metadata.google.internal", "[fd00:ec2::254]"):
        with pytest.raises(RefusedAddressError, match="never asks"):
            add(services, source(f"http://{host}"))
    dataset = add(services, source(stub.url))
    services.database.repositories.update(dataset.id, owner="ada")  # as if the operator were one no more
    version = imported(services, services.database.repositories.get(dataset.id))
    assert version.state is VersionState.FAILED
    assert "only operators may" in version.error
    assert not stub.asked


def test_a_redirect_leads_nowhere_that_the_endpoint_may_not(stub: Stub) -> None:
    """obstore follows them by itself, and forgets the proxy's password on the way to another host."""
    stub.elsewhere = "http://169.254.169.254/latest/meta-data/"
    store = ObjectStore("s3://scans/day", Access(stub.url, "", KEY, SECRET, proxy_of(Gate(private=True))))
    assert [info.path for info in store.list("")] == ["a.csv", "b.csv"]
    with pytest.raises(UnavailableError, match="follows no redirect"):
        store.get("a.csv")


def test_a_name_is_resolved_once_by_who_connects(stub: Stub) -> None:
    """An answer that changes after the check (DNS rebinding) gains nothing."""
    port = urlsplit(stub.url).port
    gate = Gate(private=False, resolve=lambda _host, _port: ["127.0.0.1"])
    access = Access(f"http://bucket.example.org:{port}", "", KEY, SECRET, proxy_of(gate))
    with pytest.raises(UnavailableError):
        ObjectStore("s3://scans/day", access).get("a.csv")
    with pytest.raises(UnavailableError):  # by CONNECT, too
        ObjectStore(
            "s3://scans/day", Access("https://bucket.example.org", "", KEY, SECRET, proxy_of(gate))
        ).get("a.csv")
    assert not stub.asked


def test_the_proxy_serves_nobody_else(stub: Stub) -> None:
    proxy = urlsplit(proxy_of(Gate(private=True)))
    host = urlsplit(stub.url).netloc
    for line in (f"GET {stub.url}/scans/a HTTP/1.1", f"CONNECT {host} HTTP/1.1"):
        with socket.create_connection((str(proxy.hostname), proxy.port or 0), 5) as connection:
            connection.sendall(f"{line}\r\nHost: {host}\r\n\r\n".encode())
            assert connection.recv(100).startswith(b"HTTP/1.1 407 ")
    assert not stub.asked


@pytest.mark.parametrize(
    ("made", "told"),
    [
        (
            source("https://s3.example.org", KEY, ""),
            "source.secret_key is empty; give it with source.access_key.",
        ),
        (source("https://s3.example.org", "", SECRET), "source.access_key is empty"),
        (source("ftp://s3.example.org"), "source.endpoint is no http or https URL"),
        (source("https://me:word@s3.example.org"), "source.endpoint holds a user name or password"),
        (Source(SourceType.S3, "s3://scans/day", region="eu"), "give source.endpoint or keys with it"),
        (Source(SourceType.GIT, "https://example.org/x", access_key=KEY), "only an S3 source has one"),
        (Source(SourceType.UPLOAD, secret_key=Secret(SECRET)), r"source.secret_key is \(hidden\); only"),
        (source("https://s3.example.org", "a b"), "without spaces"),
    ],
)
def test_what_cannot_be_is_told_and_no_secret_with_it(services: Services, made: Source, told: str) -> None:
    with pytest.raises(InvalidInputError, match=told) as caught:
        add(services, made)
    assert SECRET not in caught.value.message
