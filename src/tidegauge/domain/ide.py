"""IDEs: a JupyterLab with a Code, which the server runs, and the commands that start one elsewhere."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import ClassVar

from tidegauge.domain.identity import check_name
from tidegauge.domain.shown import Shown
from tidegauge.domain.strict import STRICT
from tidegauge.errors import InvalidInputError, all_of

_VERSION = re.compile(r"\d{1,4}(\.\d{1,6}){0,2}")
_IMAGE = re.compile(r"[a-z0-9][a-zA-Z0-9._/:@-]{0,254}")


#: Below it is the JupyterLab of each IDE, by its id.
JUPYTER = "/jupyter"
FRAMEWORK_VERSION = "2.21"
IMAGE = "quay.io/jupyter/tensorflow-notebook:latest"


class Framework(StrEnum):
    TENSORFLOW = "tensorflow"
    NONE = "none"


class IdeState(StrEnum):
    STARTING = "starting"
    RUNNING = "running"
    FAILED = "failed"
    STOPPED = "stopped"


@dataclass(frozen=True)
class Ide(Shown):
    """A JupyterLab of somebody's, with a version of a Code in its workspace."""

    shown: ClassVar = ("name", "code", "code_version", "state", "message", "used_at", "lab")

    id: str
    owner: str
    name: str
    code: str
    code_version: int
    framework: Framework
    framework_version: str
    image: str  # for machines with Docker; here the server's own Python runs it
    wanted: IdeState  # running or stopped
    state: IdeState
    created_at: datetime
    message: str = ""
    until: datetime | None = None  # where who asked for it did so by a token that ends then
    token_id: str | None = None  # of the token that it was asked for by
    used_at: datetime | None = None  # what JupyterLab says of it
    restarts: int = 0

    @property
    def base(self) -> str:
        """The path below which its JupyterLab is.

        >>> Ide("1", "me", "lab", "mine", 1, Framework.NONE, "", "", *[IdeState.STOPPED] * 2, None).base
        '/jupyter/1/'
        """
        return f"{JUPYTER}/{self.id}/"

    @property
    def lab(self) -> str:
        """The path that opens it."""
        return f"{self.base}lab"

    @property
    def request(self) -> IdeRequest:
        """What was asked for."""
        return IdeRequest(self.name, self.code, self.framework, self.framework_version, self.image)


@dataclass(frozen=True)
class IdeRequest:
    """What the dialog + JupyterLab asks for."""

    __pydantic_config__ = STRICT
    name: str = ""
    code: str = ""
    framework: Framework = Framework.TENSORFLOW
    framework_version: str = FRAMEWORK_VERSION
    image: str = ""

    def check(self) -> None:
        """Raise InvalidInputError with every field that is wrong."""
        all_of(self._check_name, self._check_code, self._check_version, self._check_image)

    def _check_name(self) -> None:
        if not self.name:
            raise InvalidInputError.of("name", "name is missing; fill it in.")
        check_name(self.name)

    def _check_code(self) -> None:
        if not self.code:
            raise InvalidInputError.of("code", "code is missing; fill it in.")

    def _check_version(self) -> None:
        if self.framework is not Framework.NONE and not _VERSION.fullmatch(self.framework_version):
            raise InvalidInputError.of(
                "framework_version",
                f"framework_version is {self.framework_version!r}; give one such as 2.21 or 2.21.0.",
            )

    def _check_image(self) -> None:
        if self.image and not _IMAGE.fullmatch(self.image):
            raise InvalidInputError.of(
                "image",
                f"image is {self.image!r}; give a container image such as quay.io/jupyter/base-notebook, "
                "or leave it empty.",
            )

    def commands(self, version: int, url: str) -> tuple[str, ...]:
        """Return the commands for a shell of any machine with Python.

        >>> for line in IdeRequest("lab", "mine").commands(3, "http://h"):
        ...     print(line)
        export TIDEGAUGE_URL=http://h
        export TIDEGAUGE_TOKEN=tg_...
        python -m venv lab
        lab/bin/pip install tidegauge jupyterlab 'tensorflow-cpu==2.21.*'
        lab/bin/tidegauge code download mine 3 workspace/mine
        lab/bin/jupyter lab workspace
        """
        return (
            *_credentials(url),
            f"python -m venv {self.name}",
            f"{self.name}/bin/pip install {self._packages()}",
            f"{self.name}/bin/tidegauge code download {self.code} {version} workspace/{self.code}",
            f"{self.name}/bin/jupyter lab workspace",
        )

    def commands_in_image(self, version: int, url: str) -> tuple[str, ...]:
        """Return the commands for a machine with Docker; none without an image."""
        if not self.image:
            return ()
        inside = f"pip install tidegauge && tidegauge code download {self.code} {version} work/{self.code}"
        run = f"docker run --rm --name {self.name} --network host -e TIDEGAUGE_URL -e TIDEGAUGE_TOKEN"
        shell = shlex.quote(f"{inside} && exec start-notebook.py")
        return (*_credentials(url), f"{run} {shlex.quote(self.image)} bash -c {shell}")

    def _packages(self) -> str:
        if self.framework is Framework.NONE:
            return "tidegauge jupyterlab"
        exact = self.framework_version.count(".") == 2
        pinned = f"tensorflow-cpu=={self.framework_version}{'' if exact else '.*'}"
        return f"tidegauge jupyterlab {shlex.quote(pinned)}"


def _credentials(url: str) -> tuple[str, str]:
    return f"export TIDEGAUGE_URL={shlex.quote(url)}", "export TIDEGAUGE_TOKEN=tg_..."
