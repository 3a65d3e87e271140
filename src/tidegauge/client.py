"""The SDK: everything that the pages do, over HTTP.

>>> client = Client("http://127.0.0.1:32222", "tg_...")
>>> client.url
'http://127.0.0.1:32222'
"""

from __future__ import annotations

import builtins
import csv
import io
import json
import os
import tarfile
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, TypeVar
from urllib.parse import quote

import httpx
from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_jsonable_python

from tidegauge.domain.alert import Alert, AlertEvent
from tidegauge.domain.catalogue import Repository, Version, VersionState
from tidegauge.domain.deployment import Deployment, DeploymentState
from tidegauge.domain.monitor import Monitor, MonitorConfig, MonitorRun, MonitorState
from tidegauge.domain.pipeline import PipelineRun
from tidegauge.domain.users import User
from tidegauge.errors import (
    ConflictError,
    FieldError,
    ForbiddenError,
    InvalidInputError,
    NotFoundError,
    NotSignedInError,
    TidegaugeError,
    UnavailableError,
)

T = TypeVar("T")
Progress = Callable[[str, int, int], None]

_ERRORS: Mapping[int, type[TidegaugeError]] = {
    400: InvalidInputError,
    401: NotSignedInError,
    403: ForbiddenError,
    404: NotFoundError,
    409: ConflictError,
    413: InvalidInputError,
    422: InvalidInputError,
    502: UnavailableError,
    503: UnavailableError,
    504: UnavailableError,
}
_PAGE = 200


def credentials_file() -> Path:
    """Return where ``tidegauge login`` keeps the address and the token."""
    return (
        Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "tidegauge" / "credentials.toml"
    )


def _saved_credentials() -> dict[str, Any]:
    path = credentials_file()
    try:
        return tomllib.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidInputError(
            f"{path} is damaged ({error}); sign in again with: tidegauge login"
        ) from error


def _check_url(url: str) -> httpx.URL:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        parsed = httpx.URL("")
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise InvalidInputError.of("url", f"url is {url!r}; give an address such as http://127.0.0.1:32222.")
    return parsed


def _check_token(token: str) -> str:
    if not (token.isascii() and token.isprintable()) or " " in token:
        raise InvalidInputError.of("token", "The token has characters that no token has; copy it again.")
    return token


def _is_loopback(url: str) -> bool:
    """Tell whether an address is this machine's own.

    >>> [_is_loopback(f"http://{host}:80") for host in ("localhost", "127.0.0.1", "[::1]", "example.org")]
    [True, True, True, False]
    """
    host = httpx.URL(url).host
    return host in {"localhost", "::1"} or host.startswith("127.")


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


