"""Which coming calls go wrong, and how: what the test doors have ordered and nobody got yet."""

from __future__ import annotations

import fnmatch
import functools
import json
import threading
from dataclasses import dataclass, field, replace
from typing import Callable, Dict, List, Mapping, Optional, TypeVar

from sandbox.refusal import CODES, ApiError

_PAGE = "<!DOCTYPE html><html><head><title>Hetzner</title></head><body>Hetzner</body></html>\n"


@dataclass(frozen=True)
class Fault:
    """One order; `count` None means every call until the order is taken back.

    `path` is a pattern as in file names, for the path without `/v1`; None is any.
    `after` lets the call be carried out before it goes wrong, `drop` gives no answer at all.
    """

    status: Optional[int] = None
    code: Optional[str] = None
    count: Optional[int] = 1
    path: Optional[str] = None
    method: Optional[str] = None
    html: bool = False
    location: Optional[str] = None
    body: Optional[str] = None
    headers: Mapping[str, str] = field(default_factory=dict)
    after: bool = False
    drop: bool = False

    def __post_init__(self) -> None:
        """Refuse an order that nothing could come of."""
        ways = (self.status, self.html, self.location, self.body, self.after, self.drop)
        if not any(way is not None and way is not False for way in ways):
            raise ValueError("say what goes wrong: status, html, location, body, after or drop")
        if self.status is not None and not 200 <= self.status <= 599:  # noqa: PLR2004
            raise ValueError("status must be between 200 and 599")
        for name, value in {"location": self.location or "", **self.headers}.items():
            if not (isinstance(value, str) and f"{name}{value}".isprintable()):
                raise ValueError(f"headers and location must be texts on one line: {name}")
        _check_count(self.count)

    @property
    def silent(self) -> bool:
        """Whether the connection closes without an answer."""
        return self.drop or (self.after and not (self.status or self.answers_otherwise))

    @property
    def answers_otherwise(self) -> bool:
        """Whether the answer is something else than an error of the API."""
        return self.html or self.location is not None or self.body is not None

    def content(self) -> str:
        """The body of the answer."""
        if self.body is not None:
            return self.body
        if self.html or self.location is not None:
            return _PAGE
        return json.dumps(self._error().body()) + "\n"

    def answer_headers(self) -> Dict[str, str]:
        """The headers of the answer."""
        html = self.body is None and (self.html or self.location is not None)
        kind = "text/html; charset=utf-8" if html else "application/json"
        location = {} if self.location is None else {"Location": self.location}
        return {"Content-Type": kind, **location, **self.headers}

    def answer_status(self) -> int:
        """The status of the answer; a redirect and a strange body have their usual ones."""
        return self.status or (200 if self.location is None else 301)

    def _error(self) -> ApiError:
        status = self.answer_status()
        code = self.code or CODES.get(status, "server_error")
        words = code.replace("_", " ")
        message = "limit of 3600 requests per hour reached" if "rate_limit" in code else words
        return ApiError(status, message, code=code)


@dataclass(frozen=True)
class Delay:
    """An order to wait, in seconds, before a call is carried out."""

    seconds: float
    path: Optional[str] = None
    method: Optional[str] = None
    count: Optional[int] = None

    def __post_init__(self) -> None:
        """Refuse an order that nothing could come of."""
        if not 0 <= self.seconds <= 3600:  # noqa: PLR2004
            raise ValueError("seconds must be between 0 and 3600")
        _check_count(self.count)


Order = TypeVar("Order", Fault, Delay)


class _Wait:
    """What all calls that are held back wait for."""

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
    """The orders still open: faults are served the oldest first, of delays the newest counts."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._wait = _Wait()
        self.clear()

    def clear(self) -> None:
        """Let everything go well again, and forget the calls that are held back."""
        self.clear_faults()
        with self._lock:
            self._delays: List[Delay] = []
        self.let_go()

    def clear_faults(self) -> None:
        """Take all ordered faults back."""
        with self._lock:
            self._faults: List[Fault] = []

    def clear_delays(self) -> None:
        """Take all ordered delays back, and carry out the calls that are held back."""
        with self._lock:
            self._delays = []
        self.let_go(forgotten=False)

    def let_go(self, *, forgotten: bool = True) -> None:
        """Wake the calls that are held back."""
        with self._lock:
            wait, self._wait = self._wait, _Wait()
        wait.end(forgotten=forgotten)

    def fail(self, fault: Fault) -> None:
        """Order a fault."""
        with self._lock:
            self._faults.append(fault)

    def delay(self, delay: Delay) -> None:
        """Order a delay; 0 seconds lift those ordered before, for the calls it is meant for."""
        with self._lock:
            self._delays.insert(0, delay)

    def take_fault(self, method: str, path: str) -> Optional[Fault]:
        """What this call gets, if anything."""
        with self._lock:
            return _take(self._faults, method, path)

    def hold(self, method: str, path: str) -> Callable[[], bool]:
        """How to hold this call back, be it for no time: True if it was forgotten meanwhile."""
        with self._lock:
            delay = _take(self._delays, method, path)
            return functools.partial(self._wait.hold, delay.seconds if delay else 0)


def _take(orders: List[Order], method: str, path: str) -> Optional[Order]:
    """The first order meant for this call; it counts down, and goes when it has been served."""
    for place, order in enumerate(orders):
        if _meant(order.method, order.path, method, path):
            left = _left(order.count)
            orders[place : place + 1] = [] if left == 0 else [replace(order, count=left)]
            return order
    return None


def _meant(wanted_method: Optional[str], pattern: Optional[str], method: str, path: str) -> bool:
    if wanted_method is not None and wanted_method.upper() != method:
        return False
    return pattern is None or fnmatch.fnmatchcase(path, pattern)


def _left(count: Optional[int]) -> Optional[int]:
    return None if count is None else count - 1


def _check_count(count: Optional[int]) -> None:
    if count is not None and count < 1:
        raise ValueError("count must be at least 1, or null for every call")
