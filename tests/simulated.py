"""A whole installation without its network, on a clock of its own: collector, schedule, alerts."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import polars as pl

from parts import UNSERVABLE
from parts_collector import report
from tidegauge.app import build_monitoring, build_services, open_database
from tidegauge.domain.catalogue import RepositoryKind, Source, SourceType, VersionState
from tidegauge.domain.deployment import Deployment, DeploymentState, Origin
from tidegauge.domain.events import HEADER_LENGTH, LATENCY_US, REQUEST_TYPE, RESPONSE_TYPE, STATUS, Event
from tidegauge.domain.identity import new_id
from tidegauge.domain.images import encode_png
from tidegauge.domain.monitor import Feature, FeatureKind, Monitor, MonitorState, ValueType
from tidegauge.domain.monitor_config import (
    DriftConfig,
    ImageShape,
    MonitorConfig,
    PerformanceConfig,
    TrainData,
)
from tidegauge.domain.tensors import encode_binary
from tidegauge.services import schedule
from tidegauge.services.bundle import Services
from tidegauge.services.catalogue import Catalogue
from tidegauge.services.notifications import Notifications
from tidegauge.services.worker import Worker
from tidegauge.settings import load_settings
from tidegauge.storage.objects import ObjectStore

Image = npt.NDArray[np.uint8]
OWNER = "operator"
START = datetime(2026, 3, 1, tzinfo=UTC)


class Clock:
    """Simulated time, the same in every process: whoever asks is told what the test has set."""

    def __init__(self) -> None:
        self._seconds = multiprocessing.get_context("spawn").Value("d", 0.0)

    @property
    def now(self) -> datetime:
        return START + timedelta(seconds=self._seconds.value)

    @now.setter
    def now(self, moment: datetime) -> None:
        self._seconds.value = (moment - START).total_seconds()

    def __call__(self) -> datetime:
        return self.now


def be_a_worker(home: Path, clock: Clock) -> None:
    """Be a worker process: look after monitors and at windows by the clock, until the parent ends."""
    settings = load_settings(home, {"port": 32999}, {})
    database = open_database(settings)
    store = ObjectStore(settings.store)
    catalogue = Catalogue(database, store, Worker(), home.absolute(), clock)
    notifications = Notifications(database, settings.address, clock)
    # The clock leaps by minutes, and would end the claims of workers that are well.
    schedule._LEASE = schedule._LOOK_LEASE = timedelta(days=1)
    monitoring = build_monitoring(settings, database, store, catalogue, notifications, lambda: None, clock)
    parent = multiprocessing.parent_process()
    while parent is not None and parent.is_alive():
        if not (monitoring.schedule.look() or monitoring.schedule.work()):
            time.sleep(0.03)


@dataclass
class Site:
    """Services in a folder, with the model that is deployed there."""

    services: Services
    clock: Any
    classes: tuple[str, ...]
    deployment: Deployment = field(init=False)
    monitor_id: str = ""

    @classmethod
    def build(
        cls,
        home: Path,
        classes: tuple[str, ...],
        clock: Callable[[], datetime] | None = None,
        **flags: object,
    ) -> Site:
        clock = clock or Clock()
        services = build_services(load_settings(home, {"port": 32999, **flags}, {}), now=clock)
        services.people.first_start()
        services.catalogue.start()
        return cls(services, clock, classes)

    def deploy(
        self,
        folder: Path,
        reference: list[str],
        positive: str,
        name: str = "chest-xray",
        scores: npt.NDArray[np.float32] | None = None,
        labels: npt.NDArray[np.str_] | None = None,
        outputs: npt.NDArray[np.float64] | None = None,
        **described: object,
    ) -> Deployment:
        """Register a model with its held-out predictions, and a deployment of it; nothing is started.

        ``outputs`` are those of a regression; ``described`` stands in model.json besides.
        """
        folder.mkdir(parents=True)
        (folder / "model.onnx").write_bytes(UNSERVABLE)  # answers come from the test
        (folder / "model.json").write_bytes(
            orjson.dumps({"classes": self.classes, "positive": positive, **described})
        )
        files = [f"{number}.png" for number in range(len(reference))]
        columns: dict[str, Any] = {"file": files, "output": reference}
        if scores is not None and labels is not None:
            columns |= {"label": labels}
            columns |= {f"p_{name}": scores[:, place] for place, name in enumerate(self.classes)}
        if outputs is not None:
            columns = {"output": outputs}
        pl.DataFrame(columns).write_parquet(folder / "reference.parquet")
        self.register(RepositoryKind.MODEL, name, folder, {"classes": self.classes, "positive": positive})
        model = self.services.catalogue.get(RepositoryKind.MODEL, OWNER, name)
        self.deployment = self.add_deployment(name, model.id)
        return self.deployment

    def add_deployment(self, name: str, model_id: str) -> Deployment:
        stopped = DeploymentState.STOPPED
        id_ = new_id()
        return self.services.database.deployments.add(
            Deployment(
                id_,
                name,
                OWNER,
                model_id,
                "chest-xray",
                1,
                True,
                Origin.EXTERNAL,
                stopped,
                stopped,
                self.clock(),
                f"/serve/{id_}",
            )
        )

    def register(
        self, kind: RepositoryKind, name: str, folder: Path, meta: dict[str, object] | None = None
    ) -> None:
        catalogue = self.services.catalogue
        source = Source(SourceType.FOLDER, str(folder))
        repository = catalogue.create(kind, name, OWNER, source, None)
        version = catalogue.add_version(repository, meta=meta)
        while catalogue.version(repository, version.number).state is VersionState.IMPORTING:
            time.sleep(0.05)
        found = catalogue.version(repository, version.number)
        if found.state is not VersionState.READY:
            raise SystemExit(f"{name} could not be imported: {found.error}")

    def add_images(self, name: str, folder: Path, images: Image, labels: npt.NDArray[np.str_]) -> None:
        for number, (image, label) in enumerate(zip(images, labels, strict=True)):
            place = folder / str(label)
            place.mkdir(parents=True, exist_ok=True)
            (place / f"{number:05d}.png").write_bytes(encode_png(image))
        self.register(RepositoryKind.DATASET, name, folder)

    def monitor(
        self,
        dataset: str,
        side: int = 200,
        frequency: int = 5,
        general: Mapping[str, Any] | None = None,
        **drift: Any,
    ) -> Monitor:
        """Create the monitor of the deployment, wait for its baseline, and start it.

        ``general`` are fields of its configuration, and ``drift`` those of drift, that are not as usual.
        """
        config = MonitorConfig(
            frequency_minutes=frequency,
            **(general or {}),
            drift=DriftConfig(True, image=ImageShape(side, side), train_data=TrainData(dataset, 1), **drift),
            performance=PerformanceConfig(enabled=True),
        )
        monitors = self.services.monitors
        monitor = monitors.create(self.deployment, config, OWNER)
        prediction = Feature("prediction", FeatureKind.PREDICTION, ValueType.CATEGORICAL)
        monitors.add_feature(monitor, prediction, OWNER)
        while (monitor := monitors.get(OWNER, monitor.id)).state is MonitorState.BASELINING:
            time.sleep(0.05)
        if monitor.state is not MonitorState.READY:
            raise SystemExit(f"The monitor is {monitor.state.value}: {monitor.message}")
        self.monitor_id = monitor.id
        return monitors.start(monitor, OWNER)

    def send(
        self,
        images: Image,
        scores: npt.NDArray[np.float32],
        times: list[datetime],
        attributes: Mapping[str, str] | None = None,
    ) -> list[str]:
        """Log a request with its answer for each image, through the collector; return the event ids."""
        events: list[Event] = []
        ids = []
        for image, score, moment in zip(images, scores, times, strict=True):
            ids.append(new_id())
            events += self.events(ids[-1], image, score, moment, attributes)
        report(self.services.collector, self.deployment.id, events, self.clock())
        return ids

    def ask(
        self, asked: list[list[Any]], told: list[list[Any]], times: list[datetime], latency: int = 900
    ) -> list[str]:
        """Log requests with rows (``instances``) and answers (``predictions``); return the event ids."""
        bodies = [{"instances": rows} for rows in asked]
        return self.log(bodies, [{"predictions": answers} for answers in told], times, latency)

    def log(self, asked: list[Any], told: list[Any], times: list[datetime], latency: int = 900) -> list[str]:
        """Log requests and their answers, bodies of JSON; return the event ids."""
        events: list[Event] = []
        ids = []
        source = f"/deployments/{self.deployment.id}"
        for request, response, moment in zip(asked, told, times, strict=True):
            ids.append(new_id())
            kind, body = "application/json", orjson.dumps(request)
            answer, noted = orjson.dumps(response), {STATUS: 200, LATENCY_US: latency}
            events.append(Event(ids[-1], source, REQUEST_TYPE, moment, kind, body, {}))
            events.append(Event(ids[-1], source, RESPONSE_TYPE, moment, kind, answer, noted))
        report(self.services.collector, self.deployment.id, events, self.clock())
        return ids

    def events(
        self,
        id_: str,
        image: Image,
        score: npt.NDArray[np.float32],
        moment: datetime,
        attributes: Mapping[str, str] | None = None,
    ) -> list[Event]:
        """Return the request and the response of an image."""
        source = f"/deployments/{self.deployment.id}"
        body, length = encode_binary(
            {"input_1": image[np.newaxis].astype(np.float32)}, "inputs", compact=True
        )
        answer, answer_length = encode_binary({"output_1": score[np.newaxis]}, "outputs", compact=True)
        binary = "application/octet-stream"
        asked = {**(attributes or {}), HEADER_LENGTH: length}
        told = {**(attributes or {}), HEADER_LENGTH: answer_length, STATUS: 200, LATENCY_US: 1200}
        return [
            Event(id_, source, REQUEST_TYPE, moment, binary, body, asked),
            Event(id_, source, RESPONSE_TYPE, moment, binary, answer, told),
        ]

    def work(self) -> int:
        """Make due what is due by the clock, look at it, and return how many windows that were."""
        self.services.collector.flush()
        for monitor in self.services.database.monitors.where():
            self.services.runs.catch_up(monitor)  # the schedule does so from time to time
        self.look()
        count = 0
        while self.services.schedule.work():
            count += 1
        return count

    def look(self) -> None:
        """Make due what is due by the clock."""
        while self.services.schedule.look():
            pass

    def follow(self, most: timedelta) -> None:
        """Wait until workers of other processes are no farther behind than so."""
        while self.behind() > most:
            time.sleep(0.05)

    def behind(self) -> timedelta:
        """Return how much time lies between the clock and the end of the last window that was looked at."""
        monitor = self.services.database.monitors.get(self.monitor_id)
        return self.clock() - (monitor.last_run_at or monitor.due_from or self.clock())

    def finish(self, end: datetime) -> None:
        """Wait until workers of other processes have looked at all that is due, up to ``end``."""
        while self.services.database.monitors.get(self.monitor_id).due_from != end or self.waiting():
            time.sleep(0.02)

    def waiting(self) -> int:
        return self.services.database.due_windows.count()

    def close(self) -> None:
        self.services.worker.close()
        self.services.collector.close()
        self.services.database.close()
