"""Git: a shallow clone of one branch by the git command."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

from tidegauge.errors import InvalidInputError, UnavailableError

_TIMEOUT = 900.0  # seconds for a whole clone
_PROTOCOLS = "file:git:http:https:ssh"
_OPTIONS = (
    "protocol.ext.allow=never",  # ext:: runs any command
    "core.hooksPath=/dev/null",  # the user's own hooks are not for clones of others
    "http.lowSpeedLimit=1000",  # bytes a second ...
    "http.lowSpeedTime=60",  # ... for so many seconds is a dead connection
    "advice.detachedHead=false",
)
_CREDENTIALS = re.compile(r"(?<=://)[^/@\s]+@")
_NOISE = re.compile(r"^(Cloning into|warning:|done\.)")


def fetch(url: str, branch: str, folder: Path, timeout: float = _TIMEOUT) -> str:
    """Clone the newest commit of ``branch`` (or of the default branch) into an empty folder; return its hash.

    Raises InvalidInputError for a URL or branch that cannot be fetched, UnavailableError when git is
    missing or takes longer than ``timeout`` seconds.
    """
    _check("source.url", url)
    if not url:
        raise InvalidInputError.of("source.url", "source.url is empty; give a git URL.")
    _check("source.branch", branch)
    options = [part for option in _OPTIONS for part in ("-c", option)]
    chosen = [f"--branch={branch}"] if branch else []
    # --no-local: only then does --depth count for a local path, and nothing is hard-linked.
    clone = ["clone", "--quiet", "--depth=1", "--single-branch", "--no-tags", "--no-local", "--template="]
    code, _, error = _git([*options, *clone, *chosen, "--", url, str(folder)], timeout)
    if code:
        raise _failure(url, branch, error)
    code, commit, _ = _git(["-C", str(folder), "rev-parse", "--verify", "HEAD"], timeout)
    if code:
        raise InvalidInputError.of("source.url", f"{_shown(url)} has no commit yet; push one first.")
    return commit.strip()


def _check(field: str, value: str) -> None:
    if value.startswith("-") or not value.isprintable() or "::" in value:
        raise InvalidInputError.of(
            field,
            f"{field} is {_shown(value)!r}; it must not start with '-' nor hold '::' or control characters.",
        )


def _git(arguments: list[str], timeout: float) -> tuple[int, str, str]:
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
    environment.setdefault("GIT_SSH_COMMAND", "ssh -oBatchMode=yes -oConnectTimeout=20")
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
            out, error = process.communicate(timeout=timeout)
        except BaseException as stop:
            os.killpg(process.pid, signal.SIGKILL)  # git's helpers too
            if isinstance(stop, subprocess.TimeoutExpired):
                raise UnavailableError(
                    f"git did not finish within {timeout:g} seconds; try again or give a smaller repository."
                ) from stop
            raise
        return process.returncode, out, error


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
