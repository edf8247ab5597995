"""The registered hosts and the accepted keys while the service runs; the keys in a database."""

from __future__ import annotations

import bisect
import contextlib
import dataclasses
import logging
import secrets
import threading
import time
from pathlib import Path
from typing import Callable, Collection, Iterable, Iterator, Mapping, NamedTuple, Sequence, Union

from backend.auth.keys import GRACE_SECONDS, NO_KEYS, AcceptedKeys, KeyFile, state_of, weak_keys
from backend.errors import (
    BadHostname,
    DyndnsError,
    KeyFileUnusable,
    KeysUnavailable,
    StoreUnavailable,
)
from backend.model import Credentials, Hostname, OwnSettings, to_punycode
from backend.rate import LineLimit
from backend.settings import AccessSettings, Settings, hosts_in
from backend.store.hosts import Hosts
from backend.store.registrations import Registrations
from backend.text import counted

logger = logging.getLogger(__name__)

_NO_SETTINGS = OwnSettings()


class StoredKeys:
    """The keys of all hosts, in the store. `KeyFile` has the same methods, and describes them.

    Every method that reads or writes the store raises `StoreUnavailable`.
    """

    def __init__(self, table: Registrations, file: Path) -> None:
        """`file` is an earlier key file, whose keys are imported at the start."""
        self._table = table
        self._file = file
        self._accepted: AcceptedKeys | None = None
        self._lock = threading.Lock()

    def accepted(self) -> AcceptedKeys:
        if self._accepted is None:
            try:
                self.refresh()
            except StoreUnavailable:
                raise KeysUnavailable("The keys can't be read right now.") from None
        return self._accepted or NO_KEYS

    def refresh(self) -> None:
        """Read changes by other processes; `accepted` doesn't read the store."""
        with self._lock:  # an older answer of the store must not replace a newer one
            keys = self.read()
            if self._accepted is None or keys != self._accepted.newest:
                self._accepted = AcceptedKeys(keys)

    def read(self) -> Mapping[Hostname, str]:
        return {host: key for host, key in self._table.keys().items() if key}

    def load(self) -> None:
        with contextlib.suppress(KeysUnavailable):
            self.accepted()

    def complete(self, hosts: Iterable[Hostname]) -> None:
        """Import the keys of the key file, and make a key for each host that has none.

        The key of a host that was removed, or replaced, isn't imported again.
        """
        known = self._table.keys()
        imported = KeyFile(self._file).read() if self._file.exists() else {}
        new = {host: key for host, key in imported.items() if host not in known}
        if new:
            logger.info("Imported %s from %s into the store.", counted(len(new), "key"), self._file)
        other = [
            host.text for host, key in imported.items() if known.get(host, key) not in ("", key)
        ]
        if other:
            logger.warning(
                "The store has other keys than %s for %s: the service uses those of the store.",
                *(self._file, ", ".join(other)),
            )
        missing = [host for host in hosts if not known.get(host) and host not in new]
        new.update((host, secrets.token_urlsafe(32)) for host in missing)
        self._table.set_keys(new)
        self.refresh()
        if missing:
            logger.info("New keys in the store for %s.", ", ".join(map(str, missing)))
        for warning in self.warnings(self.accepted().newest):
            logger.warning("%s", warning)

    def warnings(self, keys: Mapping[Hostname, str]) -> list[KeyFileUnusable]:
        return weak_keys(keys)

    def replace(self, host: Hostname, key: str) -> None:
        self._table.set_keys({host: key}, replace_known=True)
        self.refresh()

    def move(self, old: Hostname, _new: Hostname | None, key: str) -> None:
        self._table.remove_key(old, key)  # `Registrations.rename` has moved it
        self.refresh()

    def exist(self) -> bool:
        return True

    def require_writable(self, _hosts: Collection[Hostname]) -> None:
        """Do nothing: only a write shows whether the store can be written."""


