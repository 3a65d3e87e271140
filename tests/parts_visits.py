"""A browser without pictures: a client of the pages that is signed in, and another person's."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient

from tidegauge.app import build_services, create_app
from tidegauge.domain.catalogue import RepositoryKind, Source, SourceType, Version, VersionState
from tidegauge.domain.identity import new_id
from tidegauge.domain.users import Role, User
from tidegauge.services.bundle import Services
from tidegauge.settings import load_settings

EVIL = "<script>alert(1)</script>"


@contextlib.contextmanager
def open_pages(home: Path) -> Iterator[TestClient]:
    """Run a server's app, and sign the operator in."""
    services = build_services(load_settings(home, {"port": 1}, {}))
    origin = {"Origin": "http://testserver"}  # as browsers say with every form
    with TestClient(create_app(services), follow_redirects=False, headers=origin) as pages:
        pages.post("/sign-in", data={"token": services.people.first_start()})
        yield pages


def services_of(pages: TestClient) -> Services:
    return pages.app.state.services


@contextlib.contextmanager
def somebody_else(pages: TestClient, name: str = "other") -> Iterator[TestClient]:
    """Sign in as a user who is no operator, and be the one before again at the end."""
    people, database = services_of(pages).people, services_of(pages).database
    user = database.users.find(name=name) or database.users.add(
        User(new_id(), name, Role.USER, services_of(pages).people._now())
    )
    before = dict(pages.cookies)
    pages.cookies.clear()
    origin = {"Origin": "http://testserver"}
    pages.post("/sign-in", data={"token": people.issue(user, "test")[1]}, headers=origin)
    try:
        yield pages
    finally:
        pages.cookies.clear()
        pages.cookies.update(before)


def eventually(look: Callable[[], Any], done: Callable[[Any], bool], seconds: float = 30.0) -> Any:
    """Look until it is so."""
    deadline = time.monotonic() + seconds
    while not done(found := look()):
        assert time.monotonic() < deadline, found
        time.sleep(0.05)
    return found


def add_folder(pages: TestClient, kind: RepositoryKind, name: str, folder: Path) -> Version:
    """Add a repository with a version of a folder, and wait for it."""
    catalogue = services_of(pages).catalogue
    repository = catalogue.create(kind, name, "operator", Source(SourceType.FOLDER, str(folder)), None)
    version = catalogue.add_version(repository)
    return eventually(
        lambda: catalogue.version(repository, version.number),
        lambda one: one.state is not VersionState.IMPORTING,
    )
