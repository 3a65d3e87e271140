"""The charts of a monitor: one call each, from what was found to an Altair chart.

The same chart stands in the page, in a notebook, in a mail and in a report.
"""

from tidegauge.charts import _lean  # noqa: F401 - before Altair is loaded
from tidegauge.charts.about import About, about
from tidegauge.charts.alerts import of_alert
from tidegauge.charts.answers import Answers, confusion, newest, predictions
from tidegauge.charts.look import without_hits
from tidegauge.charts.numbers import Numbers, numbers
from tidegauge.charts.over_time import evidence, lines, metric, timeline
from tidegauge.charts.rendering import show_in_notebooks, to_png, to_spec, to_svg
from tidegauge.charts.view import (
    HEALTH,
    OF_ANSWERS,
    OWN,
    WINDOWS,
    View,
    columns,
    draw,
    features,
    is_empty,
    key,
    known,
    names_of,
)

__all__ = [
    "HEALTH",
    "OF_ANSWERS",
    "OWN",
    "WINDOWS",
    "About",
    "Answers",
    "Numbers",
    "View",
    "about",
    "columns",
    "confusion",
    "draw",
    "evidence",
    "features",
    "is_empty",
    "key",
    "known",
    "lines",
    "metric",
    "names_of",
    "newest",
    "numbers",
    "of_alert",
    "predictions",
    "show_in_notebooks",
    "timeline",
    "to_png",
    "to_spec",
    "to_svg",
    "without_hits",
]