Keys = Union[KeyFile, StoredKeys]


def open_keys(settings: Settings, table: Registrations) -> Keys:
    """Return the keys: in the store if several machines share it, otherwise in the key file."""
    file = settings.access.key_file
    return StoredKeys(table, file) if settings.store.is_shared else KeyFile(file)


def move_keys(keys: Keys, table: Registrations) -> Mapping[Hostname, Hostname | None]:
    """Give the keys of renamed hosts to their new names, and delete those of removed hosts.

    Returns the removed hosts, and the new names of the renamed ones.
    """
    if not table.leaving():
        return {}
    # In this order: the key of a host that is added again in the meantime is another one.
    known = keys.read() if keys.exist() else {}
    leaving = table.leaving()
    for host, successor in leaving.items():
        if host in known:
            keys.move(host, successor, known[host])
    return leaving


class HostList:
    """The registered hosts at one moment, and the settings that some of them have of their own."""

    def __init__(
        self,
        fixed: Iterable[Hostname] = (),
        added: Collection[Hostname] = (),
        own: Mapping[Hostname, OwnSettings] | None = None,
    ) -> None:
        """`fixed` are the hosts of REGISTERED_FQDNS."""
        self.fixed = frozenset(fixed)
        self.names = self.fixed.union(added) if added else self.fixed
        self.in_order: Sequence[Hostname] = sorted(self.names)
        self._texts = [host.text for host in self.in_order]
        self._own = own or {}

    def of_login(self, login: Credentials, named: Hostname | None) -> Sequence[Hostname]:
        """Return the hosts of the user, or without a user, the named host.

        A key without a user, and without a usable host name, may belong to any host.
        """
        if login.user is None:
            if named is None:
                return self.in_order
            return [named] if named in self.names else []
        return self.named(login.user)

    def named(self, text: str) -> Sequence[Hostname]:
        """Return the host with this full name, or the hosts with this first label."""
        name = text.strip().lower()
        with contextlib.suppress(BadHostname):
            name = to_punycode(name)
        name = name[:-1] if name.endswith(".") else name
        if "." in name:
            return [host for host in (Hostname(name),) if host in self.names]
        # The slash is the character after the dot.
        start, end = (bisect.bisect_left(self._texts, name + sign) for sign in "./")
        return self.in_order[start:end]

    def own(self, host: Hostname) -> OwnSettings:
        """Return the settings that a host has of its own."""
        return self._own.get(host, _NO_SETTINGS)


class Access(NamedTuple):
    """The registered hosts and the accepted keys at one moment."""

    hosts: HostList
    keys: AcceptedKeys