class Client:
    """A connection to one Tidegauge server.

    Without arguments: ``TIDEGAUGE_URL`` and ``TIDEGAUGE_TOKEN``, else what ``tidegauge login`` saved,
    else ``http://127.0.0.1:32222``. A saved token goes to the server that it was saved for, to no other.
    Every call raises the classes of ``tidegauge.errors``.
    """

    def __init__(self, url: str | None = None, token: str | None = None, timeout: float = 60.0) -> None:
        saved = {} if url and token else _saved_credentials()
        self.url = (
            url or os.environ.get("TIDEGAUGE_URL") or saved.get("url") or "http://127.0.0.1:32222"
        ).rstrip("/")
        kept = saved.get("token") if saved.get("url") == self.url else None
        self.token = token or os.environ.get("TIDEGAUGE_TOKEN") or kept or ""
        self._http = httpx.Client(
            base_url=_check_url(self.url),
            headers={"Authorization": f"Bearer {_check_token(self.token)}"},
            timeout=timeout,
            # A proxy of the environment would be asked for this machine, too, and cannot know it.
            trust_env=not _is_loopback(self.url),
        )
        self.code = Repositories(self, "code")
        self.datasets = Repositories(self, "datasets")
        self.models = Repositories(self, "models")
        self.pipelines = Pipelines(self)
        self.deployments = Deployments(self)
        self.monitors = Monitors(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def me(self) -> User:
        """Return whose token this is."""
        return self.read(User, "GET", "/api/v1/me")

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Send a request; an answer that is an error is raised as one."""
        try:
            response = self._http.request(method, path, **options)
        except httpx.TransportError as error:
            raise self.unreachable(error) from error
        if response.is_error:
            raise _error(response)
        return response

    def unreachable(self, error: httpx.TransportError) -> UnavailableError:
        """Word a failed connection for a person."""
        return UnavailableError(
            f"{self.url} does not answer ({type(error).__name__}); start the server with: tidegauge up"
        )

    def read(self, kind: type[T], method: str, path: str, body: Any = None, **options: Any) -> T:
        """Send ``body`` as JSON and read the answer as ``kind``."""
        if body is not None:
            options["json"] = to_jsonable_python(body)
        return decode(kind, self.json(method, path, **options))

    def json(self, method: str, path: str, **options: Any) -> Any:
        """Send a request and return the JSON value of the answer."""
        response = self.request(method, path, **options)
        try:
            return response.json()
        except ValueError as error:
            raise TidegaugeError(
                f"{response.url} did not answer with JSON; is there a Tidegauge server at {self.url}?"
            ) from error

    def pages(self, kind: type[T], path: str, q: str = "", sort: str = "-id") -> Iterator[T]:
        """Yield every item of a listing, page by page."""
        cursor = ""
        while True:
            answer = self.json("GET", path, params={"limit": _PAGE, "cursor": cursor, "q": q, "sort": sort})
            yield from (decode(kind, item) for item in answer["items"])
            cursor = answer["cursor"]
            if not cursor:
                return


def decode(kind: type[T], value: Any) -> T:
    """Build a noun from its JSON value; TidegaugeError when the server speaks of something else."""
    try:
        result: T = _adapter(kind).validate_python(value)  # type: ignore[arg-type]  # a type is hashable
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "it"
        raise TidegaugeError(
            f"The server's answer is not understood ({where}: {first['msg']}); is its version another one?"
        ) from error
    return result


def _error(response: httpx.Response) -> TidegaugeError:
    response.read()
    try:
        answer = response.json()
        message = answer.get("detail") or answer.get("error") or response.text
        fields = tuple(FieldError(item["field"], item["message"]) for item in answer.get("errors", []))
    except (ValueError, AttributeError, KeyError, TypeError):
        message, fields = f"{response.url} answered {response.status_code}: {response.text[:200]}", ()
    return _ERRORS.get(response.status_code, TidegaugeError)(str(message), fields)


def wait_for(look: Callable[[], T], done: Callable[[T], bool], what: str, timeout: float) -> T:
    """Look again and again until ``done``; UnavailableError after ``timeout`` seconds."""
    deadline = time.monotonic() + timeout
    pause = 0.05
    while True:
        found = look()
        if done(found):
            return found
        if time.monotonic() > deadline:
            raise UnavailableError(f"{what} was not done after {timeout:g} s; it goes on, look again later.")
        time.sleep(pause)
        pause = min(1.0, pause * 1.5)


class Repositories:
    """Code, datasets or models with their versions."""

    def __init__(self, client: Client, plural: str) -> None:
        self._client = client
        self._path = f"/api/v1/{plural}"

    def create(
        self,
        name: str,
        *,
        git: str = "",
        branch: str = "",
        sub_path: str = "",
        folder: str | Path = "",
        form: str | None = None,
    ) -> Repository:
        """Create a repository from git, from a folder on the server's machine, or (neither) for uploads."""
        if git and folder:
            raise InvalidInputError.of("folder", "Give git or folder, not both.")
        kind = "git" if git else "folder" if folder else "upload"
        source = {"type": kind, "url": git or str(folder), "branch": branch, "sub_path": sub_path}
        body = {"name": name, "source": source, "form": form}
        return self._client.read(Repository, "POST", self._path, body)

    def list(self, q: str = "") -> builtins.list[Repository]:
        return list(self._client.pages(Repository, self._path, q))

    def get(self, name: str) -> Repository:
        answer = self._client.json("GET", self._at(name))
        return decode(Repository, answer["repository"])

    def versions(self, name: str) -> builtins.list[Version]:
        answer = self._client.json("GET", self._at(name))
        return [decode(Version, item) for item in answer["versions"]]

    def version(self, name: str, number: int) -> Version:
        return self._client.read(Version, "GET", f"{self._at(name)}/versions/{number}")

    def delete(self, name: str) -> None:
        self._client.request("DELETE", self._at(name))

    def add_version(
        self,
        name: str,
        source: str | Path | None = None,
        *,
        meta: Mapping[str, Any] | None = None,
        progress: Progress | None = None,
        timeout: float = 3600.0,
    ) -> Version:
        """Import a version and wait for it.

        Without ``source`` it is read from the repository's own source; a folder or an archive is uploaded.
        """
        files: dict[str, Any] = {}
        with tempfile.TemporaryFile() as spool:
            if source is not None:
                _pack(Path(source), spool)
                size = spool.tell()
                spool.seek(0)
                body = _Watched(spool, size, progress) if progress else spool
                files = {"archive": ("archive", body, "application/octet-stream")}
            path = f"{self._at(name)}/versions"
            data = {"meta": json.dumps(to_jsonable_python(meta or {}))}
            version = self._client.read(
                Version, "POST", path, data=data, files=files or None, timeout=timeout
            )
        return self._wait(name, version.number, progress, timeout)

    def download(self, name: str, version: int, folder: str | Path, progress: Progress | None = None) -> Path:
        """Write the files of a version into ``folder`` (labelled forms: ``folder/<label>/<file>``)."""
        target = Path(folder)
        target.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile() as spool:
            url = f"{self._at(name)}/versions/{version}/archive"
            try:
                with self._client._http.stream("GET", url, timeout=600.0) as response:  # noqa: SLF001
                    if response.is_error:
                        raise _error(response)
                    total = int(response.headers.get("content-length", 0))
                    for chunk in response.iter_bytes(1 << 20):
                        spool.write(chunk)
                        if progress:
                            progress("download", spool.tell(), total)
            except httpx.TransportError as error:
                raise self._client.unreachable(error) from error
            spool.seek(0)
            with tarfile.open(fileobj=spool) as tar:
                tar.extractall(target, filter="data")
        return target

    def _wait(self, name: str, number: int, progress: Progress | None, timeout: float) -> Version:
        def look() -> Version:
            version = self.version(name, number)
            if progress:
                progress("import", version.done, version.total)
            return version

        version = wait_for(
            look, lambda v: v.state is not VersionState.IMPORTING, f"The import of {name} v{number}", timeout
        )
        if version.state is VersionState.FAILED:
            raise TidegaugeError(f"Version v{number} of {name!r} could not be imported: {version.error}")
        return version

    def _at(self, name: str) -> str:
        return f"{self._path}/{quote(name, safe='')}"


class _Watched(io.RawIOBase):
    """A file that tells how far it is read."""

    def __init__(self, file: IO[bytes], size: int, progress: Progress) -> None:
        super().__init__()
        self._file = file
        self._size = size
        self._progress = progress

    def read(self, size: int = -1) -> bytes:
        part = self._file.read(size)
        self._progress("upload", self._file.tell(), self._size)
        return part

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._file.tell()

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._file.seek(offset, whence)


def _pack(source: Path, spool: Any) -> None:
    """Write a folder as a tar, or an archive as it is."""
    if source.is_file():
        with source.open("rb") as file:
            while chunk := file.read(1 << 20):
                spool.write(chunk)
        return
    if not source.is_dir():
        raise InvalidInputError.of(
            "source", f"source is {str(source)!r}; give a folder or an archive that exists."
        )
    with tarfile.open(fileobj=spool, mode="w") as tar:
        tar.add(source, arcname=".")


class Pipelines:
    """Pipeline runs."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._path = "/api/v1/pipeline-runs"

    def run(
        self,
        *,
        code: str,
        dataset: str,
        model: str,
        deployment: str,
        file: str = "pipeline.py",
        **options: Any,
    ) -> PipelineRun:
        """Start a run; ``options``: code_version, dataset_version, parameters."""
        body = {
            "code": code,
            "dataset": dataset,
            "model": model,
            "deployment": deployment,
            "file": file,
            **options,
        }
        return self._client.read(PipelineRun, "POST", self._path, body)

    def list(self, q: str = "") -> builtins.list[PipelineRun]:
        return list(self._client.pages(PipelineRun, self._path, q))

    def get(self, run_id: str) -> PipelineRun:
        return self._client.read(PipelineRun, "GET", f"{self._path}/{run_id}")

    def log(self, run_id: str) -> str:
        return self._client.request("GET", f"{self._path}/{run_id}/log").text

    def cancel(self, run_id: str) -> PipelineRun:
        return self._client.read(PipelineRun, "POST", f"{self._path}/{run_id}/cancel")

    def wait(
        self, run_id: str, watch: Callable[[PipelineRun], None] | None = None, timeout: float = 7200.0
    ) -> PipelineRun:
        """Wait until the run has ended; ``watch`` sees it again and again meanwhile."""

        def look() -> PipelineRun:
            run = self.get(run_id)
            if watch:
                watch(run)
            return run

        return wait_for(look, lambda run: run.state.ended, f"The pipeline run {run_id}", timeout)


class Deployments:
    """Served models, their predictions and labels."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._path = "/api/v1/deployments"

    def create(self, name: str, model: str, version: int, *, logging: bool = True) -> Deployment:
        body = {"name": name, "model": model, "version": version, "logging": logging}
        return self._client.read(Deployment, "POST", self._path, body)

    def list(self, q: str = "") -> builtins.list[Deployment]:
        return list(self._client.pages(Deployment, self._path, q))

    def get(self, name_or_id: str) -> Deployment:
        return self._client.read(Deployment, "GET", self._at(name_or_id))

    def update(self, name_or_id: str, **changes: Any) -> Deployment:
        """Change ``version``, ``logging`` or ``wanted`` (running, stopped)."""
        return self._client.read(Deployment, "PATCH", self._at(name_or_id), changes)

    def wait(self, name_or_id: str, timeout: float = 120.0) -> Deployment:
        """Wait until it is running; TidegaugeError when it fails."""
        found = wait_for(
            lambda: self.get(name_or_id),
            lambda d: d.state in (DeploymentState.RUNNING, DeploymentState.FAILED),
            f"The deployment {name_or_id}",
            timeout,
        )
        if found.state is DeploymentState.FAILED:
            raise TidegaugeError(f"The deployment {found.name!r} has failed: {found.message}")
        return found

    def delete(self, name_or_id: str) -> None:
        self._client.request("DELETE", self._at(name_or_id))

    def log(self, name_or_id: str) -> str:
        return self._client.request("GET", f"{self._at(name_or_id)}/log").text

    def predict_url(self, deployment: Deployment) -> str:
        return self._client.url + deployment.predict_path

    def predict(
        self,
        deployment: Deployment,
        body: Mapping[str, Any],
        *,
        event_id: str | None = None,
        time: datetime | None = None,
    ) -> dict[str, Any]:
        """Send a TensorFlow Serving request; the event in the log takes the given id and time."""
        headers = {}
        if event_id:
            headers["ce-id"] = event_id
        if time:
            headers["ce-time"] = time.astimezone(UTC).isoformat()
        return dict(self._client.json("POST", deployment.predict_path, json=body, headers=headers))

    def put_labels(self, name_or_id: str, file: str, rows: Sequence[Mapping[str, Any]] | bytes) -> None:
        """Drop a label file: bytes as they are, or rows with the same keys as CSV."""
        data = rows if isinstance(rows, bytes) else _csv(rows)
        self._client.request("PUT", f"{self._at(name_or_id)}/livedata/{quote(file, safe='')}", content=data)

    def _at(self, name_or_id: str) -> str:
        return f"{self._path}/{quote(name_or_id, safe='')}"


def _csv(rows: Sequence[Mapping[str, Any]]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]) if rows else [])
    writer.writeheader()
    for row in rows:
        writer.writerow({k: v.isoformat() if isinstance(v, datetime) else v for k, v in row.items()})
    return text.getvalue().encode()


