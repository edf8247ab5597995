"""Which zone of which token holds a name: a cached list, stale while Hetzner is away."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Callable, Dict, FrozenSet, List, Mapping, Optional, Sequence

from backend.errors import ChangeRefused, DyndnsError, HetznerBusy, TransientError, ZoneNotFound
from backend.hetzner.dns import Hetzner, Owner
from backend.model import Deadline, Hostname

# A name without a zone must not cost a list of zones a request.
_MISS_PAUSE = 10.0
# How much of a request's time may go into a new list while an old one is there.
_REFRESH_SECONDS = 3.0


@dataclass(frozen=True)
class Location:
    """Where a host's records are, and the project to change them by."""

    hetzner: Hetzner
    owner: Owner


@dataclass(frozen=True)
class _Listing:
    """All zones of all tokens, as listed at one moment, or as listed before where that failed."""

    apexes: Mapping[str, Location]  # by the name of the zone
    failures: Sequence[DyndnsError]  # of tokens that listed nothing, those that may pass first
    at: float

    is_whole: bool  # no project was away that may be back in a moment


class Zones:
    """Finds the zone of a host. Safe to share between threads."""

    def __init__(
        self,
        projects: Sequence[Hetzner],
        ttl: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._projects = projects
        self._ttl = ttl
        self._clock = clock
        self._refreshing = threading.Lock()
        self._listing: Optional[_Listing] = None
        self._retry_at = clock()

    def find(self, host: Hostname, deadline: Deadline) -> Location:
        """Return where a host's records are; the longest matching zone wins.

        Raises:
            ZoneNotFound: no token sees a zone that holds the name.
            ChangeRefused: the zone is a secondary one.
            TokenRejected: the same, and a token is bad that might have seen it.
            TransientError: Hetzner is away, and no list is known that holds the name.

        """
        listing = self._listing
        if listing is None or not self._is_good(listing, self._ttl):
            listing = self._refreshed(listing, deadline)
        found = _longest_match(listing, host)
        if found is None:
            listing = self._renewed(deadline, min(self._ttl, _MISS_PAUSE))
            found = _longest_match(listing, host)
        if found is None:
            raise _absence(listing, host)
        zone = found.owner.zone
        if zone.mode != "primary":
            raise ChangeRefused(
                f"Zone {zone.name} is a {zone.mode} zone at Hetzner",
                hint="change it at its primary server.",
            )
        return found

    def recall(self, host: Hostname) -> Optional[Location]:
        """Return where a host's records were when the zones were listed last; ask nobody."""
        listing = self._listing
        return None if listing is None else _longest_match(listing, host)

    @property
    def names(self) -> FrozenSet[str]:
        """The zones as listed last."""
        listing = self._listing
        return frozenset(listing.apexes if listing is not None else ())

    def invalidate(self) -> None:
        """Drop the list: a zone in it turned out to be gone."""
        self._listing = None

    def _is_good(self, listing: _Listing, max_age: float) -> bool:
        now = self._clock()
        return now < self._retry_at or (listing.is_whole and now - listing.at < max_age)

    def _refreshed(self, known: Optional[_Listing], deadline: Deadline) -> _Listing:
        """Return a new list; the known one when somebody else is about to get a new one."""
        if known is None:
            return self._renewed(deadline, self._ttl)
        if not self._refreshing.acquire(blocking=False):
            return known
        try:
            return self._list_again(deadline)
        finally:
            self._refreshing.release()

    def _renewed(self, deadline: Deadline, max_age: float) -> _Listing:
        """Return a list of this age at most, waiting for whoever gets one already."""
        known = self._listing
        if known is not None and self._is_good(known, max_age):
            return known
        if not self._refreshing.acquire(timeout=deadline.remaining()):
            raise HetznerBusy("Hetzner is slow to list the zones.")
        try:
            known = self._listing
            if known is not None and self._is_good(known, max_age):
                return known
            return self._list_again(deadline)
        finally:
            self._refreshing.release()

    def _list_again(self, deadline: Deadline) -> _Listing:
        known = self._listing
        if known is not None:
            deadline = Deadline(min(_REFRESH_SECONDS, deadline.remaining()))
        listing = self._list(known, deadline)
        if known is None and not listing.apexes and not listing.is_whole:
            raise listing.failures[0]
        if not listing.is_whole:
            # Good enough for a while: whoever comes next mustn't wait for it again.
            self._retry_at = self._clock() + _MISS_PAUSE
        self._listing = listing
        return listing

    def _list(self, known: Optional[_Listing], deadline: Deadline) -> _Listing:
        """Ask every project; one that is busy or has a bad token takes no other's zones away."""
        apexes: Dict[str, Location] = {}
        failures: List[DyndnsError] = []
        for hetzner in self._projects:
            listed: Mapping[str, Location]
            try:
                listed = {
                    zone.name: Location(hetzner, Owner(zone, "@"))
                    for zone in hetzner.zones(deadline)
                }
            except TransientError as error:
                failures.insert(0, error)
                listed = _of_project(known, hetzner)
            except DyndnsError as error:
                failures.append(error)
                continue
            for name, location in listed.items():
                apexes.setdefault(name, location)
        is_whole = not any(isinstance(failure, TransientError) for failure in failures)
        return _Listing(apexes, failures, self._clock(), is_whole)


def _of_project(known: Optional[_Listing], hetzner: Hetzner) -> Mapping[str, Location]:
    """Return what a project had when it could be asked."""
    apexes = {} if known is None else known.apexes
    return {name: found for name, found in apexes.items() if found.hetzner is hetzner}


def _longest_match(listing: _Listing, host: Hostname) -> Optional[Location]:
    labels = host.text.split(".")
    for cut in range(len(labels)):
        apex = listing.apexes.get(".".join(labels[cut:]))
        if apex is not None:
            name = ".".join(labels[:cut]) or "@"
            return Location(apex.hetzner, Owner(apex.owner.zone, name))
    return None


def _absence(listing: _Listing, host: Hostname) -> DyndnsError:
    if listing.failures:
        return listing.failures[0]
    return ZoneNotFound(
        f"No zone for {host} in any project of HETZNER_TOKEN",
        hint="create the zone at console.hetzner.com, or add a token of the project that holds it.",
    )
