"""The playground: asks a served model about what a person drops, beside the baseline, and keeps nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt
import orjson

from tidegauge.domain.catalogue import RepositoryKind
from tidegauge.domain.cluster import Part, lacks
from tidegauge.domain.deployment import Deployment, DeploymentState, Origin
from tidegauge.domain.events import RESPONSE_TYPE, Event
from tidegauge.domain.images import Image, decode_image, encode_png, to_shape
from tidegauge.domain.labels import label_text
from tidegauge.domain.monitor import Monitor
from tidegauge.domain.monitor_config import ImageShape
from tidegauge.errors import (
    ConflictError,
    InvalidInputError,
    NotFoundError,
    TidegaugeError,
    TooLargeError,
    UnavailableError,
)
from tidegauge.services import asking
from tidegauge.services.asking import Field, Model
from tidegauge.services.baselines import Baseline, Baselines
from tidegauge.services.catalogue import Catalogue
from tidegauge.services.explaining import Beside, Usual, attributes_of, changes_of, share_below, usual_of
from tidegauge.services.payloads import is_unit
from tidegauge.services.showing import Showing
from tidegauge.services.sources.logs import Logs
from tidegauge.services.tabular.requests import Reading, decode_numbers
from tidegauge.serving.bodies import PROBE
from tidegauge.settings import ClusterRole
from tidegauge.stats.images import observe
from tidegauge.stats.images.space import apart
from tidegauge.storage.database import Database

_SECONDS = 60.0
_MOST_BYTES = 32 << 20  # of a dropped file
_NEAREST = 5
_LOOKED_AT = 5  # logged requests that tell how clients send grey levels
_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_DEPTH, _PNG_COLOUR = 24, 25  # bytes of a PNG
_PNG_ALPHA = (4, 6)
_DEEP = 16


@dataclass(frozen=True)
class Plan:
    """What the playground of a deployment takes: images of a shape, or a row of fields.

    ``monitor`` is None where nothing is compared; ``lacking`` says why.
    """

    shape: ImageShape | None
    fields: tuple[Field, ...]
    monitor: Monitor | None
    lacking: str


@dataclass(frozen=True)
class Near:
    """An image of the training data that looks like a dropped one; ``problem``: it cannot be shown."""

    name: str
    label: str | None
    problem: str


@dataclass(frozen=True)
class Reply:
    """What the model answered: a class with the score of each, or a number, or else its raw words."""

    prediction: str
    scores: tuple[tuple[str, float], ...]
    milliseconds: float


@dataclass(frozen=True)
class ImageAnswer:
    """What came of one dropped image; ``png`` is how the model sees it, ``notes`` what was done for that."""

    name: str
    problem: str = ""
    png: bytes = b""
    notes: tuple[str, ...] = ()
    reply: Reply | None = None
    beside: Beside | None = None
    usual: Usual | None = None
    nearest: tuple[Near, ...] = ()


@dataclass(frozen=True)
class RowAnswer:
    """What came of a row, and where each of its values lies in the baseline."""

    reply: Reply
    placed: tuple[asking.Placed, ...]


class Playground:
    """Asks the served process itself, by requests that are no traffic."""

    def __init__(
        self,
        database: Database,
        catalogue: Catalogue,
        baselines: Baselines,
        showing: Showing,
        logs: Logs,
        now: Callable[[], datetime],
        role: ClusterRole = ClusterRole.BOTH,
    ) -> None:
        self._database = database
        self._catalogue = catalogue
        self._baselines = baselines
        self._showing = showing
        self._logs = logs
        self._now = now
        self._role = role
        self._http = httpx.Client(timeout=_SECONDS, trust_env=False, headers={PROBE: "playground"})

    def close(self) -> None:
        """Close the connections to the served processes."""
        self._http.close()

    def plan(self, deployment: Deployment) -> Plan:
        """Return what can be asked; a sentence in an error says why nothing can."""
        return self._plan(deployment, self._model(deployment))[0]

    def images(
        self, deployment: Deployment, files: Sequence[tuple[str, bytes]]
    ) -> tuple[Plan, list[ImageAnswer]]:
        """Ask about images, each a name and its bytes; what is wrong with one stands in its answer."""
        model = self._model(deployment)
        plan, baseline = self._plan(deployment, model)
        if plan.shape is None:
            raise ConflictError(f"The model of {deployment.name!r} takes no images; fill in the form.")
        unit = self._sends_units(deployment, plan.shape)
        answers = []
        for name, data in files:
            try:
                answers.append(self._image(deployment, model, plan, baseline, name, data, unit=unit))
            except InvalidInputError as error:
                answers.append(ImageAnswer(name, error.message))
        return plan, answers

    def row(self, deployment: Deployment, values: Mapping[str, str]) -> tuple[Plan, RowAnswer]:
        """Ask about one row; InvalidInputError with every value that the model cannot take."""
        model = self._model(deployment)
        plan, baseline = self._plan(deployment, model)
        body = asking.row_body(model, plan.fields, values)
        reply = self._reply(deployment, model, baseline, body)
        return plan, RowAnswer(reply, asking.placed(baseline, values) if baseline else ())

    def _model(self, deployment: Deployment) -> Model:
        return asking.described(self._ask(deployment, "GET", f"/v2/models/{deployment.name}"))

    def _plan(self, deployment: Deployment, model: Model) -> tuple[Plan, Baseline | None]:
        monitor, baseline, lacking = self._baseline(deployment)
        wanted = monitor.config.drift.image if monitor else None
        shape = asking.image_shape(model, wanted)
        fields: tuple[Field, ...] = ()
        if shape is None:
            version = self._catalogue.version(
                self._catalogue.get(RepositoryKind.MODEL, deployment.owner, deployment.model_id),
                deployment.model_version,
            )
            fields = asking.fields(model, baseline, version.meta)
        return Plan(shape, fields, monitor if baseline else None, lacking), baseline

    def _baseline(self, deployment: Deployment) -> tuple[Monitor | None, Baseline | None, str]:
        """Return the monitor of a deployment with its baseline, or why there is nothing to compare with."""
        if sentence := lacks(self._role, Part.MONITORING):
            return None, None, sentence
        monitor = self._database.monitors.find(deployment_id=deployment.id)
        if monitor is None:
            return None, None, "The deployment has no monitor, so there is no baseline to compare with."
        if not monitor.config.drift.enabled:
            return monitor, None, "The monitor does not watch drift, so it has no baseline to compare with."
        if not monitor.baseline:
            return monitor, None, f"The monitor has no baseline yet; it is {monitor.state.value}."
        try:
            return monitor, self._baselines.load(monitor), ""
        except (ConflictError, NotFoundError) as error:
            return monitor, None, error.message

    def _image(
        self,
        deployment: Deployment,
        model: Model,
        plan: Plan,
        baseline: Baseline | None,
        name: str,
        data: bytes,
        *,
        unit: bool,
    ) -> ImageAnswer:
        shape = plan.shape
        if shape is None:
            raise InvalidInputError("The model takes no images.")
        if len(data) > _MOST_BYTES:
            raise TooLargeError(
                f"{name} has {len(data) >> 20} MB; drop a file of {_MOST_BYTES >> 20} MB at most."
            )
        decoded = decode_image(data, name)
        seen = to_shape(decoded, shape.height, shape.width, shape.channels)
        notes = _notes(data, decoded, shape)
        if unit:
            notes = (*notes, "Its grey levels are sent as 0 to 1, as clients of this deployment do.")
        body = asking.image_body(model, shape, seen, unit=unit)
        reply = self._reply(deployment, model, baseline, body)
        answer = ImageAnswer(name, png=encode_png(seen), notes=notes, reply=reply)
        if plan.monitor is None or baseline is None:
            return answer
        return self._compared(plan.monitor, baseline, decoded, answer)

    def _compared(
        self, monitor: Monitor, baseline: Baseline, decoded: Image, answer: ImageAnswer
    ) -> ImageAnswer:
        """Add how strange the image is to the baseline, and which images of that look like it."""
        image, shape = baseline.image, monitor.config.drift.image
        if image is None or shape is None or image.space is None:
            return answer
        features = image.extract(to_shape(decoded, shape.height, shape.width, shape.channels)[np.newaxis])
        seen = observe(image, features)
        strangeness = float(seen.strangeness[0])
        order = np.argsort(apart(features.reduced, image.reduced)[0], kind="stable")[:_NEAREST]
        return replace(
            answer,
            beside=Beside(
                strangeness,
                share_below(image, strangeness),
                attributes_of(image, features.attributes[0]),
                changes_of(image, seen.observations[0]),
            ),
            usual=usual_of(image),
            nearest=tuple(self._near(monitor, baseline.paths[place]) for place in order),
        )

    def _near(self, monitor: Monitor, name: str) -> Near:
        try:
            return Near(name, self._showing.training(monitor, monitor.config_version, name).label, "")
        except TidegaugeError as error:
            return Near(name, None, error.message)

    def _reply(
        self,
        deployment: Deployment,
        model: Model,
        baseline: Baseline | None,
        body: bytes,
    ) -> Reply:
        begun = time.perf_counter()
        path = deployment.predict_path.removeprefix(f"/serve/{deployment.id}")
        data = self._ask(deployment, "POST", path, body)
        milliseconds = (time.perf_counter() - begun) * 1000
        numbers = baseline is not None and baseline.numbers
        classes = baseline.classes if baseline else tuple(label_text(name) for name in model.classes)
        prediction, scores = self._read(data, Reading((), numbers, classes))
        return Reply(prediction, scores, milliseconds)

    def _read(self, data: bytes, reading: Reading) -> tuple[str, tuple[tuple[str, float], ...]]:
        """Read an answer as a monitor would; else as a number; else as it is."""
        event = Event("playground", "playground", RESPONSE_TYPE, self._now(), "application/json", data)
        try:
            if reading.numbers:
                return label_text(float(decode_numbers(event)[0, 0])), ()
            scores: npt.NDArray[Any] = reading.scores(event)[0]
            names = reading.classes or [str(place) for place in range(len(scores))]
            return names[int(scores.argmax())], tuple(zip(names, scores.tolist(), strict=False))
        except InvalidInputError:
            pass
        try:
            return label_text(float(decode_numbers(event)[0, 0])), ()
        except InvalidInputError:
            return data[:500].decode(errors="replace"), ()

    def _ask(self, deployment: Deployment, method: str, path: str, body: bytes | None = None) -> bytes:
        """Ask the served process past the proxy, which lets nobody else say that a request is no traffic."""
        if deployment.origin is not Origin.LOCAL:
            raise ConflictError(
                f"The deployment {deployment.name!r} is {deployment.origin.value}: its model is served "
                "elsewhere, and the playground asks only models that are served here."
            )
        if deployment.wanted is DeploymentState.STOPPED:
            raise ConflictError(f"The deployment {deployment.name!r} is stopped; start it first.")
        if not deployment.port or deployment.state is not DeploymentState.RUNNING:
            raise UnavailableError(
                f"The deployment {deployment.name!r} is {deployment.state.value}; try again soon."
            )
        try:
            answer = self._http.request(method, f"http://127.0.0.1:{deployment.port}{path}", content=body)
        except httpx.HTTPError as error:
            raise UnavailableError(
                f"The model server of {deployment.name!r} does not answer; try again soon."
            ) from error
        if answer.status_code != httpx.codes.OK:
            raise InvalidInputError(f"The model server refused: {_reason(answer)}")
        return answer.content

    def _sends_units(self, deployment: Deployment, shape: ImageShape) -> bool:
        """Tell whether clients send grey levels from 0 to 1, by what was logged last."""
        newest = self._database.log_files.where(deployment_id=deployment.id, sort="-number", limit=1)
        try:
            records = self._logs.file(deployment.id, newest[0].id) if newest else []
        except NotFoundError:
            return False
        found: list[bool] = []
        for record in records:
            if record.event.type != RESPONSE_TYPE and len(found) < _LOOKED_AT:
                try:
                    found.append(is_unit(record.event, shape))
                except InvalidInputError:
                    continue
        return sum(found) * 2 > len(found)


def _notes(data: bytes, decoded: Image, shape: ImageShape) -> tuple[str, ...]:
    """Say what happens to an image on its way to what the model sees."""
    height, width = decoded.shape[:2]
    said = []
    if data.startswith(_PNG) and data[_PNG_DEPTH] == _DEEP:
        said.append("It has 16 bits a pixel; the model sees 8 of them.")
    if data.startswith(_PNG) and data[_PNG_COLOUR] in _PNG_ALPHA:
        said.append("Its transparency is left out.")
    if decoded.ndim == 3 and shape.channels == 1:
        said.append("It is in colour; the model sees it in grey.")
    if decoded.ndim == 2 and shape.channels == 3:
        said.append("It is grey; the model sees the same in each of its three colours.")
    if (height, width) != (shape.height, shape.width):
        squeezed = abs(width * shape.height - height * shape.width) > 0.02 * width * shape.height
        said.append(
            f"It has {width} by {height} pixels; the model sees {shape.width} by {shape.height}"
            f"{', out of proportion' if squeezed else ''}."
        )
    return tuple(said)


def _reason(answer: httpx.Response) -> str:
    try:
        said = orjson.loads(answer.content)["error"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        said = f"HTTP status {answer.status_code}."
    return str(said)
