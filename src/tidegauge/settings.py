"""Settings: environment ``TIDEGAUGE_*``, then ``<home>/tidegauge.toml``, then defaults; flags win."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from pathlib import Path
from typing import Any

from tidegauge.errors import InvalidInputError

KEY_FILE = "secrets.key"  # its name in the home folder
MOST_KEEP_DAYS = 36_500
MOST_SESSION_HOURS = 8760
MOST_IDE_IDLE_MINUTES = 525_600
MOST_KEEP_BYTES = 2**63 - 1  # what the database holds


class ClusterRole(StrEnum):
    """What a cluster is there for; ``domain.cluster`` says which parts it has."""

    BOTH = "both"
    SERVING = "serving"
    MONITORING = "monitoring"


@dataclass(frozen=True)
class Settings:
    """Every setting of a server; read once, at start. docs/settings.md lists them."""

    home: Path
    role: ClusterRole = ClusterRole.BOTH
    host: str = "127.0.0.1"
    port: int = 32222
    tls_certificate: str = ""  # file (PEM) with the certificate and what signed it; empty: no TLS
    tls_key: str = ""  # file (PEM)
    inner_port: int = 0  # with TLS: for processes of this server, on 127.0.0.1; 0: any that is free
    database_url: str = ""  # empty: SQLite in the home folder
    store_url: str = ""  # empty: a folder in the home folder
    max_upload_bytes: int = 20 * 2**30
    flush_seconds: int = 5
    collector_rate: int = 0  # events a second of one deployment; 0: any
    collector_waiting_bytes: int = 2 * 2**30  # of events that wait for the store; more are refused
    keep_days: int = 0  # of logs of deployments that say nothing of it; 0: all
    keep_bytes: int = 0
    session_idle_hours: int = 24  # that a sign-in in a browser lasts without use
    session_hours: int = 720  # that it lasts at most
    oidc_issuer: str = ""  # URL of a provider of sign-ins by OpenID Connect; empty: none
    oidc_client_id: str = ""
    oidc_client_secret: str = field(default="", repr=False)
    oidc_client_secret_file: str = ""  # in place of it
    oidc_scopes: str = "openid profile email"
    oidc_groups_claim: str = "groups"
    oidc_allowed_groups: str = ""  # with commas; empty: everybody whom the provider knows
    oidc_operator_groups: str = ""  # with commas; empty: roles are given here
    oidc_label: str = "single sign-on"  # on the button
    ide_idle_minutes: int = 120  # without use, after which an IDE is stopped; 0: never
    workers: int = 2  # threads that look at windows; 0: `tidegauge worker` does
    secrets_key: str = ""  # file with the key that seals secrets; empty: in the home folder
    allow_private_urls: bool = False  # of those who are not operators
    private_metrics: bool = False  # /metrics for operators alone
    kubernetes: str = ""  # in-cluster, or a kubeconfig file, to put deployments on KServe; empty: none
    kubernetes_namespaces: str = "default"  # with commas: in which InferenceServices may be made
    kserve_service_account: str = ""  # whose secrets open the bucket for KServe
    collector_url: str = ""  # of a collector, as pods of the cluster reach it
    serving_image: str = ""  # container image of the model server
    pipeline_image: str = ""  # container image of steps on Kubeflow; empty: they install what they need

    @property
    def database(self) -> str:
        return self.database_url or f"sqlite:///{self.home.absolute() / 'tidegauge.sqlite'}"

    @property
    def key_file(self) -> Path:
        """The file with the key that seals secrets."""
        return Path(self.secrets_key).expanduser() if self.secrets_key else self.home.absolute() / KEY_FILE

    @property
    def oidc_secret(self) -> str:
        """The secret of this cluster at the provider; InvalidInputError where its file cannot be read."""
        if not self.oidc_client_secret_file:
            return self.oidc_client_secret
        try:
            return Path(self.oidc_client_secret_file).expanduser().read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidInputError.of(
                "oidc_client_secret_file",
                f"oidc_client_secret_file is {self.oidc_client_secret_file!r}, which cannot be read.",
            ) from error

    @property
    def is_private(self) -> bool:
        """Whether only this machine can reach the server."""
        return self.host in {"localhost", "::1"} or self.host.startswith("127.")

    @property
    def address(self) -> str:
        """The server's URL as seen from this machine."""
        host = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104
        scheme = "https" if self.tls_certificate else "http"
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{self.port}"

    @property
    def inner_address(self) -> str:
        """The server's URL for processes that it starts: a certificate need not name this machine."""
        return f"http://127.0.0.1:{self.inner_port}" if self.tls_certificate else self.address

    @property
    def store(self) -> str:
        return self.store_url or str(self.home.absolute() / "store")


def default_home(environment: Mapping[str, str] = os.environ) -> Path:
    """Return ``TIDEGAUGE_HOME``, or ``~/.tidegauge``."""
    return Path(environment.get("TIDEGAUGE_HOME") or Path.home() / ".tidegauge")


