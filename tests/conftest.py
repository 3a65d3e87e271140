from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

from tidegauge import threads

threads.use_one()

import psycopg
import pytest

import parts_s3
from parts import SHARED, absent, postgres, running_server
from tidegauge.client import Client
from tidegauge.storage.database import Database


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The real X-rays beside the checkout; a user's machine has none, CI does."""
    if not SHARED.is_dir():
        absent("../shared/data")
    return SHARED


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    with postgres() as url:
        yield url


@pytest.fixture
def postgres_url(postgres_server: str) -> str:
    """An empty database of the session's PostgreSQL server."""
    name = f"test_{uuid4().hex}"
    with psycopg.connect(f"{postgres_server}/postgres", autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    return f"{postgres_server}/{name}"


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    with parts_s3.s3() as endpoint:
        yield endpoint


@pytest.fixture
def s3_url(s3_endpoint: str) -> str:
    """An empty prefix of the session's bucket."""
    return parts_s3.prefix(s3_endpoint)


@pytest.fixture(params=["folder", "s3"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty store of either kind."""
    return str(tmp_path / "store") if request.param == "folder" else request.getfixturevalue("s3_url")


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """An empty database of either kind."""
    url = f"sqlite:///{tmp_path / 'db.sqlite'}"
    url = request.getfixturevalue("postgres_url") if request.param == "postgresql" else url
    made = Database(url, tmp_path / "secrets.key")
    made.migrate()
    yield made
    made.close()


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    """A client of a whole server with a home of its own."""
    with running_server(tmp_path / "home") as client:
        yield client
