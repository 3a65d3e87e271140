"""The site of the documentation: its order, its pages that are generated, and its dialect of Markdown.

MkDocs calls the functions ``on_...`` (mkdocs.yml). Pages and their groups are those of the help within the
product (``tidegauge.ui.manual``). Generated are the start (README.md) and the reference of the SDK, of the
exports, of the API and of a monitor's file.
"""

from __future__ import annotations

import html
import json
import logging
import os
import posixpath
import re
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

from tidegauge.client import Client  # noqa: E402
from tidegauge.domain.monitor_config.published import monitor_schema  # noqa: E402
from tidegauge.ui import manual  # noqa: E402

_LOG = logging.getLogger("mkdocs.hooks.site")
_LINK = re.compile(r"(?<!!)\[([^\]]*)\]\(([^)\s]+)\)")
_ITEM = re.compile(r"(?:[-*+]|\d+[.)])\s")
_ROW = re.compile(r"\|")
_FENCE = "```"
_CODE = re.compile(r"`[^`]*`")
_INDENT = 4  # that Python-Markdown asks of what belongs to an item; CommonMark is content with two
_HOME = "index.md"
_RETURNED = {
    "catalogue": ("Repository", "Version"),
    "deployment": ("Deployment",),
    "monitor": ("Monitor", "MonitorRun", "Metric", "Feature"),
    "alert": ("Alert",),
    "pipeline": ("PipelineRun",),
}
_GENERATED: Mapping[str, tuple[str, Callable[[], str]]]


