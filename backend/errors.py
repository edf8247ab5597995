"""All errors, by who can fix them.

::

    DyndnsError                    its text is safe to show to a caller
    ├─ CallerError                 change the request
    │  ├─ BadRequest               ─ RequestTooLarge, BadChallenge
    │  ├─ BadHostname              ─ MissingHostname
    │  ├─ BadAddress               ─ BadRecordType, AddressMismatch, PrivateAddress
    │  ├─ TooManyHosts
    │  ├─ CrossSite
    │  ├─ Unauthorized             ─ MissingCredentials
    │  ├─ HostNotAllowed           ─ ForeignHost
    │  └─ TooManyFailures          has retry_after
    ├─ OperatorError               change the set-up
    │  ├─ ZoneNotFound
    │  ├─ TokenRejected
    │  ├─ ChangeRefused            ─ CnameInTheWay, SecondaryZone
    │  ├─ KeyFileUnusable
    │  ├─ SettingUnusable
    │  └─ StoreUnusable
    └─ TransientError              time may fix it; has retry_after
       ├─ HetznerUnreachable
       ├─ HetznerBusy              ─ ShareUsedUp
       ├─ HostBusy
       ├─ Superseded
       ├─ KeysUnavailable
       └─ StoreUnavailable         ─ StoreBusy

No class has a status code or a word of a protocol: each protocol in ``web/`` has a table of
answers.
"""

from __future__ import annotations

from dataclasses import dataclass


class DyndnsError(Exception):
    """The base class. Callers see the text, so it never contains a secret.

    The text is one sentence: the problem and, after a colon, the hint, which says how to fix it.
    `seen` and `hint` are the same as two sentences.
    """

    def __init__(self, problem: str, *, hint: str = "") -> None:
        """A `problem` with a `hint` ends without a full stop."""
        super().__init__(f"{problem}: {hint}" if hint else problem)
        self.seen = f"{problem}." if hint else problem
        self.hint = hint[:1].upper() + hint[1:]


class CallerError(DyndnsError):
    """The caller can fix the problem by changing the request."""


class BadRequest(CallerError):
    """The request can't be read."""


class RequestTooLarge(BadRequest):
    """The body exceeds the size limit of an update."""


class BadChallenge(BadRequest):
    """The text can't be the value of a certificate challenge."""


class BadHostname(CallerError):
    """The name isn't a host name."""


class MissingHostname(BadHostname):
    """The request names no host, and the login doesn't imply one."""


class BadAddress(CallerError):
    """The address can't be published."""


class BadRecordType(BadAddress):
    """The record type is neither A nor AAAA."""


class AddressMismatch(BadAddress):
    """The record type and the address belong to different families."""


class PrivateAddress(BadAddress):
    """The address was detected, not sent, and other networks can't reach it."""


class TooManyHosts(CallerError):
    """The request names too many hosts."""


class CrossSite(CallerError):
    """A browser marks the request as sent by another web site."""


class Unauthorized(CallerError):
    """Wrong credentials. The text never says which part of them is wrong."""


class MissingCredentials(Unauthorized):
    """No credentials: not an attack, so it isn't counted or reported."""


class HostNotAllowed(CallerError):
    """The login is right, but not for this host."""


def not_registered(host: object) -> HostNotAllowed:
    """Return the error for a host that isn't registered."""
    return HostNotAllowed(
        f"{host} isn't registered: add it with `hosts add {host}`, or to REGISTERED_FQDNS."
    )


class ForeignHost(HostNotAllowed):
    """The login belongs to another host, or this host is unknown."""


class TooManyFailures(CallerError):
    """Too many failed logins from one source or for one host."""

    def __init__(self, problem: str, retry_after: float) -> None:
        """The caller may try again after `retry_after` seconds."""
        super().__init__(problem)
        self.retry_after = retry_after


class OperatorError(DyndnsError):
    """The operator has to change the set-up, here or at Hetzner."""


class ZoneNotFound(OperatorError):
    """No token has access to a zone that contains the name."""


class TokenRejected(OperatorError):
    """Hetzner rejects the token, or the token may not write."""


IS_OLD = "a token of 32 characters is for Hetzner's old DNS API, which was removed in May 2026"
MAKE_NEW = (
    "create a token with Read & Write permission at console.hetzner.com, "
    "in the project of the zones, under Security, API tokens."
)
_OLD_LENGTH = 32  # new tokens have 64 characters


def is_old_token(token: str) -> bool:
    """Return whether a token has the length of tokens for the old DNS API.

    Hetzner doesn't promise the lengths, so they justify a warning, but not a refusal.
    """
    return len(token) == _OLD_LENGTH


class ChangeRefused(OperatorError):
    """Hetzner refuses the change permanently."""


class CnameInTheWay(ChangeRefused):
    """The name has a CNAME record, so it can't have addresses."""


class SecondaryZone(ChangeRefused):
    """Hetzner copies the zone from another server, so it can't be changed at Hetzner."""


class KeyFileUnusable(OperatorError):
    """The key file can't be read, or can't be written."""


class SettingUnusable(OperatorError):
    """A setting has an invalid value."""


class StoreUnusable(OperatorError):
    """The store can't be opened, or another version of the program has written it."""


class TransientError(DyndnsError):
    """The problem may clear by itself: the update stays stored and is retried."""

    def __init__(self, problem: str, retry_after: float = 30.0, *, hint: str = "") -> None:
        """The caller may try again after `retry_after` seconds."""
        super().__init__(problem, hint=hint)
        self.retry_after = retry_after


class HetznerUnreachable(TransientError):
    """Hetzner didn't answer, or another server answered instead."""


class HetznerBusy(TransientError):
    """Hetzner can't process the request now."""


class ShareUsedUp(HetznerBusy):
    """Hetzner wasn't asked: the rest of the quota is reserved for other hosts."""


class HostBusy(TransientError):
    """Another update of the same host isn't finished."""


class Superseded(TransientError):
    """A newer update for the same record arrived before this one was published."""


class KeysUnavailable(TransientError):
    """No keys are loaded: the key file hasn't been readable since the start."""


class StoreUnavailable(TransientError):
    """The store can't be read or written."""


class StoreBusy(StoreUnavailable):
    """Another program has locked the store, usually for a short time."""


# The state of a `Line`.
OK, WARN, FAIL = "ok", "warn", "fail"


@dataclass(frozen=True)
class Line:
    """The result of one test. It contains no secret."""

    state: str
    what: str
    found: str
    hint: str = ""

    @property
    def is_finding(self) -> bool:
        """Whether the operator has to read it."""
        return self.state != OK or bool(self.hint)


def failed_line(state: str, what: str, error: DyndnsError) -> Line:
    """Return the result of a test that raised an error."""
    return Line(state, what, error.seen, error.hint)
