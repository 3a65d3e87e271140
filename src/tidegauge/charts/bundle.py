"""Makes the script that draws charts in the browser: Vega, Vega-Lite and Vega-Embed in one file.

``python -m tidegauge.charts.bundle FILE`` writes it; it comes out of vl_convert, so neither Node nor the
network is needed. The page's Content-Security-Policy forbids to compile text: Vega's interpreter of
expressions is in the bundle, and Vega-Embed uses it with ``ast: true``.
"""

from __future__ import annotations

import sys
from importlib.metadata import version
from pathlib import Path

import vl_convert


def make() -> str:
    """Return the script, with what it is made of at its top."""
    lite = str(vl_convert.get_vegalite_versions()[-1])
    script = str(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", lite))
    return (
        f"/*! Vega {vl_convert.get_vega_version()}, Vega-Lite {lite}, Vega-Embed "
        f"{vl_convert.get_vega_embed_version()} and what they need, bundled by vl-convert "
        f"{version('vl-convert-python')}: licences in vega.LICENSE. "
        "Made by: python -m tidegauge.charts.bundle FILE */\n"
        f"{script}\n"
    )


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(make(), encoding="utf-8")
