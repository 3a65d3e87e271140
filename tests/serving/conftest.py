from __future__ import annotations

from collections.abc import Iterator

import pytest

from serving.models import image_model
from serving.running import Served, serving


@pytest.fixture(scope="session")
def image_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server of a model of 8x8 images that takes bodies of at most 64 KiB."""
    folder = image_model(tmp_path_factory.mktemp("models") / "images")
    flags = ("--name", "scan", "--version", "3", "--max-body-bytes", "65536")
    with serving(folder, tmp_path_factory.mktemp("logs"), *flags) as served:
        yield served
