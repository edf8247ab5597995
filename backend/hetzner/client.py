"""One call to Hetzner's Cloud API: its time limit, its token, and the rate limit.

API: https://docs.hetzner.cloud/cloud.spec.json, including its section "Rate Limiting". Recorded
answers show that a project has several buckets.
"""

from __future__ import annotations

import logging
import time
from typing import Any, Callable, Iterable, Iterator, Mapping, Tuple
from urllib.parse import urlsplit

from backend.errors import DyndnsError, HetznerBusy, HetznerUnreachable
from backend.hetzner.responses import MAX_ANSWER, decode
from backend.model import Deadline
from backend.outgoing import Bearer, NoAnswer, Session, ask
from backend.rate import Quota, TokenBucket

logger = logging.getLogger(__name__)

_CONNECT_SECONDS = 4.0
# Other processes use the same buckets, and may take the last few calls first.
_LEAST = 3.0
# Limits beyond these bounds aren't Hetzner's, and could stop all calls permanently.
_LOWEST, _HIGHEST = 10, 1_000_000
# The share of a quota that background jobs leave to live requests.
_RESERVE = 0.1
# With less than this share, each host gets its part of the quota.
_PLENTY = 0.5

Query = Iterable[Tuple[str, str]]


class Quotas:
    """The buckets of one project. Safe to share between threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._quotas: dict[int, Quota] = {}  # by limit
        self._buckets: dict[int, TokenBucket] = {}
        self._bucket_of: dict[str, int] = {}  # by kind of call, learnt from answers: not documented

    def __iter__(self) -> Iterator[Quota]:
        return iter(list(self._quotas.values()))

    def note(self, kind: str, headers: Mapping[str, str]) -> None:
        """Store the quota in the headers of an answer to a call of some kind."""
        try:
            limit = int(headers["ratelimit-limit"])
            remaining = int(headers["ratelimit-remaining"])
        except (KeyError, ValueError):
            return  # an answer of 401 has no quota
        if _LOWEST <= limit <= _HIGHEST:
            quota = Quota(limit, min(limit, max(0, remaining)), self._clock())
            self._quotas[limit], self._buckets[limit] = quota, quota.bucket
            self._bucket_of[kind] = limit

    def require(self, kind: str) -> None:
        """Raise `HetznerBusy` if Hetzner would refuse a call of some kind because of the quota."""
        bucket = self._buckets.get(self._bucket_of.get(kind, 0))
        wait = 0.0 if bucket is None else bucket.wait(self._clock(), _LEAST)
        if wait:
            raise HetznerBusy("The hourly quota of calls to Hetzner is used up.", wait)

    def is_below(self, share: float) -> bool:
        """Return whether a bucket has less than a share of its limit."""
        now = self._clock()
        buckets = list(self._buckets.items())  # another thread may add one
        return any(bucket.level(now) < limit * share for limit, bucket in buckets)


class CloudApi:
    """The Cloud API for one token. Safe to share between threads."""

    def __init__(
        self,
        token: str,
        url: str,
        agent: str,
        observe: Callable[[str, DyndnsError | None, float], None] = lambda *_: None,
    ) -> None:
        """`observe` gets the method, the error and the seconds of each call."""
        self._token = token
        self._observe = observe
        self._url = url
        self._host = urlsplit(url).hostname
        self._agent = agent
        # The sessions that aren't in use; requests doesn't guarantee that threads can share one.
        self._idle: list[Session] = []
        self.quotas = Quotas()

    @property
    def is_low(self) -> bool:
        """Whether only the reserve for live requests is left."""
        return self.quotas.is_below(_RESERVE)

    @property
    def is_short(self) -> bool:
        """Whether each host gets only its share of the quota."""
        return self.quotas.is_below(_PLENTY)

    def call(
        self,
        method: str,
        path: str,
        deadline: Deadline,
        query: Query = (),
        body: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Make one call and return the decoded answer.

        Raises:
            HetznerUnreachable: the answer is missing, late, or not from the Cloud API.
            HetznerBusy: the API can't handle the call now.
            TokenRejected, ChangeRefused: the API refuses the call permanently.

        """
        # Calls of one kind seem to use the same bucket.
        kind = f"{method} actions" if "/actions" in path else method
        start = time.perf_counter()
        try:
            session = self._idle.pop()
        except IndexError:
            session = Session()
            session.auth = Bearer(self._token)
            session.headers["User-Agent"] = self._agent
            # From the environment, which requests would otherwise read at each call.
            found = session.merge_environment_settings(self._url, {}, None, None, None)
            session.proxies, session.verify = found["proxies"], found["verify"]
            session.trust_env = False
        try:
            self.quotas.require(kind)
            left = deadline.remaining()
            status, headers, text = ask(
                session,
                method,
                self._url + path,
                MAX_ANSWER,
                params=list(query),
                json=body,
                timeout=(min(_CONNECT_SECONDS, left), left),
            )
            self.quotas.note(kind, headers)
            logger.debug("%s %s: %s", method, path, status)
            answer = decode(status, headers, text, self._token)
        except NoAnswer as error:
            logger.debug("%s %s: %s", method, path, error)
            self._observe(method, HetznerUnreachable(""), time.perf_counter() - start)
            problem = f"Hetzner's API ({self._host}) can't be reached: {error}."
            raise HetznerUnreachable(problem) from None
        except DyndnsError as error:
            self._observe(method, error, time.perf_counter() - start)
            raise
        finally:
            self._idle.append(session)
        self._observe(method, None, time.perf_counter() - start)
        return answer
