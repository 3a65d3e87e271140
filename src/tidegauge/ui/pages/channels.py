"""Notifications: the channels of who is signed in, their tests and deliveries."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import Request, Response

from tidegauge.domain.channel import Channel, ChannelKind, DeliveryState, Setting
from tidegauge.errors import TidegaugeError
from tidegauge.services.channels import ChannelDetail
from tidegauge.storage.rows import Query
from tidegauge.ui.forms import Filled, Form, parse, seen
from tidegauge.ui.site import Pages, go, refuse, render
from tidegauge.web.access import Caller, Everything

PATH = "/settings/notifications"
#: The settings that a kind's form has; a browser without script sends those of the other kinds, too.
SETTINGS: Mapping[ChannelKind, tuple[str, ...]] = {
    ChannelKind.MAIL: ("host", "port", "security", "user", "from", "to"),
    ChannelKind.WEBHOOK: ("url",),
    ChannelKind.SLACK: (),
    ChannelKind.ALERTMANAGER: ("url", "user"),
}
_ROWS = 50
_TEST = "settings/test_channel.html"
_SHARED: Mapping[str, Any] = {"section": "settings", "path": PATH}

router = Pages(prefix=PATH)


@router.get("")
def list_channels(
    caller: Caller, services: Everything, q: str = "", sort: str = "-id", cursor: str = ""
) -> Response:
    query = Query(_ROWS, cursor, sort, q)
    page = services.channels.page(caller.name, query)
    return render("settings/notifications.html", user=caller, page=page, query=query, **_SHARED)


@router.get("/new")
def new_channel(caller: Caller) -> Response:
    return render("settings/new_channel.html", user=caller, form=Form(), **_SHARED)


@router.post("/new")
def create_channel(request: Request, caller: Caller, services: Everything, form: Filled) -> Response:
    try:
        kind = parse(ChannelKind, form.text("kind"))
        given = _given(form, kind)
        channel = services.channels.create(caller.name, form.text("name"), kind, given, form.text("secret"))
    except TidegaugeError as error:
        return refuse("settings/new_channel.html", form, error, user=caller, **_SHARED)
    return go(request, f"{PATH}/{channel.id}")


@router.get("/{channel_id}")
def show_channel(
    caller: Caller,
    services: Everything,
    channel_id: str,
    state: DeliveryState | None = None,
    sort: str = "-id",
    cursor: str = "",
) -> Response:
    detail = services.channels.detail(services.channels.get(caller.name, channel_id))
    query = Query(_ROWS, cursor, sort)
    return render(
        "settings/channel.html",
        user=caller,
        detail=detail,
        channel=detail.channel,
        query=query,
        page=services.channels.deliveries(detail.channel, query, state),
        shown=state.value if state else "",
        **_SHARED,
    )


@router.get("/{channel_id}/change")
def change_form(caller: Caller, services: Everything, channel_id: str) -> Response:
    channel = services.channels.get(caller.name, channel_id)
    return render("settings/change_channel.html", user=caller, form=Form(), **_changing(channel))


@router.post("/{channel_id}/change")
def change_channel(
    request: Request, caller: Caller, services: Everything, channel_id: str, form: Filled
) -> Response:
    channel = services.channels.get(caller.name, channel_id)
    settings: dict[str, Setting | None] = {
        name: form.text(f"settings.{name}") or None for name in SETTINGS[channel.kind]
    }
    secret = "" if form.flag("forget") else form.text("secret") or None
    try:
        form.check_seen(_seen(channel))
        services.channels.change(channel, settings, secret)
    except TidegaugeError as error:
        return refuse("settings/change_channel.html", form, error, user=caller, **_changing(channel))
    return go(request, f"{PATH}/{channel.id}")


@router.get("/{channel_id}/delete")
def confirm_deletion(caller: Caller, services: Everything, channel_id: str) -> Response:
    detail = services.channels.detail(services.channels.get(caller.name, channel_id))
    return render("settings/delete_channel.html", user=caller, form=Form(), **_going(detail), **_SHARED)


@router.post("/{channel_id}/delete")
def delete_channel(request: Request, caller: Caller, services: Everything, channel_id: str) -> Response:
    channel = services.channels.get(caller.name, channel_id)
    try:
        services.channels.delete(channel)
    except TidegaugeError as error:
        going = _going(services.channels.detail(channel))
        return refuse("settings/delete_channel.html", Form(), error, user=caller, **going, **_SHARED)
    return go(request, PATH)


@router.get("/{channel_id}/test")
def test_form(caller: Caller, services: Everything, channel_id: str) -> Response:
    channel = services.channels.get(caller.name, channel_id)
    return render(_TEST, user=caller, channel=channel, delivery=None, form=Form(), **_SHARED)


@router.post("/{channel_id}/test")
def send_test(caller: Caller, services: Everything, channel_id: str) -> Response:
    """Send a test and say what became of it."""
    channel = services.channels.get(caller.name, channel_id)
    try:
        delivery = services.channels.test(channel)
    except TidegaugeError as error:
        return refuse(_TEST, Form(), error, user=caller, channel=channel, delivery=None, **_SHARED)
    return render(_TEST, user=caller, channel=channel, delivery=delivery, form=Form(), **_SHARED)


def _given(form: Form, kind: ChannelKind) -> dict[str, Setting]:
    """Return the settings that were filled in, of this kind alone."""
    return {name: text for name in SETTINGS[kind] if (text := form.text(f"settings.{name}"))}


def _changing(channel: Channel) -> dict[str, Any]:
    return {"channel": channel, "seen": _seen(channel), **_SHARED}


def _seen(channel: Channel) -> str:
    return seen((channel.settings, channel.secret))


def _going(detail: ChannelDetail) -> dict[str, Any]:
    """Say what goes with a channel, and which alerts need it."""
    waiting = detail.deliveries[DeliveryState.WAITING] + detail.deliveries[DeliveryState.SENDING]
    return {
        "channel": detail.channel,
        "alerts": detail.alerts,
        "count": sum(detail.deliveries.values()),
        "waiting": waiting,
    }
