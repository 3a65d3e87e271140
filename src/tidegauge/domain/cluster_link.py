"""Links from a monitoring cluster to serving clusters, and what is followed over them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

from tidegauge.domain.catalogue import RepositoryKind
from tidegauge.domain.deployment import DeploymentState, Origin
from tidegauge.domain.identity import check_name
from tidegauge.domain.secret import Secret
from tidegauge.errors import FieldError, InvalidInputError

#: Names the protocol of links; clusters that speak another cannot be linked.
PROTOCOL = 1
#: What a certificate is checked by; none: it is plain http.
Trust = Literal["system", "ca", "fingerprint", "none"]


class LinkState(StrEnum):
    """What is so of a link, as it was looked at last."""

    REACHABLE = "reachable"
    UNREACHABLE = "unreachable"  # it does not answer, or its certificate is not trusted
    REFUSED = "refused"  # it answers, and does not take the token


class Through(StrEnum):
    """How the log of an imported deployment comes here."""

    LINK = "link"
    DATASET = "dataset"  # a bucket that both clusters reach, as a Dataset that its monitor names


@dataclass(frozen=True)
class ClusterLink:
    """A serving cluster that this one may read; ``url`` has no final slash.

    ``ca`` holds certificates (PEM) that are trusted in place of the system's, ``fingerprint`` is the SHA-256
    of the only certificate that is trusted; at most one of them is given. ``user`` is whose token it is.
    """

    id: str
    name: str
    url: str
    token: Secret
    ca: str
    fingerprint: str
    state: LinkState
    message: str
    version: str
    user: str
    created_by: str
    created_at: datetime
    checked_at: datetime
    answered_at: datetime | None = None

    @property
    def trust(self) -> Trust:
        """What its certificate is checked by."""
        if not self.url.startswith("https://"):
            return "none"
        if self.fingerprint:
            return "fingerprint"
        return "ca" if self.ca else "system"

    def errors(self) -> Iterator[FieldError]:
        """Say what is wrong with what its operator tells of it."""
        try:
            check_name(self.name)
        except InvalidInputError as error:
            yield from error.errors
        if not self.token.strip():
            yield FieldError(
                "token", "token is empty; make one of the scope link on the serving cluster, and give it."
            )
        elif not (self.token.isascii() and self.token.isprintable()) or " " in self.token:
            yield FieldError("token", "token has characters that no token has; copy it again.")
        if self.ca and self.fingerprint:
            yield FieldError("fingerprint", "fingerprint stands beside ca; give only one of them.")
        for name, given in (("ca", self.ca), ("fingerprint", self.fingerprint)):
            if given and not self.url.startswith("https://"):
                yield FieldError(name, f"{name} is given, and url is not https; give an https URL.")


@dataclass(frozen=True)
class ShownLink:
    """A link as people see it: without its token."""

    id: str
    name: str
    url: str
    state: LinkState
    message: str
    version: str
    user: str
    trust: Trust
    created_by: str
    created_at: datetime
    checked_at: datetime
    answered_at: datetime | None
    deployments: int = 0  # that were imported over it


def shown(link: ClusterLink, deployments: int = 0) -> ShownLink:
    """Return what of a link may be told."""
    return ShownLink(
        link.id,
        link.name,
        link.url,
        link.state,
        link.message,
        link.version,
        link.user,
        link.trust,
        link.created_by,
        link.created_at,
        link.checked_at,
        link.answered_at,
        deployments,
    )


@dataclass(frozen=True)
class Greeting:
    """What a serving cluster says of itself to whoever has a token for it."""

    protocol: int
    version: str
    user: str


@dataclass(frozen=True)
class Content:
    """A version of a repository that an imported deployment needs."""

    kind: RepositoryKind
    name: str
    version: int
    digest: str  # of its manifest
    bytes: int
    meta: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Exported:
    """A deployment as its own cluster tells of it; ``namespace`` is who has it there."""

    id: str
    name: str
    namespace: str
    origin: Origin
    state: DeploymentState
    message: str
    logging: bool
    sampling: float
    classes: tuple[str, ...]
    predict_url: str
    model: Content | None
    training: Content | None
    files: int  # of its log so far


@dataclass(frozen=True)
class LabelFileInfo:
    """A label file that was dropped on the serving cluster; ``name`` is below the livedata prefix."""

    name: str
    size: int
    modified: datetime


@dataclass(frozen=True)
class Followed:
    """How far an imported deployment is followed, for people; ``brought``: its model, if any, is here."""

    cluster: str
    namespace: str
    name: str
    through: Through
    brought: bool
    files: int
    behind: int
    message: str
    looked_at: datetime | None
    known_until: datetime | None
    gone_at: datetime | None


@dataclass(frozen=True)
class Import:
    """What is followed of an imported deployment; the ``id`` is the deployment's, there and here.

    ``position`` is the number, over there, of the last file of the log that is here, ``last_file`` its path,
    which tells a log that was set back, and ``files`` how many there were when it was looked at last.
    ``sample`` is the id of the last health sample. ``model`` tells which was brought (empty: none so far).
    ``message`` says what is under way, or why nothing comes; ``gone_at`` is since when the deployment is not
    to be seen over there. Up to ``known_until`` its log is here.
    """

    id: str
    link_id: str
    namespace: str
    name: str
    through: Through
    position: int = 0
    last_file: str = ""
    files: int = 0
    sample: str = ""
    message: str = ""
    model: str = ""
    looked_at: datetime | None = None
    known_until: datetime | None = None
    gone_at: datetime | None = None

    @property
    def brought(self) -> bool:
        """Whether its model is here, if it has one."""
        return bool(self.model)

    @property
    def behind(self) -> int:
        """How many files of the log are still to come."""
        return max(0, self.files - self.position) if self.through is Through.LINK else 0
