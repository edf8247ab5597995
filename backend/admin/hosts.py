"""Adds, renames and removes hosts, and changes their own settings, while the service runs."""

from __future__ import annotations

import logging
import time
from typing import Callable, Iterable, Mapping, Sequence

from backend.auth.registry import Keys, Registry
from backend.errors import (
    FAIL,
    BadHostname,
    BadRequest,
    KeyFileUnusable,
    Line,
    not_registered,
)
from backend.events import OperatorActed
from backend.model import Deadline, Hostname, OwnSettings, Requester, shown
from backend.notify.reporter import Reporter
from backend.readers import INTERFACE_ID_EXAMPLE, LARGEST, interface_id
from backend.settings import LOWEST_TTL
from backend.store import Store
from backend.store.leases import wait_for_host
from backend.store.registrations import HostExists
from backend.text import span

logger = logging.getLogger(__name__)

_LOCK_SECONDS = 8.0
_LONGEST_NOTE = 200


def names_in(text: str) -> Sequence[str]:
    """Return the names in a list: between commas, spaces and line ends, without `# comments`."""
    lines = (line.partition("#")[0] for line in text.splitlines())
    return [name for line in lines for name in line.replace(",", " ").split()]


class HostManager:
    """Changes which hosts are registered, and reports it in the history and in the log.

    Every method raises `StoreUnavailable`. Hosts of REGISTERED_FQDNS can't be renamed or removed.
    """

    def __init__(  # noqa: PLR0913, PLR0917
        self,
        store: Store,
        registry: Registry,
        keys: Keys,
        inspect: Callable[[Sequence[Hostname]], Iterable[Line]],
        reporter: Reporter,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`inspect` tests whether hosts can be added: `checks.inspect`."""
        self._store = store
        self._registry = registry
        self._keys = keys
        self._inspect = inspect
        self._reporter = reporter
        self._clock = clock
        self._problem = ""  # the last one with the keys

    def add(self, names: Iterable[str], operator: Requester) -> Sequence[Line]:
        """Add hosts; return what was found at Hetzner and, if it failed, why no host was added.

        All of the hosts are added, or none of them.

        Raises:
            KeyFileUnusable: their keys can't be written.

        """
        hosts, lines = self._parsed(names)
        if not lines and hosts:
            lines = list(self._inspect(hosts))
        if not hosts or any(line.state == FAIL for line in lines):
            return lines
        registrations = self._store.registrations
        self._keys.require_writable()
        known = self._keys.read() if self._keys.exist() else {}
        for host in registrations.leaving():
            if host in hosts and host in known:  # a removed host gets a new key
                self._keys.move(host, None, known[host])
        try:
            registrations.add(hosts, operator, self._clock())
        except HostExists as error:  # another operator has added it
            return [*lines, Line(FAIL, "", str(error), "No host was added: try again.")]
        try:
            self._keys.complete(hosts)  # if this process is killed now, `finish` does it
        except KeyFileUnusable:
            for host in hosts:
                registrations.remove(
                    host, delete_records=False, operator=operator, now=self._clock()
                )
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
            HostNotAllowed: the host isn't registered.
            BadRequest: the host comes from REGISTERED_FQDNS.
            HostBusy: an update of the host doesn't end in time.

        """
        self._require_added(old, "rename")
        hosts, lines = self._parsed([name])
        lines = lines or list(self._inspect(hosts))
        if not hosts or any(line.state == FAIL for line in lines):
            return lines
        new = hosts[0]
        self._keys.require_writable()
        registrations = self._store.registrations
        wait_for_host(
            old,
            lambda: registrations.rename(old, new, operator, self._clock()),
            Deadline(_LOCK_SECONDS),
        )
        self._move_keys()
        self._registry.refresh()
        self._report(new, f"is the new name of {old}", operator)
        return lines

    def remove(self, host: Hostname, operator: Requester, *, delete_records: bool) -> None:
        """Remove a host; its key is invalid at once. Its records are deleted, or kept at Hetzner.

        For a host whose records are being deleted, `delete_records=False` stops that.

        Raises:
            HostNotAllowed: the host isn't registered.
            BadRequest: the host comes from REGISTERED_FQDNS.
            HostBusy: an update of the host doesn't end in time.

        """
        registrations = self._store.registrations
        if host not in registrations.leaving():
            self._require_added(host, "remove")
        self._keys.require_writable()
        wait_for_host(
            host,
            lambda: registrations.remove(
                host, delete_records=delete_records, operator=operator, now=self._clock()
            ),
            Deadline(_LOCK_SECONDS),
        )
        self._move_keys()
        self._registry.refresh()
        what = "its records are being deleted" if delete_records else "its records were kept"
        self._report(host, f"was removed, and {what}", operator)

    def change(self, host: Hostname, texts: Mapping[str, str], operator: Requester) -> OwnSettings:
        """Change the own settings of a host, and return all of them.

        `texts` has values for some of the fields of `OwnSettings`. An empty one means that the
        variables count.

        Raises:
            HostNotAllowed: the host isn't registered.
            BadRequest: a value is wrong.

        """
        if host not in self._registry:
            raise not_registered(host)
        new = {name: _READERS[name](text) for name, text in texts.items()}
        self._store.registrations.change(host, new, operator, self._clock())
        self._registry.refresh()
        self._report(host, "has new settings", operator)
        return self.own(host)

    def own(self, host: Hostname) -> OwnSettings:
        """Return the settings that a host has of its own."""
        _, own = self._store.registrations.read(self._clock())
        return own.get(host, OwnSettings())

    def is_fixed(self, host: Hostname) -> bool:
        """Return whether a host comes from REGISTERED_FQDNS."""
        return host in self._registry.current.fixed

    def finish(self) -> None:
        """Forget removed hosts whose records are deleted. Call this every few seconds.

        Also does what is left to do about keys after a process was killed.
        """
        hosts = self._registry.current
        added = hosts.names - hosts.fixed
        try:
            leaving = self._move_keys()
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
            if self._store.registrations.forget(host, self._clock()):
                logger.info("%s is removed.", host)

    def _move_keys(self) -> Mapping[Hostname, Hostname | None]:
        """Give the keys of renamed hosts to their new names, and delete those of removed hosts.

        Returns the removed hosts, and the new names of the renamed ones.
        """
        if not self._store.registrations.leaving():
            return {}
        # In this order: the key of a host that is added again in the meantime is another one.
        known = self._keys.read() if self._keys.exist() else {}
        leaving = self._store.registrations.leaving()
        for host, successor in leaving.items():
            if host in known:
                self._keys.move(host, successor, known[host])
        return leaving

    def _parsed(self, names: Iterable[str]) -> tuple[list[Hostname], list[Line]]:
        """Return the hosts of these names, and a line for each name that can't be added."""
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
        return hosts, lines

    def _require_added(self, host: Hostname, verb: str) -> None:
        if host not in self._registry:
            raise not_registered(host)
        if host in self._registry.current.fixed:
            raise BadRequest(f"{host} comes from REGISTERED_FQDNS: {verb} it there.")

    def _report(self, host: Hostname, what: str, operator: Requester) -> None:
        self._reporter.report(OperatorActed(host, what, operator.source))


def _read_lost_after(text: str) -> int | None:
    try:
        return span(text) if text else None
    except ValueError as error:
        raise BadRequest(f"The time of silence is wrong: {error}.") from None


def _read_ttl(text: str) -> int | None:
    if not text:
        return None
    # Python refuses to read a number of thousands of digits.
    if text.isdecimal() and len(text) < 20 and LOWEST_TTL <= int(text) <= LARGEST:  # noqa: PLR2004
        return int(text)
    raise BadRequest(f"The TTL is wrong: write a number of seconds from {LOWEST_TTL} up.")


def _read_interface_id(text: str) -> object:
    try:
        return interface_id(text) if text else None
    except ValueError:
        raise BadRequest(
            "The host part is wrong: write the part of the IPv6 address after the prefix, as in "
            f"{INTERFACE_ID_EXAMPLE}."
        ) from None


def _read_note(text: str) -> str:
    if len(text) > _LONGEST_NOTE or not text.isprintable():
        raise BadRequest(f"The note is wrong: write one line of up to {_LONGEST_NOTE} characters.")
    return text


def _read_switch(text: str) -> bool | None:
    if text in ("", "on", "off"):
        return text == "on" if text else None
    raise BadRequest("The switch for certificates is wrong: write on or off.")


_READERS: Mapping[str, Callable[[str], object]] = {
    "lost_after": _read_lost_after,
    "ttl": _read_ttl,
    "interface_id": _read_interface_id,
    "certificates": _read_switch,
    "note": _read_note,
}
