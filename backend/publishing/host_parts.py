"""Which host part an AAAA keeps when a request brings nothing but a new prefix."""

from __future__ import annotations

import ipaddress
import time
from typing import Callable, Dict, Mapping, Optional

from backend.errors import BadAddress
from backend.events import PrefixIgnored
from backend.hetzner.api import Deadline
from backend.hetzner.rrsets import RRSet
from backend.model import Address, Hostname, RecordType, Update, Wish
from backend.prefixes import Prefix
from backend.reporting.reporter import Reporter
from backend.store import Record

# A host without an AAAA must not cost a call to Hetzner at each request.
_MISS_SECONDS = 300.0

Reading = Callable[[Hostname, Deadline], Mapping[RecordType, RRSet]]


class HostParts:
    """Completes updates that bring a prefix. Safe to share between threads."""

    def __init__(
        self, read: Reading, reporter: Reporter, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._read = read
        self._reporter = reporter
        self._clock = clock
        self._missed: Dict[Hostname, float] = {}  # when Hetzner had no AAAA

    def complete(
        self, update: Update, known: Mapping[RecordType, Record], deadline: Deadline
    ) -> Update:
        """Make a wish of the prefix and the host part of the AAAA that the host has.

        Without an AAAA the prefix is ignored, for it is no address.

        Raises:
            BadAddress: there is nothing else to do.
            OperatorError, TransientError: as reading at Hetzner does.

        """
        if update.prefix is None:
            return update
        part = self._of(update.host, update.prefix, known.get(RecordType.AAAA), deadline)
        if part is not None:
            address = Address.parse(update.prefix.address_of(part))
            wishes = (*update.wishes, Wish(RecordType.AAAA, address))
        elif update.wishes:
            wishes = update.wishes
        else:
            raise BadAddress(
                f"{update.prefix} is the prefix of a network, and {update.host} has neither an "
                "AAAA record to take the host part of, nor an entry in IPV6_INTERFACE_IDS."
            )
        return Update(update.host, wishes, update.asker)

    def _of(
        self, host: Hostname, prefix: Prefix, record: Optional[Record], deadline: Deadline
    ) -> Optional[ipaddress.IPv6Address]:
        if record is not None:
            address = record.wanted.address or record.published
            if address is not None:
                return _ipv6(str(address))
        missed = self._missed.get(host)
        if missed is not None and self._clock() - missed < _MISS_SECONDS:
            return None
        rrset = self._read(host, deadline).get(RecordType.AAAA)
        part = _ipv6(rrset.values[0]) if rrset is not None and rrset.values else None
        if part is None:
            self._missed[host] = self._clock()
            self._reporter.report(PrefixIgnored(host, str(prefix)))
        return part


def _ipv6(text: str) -> Optional[ipaddress.IPv6Address]:
    try:
        return ipaddress.IPv6Address(text)
    except ValueError:
        return None
