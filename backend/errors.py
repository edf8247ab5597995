"""Everything that can go wrong, sorted by who can put it right.

::

    DyndnsError                    its text is safe to show to a caller
    ├─ CallerError                 change the request
    │  ├─ BadRequest               ─ RequestTooLarge
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
    │  ├─ ChangeRefused            ─ CnameInTheWay
    │  ├─ KeyFileUnusable
    │  ├─ SettingUnusable
    │  └─ StoreUnusable
    └─ TransientError              time may put it right; has retry_after
       ├─ HetznerUnreachable
       ├─ HetznerBusy              ─ ShareUsedUp
       ├─ HostBusy
       ├─ Superseded
       ├─ KeysUnavailable
       └─ StoreUnavailable         ─ StoreBusy

No class carries a status or a protocol word: each face in ``web/`` has a table of its own.
"""

from __future__ import annotations


class DyndnsError(Exception):
    """The root: whatever its text says may be shown to a caller, so it never holds a secret.

    Its text is one sentence: what is wrong, and behind a colon what to do about it, if anything.
    `seen` and `mend` are the same in two sentences.
    """

    def __init__(self, problem: str, *, hint: str = "") -> None:
        """Take what is wrong and what to do; a flaw that has a mend ends without a full stop."""
        super().__init__(f"{problem}: {hint}" if hint else problem)
        self.seen = f"{problem}." if hint else problem
        self.hint = hint[:1].upper() + hint[1:]


class CallerError(DyndnsError):
    """The caller can put it right by sending another request."""


class BadRequest(CallerError):
    """The request can't be read at all."""


class RequestTooLarge(BadRequest):
    """The body is longer than any honest request."""


class BadHostname(CallerError):
    """The name is no host name."""


class MissingHostname(BadHostname):
    """No name was given, and none follows from the login."""


class BadAddress(CallerError):
    """The address can't be published."""


class BadRecordType(BadAddress):
    """The record type is neither A nor AAAA."""


class AddressMismatch(BadAddress):
    """The record type and the address belong to different families."""


class PrivateAddress(BadAddress):
    """The address was only detected, and it means nothing outside a private network."""


class TooManyHosts(CallerError):
    """The request names more hosts than one request may."""


class CrossSite(CallerError):
    """A browser marks the request as sent by another web site."""


class Unauthorized(CallerError):
    """Wrong credentials. The text never tells which part of them was wrong."""


class MissingCredentials(Unauthorized):
    """No credentials at all: not an attack, so it is neither counted nor reported."""


class HostNotAllowed(CallerError):
    """The login is good, but not for this host."""


class ForeignHost(HostNotAllowed):
    """The login is a host's own, but not this host's, or this host is unknown."""


class TooManyFailures(CallerError):
    """Too many failed logins from one source or for one host."""

    def __init__(self, problem: str, retry_after: float, *, hint: str = "") -> None:
        """Keep the pause to ask for, in seconds."""
        super().__init__(problem, hint=hint)
        self.retry_after = retry_after


class OperatorError(DyndnsError):
    """The operator has to change the set-up, here or at Hetzner."""


class ZoneNotFound(OperatorError):
    """No token sees a zone that holds the name."""


class TokenRejected(OperatorError):
    """Hetzner doesn't accept the token, or not for writing."""


class ChangeRefused(OperatorError):
    """Hetzner understood the change and refuses it for good."""


class CnameInTheWay(ChangeRefused):
    """A CNAME at the name excludes every address."""


class KeyFileUnusable(OperatorError):
    """The pre-shared-key file can't be read, or not be written where it must be."""


class SettingUnusable(OperatorError):
    """A setting has a value nothing can be made of."""


class StoreUnusable(OperatorError):
    """The store can't be opened, or a newer program has written it."""


class TransientError(DyndnsError):
    """Time may put it right: the wish stays stored and is tried again."""

    def __init__(self, problem: str, retry_after: float = 30.0, *, hint: str = "") -> None:
        """Keep the pause to ask for, in seconds."""
        super().__init__(problem, hint=hint)
        self.retry_after = retry_after


class HetznerUnreachable(TransientError):
    """No answer from Hetzner, or one that isn't the Cloud API's."""


class HetznerBusy(TransientError):
    """Hetzner answered that it can't do it now."""


class ShareUsedUp(HetznerBusy):
    """Hetzner wasn't asked: what is left of the quota belongs to other hosts."""


class HostBusy(TransientError):
    """Another update of the same host is still at Hetzner."""


class Superseded(TransientError):
    """A newer wish for the same record came in before this one was published."""


class KeysUnavailable(TransientError):
    """No key is known yet: the key file could never be read since the start."""


class StoreUnavailable(TransientError):
    """The store doesn't answer, or can't be written."""


class StoreBusy(StoreUnavailable):
    """Another program has locked the store, usually for a short time."""
