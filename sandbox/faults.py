"""The failures and delays for later calls."""

from __future__ import annotations

import fnmatch
import functools
import json
import threading
from dataclasses import dataclass, field, replace
from typing import Callable, Mapping, TypeVar

from sandbox.refusal import CODES, ApiError

_PAGE = "<!DOCTYPE html><html><head><title>Hetzner</title></head><body>Hetzner</body></html>\n"


@dataclass(frozen=True)
class Fault:
    """A failure of later calls; docs/sandbox.md explains the fields.

    `path` is a file name pattern for the path without `/v1`. None matches every path, method or
    number of calls.
    """

    status: int | None = None
    code: str | None = None
    count: int | None = 1
    path: str | None = None
    method: str | None = None
    html: bool = False
    location: str | None = None
    body: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    after: bool = False
    drop: bool = False

    def __post_init__(self) -> None:
        """Raise ValueError for invalid fields."""
        ways = (self.status, self.html, self.location, self.body, self.after, self.drop)
        if not any(way is not None and way is not False for way in ways):
            raise ValueError("set at least one of status, html, location, body, after and drop")
        if self.status is not None and not 200 <= self.status <= 599:  # noqa: PLR2004
            raise ValueError("status must be between 200 and 599")
        for name, value in {"location": self.location or "", **self.headers}.items():
            if not (isinstance(value, str) and f"{name}{value}".isprintable()):
                raise ValueError(f"headers and location must be strings of one line: {name}")
        _check_count(self.count)

    @property
    def silent(self) -> bool:
        """Whether the connection closes without an answer."""
        return self.drop or (self.after and not (self.status or self.answers_otherwise))

    @property
    def answers_otherwise(self) -> bool:
        """Whether the answer is something other than an error of the API."""
        return self.html or self.location is not None or self.body is not None

    def content(self) -> str:
        """Return the body of the answer."""
        if self.body is not None:
            return self.body
        if self.html or self.location is not None:
            return _PAGE
        return json.dumps(self._error().body()) + "\n"

    def answer_headers(self) -> dict[str, str]:
        html = self.body is None and (self.html or self.location is not None)
        kind = "text/html; charset=utf-8" if html else "application/json"
        location = {} if self.location is None else {"Location": self.location}
        return {"Content-Type": kind, **location, **self.headers}

    def answer_status(self) -> int:
        """Return the status of the answer: by default 301 for a redirect, else 200."""
        return self.status or (200 if self.location is None else 301)

    def _error(self) -> ApiError:
        status = self.answer_status()
        code = self.code or CODES.get(status, "server_error")
        words = code.replace("_", " ")
        message = "limit of 3600 requests per hour reached" if "rate_limit" in code else words
        return ApiError(status, message, code=code)


@dataclass(frozen=True)
class Delay:
    """A delay, in seconds, before later calls are executed."""

    seconds: float
    path: str | None = None
    method: str | None = None
    count: int | None = None

    def __post_init__(self) -> None:
        """Raise ValueError for invalid fields."""
        if not 0 <= self.seconds <= 3600:  # noqa: PLR2004
            raise ValueError("seconds must be between 0 and 3600")
        _check_count(self.count)


Order = TypeVar("Order", Fault, Delay)


class _Wait:
    """The end of the delay that all waiting calls wait for."""

    def __init__(self) -> None:
        self._over = threading.Event()
        self._forgotten = False

    def end(self, *, forgotten: bool) -> None:
        self._forgotten = forgotten
        self._over.set()

    def hold(self, seconds: float) -> bool:
        self._over.wait(seconds)
        return self._forgotten


class Faults:
    """All faults and delays. The oldest matching fault applies, and the newest matching delay."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._wait = _Wait()
        self.clear()

    def clear(self) -> None:
        """Remove all faults and delays, and drop waiting calls."""
        self.clear_faults()
        with self._lock:
            self._delays: list[Delay] = []
        self.let_go()

    def clear_faults(self) -> None:
        with self._lock:
            self._faults: list[Fault] = []

    def clear_delays(self) -> None:
        """Remove all delays, and execute waiting calls."""
        with self._lock:
            self._delays = []
        self.let_go(forgotten=False)

    def let_go(self, *, forgotten: bool = True) -> None:
        """Wake all waiting calls, to drop or to execute them."""
        with self._lock:
            wait, self._wait = self._wait, _Wait()
        wait.end(forgotten=forgotten)

    def fail(self, fault: Fault) -> None:
        with self._lock:
            self._faults.append(fault)

    def delay(self, delay: Delay) -> None:
        """Add a delay; 0 seconds override older delays for matching calls."""
        with self._lock:
            self._delays.insert(0, delay)

    def take_fault(self, method: str, path: str) -> Fault | None:
        """Return the fault for this call, if any."""
        with self._lock:
            return _take(self._faults, method, path)

    def hold(self, method: str, path: str) -> Callable[[], bool]:
        """Return a function that waits for this call's delay; it returns True to drop the call."""
        with self._lock:
            delay = _take(self._delays, method, path)
            return functools.partial(self._wait.hold, delay.seconds if delay else 0)


def _take(orders: list[Order], method: str, path: str) -> Order | None:
    """Return the first matching order; decrement its count, and remove it at 0."""
    for place, order in enumerate(orders):
        if _matches(order.method, order.path, method, path):
            left = _left(order.count)
            orders[place : place + 1] = [] if left == 0 else [replace(order, count=left)]
            return order
    return None


def _matches(order_method: str | None, pattern: str | None, method: str, path: str) -> bool:
    if order_method is not None and order_method.upper() != method:
        return False
    return pattern is None or fnmatch.fnmatchcase(path, pattern)


def _left(count: int | None) -> int | None:
    return None if count is None else count - 1


def _check_count(count: int | None) -> None:
    if count is not None and count < 1:
        raise ValueError("count must be at least 1, or null for every call")
