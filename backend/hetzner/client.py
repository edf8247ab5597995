"""One call to Hetzner's Cloud API: its time limit, its token, and the rate limit.

Facts: https://docs.hetzner.cloud/cloud.spec.json, section "Rate Limiting" among them. Recorded
answers show that there is more than one bucket.
"""

from __future__ import annotations

import http.client
import logging
import socket
import threading
import time
from dataclasses import dataclass
from typing import Any, Callable, Dict, Iterable, Iterator, Mapping, Optional, Tuple
from urllib.parse import urlsplit

import requests
import urllib3

from backend.bearer import Bearer
from backend.errors import DyndnsError, HetznerBusy, HetznerUnreachable
from backend.hetzner.responses import MAX_ANSWER, decode
from backend.model import Deadline
from backend.outgoing import Session, read_body

logger = logging.getLogger(__name__)

_HOUR = 3600.0
# Other processes draw on the same buckets: the last few calls are theirs, perhaps.
_LEAST = 3.0
# Beyond that a header is no limit of Hetzner's, and would stop all calls for good.
_LOWEST, _HIGHEST = 10, 1_000_000


@dataclass(frozen=True)
class Quota:
    """What one bucket held at the last answer.

    `limit` is calls an hour; the bucket is refilled continuously. `at` is monotonic seconds.
    """

    limit: int
    remaining: int
    at: float

    def level(self, now: float) -> float:
        """Return how many calls the bucket holds by now, if nobody else draws on it."""
        return min(self.limit, self.remaining + (now - self.at) * self.limit / _HOUR)


class Quotas:
    """The buckets of one project. Safe to share between threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._quotas: Dict[int, Quota] = {}
        self._bucket_of: Dict[str, int] = {}  # learnt from the answers: none is documented

    def __iter__(self) -> Iterator[Quota]:
        """Go through the buckets as the last answers told them."""
        return iter(list(self._quotas.values()))

    def note(self, kind: str, headers: Mapping[str, str]) -> None:
        """Learn from the headers of an answer to a call of some kind."""
        try:
            limit = int(headers["ratelimit-limit"])
            remaining = int(headers["ratelimit-remaining"])
        except (KeyError, ValueError):
            return  # a 401 carries none
        if _LOWEST <= limit <= _HIGHEST:
            self._quotas[limit] = Quota(limit, min(limit, max(0, remaining)), self._clock())
            self._bucket_of[kind] = limit

    def require(self, kind: str) -> None:
        """Make sure that a call of some kind would not be refused for the quota.

        Raises:
            HetznerBusy: it would, for the time that the error names.

        """
        quota = self._quotas.get(self._bucket_of.get(kind, 0))
        if quota is None:
            return
        missing = _LEAST - quota.level(self._clock())
        if missing > 0:
            raise HetznerBusy(
                "The hourly quota of calls to Hetzner is used up for now.",
                missing * _HOUR / quota.limit,
            )

    def is_below(self, share: float) -> bool:
        """Whether a bucket holds less than a share of its limit."""
        now = self._clock()
        return any(quota.level(now) < quota.limit * share for quota in list(self._quotas.values()))


Query = Iterable[Tuple[str, str]]

_CONNECT_SECONDS = 4.0
# The reserve that background work leaves to requests that somebody waits for.
_RESERVE = 0.1
_PLENTY = 0.5


class CloudApi:
    """The API as one token sees it. Safe to share between threads."""

    def __init__(
        self,
        token: str,
        url: str,
        agent: str,
        observe: Callable[[str, Optional[DyndnsError], float], None] = lambda *_: None,
    ) -> None:
        """`observe` is given the method of each call, its error if any, and its seconds."""
        self._token = token
        self._observe = observe
        self._url = url
        self._host = urlsplit(url).hostname
        self._agent = agent
        self._local = threading.local()
        self.quotas = Quotas()

    @property
    def is_low(self) -> bool:
        """Whether only the reserve is left, which belongs to requests somebody waits for."""
        return self.quotas.is_below(_RESERVE)

    @property
    def is_short(self) -> bool:
        """Whether the quota is to be shared out fairly."""
        return self.quotas.is_below(_PLENTY)

    def call(
        self,
        method: str,
        path: str,
        deadline: Deadline,
        query: Query = (),
        body: Optional[Mapping[str, Any]] = None,
    ) -> Dict[str, Any]:
        """Make one call and return the decoded answer.

        Raises:
            HetznerUnreachable: no answer in time, or one that isn't the Cloud API's.
            HetznerBusy: the API can't do it now.
            TokenRejected, ChangeRefused: the API refuses for good.

        """
        # Calls that seem to draw on the same bucket.
        kind = f"{method} actions" if "/actions" in path else method
        start = time.perf_counter()
        try:
            self.quotas.require(kind)
            left = deadline.remaining()
            session = getattr(self._local, "session", None) or self._new_session()
            url, params, timeout = (
                self._url + path,
                list(query),
                (min(_CONNECT_SECONDS, left), left),
            )
            with session.request(
                method, url, params=params, json=body, timeout=timeout, stream=True
            ) as response:
                text = read_body(response, MAX_ANSWER)
            self.quotas.note(kind, response.headers)
            logger.debug("%s %s: %s", method, path, response.status_code)
            answer = decode(response.status_code, response.headers, text, self._token)
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            logger.debug("%s %s: %s", method, path, type(error).__name__)
            self._observe(method, HetznerUnreachable(""), time.perf_counter() - start)
            raise HetznerUnreachable(
                f"Hetzner's API ({self._host}) can't be reached: {_reason(error)}."
            ) from None
        except DyndnsError as error:
            self._observe(method, error, time.perf_counter() - start)
            raise
        self._observe(method, None, time.perf_counter() - start)
        return answer

    def _new_session(self) -> Session:
        # One for each thread: requests doesn't promise that threads may share a session.
        session = self._local.session = Session()
        session.auth = Bearer(self._token)
        session.headers["User-Agent"] = self._agent
        return session


def _reason(error: Exception) -> str:
    """Name the failure in a few words; the full text may hold the URL of a proxy with a login."""
    for family, words in (
        (requests.exceptions.SSLError, "TLS failed: check the clock and the CA certificates"),
        (requests.exceptions.ProxyError, "the proxy doesn't answer"),
        (requests.exceptions.Timeout, "no answer in time"),
        (urllib3.exceptions.TimeoutError, "the answer was not complete in time"),
        (requests.exceptions.ConnectionError, _root(error)),
    ):
        if isinstance(error, family):
            return words
    return "the answer broke off"


def _root(error: BaseException) -> str:
    """Say what the operating system said, at the bottom of a chain of errors."""
    below: Optional[BaseException] = error
    while below is not None:
        if isinstance(below, socket.gaierror):
            return "its name isn't found: check DNS"
        if isinstance(below, OSError) and below.strerror:
            return below.strerror.lower()
        if isinstance(below, http.client.HTTPException):
            return "the answer broke off, or isn't HTTP"
        below = below.__cause__ or below.__context__
    return "no connection"
