"""Git: a shallow clone of one branch by the git command."""

from __future__ import annotations

import base64
import contextlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from tidegauge.domain.content import MAX_BYTES
from tidegauge.errors import InvalidInputError, TooLargeError, UnavailableError
from tidegauge.links.addresses import Gate, split

_TIMEOUT = 900.0  # seconds for a whole clone
_LOOK = 2.0  # between looks at how much has come
_PROTOCOLS = "file:git:http:https:ssh"
_OPTIONS = (
    "protocol.ext.allow=never",  # ext:: runs any command
    "core.hooksPath=/dev/null",  # the user's own hooks are not for clones of others
    "http.lowSpeedLimit=1000",  # bytes a second ...
    "http.lowSpeedTime=60",  # ... for so many seconds is a dead connection
    "http.followRedirects=false",  # past the gate
    "submodule.recurse=false",
    "core.fsmonitor=false",
    "core.protectNTFS=true",
    "core.protectHFS=true",
    # A repository says where its large files are fetched from, and nobody has checked that.
    "filter.lfs.smudge=",
    "filter.lfs.process=",
    "filter.lfs.required=false",
    "advice.detachedHead=false",
)
_SSH = "ssh -oBatchMode=yes -oConnectTimeout=20"
_WEB = ("http", "https")
_SCP = re.compile(r"(?:[^@/:\s]+@)?(?P<host>[^/:\s]+|\[[^]/\s]+\]):(?!//)")
_CREDENTIALS = re.compile(r"(?<=://)[^/@\s]+@")
_NOISE = re.compile(r"^(Cloning into|warning:|done\.)")


@dataclass(frozen=True)
class _Place:
    """Where git is sent: the URL, and what makes it go to the addresses that were checked."""

    url: str
    options: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)


def check(url: str, branch: str, gate: Gate) -> None:
    """Raise InvalidInputError for a URL or branch that git must not be given.

    A host that has no address now passes: it is checked again when it is fetched from.
    """
    _check("source.url", url)
    if not url:
        raise InvalidInputError.of("source.url", "source.url is empty; give a git URL.")
    _check("source.branch", branch)
    scheme, host, port = _host(url)
    if host:
        gate.check_host(host, port or _PORTS[scheme], "source.url")


def is_local(url: str) -> bool:
    """Tell whether a git URL is a folder of this machine."""
    return not _host(url)[1]


def folder_of(url: str) -> Path:
    """Return the folder that git reads by a URL of this machine; InvalidInputError for an odd one."""
    scheme, found, path = url.partition("://")
    if not found or scheme.lower() != "file":
        return Path(url)
    if "%" in path or not path.startswith("/"):  # git would decode it, and read another folder
        raise InvalidInputError.of(
            "source.url",
            f"source.url is {url!r}; give a folder as file:///path, without a host or %.",
        )
    return Path(path)


def fetch(
    url: str,
    branch: str,
    folder: Path,
    gate: Gate,
    timeout: float = _TIMEOUT,
    *,
    secret: str = "",
    max_bytes: int = MAX_BYTES,
) -> str:
    """Clone the newest commit of ``branch`` (or of the default branch) into an empty folder; return its hash.

    ``secret`` is user:password, or a token, for https. Hooks, submodules, large files kept elsewhere (LFS)
    and redirects are not followed. Raises InvalidInputError for a URL or branch that cannot be fetched or
    that ``gate`` refuses, TooLargeError for what is more than ``max_bytes`` on the disk, UnavailableError
    when git is missing or takes longer than ``timeout`` seconds.
    """
    check(url, branch, gate)
    place = _pinned(url, gate)
    options = [part for option in (*_OPTIONS, *place.options) for part in ("-c", option)]
    chosen = [f"--branch={branch}"] if branch else []
    # --no-local: only then does --depth count for a local path, and nothing is hard-linked.
    clone = ["clone", "--quiet", "--depth=1", "--single-branch", "--no-tags", "--no-local", "--template="]
    whole = [*options, *clone, *chosen, "--", place.url, str(folder)]
    bound = _Bound(folder, max_bytes)
    code, _, error = _git(whole, timeout, {**place.environment, **_signed(secret)}, bound)
    if code:
        raise _failure(url, branch, error)
    code, commit, _ = _git(["-C", str(folder), "rev-parse", "--verify", "HEAD"], timeout)
    if code:
        raise InvalidInputError.of("source.url", f"{_shown(url)} has no commit yet; push one first.")
    return commit.strip()


def _signed(secret: str) -> dict[str, str]:
    """Return what makes git show who asks; not among its arguments, which everybody on the machine sees."""
    if not secret:
        return {}
    name, _, password = secret.partition(":")
    packed = base64.b64encode(f"{unquote(name)}:{unquote(password)}".encode()).decode()
    return {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "http.extraHeader",
        "GIT_CONFIG_VALUE_0": f"Authorization: Basic {packed}",
    }


_PORTS = {"http": 80, "https": 443, "ssh": 22, "git": 9418}


