"""The tour: a few pages of the product, each with what it is for."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import Response

from tidegauge.domain.status import ORDER
from tidegauge.errors import NotFoundError
from tidegauge.services.history import Glance
from tidegauge.ui.site import Pages, has, render
from tidegauge.web.access import Caller, Everything

PATH = "/tour"


@dataclass(frozen=True)
class Stop:
    """A stop of the tour; ``{monitor}`` and ``{run}`` of its path are of the visitor's worst monitor."""

    title: str
    text: str
    path: str
    instead: str = ""  # where there is no monitor yet

    def place(self, glance: Glance | None) -> str:
        if glance is None or ("{run}" in self.path and not glance.run_id):
            return self.instead or self.path
        return self.path.format(monitor=glance.id, run=glance.run_id)


STOPS = (
    Stop(
        "Dashboard",
        "Every monitor at a glance, the worst first: its status, the scores of its last window, and the last "
        "30 days as a strip. Critical is past a hard threshold, warning past a soft one. When something is "
        "wrong, this page says so before anything else.",
        "/",
    ),
    Stop(
        "The page of a monitor",
        "What a monitor has found over time, against its bands: how far the inputs are from the training "
        "data, how good the answers were, and how the deployment fares. Choose a span and share the link; "
        "whoever opens it sees exactly that.",
        "/monitors/{monitor}",
        "/monitors",
    ),
    Stop(
        "Why a verdict is so",
        "Each window has a page of its own. It names what moved, such as sharpness far below the baseline, "
        "and lays the strangest images beside their nearest of the training data. Here you see whether a "
        "scanner has changed or patients have.",
        "/monitors/{monitor}/runs/{run}",
        "/monitors",
    ),
    Stop(
        "Deployments",
        "The models that are served, each with its predict URL. Send it requests as you are used to: what it "
        "is asked and answers goes to the inference log, and Add Monitor begins to watch it. Drop an image "
        "into the playground to see what the model says of it.",
        "/deployments",
    ),
    Stop(
        "Runs",
        "A run trains your model by the pipeline in your Code and deploys it, step by step. When live images "
        "have drifted away for good, a retraining does the same with them and compares the candidate before "
        "anything is promoted.",
        "/pipeline-runs",
    ),
    Stop(
        "Notifications",
        "Alerts find you where you are: by mail, Slack, Teams, a webhook or Alertmanager. Make a channel and "
        "send it a test; then choose it in the alerts of your monitors.",
        "/settings/notifications",
    ),
    Stop(
        "Help",
        "Every page has its help in the menu. The walk from nothing to an active monitor takes ten short "
        "sections, and the statistics page says what each number means and what it does not.",
        "/help/workflow",
    ),
)

router = Pages(prefix=PATH)


@router.get("")
def tour(caller: Caller, services: Everything, stop: int = 1) -> Response:
    stops = [one for one in STOPS if has(one.path)]
    if not 1 <= stop <= len(stops):
        raise NotFoundError(f"The tour has {len(stops)} stops; {stop} is none of them.")
    glances = [one for one in services.history.glances(caller.name) if one.owner == caller.name]
    worst = max(glances, key=lambda glance: (bool(glance.run_id), ORDER.index(glance.status)), default=None)
    found = stops[stop - 1]
    return render(
        "tour/stop.html",
        user=caller,
        path=PATH,
        stop=found,
        number=stop,
        stops=stops,
        place=found.place(worst),
    )
