"""What the answers of the Cloud API mean: sound values, and refusals."""

from __future__ import annotations

import contextlib
import json
from typing import Any, Dict, Iterator, Mapping, Tuple, Type

from backend.errors import (
    ChangeRefused,
    DyndnsError,
    HetznerBusy,
    HetznerUnreachable,
    TokenRejected,
)

_LONGEST_TEXT = 1000
MAX_ANSWER = 4 * 1024 * 1024  # bytes; a page of 100 RRSets with 50 records each is far below


def text_of(value: object) -> str:
    """Read a text; JSON may hold halves of characters and NUL, which not every store takes."""
    whole = str(value).encode("utf-8", "replace").decode("utf-8")
    return whole.replace("\0", "")[:_LONGEST_TEXT]


def plain(text: str) -> str:
    """Make a text fit for a log line."""
    return "".join(c if c.isprintable() else " " for c in text)


@contextlib.contextmanager
def understood() -> Iterator[None]:
    """Turn whatever goes wrong in reading an answer into one error.

    Raises:
        HetznerUnreachable: the answer hasn't the shape it should have.

    """
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError):
        raise _unknown_shape() from None


def _unknown_shape() -> HetznerUnreachable:
    return HetznerUnreachable(
        "Hetzner's API answers JSON of a shape this version doesn't know",
        hint="check HETZNER_API_URL, or look for an update of hetzner-dyndns.",
    )


def id_of(action: object) -> int:
    """Read the id of an action: 53 bits by the API's promise, 63 fit into every store.

    Raises:
        HetznerUnreachable: it isn't an action with such an id.

    """
    number = action.get("id") if isinstance(action, dict) else None
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < 1 << 63:
        raise _unknown_shape()
    return number


IS_OLD = "a token of 32 characters is a leftover from Hetzner's old DNS API, removed in May 2026"
MAKE_NEW = (
    "make a new one (Read & Write) at console.hetzner.com, in the project that holds the zones, "
    "under Security, API tokens."
)


def is_old_token(token: str) -> bool:
    """Whether a token looks like one of the old DNS API: 32 characters, where new ones have 64.

    The lengths are Hetzner's convention, not a promise: enough for a warning, not for a refusal.
    """
    return len(token) == 32  # noqa: PLR2004


class NotFound(ChangeRefused):
    """The zone, RRSet or action isn't there."""


class AlreadyExists(ChangeRefused):
    """The RRSet that was to be created is there already."""


# What each of the API's error codes means to us. A code that isn't here is judged by its status:
# 4xx refused for good, anything else busy.
_REFUSALS: Mapping[str, Tuple[Type[DyndnsError], str]] = {
    "unauthorized": (TokenRejected, "check HETZNER_TOKEN"),
    "token_readonly": (TokenRejected, "make a token with Read & Write permission"),
    "forbidden": (TokenRejected, "make a Read & Write token in the zone's own project"),
    "not_found": (NotFound, "check that the zone still exists"),
    "uniqueness_error": (AlreadyExists, "the record exists already"),
    "protected": (ChangeRefused, "lift the change protection of the record"),
    "incorrect_zone_mode": (ChangeRefused, "a secondary zone is changed at its primary server"),
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


def decode(status: int, headers: Mapping[str, str], text: bytes, token: str) -> Dict[str, Any]:
    """Return the JSON object of an answer, without the token wherever the server may echo it.

    Raises:
        HetznerUnreachable: the answer isn't one of the Cloud API.
        HetznerBusy: the API can't do it now.
        TokenRejected, ChangeRefused: the API refuses for good.

    """
    if len(text) > MAX_ANSWER:
        raise HetznerUnreachable("Hetzner's API sent an answer that is too long.")
    if 300 <= status < 400:  # noqa: PLR2004
        raise _nonsense(status, headers, token)
    try:
        answer = json.loads(text.decode("utf-8").replace(token, "(token)"))
    except (ValueError, RecursionError):
        raise _nonsense(status, headers, token) from None
    if not isinstance(answer, dict):
        raise _nonsense(status, headers, token)
    if status >= 400:  # noqa: PLR2004
        raise refusal(status, headers, answer, token)
    return answer


def _nonsense(status: int, headers: Mapping[str, str], token: str) -> HetznerUnreachable:
    kind = headers.get("location") or headers.get("content-type") or "no content type"
    shown = _plain(kind, token)[:100]
    return HetznerUnreachable(
        f"HETZNER_API_URL answers {status} ({shown}), which isn't the Cloud API",
        hint="check the URL, or the proxy in between.",
    )


def refusal(
    status: int, headers: Mapping[str, str], answer: Mapping[str, Any], token: str
) -> DyndnsError:
    """Return the error that an answer with a status of 400 or more stands for."""
    error = answer.get("error")
    if not isinstance(error, dict) or not isinstance(error.get("code"), str):
        return _nonsense(status, headers, token)
    code = _plain(error["code"], token)[:60]
    said = _quote(error.get("message"), token)
    if code in _BUSY_CODES or (code not in _REFUSALS and status >= 500):  # noqa: PLR2004
        return HetznerBusy(f"Hetzner can't do it now: {code}, {said}.", _pause(headers, code))
    family, hint = _REFUSALS.get(code, (ChangeRefused, "see what Hetzner says of it"))
    if code == "unauthorized" and is_old_token(token):
        return family(f"Hetzner refuses it ({code}, {said}); {IS_OLD}", hint=MAKE_NEW)
    return family(f"Hetzner refuses it ({code}, {said})", hint=f"{hint}.")


def _quote(message: object, token: str) -> str:
    """Make a message from outside fit for a log line, whatever it echoes."""
    return '"' + _plain(str(message), token)[:200].rstrip(".") + '"'


def _plain(text: str, token: str) -> str:
    return plain(text.replace(token, "(token)"))


def _pause(headers: Mapping[str, str], code: str) -> float:
    """How long to wait, in seconds: what the API asks for, else what its refill rate suggests.

    `RateLimit-Reset` won't do: it tells when the bucket is full again, not when a call may pass.
    """
    try:
        return min(3600.0, max(1.0, float(headers["retry-after"])))
    except (KeyError, ValueError):
        return 30.0 if code == "rate_limit_exceeded" else 5.0
