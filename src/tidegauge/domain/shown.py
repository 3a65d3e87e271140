"""How nouns look in a notebook: a table of what matters of them, states in colour; no library is needed."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from html import escape
from typing import Any, ClassVar

_GOOD, _DOUBTFUL, _BAD = "#1a7f37", "#9a6700", "#cf222e"
_COLOURS = {
    **dict.fromkeys(("healthy", "running", "ready", "active", "succeeded"), _GOOD),
    **dict.fromkeys(("warning", "pending"), _DOUBTFUL),
    **dict.fromkeys(("critical", "failed", "error"), _BAD),
}


class Shown:
    """A noun that a notebook shows as a table of these fields."""

    shown: ClassVar[tuple[str, ...]] = ()

    def _repr_html_(self) -> str:
        fields = {name: getattr(self, name) for name in self.shown}
        return as_table({name: value for name, value in fields.items() if value not in ("", None, ())})


@dataclass(frozen=True)
class Pictures:
    """PNG images with a line below each, which a notebook shows beside each other."""

    images: tuple[tuple[bytes, str], ...]

    def _repr_html_(self) -> str:
        return "".join(
            '<figure style="display:inline-block;margin:4px;text-align:center">'
            f'<img width="120" alt="{escape(words)}" src="data:image/png;base64,{b64encode(data).decode()}">'
            f'<figcaption style="font-size:smaller">{escape(words)}</figcaption></figure>'
            for data, words in self.images
        )


@dataclass(frozen=True)
class Rows:
    """Rows of a table, of which a notebook shows all, under the names of their columns."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{escape(name)}</th>" for name in self.columns)
        body = "".join(f"<tr>{''.join(f'<td>{cell(value)}</td>' for value in row)}</tr>" for row in self.rows)
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def as_table(fields: Mapping[str, Any]) -> str:
    """Return fields as a table, one below the other."""
    rows = "".join(
        f"<tr><th style='text-align:left'>{escape(name.replace('_', ' '))}</th>"
        f"<td style='text-align:left'>{cell(value)}</td></tr>"
        for name, value in fields.items()
    )
    return f"<table>{rows}</table>"


def cell(value: Any) -> str:
    """Return a value as HTML; nothing that somebody has written comes out as markup.

    >>> cell("<b>"), cell(0.98765), cell(None)
    ('&lt;b&gt;', '0.988', '-')
    """
    if value is None or value == "":
        return "-"
    if isinstance(value, Enum):
        colour = _COLOURS.get(str(value.value), "inherit")
        return f'<b style="color:{colour}">{escape(str(value.value))}</b>'
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(map(cell, value))
    return escape(str(value))
