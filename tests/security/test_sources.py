"""What a source may name on the server's own machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from parts_receivers import NOW
from tidegauge.app import build_services
from tidegauge.domain.catalogue import RepositoryKind, Source, SourceType
from tidegauge.domain.identity import new_id
from tidegauge.domain.users import Role, User
from tidegauge.errors import ForbiddenError, InvalidInputError
from tidegauge.services.bundle import Services
from tidegauge.settings import load_settings


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    made = build_services(load_settings(tmp_path_factory.mktemp("sources") / "home", {"port": 1}, {}))
    made.people.first_start()
    made.database.users.add(User(new_id(), "ada", Role.USER, NOW))
    yield made
    made.worker.close()
    made.collector.close()
    made.database.close()


def create(services: Services, owner: str, type_: SourceType, url: str) -> None:
    services.catalogue.create(RepositoryKind.CODE, f"c{new_id()}", owner, Source(type_, url), None)


@pytest.mark.parametrize(
    ("type_", "start"), [(SourceType.FOLDER, ""), (SourceType.GIT, ""), (SourceType.GIT, "file://")]
)
def test_folders_of_the_machine_are_for_operators(
    services: Services, tmp_path: Path, type_: SourceType, start: str
) -> None:
    create(services, "operator", type_, f"{start}{tmp_path}")
    with pytest.raises(ForbiddenError, match="only operators may"):
        create(services, "ada", type_, f"{start}{tmp_path}")


@pytest.mark.parametrize("start", ["", "file://"])
@pytest.mark.parametrize("type_", [SourceType.FOLDER, SourceType.GIT])
def test_the_servers_own_home_is_for_nobody(
    services: Services, tmp_path: Path, type_: SourceType, start: str
) -> None:
    home = services.settings.home.absolute()
    (tmp_path / "link").symlink_to(home)
    for path in (home, home / "store", home.parent, home / ".." / home.name, tmp_path / "link"):
        if type_ is SourceType.FOLDER and start:
            continue
        with pytest.raises(InvalidInputError, match="keeps what is secret") as caught:
            create(services, "operator", type_, f"{start}{path}")
        assert caught.value.errors[0].field == "source.url"


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/x.git", "git@10.0.0.1:x.git", "ssh://git@192.168.1.1/x"])
def test_git_hosts_on_private_networks_are_for_operators(services: Services, url: str) -> None:
    create(services, "operator", SourceType.GIT, url)
    with pytest.raises(InvalidInputError, match="only operators may"):
        create(services, "ada", SourceType.GIT, url)


@pytest.mark.parametrize("owner", ["operator", "ada"])
def test_metadata_is_asked_for_nobody(services: Services, owner: str) -> None:
    with pytest.raises(InvalidInputError, match="never asks"):
        create(services, owner, SourceType.GIT, "http://169.254.169.254/x.git")
    with pytest.raises(InvalidInputError, match="never asks"):
        services.deployments.register("d", owner, predict_url="http://169.254.169.254/latest")
