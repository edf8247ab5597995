"""Chromium with the operator's login. Errors and warnings of the browser fail the test."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Iterator

import pytest

from tests.e2e.processes import OPERATOR, ROOT, Backend

# The screenshots are kept for review.
SCREENSHOTS = ROOT / "artefacts" / "screenshots"
AXE = ROOT / ".cache" / "node" / "node_modules" / "axe-core" / "axe.min.js"
VNU = ROOT / ".cache" / "node" / "node_modules" / "vnu-jar" / "build" / "dist" / "vnu.jar"
SIZES = {"desktop": (1280, 900), "phone": (390, 844)}
SCHEMES = ("light", "dark")
SECONDS = 40.0
_HIGHEST = 2600  # pixels of a screenshot
_ALLOWED = ["clipboard-read", "clipboard-write"]


def need(part: str) -> None:
    """Skip the test, or fail if REQUIRE_REAL_PARTS=1 is set."""
    if os.environ.get("REQUIRE_REAL_PARTS") == "1":
        pytest.fail(f"needs {part}, and REQUIRE_REAL_PARTS=1 is set")
    pytest.skip(f"needs {part}")


class Browser:
    """A Chromium with any number of windows."""

    def __init__(self, chromium: Any, url: str) -> None:  # noqa: ANN401
        self._chromium = chromium
        self._url = url
        self._contexts: list[Any] = []
        self.errors: list[str] = []

    def open(self, path: str, size: str = "desktop", scheme: str = "light", **options: Any) -> Any:  # noqa: ANN401
        """Open a page in a new window, logged in."""
        width, height = SIZES[size]
        context = self._chromium.new_context(
            http_credentials={"username": OPERATOR[0], "password": OPERATOR[1]},
            viewport={"width": width, "height": height},
            color_scheme=scheme,
            base_url=self._url,
            **options,
        )
        context.set_default_timeout(SECONDS * 1000)
        context.grant_permissions(_ALLOWED, origin=self._url)
        self._contexts.append(context)
        page = context.new_page()
        page.on("console", self._record)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("dialog", lambda dialog: self.errors.append(f"dialog {dialog.message}"))
        page.goto(path)
        return page

    def close(self) -> None:
        """Close all windows; fail if the browser has reported an error."""
        while self._contexts:
            self._contexts.pop().close()
        assert self.errors == []

    def _record(self, message: Any) -> None:  # noqa: ANN401
        # Chromium reports every 4xx and 5xx of a page as an error.
        if message.type in {"error", "warning"} and "Failed to load resource" not in message.text:
            self.errors.append(message.text)


def browsers(backend: Backend) -> Iterator[Browser]:
    """Yield one Chromium for the tests of a module."""
    try:
        from playwright.sync_api import sync_playwright  # noqa: PLC0415
    except ImportError:
        need("playwright")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox"]
        )
        yield Browser(chromium, backend.url)
        chromium.close()


def shoot(page: Any, name: str, size: str, scheme: str) -> None:  # noqa: ANN401
    """Keep a picture of a page; fail if the page is wider than the screen."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    width, height = page.evaluate("[innerWidth, document.documentElement.scrollHeight]")
    page.screenshot(
        path=SCREENSHOTS / f"{name}-{size}-{scheme}.png",
        full_page=True,
        clip={"x": 0, "y": 0, "width": width, "height": min(height, _HIGHEST)},
    )
    overflow = page.evaluate("document.documentElement.scrollWidth - innerWidth")
    assert overflow <= 0, f"{name} is too wide for a {size}"


def small_targets(page: Any) -> list[str]:  # noqa: ANN401
    """Return the links, buttons and fields of a page that a finger may miss."""
    found: list[str] = page.evaluate(
        "[...document.querySelectorAll('a, button, summary, select, input, textarea, label[for]')]"
        ".filter(e => e.offsetHeight && !e.matches('.skip, .hidden, [type=radio]'))"
        ".filter(e => e.tagName !== 'LABEL' || document.getElementById(e.htmlFor).type === 'radio')"
        ".filter(e => e.getBoundingClientRect().height < 44).map(e => e.outerHTML)"
    )
    return found


def violations(page: Any) -> list[str]:  # noqa: ANN401
    """Return the serious and critical violations that axe finds."""
    if not AXE.exists():
        need("axe-core (npm install --prefix .cache/node axe-core)")
    page.evaluate(Path(AXE).read_text(encoding="utf-8"))
    found = page.evaluate("axe.run()")["violations"]
    return [
        f"{one['impact']} {one['id']}: {one['nodes'][0]['html'][:200]}"
        for one in found
        if one["impact"] in {"serious", "critical"}
    ]
