"""Channels: ``/api/v1/channels``, their tests and deliveries."""

from __future__ import annotations

from dataclasses import dataclass, field

from fastapi import APIRouter

from tidegauge.domain.channel import Channel, ChannelKind, Delivery, DeliveryState, Setting
from tidegauge.domain.strict import STRICT
from tidegauge.services.channels import ChannelDetail
from tidegauge.storage.rows import Page
from tidegauge.web.access import CLOSED, Caller, Everything, Listing

router = APIRouter(prefix="/api/v1/channels", tags=["channels"], dependencies=CLOSED)


@dataclass(frozen=True)
class ChannelRequest:
    __pydantic_config__ = STRICT
    name: str
    kind: ChannelKind
    settings: dict[str, Setting] = field(default_factory=dict)
    secret: str = ""


@dataclass(frozen=True)
class ChannelChange:
    """What is not given stays as it is; a setting that is null goes back to its default."""

    __pydantic_config__ = STRICT
    settings: dict[str, Setting | None] = field(default_factory=dict)
    secret: str | None = None


@router.get("")
def list_channels(caller: Caller, services: Everything, query: Listing) -> Page[Channel]:
    return services.channels.page(caller.name, query)


@router.post("", status_code=201)
def create_channel(caller: Caller, services: Everything, body: ChannelRequest) -> Channel:
    return services.channels.create(caller.name, body.name, body.kind, body.settings, body.secret)


@router.get("/{channel_id}")
def show_channel(caller: Caller, services: Everything, channel_id: str) -> ChannelDetail:
    return services.channels.detail(services.channels.get(caller.name, channel_id))


@router.patch("/{channel_id}")
def change_channel(caller: Caller, services: Everything, channel_id: str, body: ChannelChange) -> Channel:
    channel = services.channels.get(caller.name, channel_id)
    return services.channels.change(channel, body.settings, body.secret)


@router.delete("/{channel_id}", status_code=204)
def delete_channel(caller: Caller, services: Everything, channel_id: str) -> None:
    services.channels.delete(services.channels.get(caller.name, channel_id))


@router.post("/{channel_id}/test")
def test_channel(caller: Caller, services: Everything, channel_id: str) -> Delivery:
    """Send a test now; 503 with the reason where it does not get through."""
    return services.channels.test(services.channels.get(caller.name, channel_id))


@router.get("/{channel_id}/deliveries")
def list_deliveries(
    caller: Caller,
    services: Everything,
    channel_id: str,
    query: Listing,
    state: DeliveryState | None = None,
) -> Page[Delivery]:
    return services.channels.deliveries(services.channels.get(caller.name, channel_id), query, state)
