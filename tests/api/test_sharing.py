"""Whose things are whose: private unless shared, and shared to be read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from parts_pages import START, add_deployment, add_monitor
from parts_routes import routes_of
from tidegauge.app import build_services, create_app
from tidegauge.domain.catalogue import Repository, RepositoryKind, Source, SourceType, Version, VersionState
from tidegauge.domain.content import ContentForm
from tidegauge.domain.identity import new_id
from tidegauge.domain.pipeline import PipelineRun, PipelineState
from tidegauge.domain.users import Role, User
from tidegauge.errors import ForbiddenError
from tidegauge.services.bundle import Services
from tidegauge.settings import load_settings

#: Whatever the parameters of routes are called, and what of Ada's they stand for.
KINDS = ("code", "datasets", "models", "deployments", "monitors", "pipeline-runs")


@dataclass
class House:
    client: TestClient
    services: Services
    tokens: dict[str, str]
    things: dict[str, str]

    def ask(self, who: str, method: str, path: str, **options: Any) -> Any:
        headers = {"Authorization": f"Bearer {self.tokens[who]}", "Origin": "http://testserver"}
        return self.client.request(method, path, headers=headers, follow_redirects=False, **options)

    def share(self, kind: str, verb: str = "share", who: str = "ada") -> Any:
        return self.ask(who, "POST", f"/api/v1/{kind}/{self.things[kind]}/{verb}")

    def routes(self, kind: str) -> Iterator[tuple[str, str]]:
        """Yield method and path of every route of one thing of a kind, in the API and in the pages."""
        for route in routes_of(self.client.app):  # type: ignore[arg-type]
            path = re.sub(r":\w+}", "}", route.path)
            parts = path.removeprefix("/api/v1").split("/")
            if parts[1] != kind or len(parts) < 3 or not parts[2].startswith("{"):
                continue
            mine = re.sub(r"^(/api/v1)?/([\w-]+)/{\w+}", rf"\1/\2/{self.things[kind]}", path)
            for method in sorted(route.methods):
                yield method, re.sub(r"{\w+}", "1", mine)


def repository(services: Services, kind: RepositoryKind) -> str:
    form = ContentForm.LABELLED_FOLDERS if kind is RepositoryKind.DATASET else ContentForm.FILES
    made = services.database.repositories.add(
        Repository(new_id(), kind, "thing", "ada", Source(SourceType.UPLOAD), form, START)
    )
    services.database.versions.add(Version(new_id(), made.id, 1, VersionState.FAILED, START, form=form))
    return made.id


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    home: Path = tmp_path_factory.mktemp("home")
    services = build_services(load_settings(home, {"port": 1}, {}))
    with TestClient(create_app(services), raise_server_exceptions=False) as client:
        operator = services.people.first_start()
        assert operator
        tokens = {"operator": operator}
        for name in ("ada", "bob"):
            user = services.database.users.add(User(new_id(), name, Role.USER, START))
            tokens[name] = services.people.issue(user, "test")[1]
        run = PipelineRun(
            new_id(), "ada", "p.py", "thing", 1, "thing", 1, "thing", "", PipelineState.FAILED, START
        )
        services.database.pipeline_runs.add(run)
        things = {
            **{kind.plural: repository(services, kind) for kind in RepositoryKind},
            "deployments": add_deployment(services, "thing", "ada").id,
            "monitors": add_monitor(services, "watched", "ada").id,
            "pipeline-runs": run.id,
        }
        yield House(client, services, tokens, things)


@pytest.fixture(autouse=True)
def unshared(house: House) -> Iterator[None]:
    yield
    for kind in KINDS:
        house.share(kind, "unshare")


@pytest.mark.parametrize(
    ("who", "kind"),
    [("bob", kind) for kind in KINDS] + [("operator", kind) for kind in KINDS if kind != "monitors"],
)
def test_what_is_not_shared_is_not_there_for_others(house: House, kind: str, who: str) -> None:
    seen = 0
    for method, path in house.routes(kind):
        answer = house.ask(who, method, path, json={} if path.startswith("/api") else None)
        # A body that is wrong may be refused before anybody looks for the thing.
        assert answer.status_code in (404, 422), (method, path, answer.status_code)
        seen += 1
    assert seen > 5
    assert house.things[kind] not in house.ask(who, "GET", f"/api/v1/{kind}").text
    assert house.things[kind] not in house.ask(who, "GET", f"/{kind}").text


def test_an_operator_looks_after_every_monitor_and_reads_what_it_watches(house: House) -> None:
    monitor = house.things["monitors"]
    deployment = house.services.database.monitors.get(monitor).deployment_id
    for page in ("/api/v1/monitors", "/monitors", "/"):
        assert monitor in house.ask("operator", "GET", page).text
    page = house.ask("operator", "GET", f"/monitors/{monitor}").text
    assert "This is <b>ada</b>&#39;s; operators look after every monitor." in page.replace("'", "&#39;")
    for answer in (
        house.ask("operator", "POST", f"/api/v1/monitors/{monitor}/share"),
        house.ask("operator", "POST", f"/api/v1/monitors/{monitor}/unshare"),
        house.ask("operator", "GET", f"/api/v1/deployments/{deployment}"),
        house.ask("operator", "GET", f"/deployments/{deployment}"),
    ):
        assert answer.status_code == 200, answer.text
    refused = house.ask("operator", "DELETE", f"/api/v1/deployments/{deployment}")
    assert (refused.status_code, "is ada's; ask ada to change it." in refused.json()["detail"]) == (403, True)
    for path in ("/api/v1/monitors/watched", "/api/v1/deployments/thing"):  # a name means one's own
        assert house.ask("operator", "GET", path).status_code == 404
    assert deployment not in house.ask("operator", "GET", "/api/v1/deployments").text


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_shared_is_read_and_changed_by_nobody_else(house: House, kind: str) -> None:
    assert house.share(kind).json()["shared"] is True
    thing = house.things[kind]
    for page in (f"/api/v1/{kind}", f"/{kind}"):
        assert thing in house.ask("bob", "GET", page).text
    shown = house.ask("bob", "GET", f"/api/v1/{kind}/{thing}")
    assert (shown.status_code, '"owner":"ada"' in shown.text) == (200, True)
    page = house.ask("bob", "GET", f"/{kind}/{thing}").text
    assert "<b>ada</b> shares this to be read. Only ada can change it." in page
    for method, path in house.routes(kind):
        answer = house.ask("bob", method, path, json={} if path.startswith("/api") else None)
        if method not in ("GET", "HEAD"):
            assert answer.status_code in (403, 422), (method, path, answer.status_code)
        else:
            assert answer.status_code < 500, (method, path)
    refused = house.ask("bob", "POST", f"/api/v1/{kind}/{thing}/unshare")
    assert refused.status_code == 403
    assert "is ada's, who shares it to be read; ask ada to change it." in refused.json()["detail"]
    assert house.share(kind, "unshare").json()["shared"] is False
    assert house.ask("bob", "GET", f"/api/v1/{kind}/{thing}").status_code == 404


def test_nothing_was_changed_by_all_that(house: House) -> None:
    for kind in KINDS:
        assert house.ask("ada", "GET", f"/api/v1/{kind}/{house.things[kind]}").status_code == 200


def test_a_name_means_ones_own(house: House) -> None:
    for kind in ("code", "deployments"):
        house.share(kind)
        assert house.ask("bob", "GET", f"/api/v1/{kind}/thing").status_code == 404
    mine = house.ask("bob", "POST", "/api/v1/code", json={"name": "thing", "source": {"type": "upload"}})
    assert mine.status_code == 201
    shown = house.ask("bob", "GET", "/api/v1/code/thing").json()["repository"]
    assert (shown["owner"], shown["id"]) == ("bob", mine.json()["id"])
    assert house.ask("bob", "DELETE", "/api/v1/code/thing").status_code == 204


def test_a_shared_deployment_answers_nobody_else_and_hides_its_monitor_and_tokens(house: House) -> None:
    services = house.services
    deployment = services.database.deployments.find(name="watched")
    assert deployment
    monitor = house.things["monitors"]
    token = services.people.issue_ingest(services.people.owner("ada"), deployment.id, "secret-name")
    house.ask("ada", "POST", f"/api/v1/deployments/{deployment.id}/share")
    predict = house.ask("bob", "POST", f"{deployment.predict_path}", json={"instances": []})
    assert predict.status_code == 403
    page = house.ask("bob", "GET", f"/deployments/{deployment.id}").text
    assert monitor not in page
    assert "secret-name" not in page
    assert house.ask("bob", "GET", f"/api/v1/deployments/{deployment.id}/tokens").status_code == 403
    house.ask("ada", "POST", f"/api/v1/deployments/{deployment.id}/unshare")
    services.people.revoke(token.id)


def test_forms_of_changes_are_closed_to_who_only_reads(house: House) -> None:
    """They show what else the owner has, such as the names of datasets."""
    house.share("monitors")
    house.share("deployments")
    monitor, deployment = house.things["monitors"], house.things["deployments"]
    for path in (
        f"/monitors/{monitor}/config",
        f"/monitors/{monitor}/alerts/new",
        f"/monitors/{monitor}/delete",
        f"/deployments/{deployment}/monitor/new",
        f"/deployments/{deployment}/playground",
    ):
        assert house.ask("bob", "GET", path).status_code == 403, path


def test_the_switch_on_the_page_shares_and_takes_back(house: House) -> None:
    path = f"/monitors/{house.things['monitors']}"
    assert 'aria-checked="false"' in house.ask("ada", "GET", path).text
    assert house.ask("ada", "POST", f"{path}/share", data={"shared": "on"}).headers["location"] == path
    page = house.ask("ada", "GET", path).text
    assert 'aria-checked="true"' in page
    assert ">shared</span>" in page
    assert "of ada" in house.ask("bob", "GET", "/monitors").text
    assert "of ada" in house.ask("bob", "GET", "/").text
    assert house.ask("bob", "POST", f"{path}/share", data={"shared": "off"}).status_code == 403
    house.ask("ada", "POST", f"{path}/share", data={"shared": "off"})
    assert house.ask("bob", "GET", path).status_code == 404


def test_a_folder_of_the_server_is_for_operators_alone(house: House, tmp_path: Path) -> None:
    body = {"name": "etc", "source": {"type": "folder", "url": str(tmp_path)}}
    refused = house.ask("bob", "POST", "/api/v1/datasets", json=body)
    assert (refused.status_code, "only operators may" in refused.json()["detail"]) == (403, True)
    assert house.ask("operator", "POST", "/api/v1/datasets", json=body).status_code == 201
    services = house.services
    made = services.catalogue.get(RepositoryKind.DATASET, "operator", "etc")
    services.database.repositories.update(made.id, owner="bob")
    with pytest.raises(ForbiddenError):
        services.catalogue.add_version(services.database.repositories.get(made.id))


def test_the_run_of_somebody_else_is_not_told_of_by_the_name_of_a_token(house: House) -> None:
    people, pipelines = house.services.people, house.services.pipelines
    name = f"pipeline run {house.things['pipeline-runs']}"
    told = {}
    for who in ("ada", "bob"):
        _, secret = people.issue(people.owner(who), name)
        told[who] = pipelines.lineage(people.authenticate(secret))
    assert (bool(told["ada"]), told["bob"]) == (True, {})
