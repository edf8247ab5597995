"""From the first start to the first update, in a real Chromium."""

from __future__ import annotations

from typing import Any, Iterator

import pytest

from tests.e2e.browsing import (
    SCHEMES,
    SIZES,
    Browser,
    browsers,
    shoot,
    small_targets,
    violations,
)
from tests.e2e.processes import Backend, Hetzner
from tests.e2e.test_browser import copy, request_url, wait_for

pytestmark = pytest.mark.real("chromium", "curl")

HOST = "bücher.example.com"
BAD = "under_score.example.com"


@pytest.fixture
def empty(hetzner: Hetzner, folder: Any) -> Iterator[Backend]:  # noqa: ANN401
    with Backend(folder / "backend", hetzner, REGISTERED_FQDNS="") as backend:
        yield backend


@pytest.fixture
def browser(empty: Backend) -> Iterator[Browser]:
    for browser in browsers(empty):
        yield browser
        browser.close()


def keep(browser: Browser, path: str, name: str) -> None:
    """Keep pictures of a page."""
    for size in SIZES:
        for scheme in SCHEMES:
            shoot(browser.open(path, size, scheme), name, size, scheme)


def test_three_steps_lead_to_the_first_update(
    browser: Browser,
    hetzner: Hetzner,
    folder: Any,  # noqa: ANN401
) -> None:
    page = browser.open("/", "phone")
    steps = page.locator("#steps")
    assert "Three steps to the first update" in steps.inner_text()
    assert violations(page) == small_targets(page) == []
    keep(browser, "/", "start")
    page.get_by_role("link", name="Add a host").click()
    page.get_by_label("Full names in your zones").fill(f"{HOST}\n{BAD}")
    page.get_by_role("button", name="Add").click()
    assert BAD in page.locator(".findings").inner_text()
    shoot(page, "add-refused", "phone", "light")
    page.get_by_label("Full names in your zones").fill(HOST)
    assert violations(page) == []
    page.get_by_role("button", name="Add").click()

    wait_for(page.locator("#done"), f"{HOST} was added")
    # The page is scrolled to the set-up, which the message doesn't cover.
    top = page.locator("#done").bounding_box()
    heading = page.locator("#setup-title").bounding_box()
    assert 0 <= top["y"] <= top["y"] + top["height"] <= heading["y"]
    assert heading["y"] < SIZES["phone"][1] / 2
    assert HOST in page.title()
    assert "Waiting for the first update" in page.locator("#contact").inner_text()
    page.get_by_role("button", name="Show key").click()
    page.locator("#key").wait_for()
    server, path, name, password = (
        copy(page, field) for field in ("Server", "Path", "User name", "Password")
    )
    keep(browser, "/", "waiting")
    list_of_hosts = browser.open("/")
    assert small_targets(list_of_hosts) == []
    assert "done" in list_of_hosts.locator("#steps").inner_text()
    url = f"http://{server}{path}?hostname={name}&myip=198.51.100.81"
    assert request_url(folder, url, f"{name}:{password}").startswith("good ")
    wait_for(page.locator("#contact"), "Last good update")
    wait_for(page.locator("#state"), "198.51.100.81")
    wait_for(list_of_hosts.locator("#sentence"), "The host is fine")
    assert list_of_hosts.locator("#steps").inner_text().strip() == ""
    hetzner.expect("xn--bcher-kva.example.com", "198.51.100.81")
