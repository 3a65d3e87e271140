"""Ids and names, the same rule everywhere."""

from __future__ import annotations

import hashlib
import re

import uuid_utils

from tidegauge.errors import InvalidInputError

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


def new_id() -> str:
    """Return a UUIDv7 as text: unique, and sorted by the time of its making."""
    return str(uuid_utils.uuid7())


def chance_of(*texts: str) -> float:
    """Return a number in [0, 1) that looks drawn by chance, and is the same wherever the texts are."""
    digest = hashlib.blake2b("\n".join(texts).encode(), digest_size=8).digest()
    return (int.from_bytes(digest) >> 11) / 2**53


def as_name(text: str) -> str:
    """Return the name that is most like a text that somebody else calls something by; empty for none.

    >>> as_name("Chest_XRay v2"), as_name("..")
    ('chest-xray-v2', '')
    """
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:63].rstrip("-")


def check_name(name: str, field: str = "name") -> str:
    """Return ``name`` if it is 1 to 63 of ``a-z 0-9 -`` and neither starts nor ends with ``-``.

    >>> check_name("chest-xray")
    'chest-xray'
    """
    if not _NAME.fullmatch(name):
        raise InvalidInputError.of(
            field,
            f"{field} is {name!r}; use 1 to 63 of the characters a-z, 0-9 and '-', "
            "with a letter or digit first and last.",
        )
    return name
