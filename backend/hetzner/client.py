"""One call to Hetzner's Cloud API: its time limit, its token, the rate limit, and the answer.

API: https://docs.hetzner.cloud/cloud.spec.json, including its section "Rate Limiting". Recorded
answers show that a project has several buckets.
"""

from __future__ import annotations

import contextlib
import json
import logging
import time
from typing import Any, Callable, Iterable, Iterator, Mapping, Tuple
from urllib.parse import urlsplit

from backend.errors import (
    IS_OLD,
    MAKE_NEW,
    ChangeRefused,
    DyndnsError,
    HetznerBusy,
    HetznerUnreachable,
    SecondaryZone,
    TokenRejected,
    TransientError,
    is_old_token,
)
from backend.model import Deadline
from backend.outgoing import Bearer, NoAnswer, Session, ask, retry_after
from backend.rate import HOUR, Quota

logger = logging.getLogger(__name__)

_MAX_ANSWER = 4 * 1024 * 1024  # bytes; a page of 100 RRSets with 50 records each is far smaller
_TOO_MANY = 429
_LONGEST_TEXT = 1000
_MAX_ID = (1 << 63) - 1  # fits into every store; the API promises 53 bits
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
        self._limit_of: dict[str, int] = {}  # by kind of call, learnt from answers: not documented

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
            self._quotas[limit] = Quota(limit, min(limit, max(0, remaining)), self._clock())
            self._limit_of[kind] = limit

    def require(self, kind: str) -> None:
        """Raise `HetznerBusy` if Hetzner would refuse a call of some kind because of the quota."""
        quota = self._quotas.get(self._limit_of.get(kind, 0))
        if quota is not None and (missing := _LEAST - quota.left(self._clock())) > 0:
            wait = missing * HOUR / quota.limit
            raise HetznerBusy("The hourly quota of calls to Hetzner is used up.", wait)

    def is_below(self, share: float) -> bool:
        """Return whether a bucket has less than a share of its limit."""
        now = self._clock()
        quotas = list(self._quotas.values())  # another thread may add one
        return any(quota.left(now) < quota.limit * share for quota in quotas)


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
            session = Session(self._url)
            session.auth = Bearer(self._token)
            session.headers["User-Agent"] = self._agent
        try:
            self.quotas.require(kind)
            left = deadline.remaining()
            status, headers, text = ask(
                session,
                method,
                self._url + path,
                _MAX_ANSWER,
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


class NotFound(ChangeRefused):
    """The zone, RRSet or action doesn't exist."""


class AlreadyExists(ChangeRefused):
    """The RRSet to create exists already."""


class HetznerMalformed(HetznerUnreachable):
    """A successful call has an answer that isn't one of the Cloud API."""


# The API's error codes. Without a known code, the status decides: 429 and 5xx busy, else refused.
_REFUSALS: Mapping[str, tuple[type[DyndnsError], str]] = {
    "unauthorized": (TokenRejected, "check HETZNER_TOKEN"),
    "token_readonly": (TokenRejected, "create a token with Read & Write permission"),
    "forbidden": (TokenRejected, "create a Read & Write token in the zone's own project"),
    "not_found": (NotFound, "check that the zone still exists"),
    "uniqueness_error": (AlreadyExists, "the record exists already"),
    "protected": (ChangeRefused, "lift the change protection of the record"),
    "incorrect_zone_mode": (SecondaryZone, "change a secondary zone at its primary server"),
    "resource_locked": (ChangeRefused, "ask Hetzner's support to unlock the zone"),
    "resource_limit_exceeded": (ChangeRefused, "delete records or ask Hetzner for a higher limit"),
    "deprecated_api_endpoint": (ChangeRefused, "update hetzner-dyndns"),
}
_BUSY_CODES = frozenset(
    (
        "conflict",
        "locked",
        "maintenance",
        "rate_limit_exceeded",
        "resource_unavailable",
        "service_error",
        "server_error",
        "bad_gateway",
        "unavailable",
        "timeout",
    )
)


def text_of(value: object) -> str:
    """Read a text; JSON may contain lone surrogates and NUL, which some stores refuse."""
    whole = str(value).encode("utf-8", "replace").decode("utf-8")
    return whole.replace("\0", "")[:_LONGEST_TEXT]


def plain(text: str) -> str:
    """Replace characters that don't belong in a log line."""
    return "".join(c if c.isprintable() else " " for c in text)


@contextlib.contextmanager
def understood() -> Iterator[None]:
    """Raise `HetznerMalformed` if the block can't read an answer."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError):
        raise _unknown_shape() from None


def _unknown_shape() -> HetznerMalformed:
    return HetznerMalformed(
        "Hetzner's API sends JSON in a form that this version doesn't know",
        hint="check HETZNER_API_URL, or look for an update of hetzner-dyndns.",
    )


def id_of(action: object) -> int:
    """Return the id of an action; raise `HetznerMalformed` if it has none."""
    number = action.get("id") if isinstance(action, dict) else None
    if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number <= _MAX_ID:
        raise _unknown_shape()
    return number


def decode(status: int, headers: Mapping[str, str], text: bytes, token: str) -> dict[str, Any]:
    """Return the JSON object of an answer. The token is removed where the server echoes it.

    Raises:
        HetznerUnreachable: the answer isn't from the Cloud API; `HetznerMalformed` after a success.
        HetznerBusy: the API can't handle the call now.
        TokenRejected, ChangeRefused: the API refuses the call permanently.

    """
    if len(text) > _MAX_ANSWER:
        raise HetznerUnreachable("Hetzner's API sent an answer that is too long.")
    answer = None
    if not 300 <= status < 400:  # noqa: PLR2004
        with contextlib.suppress(ValueError, RecursionError):
            answer = json.loads(text.decode("utf-8").replace(token, "(token)"))
    if not isinstance(answer, dict):
        raise _not_the_api(status, headers, token)
    if status >= 400:  # noqa: PLR2004
        raise refusal(status, headers, answer, token)
    return answer


def _not_the_api(status: int, headers: Mapping[str, str], token: str) -> TransientError:
    if _is_busy(status):  # Hetzner's gateways send no JSON
        pause = _pause(headers, is_limited=status == _TOO_MANY)
        return HetznerBusy(f"Hetzner is busy (status {status}).", pause)
    kind = headers.get("location") or headers.get("content-type") or "no content type"
    shown = _shown(kind, token)[:100]
    family = HetznerMalformed if 200 <= status < 300 else HetznerUnreachable  # noqa: PLR2004
    return family(
        f"HETZNER_API_URL answers {status} ({shown}), which isn't the Cloud API",
        hint="check the URL, and any proxy on the way to it.",
    )


def refusal(
    status: int, headers: Mapping[str, str], answer: Mapping[str, Any], token: str
) -> DyndnsError:
    """Return the error for an answer with a status of 400 or more."""
    error = answer.get("error")
    if not isinstance(error, dict) or not isinstance(error.get("code"), str):
        return _not_the_api(status, headers, token)
    code = _shown(error["code"], token)[:60]
    reason = f'{code}, "{_shown(str(error.get("message")), token)[:200].rstrip(".")}"'
    if code in _BUSY_CODES or (code not in _REFUSALS and _is_busy(status)):
        pause = _pause(headers, is_limited=code == "rate_limit_exceeded")
        return HetznerBusy(f"Hetzner is busy ({reason}).", pause)
    family, hint = _REFUSALS.get(code, (ChangeRefused, "see Hetzner's message"))
    if code == "unauthorized" and is_old_token(token):
        return family(f"Hetzner refuses the call ({reason}); {IS_OLD}", hint=MAKE_NEW)
    return family(f"Hetzner refuses the call ({reason})", hint=f"{hint}.")


def _is_busy(status: int) -> bool:
    return status == _TOO_MANY or status >= 500  # noqa: PLR2004


def _pause(headers: Mapping[str, str], *, is_limited: bool) -> float:
    # RateLimit-Reset is the time of a full bucket, not that of the next possible call.
    return retry_after(headers, 1.0, 3600.0) or (30.0 if is_limited else 5.0)


def _shown(text: str, token: str) -> str:
    return plain(text.replace(token, "(token)"))
