"""Chromium of the system, driven by Playwright, and a watch on what its pages ask for."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-dev-shm-usage"]
PATIENCE = 90_000  # ms: a busy machine is not a bug


def why_not() -> str:
    """Why no browser can be started here; empty where one can."""
    if not any(map(shutil.which, NAMES)):
        return f"there is no {NAMES[0]} on the path: tests/browser/install.sh puts it there where it can"
    return ""


@contextmanager
def chromium() -> Iterator[Any]:
    """A running browser."""
    from playwright.sync_api import sync_playwright

    path = next(path for path in map(shutil.which, NAMES) if path)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


def renderers(browser: Any) -> dict[int, float]:
    """Seconds of processor time that each page's process has used: what it takes, however busy the machine is."""
    session = browser.new_browser_cdp_session()
    told = session.send("SystemInfo.getProcessInfo")["processInfo"]
    session.detach()
    return {one["id"]: one["cpuTime"] for one in told if one["type"] == "renderer"}


class Watched:
    """A page of a fresh context, what it asked for from elsewhere, and what went wrong in it.

    offline : the network is off, and any request at all is noted, but that for the page itself.
    """

    def __init__(self, browser: Any, offline: bool = False, size: tuple[int, int] = (1400, 1000)):
        self.context = browser.new_context(viewport={"width": size[0], "height": size[1]})
        self.context.set_offline(offline)
        self.page = self.context.new_page()
        self.page.set_default_timeout(PATIENCE)
        self.asked: list[str] = []
        self.errors: list[str] = []
        self.page.on("request", lambda request: self._note(request.url))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", lambda said: said.type == "error" and self.errors.append(said.text))

    def _note(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("file", "blob", "data", "about") and parts.hostname not in ("127.0.0.1", "localhost"):
            self.asked.append(url)
        elif parts.scheme == "file" and self.page.url not in ("about:blank", url):
            self.asked.append(url)  # another file than the page

    def close(self) -> None:
        self.context.close()