def on_config(config: MkDocsConfig) -> None:
    """Order the pages as the help does, the generated ones at the end of the reference."""
    nav: list[Any] = [{"Tidegauge": _HOME}]
    for group, names in manual.GROUPS.items():
        pages = [{manual.page(name).title: f"{name}.md"} for name in names]
        more = [{title: path} for path, (title, _) in _GENERATED.items() if group == "Reference"]
        nav.append({group: pages + more})
    config.nav = nav
    config.mdx_configs["toc"] = {"slugify": lambda value, _: manual.slug(value)}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what is generated."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    made = {_HOME: readme.replace("](docs/", "](")}
    made |= {path: write() for path, (_, write) in _GENERATED.items()}
    made["reference/openapi.json"] = json.dumps(_openapi(), indent=1)
    for path, content in made.items():
        files.append(File.generated(config, path, content=content))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Bring a page into the dialect of Python-Markdown; files outside of the documentation are only named."""
    folder = posixpath.dirname(page.file.src_uri)
    if page.file.src_uri in _GENERATED:
        return markdown

    def lead(found: re.Match[str]) -> str:
        text, target = found.groups()
        if target.startswith(("http://", "https://", "#")):
            return found[0]
        place = posixpath.normpath(posixpath.join(folder, target.partition("#")[0]))
        outside = place.startswith("..") or (page.file.src_uri == _HOME and not _is_page(place))
        return text if outside else found[0]

    return _LINK.sub(lead, "\n".join(_indented(markdown.split("\n"))))


def on_page_content(content: str, page: Page, **_: Any) -> None:
    """Warn where the site does not say what the help says: then the dialects differ."""
    name = page.file.src_uri.removesuffix(".md")
    if name not in manual.NAMES:
        return
    here, there = _said(content), _said(str(manual.page(name).html))
    if here != there:
        place = next((n for n, (a, b) in enumerate(zip(here, there, strict=False)) if a != b), 0)
        start = max(0, place - 20)
        _LOG.warning(
            "%s: the site says %r where the help says %r",
            name,
            here[start : start + 60],
            there[start : start + 60],
        )
    for tag in ("<li", "<table", "<pre", "<h2", "<h3"):
        if content.count(tag) != str(manual.page(name).html).count(tag):
            _LOG.warning("%s: the site and the help differ in the number of %s>", name, tag)


def _is_page(place: str) -> bool:
    return place.removesuffix(".md") in manual.NAMES


def _said(text: str) -> str:
    """Return what a page says, without marks and white space."""
    return "".join(html.unescape(re.sub(r"<[^>]*>", "", text)).split())


def _indented(lines: Iterable[str]) -> Iterator[str]:
    """Write lists and tables as Python-Markdown asks for: indented by four, apart from text before."""
    before, fenced = "", False
    for line in lines:
        text = line.lstrip(" ")
        depth = len(line) - len(text)
        if fenced or line.startswith(_FENCE):
            yield line
        elif depth:
            yield " " * (round(depth / 2.5) * _INDENT) + text
        else:
            begins = next((mark for mark in (_ITEM, _ROW) if mark.match(text)), None)
            if begins and before.strip() and before[0] != " " and not begins.match(before):
                yield ""
            # What parts cells in code is not escaped there.
            yield _CODE.sub(lambda code: code[0].replace("\\|", "|"), text) if begins is _ROW else text
        fenced ^= line.startswith(_FENCE)
        before = line


def _sdk() -> str:
    client = Client("http://127.0.0.1:1", "none")
    parts = [
        type(part) for part in vars(client).values() if type(part).__module__.startswith("tidegauge.client.")
    ]
    client.close()
    names = dict.fromkeys(f"{kind.__module__}.{kind.__qualname__}" for kind in parts)
    listed = "\n\n".join(f"::: {name}\n    options:\n      inherited_members: true" for name in names)
    returned = "\n\n".join(
        f"::: tidegauge.domain.{module}.{name}" for module, kinds in _RETURNED.items() for name in kinds
    )
    return (
        "# The SDK\n\n`from tidegauge import Client`; every call raises the classes of "
        "`tidegauge.errors`.\n\n"
        f"::: tidegauge.client.Client\n\n{listed}\n\n{returned}\n\n"
        "::: tidegauge.errors\n    options:\n      show_root_heading: true\n"
    )


def _exports() -> str:
    calls = "\n\n".join(f"::: tidegauge.export.{name}.{name}" for name in _export_names())
    said = "`from tidegauge import export`; a [page for each](../how-to/scikit-learn.md)."
    return f"# Exports of models\n\n{said}\n\n{calls}\n"


def _export_names() -> list[str]:
    from tidegauge import export

    return list(export.__all__)


@cache
def _openapi() -> dict[str, Any]:
    """Return the document of a server's API; empty where only links are checked, since it takes seconds."""
    if os.environ.get("TIDEGAUGE_SITE") == "links":
        return {"paths": {}}
    from tidegauge.app import build_services, create_app
    from tidegauge.settings import load_settings

    with tempfile.TemporaryDirectory() as home:
        services = build_services(load_settings(Path(home), {"port": 1}, {}))
        try:
            return dict(create_app(services).openapi())
        finally:
            services.database.close()


def _api() -> str:
    document = _openapi()
    lines = [
        "# The HTTP API",
        "",
        (
            "Every operation below `/api/v1` and of the collector, with the [OpenAPI "
            "document](openapi.json) that a server has at "
            "`/api/v1/openapi.json`. Who asks shows a token: `Authorization: Bearer tg_...`. What is "
            "wrong is answered as a problem "
            "document (RFC 9457)."
        ),
    ]
    groups: dict[str, list[tuple[str, str, dict[str, Any]]]] = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            tag = next(
                iter(operation.get("tags", ())), path.split("/")[3] if path.count("/") > 2 else "others"
            )
            groups.setdefault(tag, []).append((method.upper(), path, operation))
    for tag, found in sorted(groups.items()):
        lines += [
            "",
            f"## {tag}",
            "",
            "| operation | what | parameters | body | answer |",
            "|---|---|---|---|---|",
        ]
        lines += [_row(method, path, operation) for method, path, operation in found]
    return "\n".join(lines) + "\n"


def _row(method: str, path: str, operation: Mapping[str, Any]) -> str:
    names = [f"`{each['name']}`" for each in operation.get("parameters", ()) if each["in"] == "query"]
    body = ", ".join(_kind(kind) for kind in operation.get("requestBody", {}).get("content", {}).items())
    answers = [
        f"{status} {', '.join(_kind(kind) for kind in answer.get('content', {}).items())}".strip()
        for status, answer in operation.get("responses", {}).items()
        if status.startswith("2")
    ]
    said = " ".join(str(operation.get("description") or operation.get("summary", "")).split()).replace(
        "|", "\\|"
    )
    return f"| `{method} {path}` | {html.escape(said)} | {', '.join(names)} | {body} | {', '.join(answers)} |"


def _kind(content: tuple[str, Mapping[str, Any]]) -> str:
    media, schema = content[0], content[1].get("schema", {})
    named = schema.get("$ref") or schema.get("items", {}).get("$ref", "")
    name = named.rpartition("/")[2]
    if media != "application/json":
        return f"`{media}`"
    return f"list of `{name}`" if name and "items" in schema else f"`{name or 'JSON'}`"


def _monitor_file() -> str:
    schema = monitor_schema()
    lines = [
        "# The file of a monitor: its JSON Schema",
        "",
        (
            "From the [JSON Schema](../monitor.schema.json) of what `tidegauge monitor apply` takes. "
            "What the fields mean stands in "
            "[what a monitor is told to do](../monitor-config.md)."
        ),
    ]
    for name, place in {"MonitorFile": schema, **schema["$defs"]}.items():
        if "properties" not in place:
            continue
        lines += ["", f"## {name}", "", "| field | type | default | range |", "|---|---|---|---|"]
        for field, said in place["properties"].items():
            ends = [str(said.get(end, "")) for end in ("minimum", "maximum")]
            default = f"`{json.dumps(said['default'])}`" if "default" in said else "required"
            lines.append(
                f"| `{field}` | {_type(said)} | {default} | {' to '.join(ends) if any(ends) else ''} |"
            )
    return "\n".join(lines) + "\n"


def _type(said: Mapping[str, Any]) -> str:
    if "anyOf" in said:
        return " or ".join(_type(each) for each in said["anyOf"])
    if "$ref" in said:
        return f"`{said['$ref'].rpartition('/')[2]}`"
    if "enum" in said or "const" in said:
        return ", ".join(f"`{value}`" for value in said.get("enum", [said.get("const")]))
    inner = f" of {_type(said['items'])}" if isinstance(said.get("items"), dict) else ""
    return f"{said.get('type', 'any')}{inner}"


_GENERATED = {
    "reference/sdk.md": ("The SDK", _sdk),
    "reference/export.md": ("Exports of models", _exports),
    "reference/api.md": ("The HTTP API", _api),
    "reference/monitor-file.md": ("JSON Schema of a monitor", _monitor_file),
}
