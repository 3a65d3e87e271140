"""The manual: the project's own documentation as pages, with their headings, links and search."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup

from tidegauge.domain.monitor_config.published import PATH as MONITOR_SCHEMA
from tidegauge.errors import NotFoundError

#: The pages by what a person wants; those below ``how-to/`` do one thing each. The site has the same order.
GROUPS = {
    "Tutorial": ("tutorial", "workflow"),
    "How-to": (
        "how-to/scikit-learn",
        "how-to/xgboost",
        "how-to/pytorch",
        "how-to/keras",
        "how-to/mlflow",
        "how-to/other-servers",
        "how-to/coming-from-dkube",
        "ide",
        "external",
        "kserve",
        "clusters",
        "kubernetes",
        "tables",
        "alerts",
        "report",
        "retraining",
        "privacy",
    ),
    "Reference": (
        "cli",
        "monitor-config",
        "settings",
        "people",
        "security",
        "model-server",
        "collector",
        "log-format",
        "metrics",
        "scale",
    ),
    "Explanation": ("monitoring", "statistics", "benchmarks", "design"),
}
NAMES = tuple(name for group in GROUPS.values() for name in group)
_FILES = {"monitor.schema.json": MONITOR_SCHEMA}  # links of pages to what the server has elsewhere
_COMMENT = re.compile(r"^<!--.*?-->$", re.DOTALL | re.MULTILINE)  # marks for scripts, not for readers
_AROUND = 90  # characters of a text on each side of what was searched


@dataclass(frozen=True)
class Heading:
    """A heading of a page, and the text from it to the next."""

    id: str
    level: int
    title: str
    text: str


@dataclass(frozen=True)
class ManualPage:
    name: str
    title: str
    summary: str  # its first sentence
    html: Markup
    headings: tuple[Heading, ...]


@dataclass(frozen=True)
class Hit:
    """A heading that fits a search, with what stands around the words found."""

    page: ManualPage
    heading: Heading
    excerpt: str


def page(name: str) -> ManualPage:
    """Return a page of the manual."""
    if name not in NAMES:
        raise NotFoundError(f"There is no page {name!r} in the help; search it for what you need.")
    return _read(name)


def contents() -> dict[str, list[ManualPage]]:
    """Return all pages by group."""
    return {group: [page(name) for name in names] for group, names in GROUPS.items()}


def search(words: str) -> list[Hit]:
    """Find the sections with all the words: those that have them in the heading first."""
    wanted = words.lower().split()
    if not wanted:
        return []
    titled, told = [], []
    for name in NAMES:
        found = page(name)
        for heading in found.headings:
            title, text = heading.title.lower(), heading.text.lower()
            if all(word in title for word in wanted):
                titled.append(Hit(found, heading, _excerpt(heading.text, wanted)))
            elif all(word in title or word in text for word in wanted):
                told.append(Hit(found, heading, _excerpt(heading.text, wanted)))
    return titled + told


def picture(name: str) -> bytes:
    """Return a picture that a page shows."""
    known = [file for file in (_folder() / "pictures").iterdir() if file.name == name and _is_picture(name)]
    if not known:
        raise NotFoundError(f"There is no picture {name!r} in the help.")
    return known[0].read_bytes()


def slug(title: str, taken: Sequence[str] = ()) -> str:
    """Return the id of a heading, as GitHub makes it, so that links work there and here.

    >>> slug("1. Create the repositories"), slug("Measured: false alarms"), slug("Limits", ["limits"])
    ('1-create-the-repositories', 'measured-false-alarms', 'limits-1')
    """
    base = re.sub(r"[^\w\- ]", "", title.strip().lower()).replace(" ", "-")
    number, found = 0, base
    while found in taken:
        number += 1
        found = f"{base}-{number}"
    return found


def _folder() -> Traversable:
    """Return the folder of the documentation: within the package when installed, else in the checkout."""
    installed = files("tidegauge") / "_docs"
    return installed if installed.is_dir() else Path(__file__).resolve().parents[3] / "docs"


def _is_picture(name: str) -> bool:
    return name.endswith(".svg")


@lru_cache(maxsize=len(NAMES))
def _read(name: str) -> ManualPage:
    # HTML in the text is shown as text: what is written for people needs none.
    markdown = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])
    text = _folder().joinpath(*f"{name}.md".split("/")).read_text(encoding="utf-8")
    tokens = markdown.parse(_COMMENT.sub("", text))
    headings = tuple(_headings(tokens))
    ids = iter(heading.id for heading in headings)
    for token in tokens:
        if token.type == "heading_open":
            token.attrSet("id", next(ids))
        elif token.type in ("fence", "code_block"):
            token.attrSet("tabindex", "0")
        _settle(token.children or (), posixpath.dirname(name))
    html = markdown.renderer.render(tokens, markdown.options, {})
    html = html.replace("<table>", '<div class="scroll" tabindex="0"><table>')
    html = html.replace("</table>", "</table></div>")
    # Nothing of a user's is in it, and the HTML is the renderer's own.
    whole = Markup(html)  # noqa: S704
    summary = next((heading.text for heading in headings if heading.text), "")
    return ManualPage(name, headings[0].title, _first_sentence(summary), whole, headings)


def _headings(tokens: Sequence[Token]) -> Iterator[Heading]:
    """Yield the headings with their ids and texts."""
    places = [number for number, token in enumerate(tokens) if token.type == "heading_open"]
    taken: list[str] = []
    for place, following in zip(places, [*places[1:], len(tokens)], strict=True):
        title = _plain(tokens[place + 1])
        taken.append(slug(title, taken))
        texts = [_plain(token) for token in tokens[place + 3 : following] if token.content]
        yield Heading(taken[-1], int(tokens[place].tag[1:]), title, " ".join(texts))


def _plain(token: Token) -> str:
    """Return what a token says, without marks."""
    if not token.children:
        return token.content
    return "".join(" " if "break" in child.type else child.content for child in token.children)


def _settle(tokens: Sequence[Token], folder: str) -> None:
    """Let links and pictures of a page in a folder lead to where things are on this server."""
    tag = "a"
    for token in tokens:
        if token.type == "image":
            token.attrSet("src", f"/help/{_within(folder, str(token.attrs['src']))}")
            token.attrSet("loading", "lazy")
        elif token.type == "link_open":
            tag = _lead(token, folder)
        elif token.type == "link_close":
            token.tag = tag


def _lead(link: Token, folder: str) -> str:
    """Give a link its place here, and return the tag to close; a file of the source is only named."""
    target = str(link.attrs["href"])
    written, _, heading = target.partition("#")
    file = _within(folder, written) if written else ""
    name = file.removesuffix(".md")
    if target.startswith(("http://", "https://")):
        link.attrSet("rel", "noopener noreferrer")
    elif file in _FILES:
        link.attrSet("href", _FILES[file])
    elif file and name not in NAMES:
        link.tag, link.attrs = "span", {"title": f"{file.removeprefix('../')} in the source"}
    elif file:
        link.attrSet("href", f"/help/{name}{f'#{heading}' if heading else ''}")
    return link.tag


def _within(folder: str, written: str) -> str:
    """Return a relative link of a page in a folder as a path from the top.

    >>> _within("how-to", "../cli.md"), _within("how-to", "keras.md"), _within("", "../SECURITY.md")
    ('cli.md', 'how-to/keras.md', '../SECURITY.md')
    """
    return posixpath.normpath(posixpath.join(folder, written))


def _first_sentence(text: str) -> str:
    """Return the first sentence of a text.

    >>> _first_sentence("It runs. It stops.")
    'It runs.'
    """
    return re.split(r"(?<=\.)\s", text, maxsplit=1)[0]


def _excerpt(text: str, words: Sequence[str]) -> str:
    places = [place for word in words if (place := text.lower().find(word)) >= 0]
    middle = min(places, default=0)
    start, end = max(0, middle - _AROUND), middle + _AROUND
    return f"{'... ' if start else ''}{text[start:end].strip()}{' ...' if end < len(text) else ''}"