class Registry(Collection[Hostname]):
    """The registered hosts, updated while the service runs. Safe to share between threads."""

    def __init__(
        self,
        access: AccessSettings,
        hosts: Hosts,
        registrations: Registrations,
        keys: Keys,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._fixed: Sequence[Hostname] = access.hosts
        self._file = access.hosts_file
        self._interface_ids = access.interface_ids
        self._hosts = hosts
        self._registrations = registrations
        self._keys = keys
        self._clock = clock
        self._file_state: tuple[int, ...] = ()  # of the list that is in use
        self._problem = ""
        self._version: str | None = None
        self._lock = threading.Lock()
        self._early = LineLimit(capacity=2.0, per_second=1.0)
        self.current = HostList()  # the same object until the list changes
        try:
            self.refresh()
        except StoreUnavailable:  # `refresh` is called again
            self.current = HostList(self._fixed, (), self._with_variables({}))
        self._access = Access(self.current, NO_KEYS)

    def __contains__(self, host: object) -> bool:
        return host in self.current.names

    def __iter__(self) -> Iterator[Hostname]:
        return iter(self.current.in_order)

    def __len__(self) -> int:
        return len(self.current.names)

    def access(self) -> Access:
        """Return the registered hosts and the accepted keys: the same object until they change.

        Raises:
            KeysUnavailable: this process hasn't read the keys yet.

        """
        hosts = self.current
        keys = self._keys.accepted() if hosts.names else NO_KEYS
        access = self._access
        if access.hosts is not hosts or access.keys is not keys:
            access = self._access = Access(hosts, keys)
        return access

    def refresh(self) -> None:
        """Read changes by other processes, and of REGISTERED_FQDNS_FILE.

        Call this every two seconds.

        Raises:
            StoreUnavailable: the store can't be read.

        """
        with self._lock:
            state: tuple[int, ...] = ()
            if self._file is not None:
                with contextlib.suppress(OSError):
                    state = state_of(self._file)
            if state and 0 <= self._clock() - state[0] / 1e9 < GRACE_SECONDS:  # as for the keys
                state = self._file_state
            fixed = self._fixed if state == self._file_state else self._reread()
            if fixed != self._fixed:
                try:
                    self._register(fixed)
                    self._problem = ""
                except DyndnsError as error:
                    fixed = self._complain(f"{self._file} isn't used: {error}")
                    state = self._file_state
            if fixed != self._fixed or self._registrations.version() != self._version:
                self._read(fixed)
            self._file_state = state

    def refresh_early(self) -> bool:
        """Read the hosts in the store now, at most once a second; return whether they changed.

        Otherwise a device could be refused because this process doesn't know its new host yet.
        This doesn't wait for a running `refresh`, because every failed login calls it.
        """
        before = self.current
        if self._early.take() is not None and self._lock.acquire(blocking=False):
            try:
                with contextlib.suppress(StoreUnavailable):
                    if self._registrations.version() != self._version:
                        self._read(self._fixed)
            finally:
                self._lock.release()
        return self.current is not before

    def _register(self, fixed: Sequence[Hostname]) -> None:
        self._keys.complete(fixed)
        self._hosts.register(fixed, self._clock())
        new, gone = set(fixed) - set(self._fixed), set(self._fixed) - set(fixed)
        changes = [("new", sorted(new)), ("removed", sorted(gone))]
        words = "; ".join(f"{what}: {', '.join(map(str, some))}" for what, some in changes if some)
        logger.info("REGISTERED_FQDNS_FILE has changed. %s.", words.capitalize())

    def _read(self, fixed: Sequence[Hostname]) -> None:
        version = self._registrations.version()
        added, own = self._registrations.read(self._clock())
        if not isinstance(self._keys, KeyFile):
            self._keys.refresh()
        self.current = HostList(fixed, added, self._with_variables(own))
        self._fixed, self._version = fixed, version

    def _with_variables(
        self, own: Mapping[Hostname, OwnSettings]
    ) -> Mapping[Hostname, OwnSettings]:
        """Add the interface ids of IPV6_INTERFACE_IDS to hosts that have none of their own."""
        found = dict(own)
        for host, part in self._interface_ids.items():
            known = found.get(host, OwnSettings())
            if known.interface_id is None:
                found[host] = dataclasses.replace(known, interface_id=part)
        return found

    def _reread(self) -> Sequence[Hostname]:
        """Return the hosts of REGISTERED_FQDNS_FILE, or those known before if it can't be used."""
        if self._file is None:
            return self._fixed
        # Reading a pipe would wait for a writer.
        if self._file.exists() and not self._file.is_file():
            return self._complain(f"{self._file} isn't a regular file: restore it.")
        try:
            found = hosts_in(self._file)
        except DyndnsError as error:
            return self._complain(str(error))
        if self._fixed and not found:
            return self._complain(f"{self._file} has no host any more: restore its lines.")
        if found == self._fixed:  # else `refresh` doesn't know yet whether there is a problem
            self._problem = ""
        return found

    def _complain(self, problem: str) -> Sequence[Hostname]:
        if problem != self._problem:
            self._problem = problem
            logger.error("%s The hosts read before stay registered.", problem)
        return self._fixed
