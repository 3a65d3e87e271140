"""Tidegauge: trains, serves and above all monitors deployed models."""

from __future__ import annotations

from importlib.metadata import version

__version__ = version("tidegauge")
