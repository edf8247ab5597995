"""Decodes answers of the Cloud API: valid values, or errors."""

from __future__ import annotations

import contextlib
import json
from typing import Any, Iterator, Mapping

from backend.errors import (
    ChangeRefused,
    DyndnsError,
    HetznerBusy,
    HetznerUnreachable,
    SecondaryZone,
    TokenRejected,
    TransientError,
)
from backend.outgoing import retry_after

MAX_ANSWER = 4 * 1024 * 1024  # bytes; a page of 100 RRSets with 50 records each is far smaller
IS_OLD = "a token of 32 characters is for Hetzner's old DNS API, which was removed in May 2026"
MAKE_NEW = (
    "create a token with Read & Write permission at console.hetzner.com, "
    "in the project of the zones, under Security, API tokens."
)
_TOO_MANY = 429
_LONGEST_TEXT = 1000
_OLD_LENGTH = 32  # new tokens have 64 characters
_MAX_ID = (1 << 63) - 1  # fits into every store; the API promises 53 bits


class NotFound(ChangeRefused):
    """The zone, RRSet or action doesn't exist."""


class AlreadyExists(ChangeRefused):
    """The RRSet to create exists already."""


class HetznerMalformed(HetznerUnreachable):
    """A successful call has an answer that isn't one of the Cloud API."""


# The API's error codes. Unknown codes count by their status: 429 and 5xx busy, others refused.
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


def is_old_token(token: str) -> bool:
    """Return whether a token has the length of tokens for the old DNS API.

    Hetzner doesn't promise the lengths, so they justify a warning, but not a refusal.
    """
    return len(token) == _OLD_LENGTH


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
    if len(text) > MAX_ANSWER:
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
