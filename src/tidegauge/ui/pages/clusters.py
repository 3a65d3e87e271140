"""Clusters, for operators: this one, and the links to serving clusters."""

from __future__ import annotations

from typing import Any

from fastapi import Request, Response

from tidegauge.errors import TidegaugeError
from tidegauge.services.bundle import Services
from tidegauge.ui.forms import Filled, Form
from tidegauge.ui.site import Pages, go, refuse, render
from tidegauge.web.access import Everything, Operator

_NEW, _TOKEN, _DELETE = "clusters/new.html", "clusters/token.html", "clusters/delete.html"

router = Pages(prefix="/clusters")


@router.get("")
def clusters(caller: Operator, services: Everything) -> Response:
    return render("clusters/list.html", user=caller, facts=services.cluster.facts(), **_links(services))


@router.get("/links")
def links(caller: Operator, services: Everything) -> Response:
    """The links alone, which refresh themselves."""
    return render("clusters/links.html", user=caller, **_links(services))


@router.get("/links/new")
def new_link(caller: Operator) -> Response:
    return render(_NEW, user=caller, form=Form())


@router.post("/links/new")
def add_link(request: Request, caller: Operator, services: Everything, form: Filled) -> Response:
    try:
        services.clusters.add(
            caller.user,
            form.text("name"),
            form.text("url"),
            form.text("token"),
            ca=form.text("ca"),
            fingerprint=form.text("fingerprint"),
        )
    except TidegaugeError as error:
        return refuse(_NEW, form, error, user=caller)
    return go(request, "/clusters")


@router.post("/links/{cluster}/check")
def check_link(request: Request, caller: Operator, services: Everything, cluster: str) -> Response:
    services.clusters.check(caller.user, cluster)
    services.following.kick()
    return go(request, "/clusters")


@router.get("/links/{cluster}/token")
def token_dialog(caller: Operator, services: Everything, cluster: str) -> Response:
    return render(_TOKEN, user=caller, form=Form(), link=services.clusters.get(cluster))


@router.post("/links/{cluster}/token")
def renew_token(
    request: Request, caller: Operator, services: Everything, cluster: str, form: Filled
) -> Response:
    link = services.clusters.get(cluster)
    try:
        services.clusters.renew(caller.user, link.id, form.text("token"))
    except TidegaugeError as error:
        return refuse(_TOKEN, form, error, user=caller, link=link)
    services.following.kick()
    return go(request, "/clusters")


@router.get("/links/{cluster}/delete")
def confirm_deletion(caller: Operator, services: Everything, cluster: str) -> Response:
    return render(_DELETE, user=caller, form=Form(), link=services.clusters.get(cluster))


@router.post("/links/{cluster}/delete")
def delete_link(request: Request, caller: Operator, services: Everything, cluster: str) -> Response:
    link = services.clusters.get(cluster)
    try:
        services.clusters.delete(caller.user, link.id)
    except TidegaugeError as error:
        return refuse(_DELETE, Form(), error, user=caller, link=link)
    return go(request, "/clusters")


def _links(services: Services) -> dict[str, Any]:
    return {"links": services.clusters.page()}
