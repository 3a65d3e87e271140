"""Servers that are not ours: brought in by URL, looked at in turn, and what becomes of their state."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from parts import CLASSES
from parts_pages import START, add_deployment
from parts_servers import KSERVE, MLSERVER, TRITON, ModelServer, model_server
from simulated import OWNER, Clock, Site
from tidegauge.domain.deployment import DeploymentState, Origin, state_of_external
from tidegauge.domain.identity import new_id
from tidegauge.domain.served import ServedModel, ServedState, Tensor
from tidegauge.domain.users import Role, User
from tidegauge.errors import ConflictError, InvalidInputError
from tidegauge.links.addresses import Gate
from tidegauge.services.servers import Servers
from tidegauge.storage.database import Database

MINUTE = timedelta(minutes=1)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def site(tmp_path: Path, clock: Clock) -> Iterator[Site]:
    site = Site.build(tmp_path / "home", CLASSES, clock)
    yield site
    site.close()


@pytest.fixture
def triton() -> Iterator[ModelServer]:
    with model_server(TRITON) as server:
        yield server


def bring_in(site: Site, url: str, model: str = "") -> str:
    return site.services.servers.bring_in(OWNER, url, model).id


def served(site: Site, id_: str) -> ServedModel:
    found = site.services.database.deployments.get(id_).served
    assert found
    return found


def test_what_a_server_serves_is_brought_in_under_the_name_of_its_model(site: Site) -> None:
    with model_server(MLSERVER) as server:
        made = site.services.servers.bring_in(OWNER, server.url)
    assert (made.name, made.origin) == ("iris-svm", Origin.EXTERNAL)
    assert made.predict_url == f"{server.url}/v2/models/Iris_SVM/infer"
    assert served(site, made.id).inputs == (Tensor("x", "FP64", (-1, 4)),)


def test_the_names_of_kserve_are_taken_once(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    here = Gate(private=True, resolve=lambda _host, _port: ["127.0.0.1"])
    monkeypatch.setattr(site.services.servers._gates, "of", lambda _owner: here)
    monkeypatch.setattr(site.services.deployments._gates, "of", lambda _owner: here)
    with model_server(KSERVE) as server:
        url = f"http://chest-xray-predictor.radiology.svc.cluster.local:{server.port}"
        first = site.services.servers.bring_in(OWNER, url)
        second = site.services.servers.bring_in(OWNER, url, name="again")
    assert (first.name, first.service, first.namespace) == ("chest-xray", "chest-xray", "radiology")
    assert (second.service, second.namespace) == ("", "")


def test_a_server_that_goes_away_is_a_state_with_a_sentence_and_comes_back(
    site: Site, clock: Clock, triton: ModelServer
) -> None:
    id_ = bring_in(site, triton.url, "chest")
    began = served(site, id_).since
    assert state_of_external(served(site, id_), is_quiet=True) == (DeploymentState.RUNNING, "")
    clock.now += MINUTE
    site.services.servers.look_in_turn()
    assert (served(site, id_).state, served(site, id_).since) == (ServedState.READY, began)
    assert served(site, id_).at == clock.now
    triton.answers["GET /v2/models/chest/ready"] = (400, b"")
    clock.now += MINUTE
    site.services.servers.look_in_turn()
    found = served(site, id_)
    assert (found.state, found.since) == (ServedState.NOT_READY, clock.now)
    assert found.message == "The server answers, but its model 'chest' is not ready."
    triton.answers.clear()
    clock.now += MINUTE
    site.services.servers.look_in_turn()
    found = served(site, id_)
    assert found.state is ServedState.UNREACHABLE
    assert found.message.startswith("Its predict URL is that of no model server that is known")
    assert found.inputs  # what was known of it stays
    assert state_of_external(found, is_quiet=True) == (DeploymentState.UNKNOWN, found.message)
    assert state_of_external(found, is_quiet=False) == (DeploymentState.RUNNING, found.message)
    triton.answers.update(TRITON)
    clock.now += MINUTE
    site.services.servers.look_in_turn()
    assert (served(site, id_).state, served(site, id_).message) == (ServedState.READY, "")


def test_looks_are_once_a_minute_and_ever_rarer_where_nothing_answers() -> None:
    never = ServedModel("http://x", ServedState.UNREACHABLE, START, START)
    looks, now = [], START
    while now < START + timedelta(hours=3):
        now += MINUTE
        if never.is_due(now):
            never = replace(never, at=now)
            looks.append(now)
    pauses = [(later - earlier) / MINUTE for earlier, later in pairwise(looks)]
    assert pauses[:2] == [1, 1]
    assert pauses == sorted(pauses)
    assert pauses[-1] == 16
    ready = replace(never, state=ServedState.READY)
    assert not ready.is_due(ready.at + MINUTE / 2)
    assert ready.is_due(ready.at + MINUTE)


def test_of_two_processes_one_looks(site: Site, clock: Clock, triton: ModelServer) -> None:
    bring_in(site, triton.url, "chest")
    services = site.services
    beside = Servers(services.database, services.store, services.deployments, services.gates, clock)
    for _ in range(3):
        clock.now += MINUTE
        triton.asked.clear()
        services.servers.look_in_turn()
        beside.look_in_turn()
        assert triton.asked.count("GET /v2/models/chest") == 1


def test_nobody_is_looked_at_who_was_never_looked_up(site: Site, triton: ModelServer) -> None:
    url = f"{triton.url}/v2/models/chest/infer"
    made = site.services.deployments.register("quiet", OWNER, predict_url=url)
    site.services.servers.look_in_turn()
    assert triton.asked == []
    assert site.services.servers.look_again(made).served


def test_another_predict_url_is_another_server(site: Site, triton: ModelServer) -> None:
    deployments = site.services.deployments
    made = site.services.servers.bring_in(OWNER, triton.url, "chest")
    assert deployments.update(made, predict_url=made.predict_url, sampling=0.5).served
    assert deployments.update(made, predict_url=f"{triton.url}/v2/models/hand/infer").served is None
    looked = site.services.servers.look_again(deployments.get(OWNER, made.id)).served
    assert looked
    assert (looked.model, looked.state) == ("hand", ServedState.NOT_READY)


def test_who_may_not_send_this_server_there_is_told(site: Site, triton: ModelServer) -> None:
    site.services.database.users.add(User(new_id(), "nurse", Role.USER, START))
    with pytest.raises(InvalidInputError, match="is on this machine or a private network"):
        site.services.servers.bring_in("nurse", triton.url, "chest")
    theirs = add_deployment(
        site.services, "moved", "nurse", predict_url=f"{triton.url}/v2/models/chest/infer", predict_path=""
    )
    found = site.services.servers.look_again(theirs).served
    assert found
    assert found.state is ServedState.UNREACHABLE
    assert "is on this machine or a private network" in found.message
    assert triton.asked == []


def test_only_an_external_deployment_with_a_predict_url_is_looked_at(site: Site) -> None:
    local = add_deployment(site.services, "own", OWNER, origin=Origin.LOCAL)
    with pytest.raises(ConflictError, match="The deployment 'own' is local; only servers of external ones"):
        site.services.servers.look_again(local)
    bare = site.services.deployments.register("bare", OWNER)
    with pytest.raises(ConflictError, match="The deployment 'bare' has no predict URL"):
        site.services.servers.look_again(bare)


def test_what_was_found_is_kept_in_either_database(database: Database) -> None:
    found = ServedModel(
        "http://x/v2/models/m/infer",
        ServedState.READY,
        START,
        START,
        versions=("1",),
        inputs=(Tensor("image", "FP32", (-1, 3)),),
    )

    class Everything:
        def __init__(self) -> None:
            self.database = database

    made = add_deployment(Everything(), "kept", served=found)  # type: ignore[arg-type]
    assert database.deployments.get(made.id).served == found
    database.deployments.update(made.id, None, served=None)
    assert database.deployments.get(made.id).served is None
