"""JupyterLab as a process of this machine: how it is started, and what it says of itself."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import httpx

from tidegauge.domain.ide import Framework, Ide
from tidegauge.links.processes import Process

#: Without these there is no IDE; the extra ``ide`` has them.
PACKAGES = ("jupyterlab", "ipykernel", "websockets")
MISSING = "JupyterLab is not installed on the server; install it there with: pip install 'tidegauge[ide]'"
SECRET = "TIDEGAUGE_IDE_SECRET"  # noqa: S105 - the name of a variable
#: Beginnings of variables that are the server's own: settings, and credentials of its store and database.
_OF_THE_SERVER = ("TIDEGAUGE_", "AWS_", "AZURE_", "GOOGLE_", "PG", "JUPYTER", "IPYTHON")
#: It would ask each owner whether to fetch news from the network.
_PAGES = b'{"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": true}}\n'
_DISTRIBUTIONS = {Framework.TENSORFLOW: ("tensorflow", "tensorflow-cpu")}


def is_installed() -> bool:
    """Tell whether there is a JupyterLab to start."""
    return all(importlib.util.find_spec(name) is not None for name in PACKAGES)


def version_of(framework: Framework) -> str:
    """Return which version of a framework the kernels have; empty where they have none."""
    for name in _DISTRIBUTIONS.get(framework, ()):
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return ""


@dataclass(frozen=True)
class Door:
    """Where a JupyterLab that runs answers, and the secret that it wants to see."""

    port: int
    secret: str

    @property
    def authorization(self) -> str:
        return f"token {self.secret}"


def start(ide: Ide, folder: Path, door: Door, log: Path, environment: Mapping[str, str]) -> Process:
    """Start the JupyterLab of an IDE, whose file browser shows ``folder / "files"``.

    ``environment`` is what its kernels find beside what the server has; nothing that is the server's secret.
    """
    files, own = folder / "files", folder / "jupyter"
    for path in (files, own / "config" / "labconfig"):
        path.mkdir(parents=True, exist_ok=True)
    (own / "config" / "labconfig" / "page_config.json").write_bytes(_PAGES)
    command = [sys.executable, "-m", "tidegauge.links.jupyter_child", "--parent-pid", str(os.getpid())]
    command += ["--port", str(door.port), "--base-url", ide.base, "--files", str(files), "--owner", ide.owner]
    places = {
        # Settings and running kernels of each IDE apart, since all run as one user of the system.
        "JUPYTER_CONFIG_DIR": str(own / "config"),
        "JUPYTER_DATA_DIR": str(own / "data"),
        "JUPYTER_RUNTIME_DIR": str(own / "runtime"),
        "IPYTHONDIR": str(own / "ipython"),
    }
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(_OF_THE_SERVER)}
    variables = {**inherited, **places, SECRET: door.secret, **environment}
    return Process(command, log, variables, files, inherit=False)


@dataclass(frozen=True)
class Activity:
    """When a JupyterLab was last used, and whether a kernel of it computes now."""

    used_at: datetime
    busy: bool


def activity(http: httpx.Client, ide: Ide, door: Door) -> Activity | None:
    """Ask a JupyterLab how much it is used; None where it does not answer."""
    base = f"http://127.0.0.1:{door.port}{ide.base}api"
    headers = {"Authorization": door.authorization}
    quiet = {"no_track_activity": "1"}
    try:
        status = http.get(f"{base}/status", headers=headers, params=quiet).raise_for_status().json()
        kernels = http.get(f"{base}/kernels", headers=headers, params=quiet).raise_for_status().json()
        used_at = datetime.fromisoformat(status["last_activity"])
        return Activity(used_at, any(kernel["execution_state"] == "busy" for kernel in kernels))
    except (httpx.HTTPError, ValueError, KeyError, TypeError):
        return None
