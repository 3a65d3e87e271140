"""What another cluster has logged: found in a Dataset, and read as this cluster's own log is."""

from __future__ import annotations

from tidegauge.domain.monitor import Monitor
from tidegauge.errors import TidegaugeError, UnavailableError
from tidegauge.services.noting import Noting
from tidegauge.services.sources.logs import Logs
from tidegauge.services.sources.places import Places

_PLACE = "drift.predict_dataset"


class ForeignLogs:
    """Takes down what has come to the Dataset with the logs of another cluster."""

    def __init__(self, places: Places, logs: Logs, noting: Noting) -> None:
        self._places = places
        self._logs = logs
        self._noting = noting

    def take_down(self, monitor: Monitor) -> bool:
        """Have new files read, some at once; return whether these are all.

        A Dataset that cannot be read is told of in the runs and holds up nothing.
        """
        if monitor.config.drift.predict_data != "dataset":
            return True
        deployment_id = monitor.deployment_id
        try:
            found, is_all = self._logs.scan(monitor)
        except TidegaugeError as error:
            self._places.tell(deployment_id, "event", _PLACE, error.message)
            return True
        self._places.tell(deployment_id, "event", _PLACE, "")
        self._noting.note([(deployment_id, id_) for id_ in found])
        return is_all

    def tell(self, monitor: Monitor, error: UnavailableError) -> None:
        """Say that a file could not be read, which is tried again; of this cluster's log, raise that."""
        if monitor.config.drift.predict_data != "dataset":
            raise error
        self._places.tell(monitor.deployment_id, "event", _PLACE, error.message)