def _host(url: str) -> tuple[str, str, int | None]:
    """Return scheme, host and port of a git URL; host is empty for a folder of this machine."""
    if "://" not in url:
        short = _SCP.match(url)  # user@host:path, by ssh
        return ("ssh", short["host"].strip("[]"), None) if short else ("file", "", None)
    scheme = urlsplit(url).scheme
    if scheme == "file":
        return "file", "", None
    # The user name is git's own business; the host is read as everybody reads it.
    authority = url.partition("://")[2].partition("/")[0]
    name, at, _ = authority.rpartition("@")
    if "@" in name:
        raise InvalidInputError.of(
            "source.url", "source.url has more than one '@' before the host; write the first as %40."
        )
    parts = split(url.replace(f"{name}{at}", "", 1) if at else url, "source.url", _PORTS)
    return parts.scheme, str(parts.hostname), parts.port


def _pinned(url: str, gate: Gate) -> _Place:
    """Resolve the host once, and let git connect to nothing but these addresses."""
    scheme, host, port = _host(url)
    if not host or (scheme in _WEB and getproxies().get(scheme) and not proxy_bypass(host)):
        return _Place(url)  # a proxy connects, and what it may reach its owner says
    try:
        addresses = gate.addresses(host, port or _PORTS[scheme], "source.url")
    except OSError as error:
        if scheme == "ssh" and gate.private:
            return _Place(url)  # a name that ssh's own settings on this server may know
        raise InvalidInputError.of(
            "source.url",
            f"{_shown(url)} cannot be fetched: its host {host!r} has no address; check source.url.",
        ) from error
    if scheme in _WEB:
        listed = ",".join(f"[{each}]" if ":" in each else each for each in addresses)
        name = f"[{host}]" if ":" in host else host
        return _Place(url, (f"http.curloptResolve={name}:{port or _PORTS[scheme]}:{listed}",))
    first = addresses[0]
    if scheme == "ssh":
        alias = f"[{host}]:{port}" if port not in (None, 22) else host  # as known_hosts names it
        command = os.environ.get("GIT_SSH_COMMAND", _SSH)
        pinned = f"{command} -oHostName={shlex.quote(first)} -oHostKeyAlias={shlex.quote(alias)}"
        return _Place(url, environment={"GIT_SSH_COMMAND": pinned})
    place = f"[{first}]" if ":" in first else first
    return _Place(urlsplit(url)._replace(netloc=f"{place}:{port}" if port else place).geturl())


def _check(field: str, value: str) -> None:
    if value.startswith("-") or not value.isprintable() or "::" in value:
        raise InvalidInputError.of(
            field,
            f"{field} is {_shown(value)!r}; it must not start with '-' nor hold '::' or control characters.",
        )


@dataclass(frozen=True)
class _Bound:
    """How much a folder may come to hold."""

    folder: Path
    most: int

    def check(self) -> None:
        size = 0
        for base, _, names in os.walk(self.folder):
            for name in names:
                with contextlib.suppress(OSError):  # renamed since it was listed
                    size += os.lstat(os.path.join(base, name)).st_size  # noqa: PTH118 - a million of them
        if size > self.most:
            raise TooLargeError.of(
                "source.url", f"The repository is more than {self.most} bytes; give a smaller one."
            )


def _git(
    arguments: list[str],
    timeout: float,
    more: Mapping[str, str] | None = None,
    bound: _Bound | None = None,
) -> tuple[int, str, str]:
    program = shutil.which("git")
    if program is None:
        raise UnavailableError("The git command is missing on the server; install git and import again.")
    environment = {name: value for name, value in os.environ.items() if name not in _INHERITED}
    environment |= {
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "true",
        "GIT_ALLOW_PROTOCOL": _PROTOCOLS,
        "LC_ALL": "C",
    }
    environment = {"GIT_SSH_COMMAND": _SSH, **environment, **(more or {})}
    with subprocess.Popen(
        [program, *arguments],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,
    ) as process:
        try:
            out, error = _wait(process, timeout, bound)
        except BaseException as stop:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # git's helpers too
            if isinstance(stop, subprocess.TimeoutExpired):
                raise UnavailableError(
                    f"git did not finish within {timeout:g} seconds; try again or give a smaller repository."
                ) from stop
            raise
        return process.returncode, out, error


def _wait(process: subprocess.Popen[str], timeout: float, bound: _Bound | None) -> tuple[str, str]:
    """Wait for the end, and look from time to time at how much there is by now."""
    deadline = time.monotonic() + timeout
    while bound is not None:
        left = deadline - time.monotonic()
        try:
            out, error = process.communicate(timeout=max(0.0, min(left, _LOOK)))
        except subprocess.TimeoutExpired:
            if left <= _LOOK:
                raise subprocess.TimeoutExpired(process.args, timeout) from None
            bound.check()
        else:
            bound.check()
            return out, error
    return process.communicate(timeout=timeout)


# Set while git itself runs us (a hook), they would point the clone at the wrong repository.
_INHERITED = frozenset(
    {"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR", "GIT_PREFIX"}
)


def _failure(url: str, branch: str, error: str) -> InvalidInputError:
    if re.search(r"Remote branch .* not found", error):
        return InvalidInputError.of(
            "source.branch", f"{_shown(url)} has no branch {branch!r}; check source.branch."
        )
    lines = [line for line in error.splitlines() if line and not _NOISE.match(line)]
    reason = _shown(" ".join(lines[:3])).removeprefix("fatal: ") or "git gave no reason"
    return InvalidInputError.of(
        "source.url", f"{_shown(url)} cannot be fetched: {reason} Check source.url and who may read it."
    )


def _shown(text: str) -> str:
    """Leave out user name, password or token."""
    return _CREDENTIALS.sub("", text)
