"""Tidegauge: trains, serves and above all monitors deployed models."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tidegauge.client import Client as Client

__version__ = version("tidegauge")


def __getattr__(name: str) -> Any:
    # The model server imports this package too and must not pay for the client.
    if name == "Client":
        from tidegauge.client import Client

        return Client
    raise AttributeError(f"module 'tidegauge' has no attribute {name!r}")
