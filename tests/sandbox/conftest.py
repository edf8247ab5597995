from __future__ import annotations

from typing import Any, Iterator

import pytest
import requests

from sandbox import Sandbox


class Clock:
    """A clock that only a test advances."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


class Caller:
    """A caller with a token and one open connection."""

    def __init__(self, sandbox: Sandbox, token: str | None = None) -> None:
        self.base = sandbox.http_url
        self.session = requests.Session()
        self.session.headers["Authorization"] = f"Bearer {token or sandbox.token}"

    def request(
        self, method: str, path: str, body: object = None, timeout: float = 10
    ) -> requests.Response:
        return self.session.request(
            method, self.base + path, json=body, timeout=timeout, allow_redirects=False
        )

    def get(self, path: str) -> dict[str, Any]:
        """Send a call that must succeed; return the body of the answer."""
        response = self.request("GET", path)
        assert response.status_code == 200, response.text
        return response.json()

    def change(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        response = self.request(method, path, body)
        assert response.status_code in (200, 201), response.text
        return response.json()

    def is_refused(self, method: str, path: str, body: object = None) -> tuple[int, str]:
        response = self.request(method, path, body)
        return response.status_code, response.json()["error"]["code"]


@pytest.fixture(scope="session")
def running_clock() -> Clock:
    return Clock()


@pytest.fixture(scope="session")
def running_sandbox(running_clock: Clock) -> Iterator[Sandbox]:
    with Sandbox(zones=["example.com"], action_seconds=4, clock=running_clock) as sandbox:
        yield sandbox


@pytest.fixture
def clock(running_clock: Clock) -> Clock:
    running_clock.reset()
    return running_clock


@pytest.fixture
def sandbox(running_sandbox: Sandbox, running_clock: Clock) -> Sandbox:
    running_clock.reset()
    running_sandbox.reset()
    return running_sandbox


@pytest.fixture
def caller(sandbox: Sandbox) -> Iterator[Caller]:
    caller = Caller(sandbox)
    yield caller
    caller.session.close()
