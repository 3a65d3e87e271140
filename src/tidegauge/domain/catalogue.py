"""Code, Dataset and Model: repositories with immutable versions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Self

from tidegauge.domain.content import ContentForm, Problem
from tidegauge.domain.secret import NO_SECRET, Secret
from tidegauge.domain.strict import STRICT
from tidegauge.errors import FieldError, InvalidInputError

# Nothing that reading the URL would change: a prefix must not lead out of itself.
_BUCKET = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,62}(/(?!\.{1,2}(/|\Z))[^/\\%?#\s\0]+)*/?\Z")

# The page of a folder on GitHub, GitLab or Gitea: what a browser shows, and git cannot fetch.
_PAGE = re.compile(
    r"(?P<url>https?://[^/]+/[^/]+/.+?)/(-/)?(tree|blob|src/branch)/(?P<branch>[^/?#]+)(/(?P<path>[^?#]*))?"
)
_CREDENTIALS = re.compile(r"(?P<scheme>https?://)(?P<secret>[^/@\s]+)@")


class RepositoryKind(StrEnum):
    CODE = "code"
    DATASET = "dataset"
    MODEL = "model"

    @property
    def plural(self) -> str:
        """The word in URLs and store paths.

        >>> RepositoryKind.CODE.plural, RepositoryKind.MODEL.plural
        ('code', 'models')
        """
        return "code" if self is RepositoryKind.CODE else f"{self.value}s"


class SourceType(StrEnum):
    GIT = "git"
    FOLDER = "folder"
    UPLOAD = "upload"
    S3 = "s3"


@dataclass(frozen=True)
class Source:
    """Where versions come from.

    ``url`` is a git URL, a folder on the server's machine or s3://bucket/prefix. A bucket is read with the
    server's own credentials, or else by an ``endpoint`` (empty: AWS) and keys; no ``secret_key`` is shown.
    """

    __pydantic_config__ = STRICT
    type: SourceType
    url: str = ""
    branch: str = ""
    sub_path: str = ""
    endpoint: str = ""
    region: str = ""
    access_key: str = ""
    secret_key: Secret = NO_SECRET

    @property
    def is_foreign(self) -> bool:
        """Whether it is a bucket that the server's own credentials are not for."""
        return bool(self.endpoint or self.access_key)

    @property
    def whole_url(self) -> str:
        """The URL with the sub-path."""
        return "/".join(part for part in (self.url.rstrip("/"), self.sub_path.strip("/")) if part)

    def apart(self) -> tuple[Self, Secret]:
        """Return the source without its secret, and that: a bucket's key, or what a git URL has before the @.

        >>> source, secret = Source(SourceType.GIT, "https://me:word@example.org/x.git").apart()
        >>> source.url, str(secret) == "me:word"
        ('https://example.org/x.git', True)
        """
        if self.secret_key:
            return replace(self, secret_key=NO_SECRET), self.secret_key
        found = _CREDENTIALS.match(self.url) if self.type is SourceType.GIT else None
        if found is None:
            return self, NO_SECRET
        return replace(self, url=f"{found['scheme']}{self.url[found.end() :]}"), Secret(found["secret"])

    def check(self) -> None:
        """Raise InvalidInputError with every field that does not fit the type."""
        errors = []
        if self.type is SourceType.UPLOAD:
            errors = [
                FieldError(f"source.{name}", f"source.{name} is {value!r}; leave it out for an upload.")
                for name, value in (("url", self.url), ("branch", self.branch), ("sub_path", self.sub_path))
                if value
            ]
        elif not self.url:
            what = "a git URL" if self.type is SourceType.GIT else "a folder on the server's machine"
            errors.append(FieldError("source.url", f"source.url is empty; give {what}."))
        elif self.type is SourceType.GIT and (page := _PAGE.match(self.apart()[0].url)):
            place = (page["path"] or "").strip("/")
            more = f" and source.sub_path {place!r}" if place else ""
            errors.append(
                FieldError(
                    "source.url",
                    f"source.url is {page[0]!r}, a page that git cannot fetch; give source.url "
                    f"'{page['url'].removesuffix('.git')}.git', source.branch {page['branch']!r}{more}.",
                )
            )
        elif self.type is SourceType.S3 and not _BUCKET.match(self.whole_url):
            errors.append(
                FieldError(
                    "source.url",
                    f"source.url with source.sub_path is {self.whole_url!r}; give s3://bucket/prefix without "
                    "'..' and without the characters % ? # and \\.",
                )
            )
        if self.type in (SourceType.FOLDER, SourceType.S3) and self.branch:
            errors.append(
                FieldError("source.branch", f"source.branch is {self.branch!r}; only a git source has one.")
            )
        errors += self._check_access()
        if errors:
            raise InvalidInputError(" ".join(error.message for error in errors), tuple(errors))

    def _check_access(self) -> list[FieldError]:
        """Return what is wrong with how a bucket is to be reached."""
        given = {
            name: getattr(self, name)
            for name in ("endpoint", "region", "access_key", "secret_key")
            if getattr(self, name)
        }
        if self.type is not SourceType.S3:
            return [
                FieldError(f"source.{name}", f"source.{name} is {value!r}; only an S3 source has one.")
                for name, value in given.items()
            ]
        errors = [
            FieldError(
                f"source.{name}", f"source.{name} is {value!r}; give it without spaces and in plain letters."
            )
            for name, value in given.items()
            if not (value.isascii() and value.isprintable()) or " " in value
        ]
        if bool(self.access_key) != bool(self.secret_key):
            missing, other = ("secret_key", "access_key")[:: 1 if self.access_key else -1]
            errors.append(
                FieldError(f"source.{missing}", f"source.{missing} is empty; give it with source.{other}.")
            )
        if self.region and not self.is_foreign:
            errors.append(
                FieldError(
                    "source.region",
                    f"source.region is {self.region!r}; give source.endpoint or keys with it.",
                )
            )
        return errors


@dataclass(frozen=True)
class Repository:
    """A repository; its ``secret``, of a git URL (user and password) or of a bucket, is shown nowhere."""

    id: str
    kind: RepositoryKind
    name: str
    owner: str
    source: Source
    form: ContentForm | None  # None: recognised from the files
    created_at: datetime
    shared: bool = False
    secret: Secret = NO_SECRET


class VersionState(StrEnum):
    IMPORTING = "importing"
    READY = "ready"
    FAILED = "failed"


@dataclass(frozen=True)
class Version:
    """An immutable version; ``done`` of ``total`` files are read while it is importing."""

    id: str
    repository_id: str
    number: int
    state: VersionState
    created_at: datetime
    done: int = 0
    total: int = 0
    form: ContentForm | None = None
    classes: tuple[str, ...] = ()
    files: int = 0
    bytes: int = 0
    digest: str = ""  # of the manifest; the git commit stands in meta
    problems: tuple[Problem, ...] = ()
    meta: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""

    @property
    def label(self) -> str:
        return f"v{self.number}"
