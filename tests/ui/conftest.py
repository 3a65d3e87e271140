from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, sync_playwright

from parts import absent
from parts_watched import FLAGS


@pytest.fixture
def page() -> Iterator[Page]:
    path = shutil.which("chromium")
    if path is None:
        absent("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser.new_page(viewport={"width": 360, "height": 800})
        browser.close()
