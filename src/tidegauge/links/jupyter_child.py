"""The JupyterLab of one IDE, in a process of its own; ``links.jupyter`` starts it."""

from __future__ import annotations

import argparse
import os
import signal
import time
from pathlib import Path

from jupyterlab.labapp import LabApp

from tidegauge.links.jupyter import SECRET
from tidegauge.links.jupyter_identity import OwnersOnly
from tidegauge.serving.parent import watch_parent

_GRACE_SECONDS = 10.0


def main() -> None:
    """Serve until told to end, or until the parent has ended."""
    parser = argparse.ArgumentParser(prog="python -m tidegauge.links.jupyter_child", description=__doc__)
    parser.add_argument("--parent-pid", type=int, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--base-url", required=True)
    parser.add_argument("--files", type=Path, required=True)
    parser.add_argument("--owner", required=True)
    options = parser.parse_args()
    OwnersOnly.secret, OwnersOnly.owner = os.environ.pop(SECRET), options.owner  # kernels do not inherit it
    watch_parent(options.parent_pid, _end)
    LabApp.launch_instance(argv=_settings(options))


def _end() -> None:
    """End in order, kernels and terminals included; at once where that takes too long."""
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_GRACE_SECONDS)
    os._exit(1)  # kernels end once their parent has


def _settings(options: argparse.Namespace) -> list[str]:
    """Return the settings as arguments, which go before what the owner writes into files."""
    server = {
        "identity_provider_class": f"{OwnersOnly.__module__}.{OwnersOnly.__name__}",
        "ip": "127.0.0.1",
        "port": options.port,
        "port_retries": 0,
        "base_url": options.base_url,
        "root_dir": options.files,
        "open_browser": False,
        "allow_root": True,  # whoever runs the server has decided that
        "allow_remote_access": True,  # the proxy passes on the name by which it was asked
        "quit_button": False,  # the page of the IDE stops it, and knows that it was stopped
    }
    lab = {
        "extension_manager": "readonly",
        "news_url": None,
        "check_for_updates_class": "jupyterlab.NeverCheckForUpdate",
    }
    parts = (("ServerApp", server), ("LabApp", lab))
    return [f"--{part}.{name}={value}" for part, values in parts for name, value in values.items()]


if __name__ == "__main__":
    main()
