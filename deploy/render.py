"""Writes the plain manifests in deploy/kubernetes: the chart, rendered with its default values.

python deploy/render.py    # needs helm-python-sdk (in the extra dev): Helm's own library, no helm command
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
CHART, PLAIN = HERE / "chart", HERE / "kubernetes"
_HEADER = "# Rendered from deploy/chart by deploy/render.py; change it there.\n"
#: What of the chart is in which file: what needs something else in the cluster stands alone.
FILES: Mapping[str, Mapping[str, Any]] = {
    "tidegauge.yaml": {},
    "servicemonitor.yaml": {"serviceMonitor": {"enabled": True}},
    "kserve.yaml": {"kserve": {"enabled": True, "namespaces": ["models"]}},
}


def rendered(values: Mapping[str, Any]) -> dict[str, str]:
    """Return what each template of the chart becomes with these values."""
    import helm_python as helm

    with helm.Chart.load(str(CHART)) as chart:
        found = chart.render(dict(values), name="tidegauge", namespace="tidegauge")
    return {Path(name).name: text for name, text in found.items() if name.endswith(".yaml")}


def plain() -> dict[str, str]:
    """Return the files of plain manifests."""
    files = {}
    everything = rendered({})
    for name, values in FILES.items():
        found = rendered(values)
        wanted = everything if not values else {key: found[key] for key in _added(values)}
        parts = [
            text.strip().removeprefix("---").strip() for _, text in sorted(wanted.items()) if text.strip()
        ]
        files[name] = _HEADER + "".join(f"---\n{part}\n" for part in parts if part)
    return files


def _added(values: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the templates that some values switch on."""
    return {"serviceMonitor": ("monitoring.yaml",), "kserve": ("kserve.yaml",)}[next(iter(values))]


if __name__ == "__main__":
    for file, text in plain().items():
        (PLAIN / file).write_text(text)
        print(f"wrote {PLAIN / file}")