def load_settings(
    home: Path | None = None,
    flags: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] = os.environ,
) -> Settings:
    """Read the settings; InvalidInputError names the setting, its value and where it came from."""
    folder = home or default_home(environment)
    known = {field.name: field.type for field in fields(Settings) if field.name != "home"}
    values: dict[str, Any] = {}
    for name, value, place in [
        *_from_file(folder / "tidegauge.toml", known),
        *(
            (name, environment[key], key)
            for name in known
            if (key := f"TIDEGAUGE_{name.upper()}") in environment
        ),
        *(
            (name, value, f"--{name.replace('_', '-')}")
            for name, value in (flags or {}).items()
            if value is not None
        ),
    ]:
        values[name] = _convert(name, value, place, known[name])
    settings = Settings(home=folder, **values)
    if not 1 <= settings.port <= 65535:
        raise InvalidInputError.of("port", f"port is {settings.port}; use a number from 1 to 65535.")
    if not 0 <= settings.inner_port <= 65535:
        raise InvalidInputError.of(
            "inner_port", f"inner_port is {settings.inner_port}; use a number from 0 (any) to 65535."
        )
    for name, other in (("tls_certificate", "tls_key"), ("tls_key", "tls_certificate")):
        if getattr(settings, other) and not getattr(settings, name):
            raise InvalidInputError.of(name, f"{name} is missing, which {other} needs; give both or neither.")
    if settings.flush_seconds < 1:
        raise InvalidInputError.of(
            "flush_seconds", f"flush_seconds is {settings.flush_seconds}; use 1 or more."
        )
    if settings.collector_rate < 0:
        raise InvalidInputError.of(
            "collector_rate", f"collector_rate is {settings.collector_rate}; use 0 (any rate) or more."
        )
    if settings.collector_waiting_bytes < 2**20:
        raise InvalidInputError.of(
            "collector_waiting_bytes",
            f"collector_waiting_bytes is {settings.collector_waiting_bytes}; use {2**20} or more.",
        )
    for name, value, most in (
        ("keep_days", settings.keep_days, MOST_KEEP_DAYS),
        ("keep_bytes", settings.keep_bytes, MOST_KEEP_BYTES),
    ):
        if not 0 <= value <= most:
            raise InvalidInputError.of(name, f"{name} is {value}; use 0 (all is kept) to {most:,}.")
    for name, hours in (
        ("session_idle_hours", settings.session_idle_hours),
        ("session_hours", settings.session_hours),
    ):
        if not 1 <= hours <= MOST_SESSION_HOURS:
            raise InvalidInputError.of(name, f"{name} is {hours}; use 1 to {MOST_SESSION_HOURS:,}.")
    _check_oidc(settings)
    _check_kubernetes(settings)
    if not 0 <= settings.ide_idle_minutes <= MOST_IDE_IDLE_MINUTES:
        raise InvalidInputError.of(
            "ide_idle_minutes",
            f"ide_idle_minutes is {settings.ide_idle_minutes}; use 0 (never) to {MOST_IDE_IDLE_MINUTES:,}.",
        )
    if not 0 <= settings.workers <= 64:
        raise InvalidInputError.of("workers", f"workers is {settings.workers}; use a number from 0 to 64.")
    return settings


def _check_oidc(settings: Settings) -> None:
    """Raise InvalidInputError for a provider of sign-ins that could not be asked."""
    if not settings.oidc_issuer:
        return
    if not _is_safe(settings.oidc_issuer):
        raise InvalidInputError.of(
            "oidc_issuer",
            f"oidc_issuer is {settings.oidc_issuer!r}; give the provider's https URL, as it calls itself.",
        )
    if not settings.oidc_client_id:
        raise InvalidInputError.of(
            "oidc_client_id",
            "oidc_client_id is missing; give the id that this cluster has at the provider.",
        )


def _check_kubernetes(settings: Settings) -> None:
    """Raise InvalidInputError for what no InferenceService could be made of."""
    url = settings.collector_url
    if url and (not url.startswith(("http://", "https://")) or "@" in url or "?" in url):
        raise InvalidInputError.of(
            "collector_url",
            f"collector_url is {url!r}; give the http(s) address of a collector, without a user, a password "
            "or a query.",
        )
    if settings.kubernetes and not settings.kubernetes_namespaces.replace(",", "").strip():
        raise InvalidInputError.of(
            "kubernetes_namespaces",
            "kubernetes_namespaces is empty, and kubernetes is set; name at least one namespace.",
        )


def _is_safe(issuer: str) -> bool:
    """Tell whether a provider is asked over TLS, or is on this machine."""
    return issuer.startswith(("https://", "http://127.0.0.1:", "http://localhost:"))


def _from_file(path: Path, known: Mapping[str, Any]) -> list[tuple[str, Any, str]]:
    if not path.exists():
        return []
    try:
        content = tomllib.loads(path.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"{path} is not valid TOML: {error}.") from error
    for name in content:
        if name not in known:
            raise InvalidInputError.of(
                name, f"{path} has an unknown setting {name!r}; known: {', '.join(known)}."
            )
    return [(name, value, str(path)) for name, value in content.items()]


def _convert(name: str, value: Any, place: str, kind: Any) -> Any:
    if kind == "bool":
        if isinstance(value, bool):
            return value
        if str(value).lower() in ("true", "false"):
            return str(value).lower() == "true"
        raise InvalidInputError.of(name, f"{name} is {value!r} in {place}; use true or false.")
    if kind == "ClusterRole":
        if value in list(ClusterRole):
            return ClusterRole(value)
        raise InvalidInputError.of(name, f"{name} is {value!r} in {place}; use {', '.join(ClusterRole)}.")
    if kind != "int":
        return str(value)
    # TOML has types of its own: neither true nor 1.5 is a whole number.
    if not isinstance(value, bool | float):
        try:
            return int(value)
        except (TypeError, ValueError):
            pass
    raise InvalidInputError.of(name, f"{name} is {value!r} in {place}; use a whole number.")
