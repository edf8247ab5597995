"""The operator's actions on a host, from the page and from the command line."""

from __future__ import annotations

import contextlib
import secrets
import time
from typing import Callable, Container

from backend.auth.registry import Keys
from backend.errors import BadHostname, KeyFileUnusable, StoreUnavailable, not_registered
from backend.events import OperatorActed
from backend.model import (
    Address,
    Deadline,
    DesiredRecord,
    Hostname,
    Outcome,
    Requester,
    Update,
)
from backend.notify.reporter import Reporter
from backend.store import Store
from backend.store.hosts import State
from backend.store.leases import wait_for_host
from backend.store.schema import Entry
from backend.text import moment

_LOCK_SECONDS = 8.0


class Actions:
    """Carries out each action, and reports it in the history and in the log.

    Every method raises `HostNotAllowed` for a host that isn't registered. Methods about keys raise
    `KeyFileUnusable`, the others `StoreUnavailable`.
    """

    def __init__(  # noqa: PLR0913
        self,
        store: Store,
        hosts: Container[Hostname],
        keys: Keys,
        reporter: Reporter,
        *,
        apply: Callable[[Update], Outcome] | None = None,
        send_test: Callable[[], bool] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`apply` is `Updater.apply`; `send_test` returns whether there are channels."""
        self._apply = apply
        self._send_test = send_test
        self._store = store
        self._hosts = hosts
        self._keys = keys
        self._reporter = reporter
        self._clock = clock

    def retry(self, host: Hostname, operator: Requester) -> int:
        """Make a host's pending and refused updates due now; return how many there are."""
        self._check(host)
        number = self._store.records.retry(host, self._clock())
        if number:
            self._report(host, "will be retried now", operator)
        return number

    def drop_update(self, host: Hostname, operator: Requester) -> int:
        """Drop a host's refused updates; return how many there were.

        `HostStatus.losses` says what is lost. An update that only waits for Hetzner isn't dropped.

        Raises:
            HostBusy: another update of the host doesn't end in time.

        """
        self._check(host)
        records = self._store.records.of(host).values()
        if all(one.state is not State.REFUSED for one in records):
            return 0
        number = wait_for_host(
            host,
            lambda: self._store.records.drop_update(host, operator, self._clock()),
            Deadline(_LOCK_SECONDS),
        )
        if number:
            self._report(host, "had its failed update dropped", operator)
        return number

    def update(self, host: Hostname, address: Address, operator: Requester) -> Outcome:
        """Update a record of a host by hand.

        Raises:
            OperatorError, TransientError: as `Updater.apply` does.

        """
        self._check(host)
        if self._apply is None:
            raise NotImplementedError
        self._report(host, f"is set to {address}", operator)
        desired = DesiredRecord(address.type, address)
        return self._apply(Update(host, (desired,), operator))

    def test_message(self) -> bool:
        """Send a test message; return whether notifications are set up.

        Raises:
            OperatorError, TransientError: it can't be sent; the text says why.

        """
        return self._send_test is not None and self._send_test()

    def rotate(self, host: Hostname, operator: Requester) -> str:
        """Replace a host's key, and return the new one."""
        self._check(host)
        key = secrets.token_urlsafe(32)
        self._keys.replace(host, key)
        self._report_key(host, "has a new key", operator)
        return key

    def share(self, host: Hostname, other: Hostname, operator: Requester) -> bool:
        """Give `other` the key of `host`; return whether this replaced a key.

        Raises:
            BadHostname: both hosts are the same.

        """
        self._check(host)
        self._check(other)
        if host == other:
            raise BadHostname(f"{host} can't share its key with itself: name another host.")
        keys = self._keys.read()
        key = keys.get(host)
        if key is None:
            raise KeyFileUnusable(f"{host} has no key yet", hint="start the service once.")
        if keys.get(other) == key:
            return False
        self._keys.replace(other, key)
        self._report_key(other, f"shares the key of {host}", operator)
        return other in keys

    def key(self, host: Hostname) -> str | None:
        """Return a host's key; `None` when it has none."""
        self._check(host)
        return self._keys.accepted().newest.get(host)

    def mute(self, host: Hostname, until: float | None, operator: Requester) -> None:
        """Suppress pushes about the loss of a host until a time (UTC); `None` ends the mute."""
        self._check(host)
        what = "is no longer muted" if until is None else f"is muted until {moment(until)}"
        event = "unmuted" if until is None else "muted"
        self._store.hosts.mute(host, until, self._entry(host, event, what, operator))
        self._report(host, what, operator)

    def _check(self, host: Hostname) -> None:
        if host not in self._hosts:
            raise not_registered(host)

    def _report_key(self, host: Hostname, what: str, operator: Requester) -> None:
        # The old key is no longer valid: the operator must see the new one in any case.
        with contextlib.suppress(StoreUnavailable):
            self._store.history.add(self._entry(host, "rotated", what, operator))
        self._report(host, what, operator)

    def _entry(self, host: Hostname, event: str, what: str, operator: Requester) -> Entry:
        source, protocol = operator.source, operator.protocol
        return Entry(
            self._clock(), host.text, "", event, source, protocol, None, None, f"the host {what}"
        )

    def _report(self, host: Hostname, what: str, operator: Requester) -> None:
        self._reporter.report(OperatorActed(host, what, operator.source))
