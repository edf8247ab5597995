"""What the operator can do about hosts, from the pages and from the command line."""

from __future__ import annotations

import contextlib
import logging
import secrets
import time
from typing import Callable, Iterable, Mapping, Sequence

from backend.auth.registry import Keys, Registry, move_keys
from backend.errors import (
    FAIL,
    BadHostname,
    BadRequest,
    KeyFileUnusable,
    Line,
    StoreUnavailable,
    not_registered,
)
from backend.events import OperatorActed
from backend.model import (
    Address,
    Deadline,
    DesiredRecord,
    Hostname,
    Outcome,
    OwnSettings,
    Requester,
    Update,
    shown,
)
from backend.notify.reporter import Reporter
from backend.readers import INTERFACE_ID_EXAMPLE, LARGEST, interface_id
from backend.settings import LOWEST_TTL
from backend.store import Store
from backend.store.hosts import State
from backend.store.leases import wait_for_host
from backend.store.registrations import HostExists
from backend.store.schema import Entry
from backend.text import exactly, moment, span

logger = logging.getLogger(__name__)

_LOCK_SECONDS = 8.0
_LONGEST_NOTE = 200
_SWITCH = {"on": True, "off": False}


def names_in(text: str) -> Sequence[str]:
    """Return the names in a list: between commas, spaces and line ends, without `# comments`."""
    lines = (line.partition("#")[0] for line in text.splitlines())
    return [name for line in lines for name in line.replace(",", " ").split()]


def _read_ttl(text: str) -> int:
    if text.isdecimal() and LOWEST_TTL <= int(text) <= LARGEST:
        return int(text)
    raise ValueError(text)


def _read_note(text: str) -> str:
    if len(text) <= _LONGEST_NOTE and text.isprintable():
        return text
    raise ValueError(text)


# The fields of `OwnSettings`: the name of each, how its text is read, and what to write.
_FIELDS: Mapping[str, tuple[str, Callable[[str], object], str]] = {
    "lost_after": ("time of silence", span, "a duration, as in 90min, 12h or 3d"),
    "ttl": ("TTL", _read_ttl, f"a number of seconds from {LOWEST_TTL} up"),
    "interface_id": (
        "host part",
        interface_id,
        f"the part of the IPv6 address after the prefix, as in {INTERFACE_ID_EXAMPLE}",
    ),
    "certificates": ("switch for certificates", _SWITCH.__getitem__, "on or off"),
    "note": ("note", _read_note, f"one line of up to {_LONGEST_NOTE} characters"),
}


