"""What the operator may do about a host, from the page and from the command line."""

from __future__ import annotations

import contextlib
import time
from typing import Callable, Iterable, Optional

from backend.auth.keys import KeyFile
from backend.errors import BadHostname, HostNotAllowed, KeyFileUnusable, StoreUnavailable
from backend.events import OperatorActed
from backend.hetzner.client import Deadline
from backend.model import Hostname, Requester
from backend.notify.reporter import Reporter
from backend.store import Store
from backend.store.schema import Entry
from backend.sync.locks import HostLocks
from backend.text import moment

_LOCK_SECONDS = 8.0


class Actions:
    """Does it, and leaves a line in the history and in the log.

    Every method raises `HostNotAllowed` for a host that isn't registered, and `StoreUnavailable`
    unless it is about a key.
    """

    def __init__(  # noqa: PLR0913
        self,
        store: Store,
        hosts: Iterable[Hostname],
        key_file: KeyFile,
        host_locks: HostLocks,
        reporter: Reporter,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._hosts = frozenset(hosts)
        self._key_file = key_file
        self._host_locks = host_locks
        self._reporter = reporter
        self._clock = clock

    def retry(self, host: Hostname, operator: Requester) -> int:
        """Have a host's waiting wishes tried now; return how many there are."""
        self._check(host)
        number = self._store.operations.retry(host, self._clock())
        if number:
            self._tell(host, "is to be tried again now", operator)
        return number

    def drop_update(self, host: Hostname, operator: Requester) -> int:
        """Forget a host's errors; return how many there were.

        Raises:
            HostBusy: an update of the host is under way, and doesn't end.

        """
        self._check(host)
        with self._host_locks.take(host, Deadline(_LOCK_SECONDS)):
            number = self._store.operations.drop_update(
                host, self._clock(), operator.source, operator.protocol
            )
        if number:
            self._tell(host, "has its error forgotten", operator)
        return number

    def rotate(self, host: Hostname, operator: Requester) -> str:
        """Give a host a new key, and return it.

        Raises:
            KeyFileUnusable: the file can't be read or written.

        """
        self._check(host)
        key = self._key_file.rotate(host)
        self._note_key(host, "it has a new key", operator)
        self._tell(host, "has a new key", operator)
        return key

    def share(self, host: Hostname, other: Hostname, operator: Requester) -> bool:
        """Give another host the key that one has, and return whether it had one of its own.

        Raises:
            BadHostname: it is the same host.
            KeyFileUnusable: the file can't be read or written.

        """
        self._check(host)
        self._check(other)
        if host == other:
            raise BadHostname(f"{host} can't share its key with itself: name another host.")
        keys = self._key_file.read()
        key = keys.get(host)
        if key is None:
            raise KeyFileUnusable(
                f"The key file has no key of {host}", hint="start the service once."
            )
        if keys.get(other) == key:
            return False
        self._key_file.replace(other, key)
        self._note_key(other, f"it shares the key of {host}", operator)
        self._tell(other, f"shares the key of {host}", operator)
        return other in keys

    def key(self, host: Hostname) -> Optional[str]:
        """Return a host's key; `None` when it has none."""
        self._check(host)
        return self._key_file.keys().get(host)

    def mute(self, host: Hostname, until: Optional[float], operator: Requester) -> None:
        """Push nothing of a host being lost until then (UTC seconds); `None` ends that."""
        self._check(host)
        what = "is no longer muted" if until is None else f"is muted until {moment(until)}"
        event = "unmuted" if until is None else "muted"
        self._store.operations.mute(host, until, self._entry(host, event, f"it {what}", operator))
        self._tell(host, what, operator)

    def _check(self, host: Hostname) -> None:
        if host not in self._hosts:
            raise HostNotAllowed(f"{host} isn't registered: add it to REGISTERED_FQDNS.")

    def _note_key(self, host: Hostname, why: str, operator: Requester) -> None:
        # The old key opens nothing any more: whatever the store does, the new one has to be shown.
        with contextlib.suppress(StoreUnavailable):
            self._store.operations.note(self._entry(host, "rotated", why, operator))

    def _entry(self, host: Hostname, event: str, why: str, operator: Requester) -> Entry:
        source, protocol = operator.source, operator.protocol
        return Entry(self._clock(), host.text, "", event, source, protocol, None, None, why)

    def _tell(self, host: Hostname, what: str, operator: Requester) -> None:
        self._reporter.report(OperatorActed(host, what, operator.source))
