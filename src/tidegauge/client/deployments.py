"""Served models, their predictions and labels."""

from __future__ import annotations

import builtins
import csv
import io
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from tidegauge.client.connection import Connection, wait_for
from tidegauge.client.sharing import Sharing
from tidegauge.domain.cluster_link import Followed
from tidegauge.domain.deployment import Deployment, DeploymentState, Placed
from tidegauge.domain.erasure import Erasure
from tidegauge.domain.log_size import LogSize
from tidegauge.domain.served import ServedModel
from tidegauge.domain.users import AccessToken
from tidegauge.errors import ConflictError, TidegaugeError

if TYPE_CHECKING:
    from tidegauge.domain.capture import SpanCoverage


class Deployments(Sharing[Deployment]):
    """Served models, their predictions and labels."""

    _kind = Deployment

    def __init__(self, client: Connection) -> None:
        self._client = client
        self._path = "/api/v1/deployments"

    def create(self, name: str, model: str, version: int, *, logging: bool = True) -> Deployment:
        body = {"name": name, "model": model, "version": version, "logging": logging}
        return self._client.read(Deployment, "POST", self._path, body)

    def create_on_kserve(self, name: str, model: str, version: int, **options: Any) -> Placed:
        """Serve a version of a model by KServe on Kubernetes; the answer has the deployment and the manifest.

        ``options``: ``namespace``, ``runtime`` (``tidegauge``: our model server, or ``onnx``: the cluster's),
        ``min_replicas`` (0: none while nobody asks), ``max_replicas``, ``logging``, ``log_url`` (a bucket, in
        place of the collector), ``storage_uri`` (where the cluster finds the model) and ``manifest_only``,
        with which nothing is applied and the manifest holds the token of the log.
        """
        body = {"name": name, "model": model, "version": version, **options}
        return self._client.read(Placed, "POST", f"{self._path}/kserve", body)

    def register(
        self,
        name: str,
        *,
        model: str = "",
        version: int = 0,
        classes: Sequence[str] = (),
        service: str = "",
        namespace: str = "",
        predict_url: str = "",
        sampling: float = 1.0,
        keep_days: int | None = None,
        keep_bytes: int | None = None,
    ) -> Deployment:
        """Add a deployment that a server not ours has: it is nothing but the events that it is sent.

        ``model`` and ``version`` name its model where the catalogue has it too; else ``classes`` name its
        answers, in the order of the scores (none: a regression). KServe's logger reports it as ``service`` in
        ``namespace``; ``sampling`` is the share of its requests that is logged.
        """
        body = {
            "name": name,
            "model": model,
            "version": version,
            "classes": builtins.list(classes),
            "service": service,
            "namespace": namespace,
            "predict_url": predict_url,
            "sampling": sampling,
            "keep_days": keep_days,
            "keep_bytes": keep_bytes,
        }
        return self._client.read(Deployment, "POST", f"{self._path}/register", body)

    def import_(
        self,
        name: str,
        *,
        cluster: str,
        namespace: str = "",
        local_name: str = "",
        through: str = "link",
    ) -> Deployment:
        """Import a deployment of a serving cluster, with the model and training data that monitoring needs.

        ``cluster`` is the name of the link, ``namespace`` the user who has it over there, ``local_name`` what
        it is called here (by default as there). Its log comes ``through`` the link, or a Dataset that its
        monitor names.
        """
        body = {
            "name": name,
            "cluster": cluster,
            "namespace": namespace,
            "local_name": local_name,
            "through": through,
        }
        return self._client.read(Deployment, "POST", f"{self._path}/import", body)

    def followed(self, name_or_id: str) -> Followed:
        """Tell how far an imported deployment is followed; ConflictError for one that is not imported."""
        return self._client.read(Followed, "GET", f"{self._at(name_or_id)}/import")

    def wait_for_import(self, name_or_id: str, timeout: float = 600.0) -> Deployment:
        """Wait until the model of an imported deployment is here; UnavailableError where it takes longer."""
        wait_for(
            lambda: self.followed(name_or_id),
            lambda found: found.brought,
            f"The import of {name_or_id}",
            timeout,
        )
        return self.get(name_or_id)

    def look_up(self, url: str, model: str = "") -> ServedModel:
        """Tell what a server not ours serves at a URL: its base, or where a model of it is asked."""
        return self._client.read(ServedModel, "POST", f"{self._path}/look", {"url": url, "model": model})

    def import_url(
        self, url: str, *, model: str = "", name: str = "", classes: Sequence[str] = ()
    ) -> Deployment:
        """Add an external deployment of what is served at a URL, described by what its server says.

        Args:
            url: base of the server, or where the model is asked.
            model: which one, of a server that has several.
            name: of the deployment; by default that of the model.
            classes: names of its answers in the order of the scores; none for a regression.
        """
        body = {"url": url, "model": model, "name": name, "classes": [*classes]}
        return self._client.read(Deployment, "POST", f"{self._path}/import-url", body)

    def look_again(self, name_or_id: str) -> Deployment:
        """Look at the server of an external deployment now; ``served`` of the answer says what was found."""
        return self._client.read(Deployment, "POST", f"{self._at(name_or_id)}/look")

    def list(self, q: str = "") -> builtins.list[Deployment]:
        return list(self._client.pages(Deployment, self._path, q))

    def get(self, name_or_id: str) -> Deployment:
        return self._client.read(Deployment, "GET", self._at(name_or_id))

    def update(self, name_or_id: str, **changes: Any) -> Deployment:
        """Change what is given; of ``keep_days`` and ``keep_bytes`` 0 keeps all, None does as the server.

        Of one that is served here that is ``version``, ``logging`` and ``wanted`` (running, stopped); of an
        external one ``version``, ``classes``, ``service``, ``namespace`` and ``predict_url``; of both
        ``sampling``; of one on KServe ``version``, ``logging``, ``min_replicas`` and ``max_replicas``; and of
        any ``keep_days`` and ``keep_bytes``.
        """
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

    def inference_log(self, name_or_id: str) -> LogSize:
        """Tell how large its inference log is, and what has become of the files."""
        return self._client.read(LogSize, "GET", f"{self._at(name_or_id)}/inference-log")

    def captures(
        self, name_or_id: str, start: datetime | None = None, end: datetime | None = None
    ) -> SpanCoverage:
        """Compare what was served in [start, end), by default the last day, with what the log has.

        Counts are of the whole minutes that the span meets.
        """
        from tidegauge.domain.capture import SpanCoverage

        params = {name: time.isoformat() for name, time in (("start", start), ("end", end)) if time}
        return self._client.read(SpanCoverage, "GET", f"{self._at(name_or_id)}/captures", params=params)

    def tokens(self, name_or_id: str) -> builtins.list[AccessToken]:
        """List the tokens that report events of it, without their secrets."""
        return builtins.list(self._client.pages(AccessToken, f"{self._at(name_or_id)}/tokens"))

    def create_token(self, name_or_id: str, name: str) -> AccessToken:
        """Issue a token that reports events of it; its ``secret`` is told this once."""
        return self._client.read(AccessToken, "POST", f"{self._at(name_or_id)}/tokens", {"name": name})

    def revoke_token(self, name_or_id: str, token: str) -> None:
        """Revoke a token by its name or id: what is sent with it is refused from now on."""
        self._client.request("DELETE", f"{self._at(name_or_id)}/tokens/{quote(token, safe='')}")

    def events_url(self, deployment: Deployment) -> str:
        """Return where its events are sent."""
        return f"{self._client.url}{deployment.events_path}"

    def predict_url(self, deployment: Deployment) -> str:
        """Return where it is asked; empty where nobody has told where another server has it."""
        return (
            self._client.url + deployment.predict_path if deployment.predict_path else deployment.predict_url
        )

    def predict(
        self,
        deployment: Deployment,
        body: Mapping[str, Any],
        *,
        event_id: str | None = None,
        time: datetime | None = None,
    ) -> dict[str, Any]:
        """Send a TensorFlow Serving request; the event in the log takes the given id and time."""
        if deployment.elsewhere:
            raise ConflictError(deployment.elsewhere)
        headers = {}
        if event_id:
            headers["ce-id"] = event_id
        if time:
            headers["ce-time"] = time.astimezone(UTC).isoformat()
        return dict(self._client.json("POST", deployment.predict_path, json=body, headers=headers))

    def wait_for_log(self, name_or_id: str, timeout: float = 60.0) -> None:
        """Wait until its model server has reported to the log all that it was asked."""
        deployment = self.get(name_or_id)
        if deployment.elsewhere:
            raise ConflictError(deployment.elsewhere)
        wait_for(
            lambda: self._client.request("GET", f"/serve/{deployment.id}/healthz").json(),
            lambda health: health["queued"] == 0,
            f"The inference log of {name_or_id}",
            timeout,
        )

    def wait_to_follow(self, name_or_id: str, captured: int, timeout: float = 120.0) -> None:
        """Wait until an imported deployment has the log of the serving cluster, and the labels, of now.

        ``captured`` is how many requests of the last day have to be there at least.
        """
        at = datetime.now(UTC)

        def has_come() -> bool:
            known_until = self.followed(name_or_id).known_until
            return (
                known_until is not None
                and known_until >= at
                and self.captures(name_or_id).total.captured >= captured
            )

        wait_for(has_come, bool, f"The log of {name_or_id}", timeout)

    def put_labels(self, name_or_id: str, file: str, rows: Sequence[Mapping[str, Any]] | bytes) -> None:
        """Drop a label file: bytes as they are, or rows with the same keys as CSV."""
        data = rows if isinstance(rows, bytes) else _csv(rows)
        self._client.request("PUT", f"{self._at(name_or_id)}/livedata/{quote(file, safe='')}", content=data)

    def delete_events(self, name_or_id: str, event_ids: Sequence[str], note: str = "") -> tuple[Erasure, ...]:
        """Delete events from the log and from all that was made of them; NotFoundError for an unknown one."""
        body = {"event_ids": list(event_ids), "note": note}
        return self._client.read(tuple[Erasure, ...], "POST", f"{self._at(name_or_id)}/erasures", body)

    def erasures(self, name_or_id: str) -> builtins.list[Erasure]:
        """List the events that were deleted, newest first."""
        return list(self._client.pages(Erasure, f"{self._at(name_or_id)}/erasures"))

    def wait_for_erasures(self, name_or_id: str, timeout: float = 600.0) -> builtins.list[Erasure]:
        """Wait until nothing of what was to be deleted is left."""
        return wait_for(
            lambda: self.erasures(name_or_id),
            lambda found: all(erasure.done_at for erasure in found),
            f"The deletion of events of {name_or_id}",
            timeout,
        )

    def _at(self, name_or_id: str) -> str:
        return f"{self._path}/{quote(name_or_id, safe='')}"


def _csv(rows: Sequence[Mapping[str, Any]]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]) if rows else [])
    writer.writeheader()
    for row in rows:
        writer.writerow({k: v.isoformat() if isinstance(v, datetime) else v for k, v in row.items()})
    return text.getvalue().encode()
