"""The registered hosts and the accepted keys at one moment."""

from __future__ import annotations

import hmac
import os
from dataclasses import dataclass
from typing import Iterable, Mapping, NamedTuple, Sequence

from backend.model import Hostname, OwnSettings, digest

_NO_KEY = os.urandom(32)
_NO_SETTINGS = OwnSettings()


class HostList:
    """The registered hosts at one moment, and the settings that some of them have of their own."""

    def __init__(
        self,
        fixed: Iterable[Hostname] = (),
        added: Iterable[Hostname] = (),
        own: Mapping[Hostname, OwnSettings] | None = None,
    ) -> None:
        """`fixed` are the hosts of REGISTERED_FQDNS."""
        self.fixed = frozenset(fixed)
        self.names = self.fixed.union(added)
        self.in_order: Sequence[Hostname] = sorted(self.names)
        self._own = own or {}
        self._by_user: dict[str, list[Hostname]] = {}
        for host in self.in_order:
            for user in {host.text, host.first_label}:
                self._by_user.setdefault(user, []).append(host)

    def of_user(self, user: str) -> Sequence[Hostname]:
        """Return the hosts with this full name, or with this first label."""
        return self._by_user.get(user, [])

    def own(self, host: Hostname) -> OwnSettings:
        """Return the settings that a host has of its own."""
        return self._own.get(host, _NO_SETTINGS)


@dataclass(repr=False)
class AcceptedKeys:
    """The keys of each host: the newest one, and during an edit of the file the previous one."""

    newest: Mapping[Hostname, str]
    before: Mapping[Hostname, str] | None = None  # None: no edit

    def __post_init__(self) -> None:
        # Digests have one length, so that comparing them takes the same time for every key.
        both = (self.newest, self.before or {})
        self._digests = [{host: digest(key) for host, key in keys.items()} for keys in both]

    def open(self, host: Hostname, presented: bytes) -> bool:
        """Return whether a digest is that of a key of the host.

        Both keys are compared, or a random text in place of a missing key, so that timing doesn't
        reveal which keys exist.
        """
        right = [hmac.compare_digest(keys.get(host, _NO_KEY), presented) for keys in self._digests]
        return any(right)


NO_KEYS = AcceptedKeys({})


class Access(NamedTuple):
    """The registered hosts, and the accepted keys."""

    hosts: HostList
    keys: AcceptedKeys
