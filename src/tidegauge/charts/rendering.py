"""From a chart to a picture or a spec, on this machine and without a browser."""

from __future__ import annotations

from typing import Any

import altair as alt
import vl_convert


def to_svg(chart: alt.TopLevelMixin) -> str:
    """Render a chart as SVG."""
    return str(vl_convert.vegalite_to_svg(chart.to_json(validate=False)))


def to_png(chart: alt.TopLevelMixin, scale: float = 2) -> bytes:
    """Render a chart as PNG on white."""
    spec = to_spec(chart) | {"background": "white"}
    return bytes(vl_convert.vegalite_to_png(spec, scale=scale))


def to_spec(chart: alt.TopLevelMixin) -> dict[str, Any]:
    """Return a chart as Vega-Lite, with its data."""
    spec: dict[str, Any] = chart.to_dict(validate=False)
    return spec


def show_in_notebooks() -> None:
    """Let notebooks show charts without a network, unless their author has chosen how.

    As Vega-Lite where a front end knows this version of it, and as a picture everywhere else. Altair's own
    way loads Vega from another host.
    """
    if alt.renderers.active != "default":
        return

    def render(spec: dict[str, Any], **_: Any) -> dict[str, Any]:
        major = str(alt.SCHEMA_VERSION).lstrip("v").partition(".")[0]
        picture = str(vl_convert.vegalite_to_svg(spec))
        return {
            f"application/vnd.vegalite.v{major}+json": spec,
            "image/svg+xml": picture,
            "text/plain": "chart",
        }

    alt.renderers.register("tidegauge", render)
    alt.renderers.enable("tidegauge")
