from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from parts import SHARED, absent, postgres, running_server
from tidegauge.client import Client


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The real X-rays beside the checkout; a user's machine has none, CI does."""
    if not SHARED.is_dir():
        absent("../shared/data")
    return SHARED


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    with postgres() as url:
        yield url


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    """A client of a whole server with a home of its own."""
    with running_server(tmp_path / "home") as client:
        yield client