class Monitors:
    """Monitors, their schema, thresholds, alerts and runs."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._path = "/api/v1/monitors"

    def create(self, deployment: str, config: MonitorConfig | Mapping[str, Any] | None = None) -> Monitor:
        body = {"deployment": deployment, "config": config or MonitorConfig()}
        return self._client.read(Monitor, "POST", self._path, body)

    def list(self, q: str = "") -> builtins.list[Monitor]:
        return list(self._client.pages(Monitor, self._path, q))

    def get(self, key: str) -> Monitor:
        """Find a monitor by its id or by its deployment's name or id."""
        answer = self._client.json("GET", self._at(key))
        return decode(Monitor, answer["monitor"])

    def detail(self, key: str) -> dict[str, Any]:
        """Return the monitor with its deployment, alerts and transitions as plain values."""
        return dict(self._client.json("GET", self._at(key)))

    def configure(self, key: str, config: MonitorConfig | Mapping[str, Any]) -> Monitor:
        return self._client.read(Monitor, "PUT", f"{self._at(key)}/config", config)

    def baseline(self, key: str) -> Monitor:
        """Make the baseline anew; ``wait`` tells when it is done."""
        return self._client.read(Monitor, "POST", f"{self._at(key)}/baseline")

    def add_feature(self, key: str, name: str, kind: str, value_type: str) -> Monitor:
        body = {"name": name, "kind": kind, "value_type": value_type}
        return self._client.read(Monitor, "POST", f"{self._at(key)}/schema", body)

    def remove_feature(self, key: str, name: str) -> Monitor:
        path = f"{self._at(key)}/schema/{quote(name, safe='')}"
        return self._client.read(Monitor, "DELETE", path)

    def set_thresholds(self, key: str, thresholds: Mapping[str, Any] | bytes) -> Monitor:
        """Replace the thresholds by those of a JSON document."""
        content = thresholds if isinstance(thresholds, bytes) else json.dumps(thresholds).encode()
        return self._client.read(Monitor, "PUT", f"{self._at(key)}/thresholds", content=content)

    def start(self, key: str) -> Monitor:
        return self._client.read(Monitor, "POST", f"{self._at(key)}/start")

    def stop(self, key: str) -> Monitor:
        return self._client.read(Monitor, "POST", f"{self._at(key)}/stop")

    def delete(self, key: str) -> None:
        self._client.request("DELETE", self._at(key))

    def run(self, key: str, start: datetime, end: datetime) -> MonitorRun:
        """Look at the window [start, end) now."""
        body = {"start": start, "end": end}
        return self._client.read(MonitorRun, "POST", f"{self._at(key)}/runs", body)

    def runs(
        self, key: str, start: datetime | None = None, end: datetime | None = None
    ) -> builtins.list[MonitorRun]:
        """Return the latest result of each window that begins in [start, end), in order of time."""
        params = {k: v.isoformat() for k, v in (("start", start), ("end", end)) if v}
        path = f"{self._at(key)}/runs"
        return self._client.read(builtins.list[MonitorRun], "GET", path, params=params)

    def add_alert(
        self, key: str, name: str, metric: str, operator: str, bound: float, type_: str = "performance"
    ) -> Alert:
        body = {"name": name, "metric": metric, "operator": operator, "bound": bound, "type": type_}
        return self._client.read(Alert, "POST", f"{self._at(key)}/alerts", body)

    def alerts(self, key: str) -> builtins.list[Alert]:
        return self._client.read(builtins.list[Alert], "GET", f"{self._at(key)}/alerts")

    def delete_alert(self, key: str, alert_id: str) -> None:
        self._client.request("DELETE", f"{self._at(key)}/alerts/{alert_id}")

    def alert_events(self, key: str) -> builtins.list[AlertEvent]:
        return list(self._client.pages(AlertEvent, f"{self._at(key)}/alert-events"))

    def wait(
        self, key: str, progress: Callable[[Monitor], None] | None = None, timeout: float = 1800.0
    ) -> Monitor:
        """Wait until baselining has ended; TidegaugeError when it went wrong."""

        def look() -> Monitor:
            monitor = self.get(key)
            if progress:
                progress(monitor)
            return monitor

        monitor = wait_for(
            look, lambda m: m.state is not MonitorState.BASELINING, f"The baseline of {key}", timeout
        )
        if monitor.state is MonitorState.ERROR:
            raise TidegaugeError(f"The monitor is in error: {monitor.message}")
        return monitor

    def _at(self, key: str) -> str:
        return f"{self._path}/{quote(key, safe='')}"
