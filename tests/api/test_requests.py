"""What the API makes of requests that are almost right."""

from __future__ import annotations

import pytest

from tidegauge.client import Client
from tidegauge.errors import InvalidInputError


def test_a_typing_mistake_in_a_configuration_is_told(client: Client) -> None:
    with pytest.raises(InvalidInputError) as caught:
        client.monitors.create("any", {"drift": {"enabled": True, "imgae": None}, "frequency": 5})
    assert {error.field for error in caught.value.errors} == {"config.drift.imgae", "config.frequency"}


def test_every_wrong_value_is_told_at_once(client: Client) -> None:
    body = {"name": "x", "source": {"type": "git", "url": "", "brnach": "main"}, "form": "pictures"}
    with pytest.raises(InvalidInputError) as caught:
        client.request("POST", "/api/v1/datasets", json=body)
    assert {error.field for error in caught.value.errors} == {"source.brnach", "form"}


def test_a_source_without_a_url_is_told(client: Client) -> None:
    with pytest.raises(InvalidInputError, match=r"source.url is empty; give a git URL"):
        client.request("POST", "/api/v1/code", json={"name": "x", "source": {"type": "git"}})
