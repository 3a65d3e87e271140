"""The chart as Helm renders it, the plain manifests, and what is beside them, as Kubernetes takes it."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from typer.main import get_command

from parts import absent
from tidegauge.cli import main
from tidegauge.settings import Settings

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
VERSIONS = ("1.27", "1.30", "1.34")
VARIANTS: tuple[Mapping[str, Any], ...] = (
    {},
    {
        "ingress": {"enabled": True, "className": "nginx", "tlsSecret": "tls", "annotations": {"a": "b"}},
        "kserve": {"enabled": True, "namespaces": ["models", "research"], "serviceAccount": "models"},
        "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
        "environment": {"TIDEGAUGE_KEEP_DAYS": "90"},
        "imagePullSecrets": [{"name": "registry"}],
        "server": {
            "storageClass": "fast",
            "nodeSelector": {"disk": "ssd"},
            "tolerations": [{"operator": "Exists"}],
        },
    },
    {"role": "serving", "networkPolicy": {"enabled": False}},
)


def render() -> Any:
    """Return deploy/render.py as a module."""
    if importlib.util.find_spec("helm_python") is None:
        absent("helm-python-sdk")
    spec = importlib.util.spec_from_file_location("render", DEPLOY / "render.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def documents(text: str) -> list[dict[str, Any]]:
    return [one for one in yaml.safe_load_all(text) if one]


def containers(found: list[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    for one in found:
        if one["kind"] in ("Deployment", "StatefulSet"):
            pod = one["spec"]["template"]["spec"]
            for container in pod["containers"]:
                yield pod, container


def check(found: list[dict[str, Any]]) -> None:
    """Hold manifests against Kubernetes' schemas, what pods may, our settings and each other."""
    for one in found:
        if one["apiVersion"].startswith("monitoring.coreos.com/"):
            assert {endpoint["path"] for endpoint in one["spec"]["endpoints"]} == {"/metrics"}
            continue
        for version in VERSIONS:
            kubernetes_validate.validate(one, version, strict=True)
    names = {(one["kind"], one["metadata"]["name"]) for one in found}
    labels = [
        one["spec"]["template"]["metadata"]["labels"] for one in found if "template" in one.get("spec", {})
    ]
    for one in found:
        spec = one.get("spec", {})
        if one["kind"] == "HorizontalPodAutoscaler":
            assert (spec["scaleTargetRef"]["kind"], spec["scaleTargetRef"]["name"]) in names
        wanted = spec.get("podSelector") or (spec.get("selector") if one["kind"] != "Service" else None) or {}
        selector = wanted.get("matchLabels") or (spec["selector"] if one["kind"] == "Service" else {})
        if selector:
            assert any(selector.items() <= each.items() for each in labels), one["metadata"]["name"]
    settings = {f"TIDEGAUGE_{field.name.upper()}" for field in fields(Settings)}
    commands = get_command(main.app).commands
    for pod, container in containers(found):
        assert pod["securityContext"]["runAsNonRoot"]
        confined = container["securityContext"]
        assert confined["readOnlyRootFilesystem"]
        assert not confined["allowPrivilegeEscalation"]
        assert confined["capabilities"] == {"drop": ["ALL"]}
        assert "memory" in container["resources"]["limits"]
        variables = {one["name"] for one in container["env"]}
        assert {name for name in variables if name.startswith("TIDEGAUGE_")} <= settings
        command = commands[container["args"][0]]
        options = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in container["args"] if word.startswith("--")} <= options


@pytest.mark.parametrize("values", VARIANTS, ids=("default", "everything", "serving"))
def test_what_helm_renders_is_sound(values: Mapping[str, Any]) -> None:
    found = [one for text in render().rendered(values).values() for one in documents(text)]
    check(found)
    kinds = [one["kind"] for one in found]
    scaled = 1 if values.get("role") == "serving" else 2
    assert kinds.count("HorizontalPodAutoscaler") == kinds.count("PodDisruptionBudget") == scaled
    assert kinds.count("ServiceMonitor") == (2 if "serviceMonitor" in values else 0)
    assert kinds.count("Role") == (2 if "kserve" in values else 0)
    assert kinds.count("NetworkPolicy") == (0 if "networkPolicy" in values else 3)
    secret = {one["name"]: one for _, container in containers(found) for one in container["env"]}
    assert "valueFrom" in secret["TIDEGAUGE_DATABASE_URL"], "a password is in no manifest"


def test_helm_has_nothing_to_say_of_the_chart() -> None:
    render()
    import helm_python as helm

    told = helm.lint(str(DEPLOY / "chart"))
    assert told["total_charts_linted"] == 1
    assert not told["errors"]
    assert not [one for one in map(str, told["messages"]) if "icon is recommended" not in one]


def test_the_plain_manifests_are_the_rendered_chart() -> None:
    for name, text in render().plain().items():
        assert (DEPLOY / "kubernetes" / name).read_text() == text, "run: python deploy/render.py"


def test_the_plain_manifests_are_sound_without_helm() -> None:
    found = [one for file in (DEPLOY / "kubernetes").glob("*.yaml") for one in documents(file.read_text())]
    check(found)
    assert {one["kind"] for one in found} >= {
        "StatefulSet",
        "Deployment",
        "Service",
        "ServiceAccount",
        "HorizontalPodAutoscaler",
        "PodDisruptionBudget",
        "NetworkPolicy",
        "ServiceMonitor",
        "Role",
    }


def test_the_compose_file_starts_what_there_is() -> None:
    found = yaml.safe_load((DEPLOY / "compose.yml").read_text())
    ours = {name: one for name, one in found["services"].items() if name != "postgres"}
    assert set(ours) == {"server", "worker", "collector"}
    settings = {f"TIDEGAUGE_{field.name.upper()}" for field in fields(Settings)}
    for one in ours.values():
        assert one["read_only"]
        assert one["cap_drop"] == ["ALL"]
        assert one["command"][0] in get_command(main.app).commands
        assert {name for name in one["environment"] if name.startswith("TIDEGAUGE_")} <= settings
    assert not re.search(r"PASSWORD: (?!\$)", (DEPLOY / "compose.yml").read_text())


def test_the_image_is_small_and_has_no_rights() -> None:
    lines = (DEPLOY / "Containerfile").read_text().splitlines()
    last = next(index for index, line in reversed(list(enumerate(lines))) if line.startswith("FROM "))
    assert len([line for line in lines if line.startswith("FROM ")]) == 2
    assert any(re.fullmatch(r"USER 10001:0", line) for line in lines[last:])
    assert 'ENTRYPOINT ["tidegauge"]' in lines
    extras = re.search(r'"\.\[([\w,]+)\]"', "\n".join(lines))
    assert extras is not None
    assert not {"train", "dev", "kubeflow"} & set(extras[1].split(","))


def test_the_unit_is_one_that_systemd_takes(tmp_path: Path) -> None:
    verify = shutil.which("systemd-analyze")
    if verify is None:
        pytest.skip("systemd-analyze is not here")
    unit = (DEPLOY / "systemd" / "tidegauge.service").read_text()
    file = tmp_path / "tidegauge.service"
    file.write_text(unit.replace("/opt/tidegauge/bin/tidegauge", sys.executable))
    done = subprocess.run(
        [verify, "verify", str(file)], capture_output=True, text=True, check=False, timeout=30
    )
    ours = [line for line in done.stderr.splitlines() if "tidegauge.service" in line]
    assert ours == []