class Actions:
    """Carries out each action, and reports it in the history and in the log.

    Every method raises `StoreUnavailable`, and `HostNotAllowed` for a host that isn't registered.
    Methods that read or change keys raise `KeyFileUnusable`. Hosts of REGISTERED_FQDNS can't be
    renamed or removed.
    """

    def __init__(  # noqa: PLR0913, PLR0917
        self,
        store: Store,
        registry: Registry,
        keys: Keys,
        reporter: Reporter,
        inspect: Callable[[Sequence[Hostname]], Iterable[Line]],
        apply: Callable[[Update], Outcome] | None = None,
    ) -> None:
        """`inspect` tests whether hosts can be added; `apply`, for `update`, is `Updater.apply`."""
        self._store = store
        self._registry = registry
        self._keys = keys
        self._reporter = reporter
        self._inspect = inspect
        self._apply = apply
        self._problem = ""  # the last problem with the keys

    def add(self, names: Iterable[str], operator: Requester) -> Sequence[Line]:
        """Add hosts; return what was found at Hetzner and, if it failed, why no host was added.

        All of the hosts are added, or none of them.

        Raises:
            KeyFileUnusable: their keys can't be written.

        """
        hosts, lines = self._examined(names)
        if not hosts:
            return lines
        registrations = self._store.registrations
        self._prepare_keys()
        try:
            registrations.add(hosts, operator, time.time())
        except HostExists as error:  # another operator has added it
            return [*lines, Line(FAIL, "", str(error), "No host was added: try again.")]
        try:
            self._keys.complete(hosts)  # if this process is killed now, `finish` does it
        except KeyFileUnusable:
            for host in hosts:
                registrations.remove(host, delete_records=False, operator=operator, now=time.time())
            raise
        self._registry.refresh()
        for host in hosts:
            self._report(host, "was added", operator)
        return lines

    def rename(self, old: Hostname, name: str, operator: Requester) -> Sequence[Line]:
        """Rename a host; return what was found at Hetzner. Key, settings and history are kept.

        If a test failed, the host isn't renamed. The new records are published first, and then the
        old ones are deleted.

        Raises:
            BadRequest: the host comes from REGISTERED_FQDNS.
            HostBusy: an update of the host doesn't end in time.

        """
        self._require_added(old, "rename")
        hosts, lines = self._examined([name])
        if not hosts:
            return lines
        new = hosts[0]
        self._prepare_keys()
        registrations = self._store.registrations
        wait_for_host(
            old,
            lambda: registrations.rename(old, new, operator, time.time()),
            Deadline(_LOCK_SECONDS),
        )
        move_keys(self._keys, self._store.registrations)
        self._registry.refresh()
        self._report(new, f"is the new name of {old}", operator)
        return lines

    def remove(self, host: Hostname, operator: Requester, *, delete_records: bool) -> None:
        """Remove a host; its key is invalid at once. Its records are deleted, or kept at Hetzner.

        For a host whose records are being deleted, `delete_records=False` stops that.

        Raises:
            BadRequest: the host comes from REGISTERED_FQDNS.
            HostBusy: an update of the host doesn't end in time.

        """
        registrations = self._store.registrations
        if host not in registrations.leaving():
            self._require_added(host, "remove")
        self._prepare_keys()
        wait_for_host(
            host,
            lambda: registrations.remove(
                host, delete_records=delete_records, operator=operator, now=time.time()
            ),
            Deadline(_LOCK_SECONDS),
        )
        move_keys(self._keys, self._store.registrations)
        self._registry.refresh()
        what = "its records are being deleted" if delete_records else "its records were kept"
        self._report(host, f"was removed, and {what}", operator)

    def change(self, host: Hostname, texts: Mapping[str, str], operator: Requester) -> OwnSettings:
        """Change the own settings of a host, and return all of them.

        `texts` has values for some of the fields of `OwnSettings`. An empty one means that the
        variable applies.

        Raises:
            BadRequest: a value is wrong, or there is none.

        """
        self._require_registered(host)
        if not texts:
            raise BadRequest("The form contains no setting. Nothing was changed.")
        new: dict[str, object] = {}
        for name, text in texts.items():
            what, read, right = _FIELDS[name]
            try:
                new[name] = read(text) if text else getattr(OwnSettings, name)
            except (KeyError, ValueError):
                raise BadRequest(f"The {what} is wrong: write {right}.") from None
        self._store.registrations.change(host, new, operator, time.time())
        self._registry.refresh()
        self._report(host, "has new settings", operator)
        return self.own(host)

    def own(self, host: Hostname) -> OwnSettings:
        """Return the settings that a host has of its own."""
        _, own = self._store.registrations.read(time.time())
        return own.get(host, OwnSettings())

    def own_texts(self, host: Hostname) -> Mapping[str, str]:
        """Return the settings that a host has of its own as `change` reads them."""
        own = self.own(host)
        return {
            "lost_after": "" if own.lost_after is None else exactly(own.lost_after),
            "ttl": "" if own.ttl is None else str(own.ttl),
            "interface_id": str(own.interface_id or ""),
            "certificates": {None: "", True: "on", False: "off"}[own.certificates],
            "note": own.note,
        }

    def is_fixed(self, host: Hostname) -> bool:
        """Return whether a host comes from REGISTERED_FQDNS."""
        return host in self._registry.current.fixed

    def retry(self, host: Hostname, operator: Requester) -> int:
        """Make a host's pending and refused updates due now; return how many there are."""
        self._require_registered(host)
        number = self._store.records.retry(host, time.time())
        if number:
            self._report(host, "will be retried now", operator)
        return number

    def drop_update(self, host: Hostname, operator: Requester) -> int:
        """Drop a host's refused updates; return how many there were.

        `HostStatus.losses` says what is lost. An update that only waits for Hetzner isn't dropped.

        Raises:
            HostBusy: another update of the host doesn't end in time.

        """
        self._require_registered(host)
        records = self._store.records.of(host).values()
        if all(one.state is not State.REFUSED for one in records):
            return 0
        number = wait_for_host(
            host,
            lambda: self._store.records.drop_update(host, operator, time.time()),
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
        self._require_registered(host)
        if self._apply is None:
            raise NotImplementedError
        self._report(host, f"is set to {address}", operator)
        desired = DesiredRecord(address.type, address)
        return self._apply(Update(host, (desired,), operator))

    def rotate(self, host: Hostname, operator: Requester) -> str:
        """Replace a host's key, and return the new one."""
        self._require_registered(host)
        self._prepare_keys()
        key = secrets.token_urlsafe(32)
        self._keys.replace(host, key)
        self._report_key(host, "has a new key", operator)
        return key

    def share(self, host: Hostname, other: Hostname, operator: Requester) -> bool:
        """Give `other` the key of `host`; return whether this replaced a key.

        Raises:
            BadHostname: both hosts are the same.

        """
        self._require_registered(host)
        self._require_registered(other)
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
        self._require_registered(host)
        return self._keys.accepted().newest.get(host)

    def mute(self, host: Hostname, until: float | None, operator: Requester) -> None:
        """Suppress pushes that a host is lost or back until a time (UTC); `None` ends the mute."""
        self._require_registered(host)
        what = "is no longer muted" if until is None else f"is muted until {moment(until)}"
        event = "unmuted" if until is None else "muted"
        self._store.hosts.mute(host, until, self._entry(host, event, what, operator))
        self._report(host, what, operator)

    def finish(self) -> None:
        """Finish the removal of hosts whose records are deleted. Call this every few seconds.

        Also finishes changes of keys that a killed process has left unfinished.
        """
        hosts = self._registry.current
        added = hosts.names - hosts.fixed
        try:
            leaving = move_keys(self._keys, self._store.registrations)
            known = self._keys.accepted().newest if added else {}
            missing = added.difference(known, leaving, leaving.values())
            if missing:
                self._keys.complete(sorted(missing))
        except KeyFileUnusable as error:
            if str(error) != self._problem:
                self._problem = str(error)
                logger.error("The keys of hosts can't be changed now. %s", error)  # noqa: TRY400
            return
        self._problem = ""
        for host in leaving:
            if self._store.registrations.finish_removal(host, time.time()):
                logger.info("%s is removed.", host)

    def _prepare_keys(self) -> None:
        """Finish what a killed process has left; raise `KeyFileUnusable` if that is impossible."""
        self._keys.require_writable(self._registry)
        move_keys(self._keys, self._store.registrations)

    def _examined(self, names: Iterable[str]) -> tuple[list[Hostname], list[Line]]:
        """Return the hosts of these names, or none if one can't be added, and what was found."""
        hosts: list[Hostname] = []
        lines = []
        for name in filter(None, map(str.strip, names)):
            try:
                host = Hostname.parse(name)
            except BadHostname as error:
                lines.append(Line(FAIL, "".join(filter(str.isprintable, name))[:80], str(error)))
                continue
            if host in self._registry:
                lines.append(Line(FAIL, shown(host), "The host is registered already."))
            elif host not in hosts:
                hosts.append(host)
        lines = lines or list(self._inspect(hosts))
        return [] if any(line.state == FAIL for line in lines) else hosts, lines

    def _require_registered(self, host: Hostname) -> None:
        if host not in self._registry:
            raise not_registered(host)

    def _require_added(self, host: Hostname, verb: str) -> None:
        self._require_registered(host)
        if self.is_fixed(host):
            raise BadRequest(f"{host} comes from REGISTERED_FQDNS: {verb} it there.")

    def _report_key(self, host: Hostname, what: str, operator: Requester) -> None:
        # The old key is no longer valid: the operator must see the new one in any case.
        with contextlib.suppress(StoreUnavailable):
            self._store.history.add(self._entry(host, "rotated", what, operator))
        self._report(host, what, operator)

    def _entry(self, host: Hostname, event: str, what: str, operator: Requester) -> Entry:
        source, protocol = operator.source, operator.protocol
        return Entry(
            time.time(), host.text, "", event, source, protocol, None, None, f"the host {what}"
        )

    def _report(self, host: Hostname, what: str, operator: Requester) -> None:
        self._reporter.report(OperatorActed(host, what, operator.source))
