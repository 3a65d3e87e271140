"""``tidegauge doctor``: what is there, what is missing, and how to get it. It changes nothing."""

from __future__ import annotations

import importlib.util
import os
import shutil
import ssl
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from tidegauge.cli.options import DatabaseUrl, Home, Host, Port, Role, StoreUrl, server_settings
from tidegauge.cli.output import Json, say, show_list
from tidegauge.errors import InvalidInputError, TidegaugeError
from tidegauge.links.processes import port_is_free
from tidegauge.settings import Settings

_LATER = "made by the first start"


class Verdict(StrEnum):
    OK = "ok"
    MISSING = "missing"
    ABSENT = "absent, optional"
    WARNING = "warning"


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    name: str
    found: str
    ok: bool
    required: bool
    remedy: str
    warning: bool = False

    @property
    def verdict(self) -> Verdict:
        if self.ok:
            return Verdict.WARNING if self.warning else Verdict.OK
        return Verdict.MISSING if self.required else Verdict.ABSENT


def doctor(
    home: Home = None,
    host: Host = None,
    port: Port = None,
    database_url: DatabaseUrl = None,
    store_url: StoreUrl = None,
    role: Role = None,
    as_json: Json = False,
) -> None:
    """Tell what is missing, and how to get it; exit 1 if the server cannot do without it."""
    try:
        settings = server_settings(home, host, port, database_url, store_url, role=role)
    except InvalidInputError as error:
        parts = [Check("settings", "", False, True, error.message)]
    else:
        parts = _parts(settings)
    checks = [_python(), *parts, _git(), *_extras(), _chromium()]
    show_list(
        checks,
        [
            ("what", lambda c: c.name),
            ("", lambda c: c.verdict),
            ("found", lambda c: c.found),
            ("remedy", lambda c: c.remedy if c.warning or not c.ok else ""),
        ],
        as_json=as_json,
        empty="",
    )
    missing = [check.name for check in checks if check.required and not check.ok]
    if missing:
        raise TidegaugeError(f"Missing or in the way: {', '.join(missing)}.")
    say("Everything that the server needs is there.")


def _python() -> Check:
    version = sys.version.split()[0]
    return Check("python", version, sys.version_info >= (3, 11), True, "Use Python 3.11 or later.")


def _git() -> Check:
    path = shutil.which("git")
    remedy = "Needed to read code and datasets from git: apt-get install git"
    return Check("git", path or "", path is not None, False, remedy)


def _chromium() -> Check:
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    remedy = "Needed to test the pages, by developers only: apt-get install chromium"
    return Check("chromium", path or "", path is not None, False, remedy)


def _extras() -> list[Check]:
    extras = (
        ("tensorflow", "train", "the example's training"),
        ("kfp", "train", "pipelines"),
        ("onnx", "train", "the export of trained models"),
        ("jupyterlab", "ide", "IDEs"),
        ("psycopg", "postgres", "PostgreSQL"),
        ("weasyprint", "report", "reports as PDF"),
    )
    return [
        Check(
            module,
            f"extra {extra}",
            importlib.util.find_spec(module) is not None,
            False,
            f"Needed for {purpose}: pip install 'tidegauge[{extra}]'",
        )
        for module, extra, purpose in extras
    ]


def _parts(settings: Settings) -> list[Check]:
    return [
        Check("settings", str(settings.home), True, True, ""),
        Check("role", settings.role, True, True, ""),
        _attempt("home is writable", lambda: _folder(settings.home)),
        _attempt("database", lambda: _database(settings)),
        _key(settings),
        _attempt("object store", lambda: _store(settings)),
        _port(settings),
    ]


def _attempt(name: str, look: Callable[[], str]) -> Check:
    try:
        return Check(name, look(), True, True, "")
    except TidegaugeError as error:
        return Check(name, "", False, True, error.message)
    except OSError as error:
        place = error.filename or ""
        return Check(name, str(place), False, True, f"{error.strerror or error}; choose another place.")


def _folder(folder: Path) -> str:
    """Say where a folder is, or will be; OSError where it can be neither made nor written to."""
    if folder.exists():
        if not folder.is_dir():
            raise NotADirectoryError(20, "it is no folder", str(folder))
        with tempfile.TemporaryFile(dir=folder):
            return str(folder)
    above = next(parent for parent in folder.absolute().parents if parent.exists())
    if not (above.is_dir() and os.access(above, os.W_OK | os.X_OK)):
        raise PermissionError(13, f"it cannot be made in {above}", str(folder))
    return f"{folder}, {_LATER}"


def _database(settings: Settings) -> str:
    from tidegauge.storage.database import Database

    file = settings.home / "tidegauge.sqlite"
    if not settings.database_url and not file.exists():
        _folder(settings.home)
        return f"{file}, {_LATER}"
    database = Database(settings.database, settings.key_file)
    try:
        database.check()
        place = database.engine.url.render_as_string(hide_password=True)
        return place if database.is_migrated() else f"{place}, migrated by the next start"
    finally:
        database.close()


def _key(settings: Settings) -> Check:
    """Look whether the key of the database's secrets is there, is the right one, and is nobody else's."""
    from tidegauge.storage.database import Database

    file = settings.key_file
    name = "key of the secrets"
    database = Database(settings.database, file)
    try:
        is_there = settings.database_url or (settings.home / "tidegauge.sqlite").exists()
        missing = database.vault.lacking() if is_there and database.is_migrated() else []
        if missing:
            return Check(name, str(file), False, True, database.keys.lacking(missing))
        if not file.exists():
            return Check(name, f"{file}, {_LATER}", True, True, "")
        if not database.keys.ids:
            return Check(name, str(file), False, True, f"{file} holds no key; put the right file there.")
        if database.keys.is_open_to_others:
            remedy = f"Others on this machine may read it: chmod 600 {file}"
            return Check(name, str(file), True, True, remedy, warning=True)
        return Check(name, str(file), True, True, "")
    except TidegaugeError as error:
        # A database that is away is told by its own line.
        is_ours = isinstance(error, InvalidInputError)
        return Check(name, str(file), not is_ours, True, error.message if is_ours else "")
    finally:
        database.close()


def _store(settings: Settings) -> str:
    from tidegauge.storage.objects import ObjectStore

    url = settings.store
    if "://" not in url or url.startswith("file://"):
        return _folder(Path(url.removeprefix("file://")))
    ObjectStore(url).check()
    return url


def _port(settings: Settings) -> Check:
    name = f"port {settings.port}"
    if port_is_free(settings.port):
        return Check(name, "free", True, False, "")
    return Check(name, *_listener(settings))


def _own(settings: Settings) -> ssl.SSLContext:
    """Return what trusts the certificate of this server, whatever name it has."""
    context = ssl.create_default_context(cafile=settings.tls_certificate or None)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context


def _listener(settings: Settings) -> tuple[str, bool, bool, str]:
    """Tell a running Tidegauge, which is well, from a stranger on the port."""
    import httpx

    try:
        answer = httpx.get(
            f"{settings.address}/healthz", timeout=2.0, trust_env=False, verify=_own(settings)
        ).json()
        if answer["status"] == "ok":
            return f"a running Tidegauge {answer['version']}, role {answer['role']}", True, False, ""
    except (httpx.HTTPError, OSError, ValueError, KeyError, TypeError):
        pass
    return "taken by another program", False, True, "Choose another one with --port, or end that program."
