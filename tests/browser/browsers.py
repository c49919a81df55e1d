"""Chromium, driven by Playwright, for the tests and the programs of this folder."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

# Playwright's own browser, where it was installed, or that of the system
NAMES = ("chromium", "chromium-browser", "google-chrome")


@contextlib.contextmanager
def chromium() -> Iterator:
    """A running browser. Skips the test where there is none."""
    api = pytest.importorskip("playwright.sync_api", reason="needs Playwright: pip install 'minidl[browser]'")
    with api.sync_playwright() as playwright:
        path = next(filter(None, map(shutil.which, NAMES)), None) or playwright.chromium.executable_path
        if not os.path.exists(path):
            pytest.skip("needs Chromium: playwright install chromium, or the system's package")
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


@contextlib.contextmanager
def opened(browser, file: Path, hash: str = "", **how) -> Iterator:
    """A saved file in a new window, without network. Fails for whatever the console says, and for whatever is requested."""
    context = browser.new_context(**{"viewport": {"width": 1400, "height": 1000}, **how})
    context.set_offline(True)
    page, said, asked = context.new_page(), [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("dialog", lambda dialog: said.append(f"dialog: {dialog.message}") or dialog.dismiss())
    page.on("request", lambda request: asked.append(request.url))
    try:
        page.goto(file.as_uri() + hash)
        page.wait_for_selector(".panel h2")
        yield page
    finally:
        context.close()
    assert said == []
    assert [url for url in asked if url.split("#")[0] != file.as_uri()] == []
