"""Which addresses a request asks for."""

from __future__ import annotations

import ipaddress
import logging
from dataclasses import dataclass
from typing import Iterable, List, Mapping, Optional, Tuple, Union

from backend.errors import AddressMismatch, BadAddress, PrivateAddress
from backend.model import (
    Address,
    DesiredRecord,
    Hostname,
    Prefix,
    RecordType,
    Requester,
    Update,
    UpdateRequest,
)

logger = logging.getLogger(__name__)

_INTERFACE_ID = (1 << 64) - 1  # RFC 4291 §2.5.1


@dataclass(frozen=True)
class Given:
    """The usable part of what was given."""

    addresses: Tuple[Address, ...]
    prefix: Optional[Prefix] = None  # of the network that the hosts are in


def read(texts: Iterable[str], prefixes: Iterable[str] = ()) -> Given:
    """Return what can be published; garbage beside something sound is passed over.

    `prefixes` are texts that can be nothing else, even if they look like an address. Of several
    prefixes the first counts.

    Raises:
        BadAddress: there is nothing sound.

    """
    found: List[Union[Address, Prefix]] = []
    problems = []
    tries = [(Prefix.parse, text) for text in prefixes] + [(parse, text) for text in texts]
    for read_one, text in tries:
        try:
            found.append(read_one(text))
        except BadAddress as problem:
            problems.append(problem)
    if not found:
        raise problems[0]
    for passed_over in problems:
        logger.debug("Passed over beside a sound address: %s", passed_over)
    addresses = tuple(one for one in found if isinstance(one, Address))
    return Given(addresses, next((one for one in found if isinstance(one, Prefix)), None))


def parse(text: str) -> Union[Address, Prefix]:
    """Read what may have a length behind it: an address keeps its host part, a prefix has none.

    Raises:
        BadAddress: it is neither, or nothing that a record may publish.

    """
    address, slash, _ = text.partition("/")
    if _is_lan(address):
        return Prefix.parse(text)
    if slash and _is_network(text):
        raise BadAddress("Not an address: it is that of a network.")
    return Address.parse(address)


def _is_network(text: str) -> bool:
    """Whether nothing is set behind the length; one of one or two addresses is none here."""
    try:
        found = ipaddress.ip_interface(text.strip())
    except ValueError:
        raise BadAddress("Not an address with the length of its prefix behind it.") from None
    network = found.network
    return found.ip == network.network_address and network.num_addresses > 2  # noqa: PLR2004


def _is_lan(address: str) -> bool:
    """Whether an address is of a network and not of a machine: its host part is zero."""
    try:
        ip = ipaddress.IPv6Address(address.strip())
    except ValueError:
        return False
    return int(ip) != 0 and not int(ip) & _INTERFACE_ID


class AddressReader:
    """Knows what a claim means for a host."""

    def __init__(
        self, interface_ids: Mapping[Hostname, ipaddress.IPv6Address], *, allow_private: bool
    ) -> None:
        self._interface_ids = interface_ids
        self._allow_private = allow_private

    def update(self, host: Hostname, request: UpdateRequest) -> Update:
        """Return the update that a claim asks for.

        Raises:
            BadAddress: it brings nothing that can be published.

        """
        chosen = RecordType.parse(request.type) if request.type else None
        requester = Requester(request.source, request.protocol)
        if request.removes:
            kinds = [kind for kind in RecordType if chosen in (None, kind)]
            return Update(host, tuple(DesiredRecord(kind, None) for kind in kinds), requester)
        given = self._given(request)
        found = {chosen or address.type: address for address in reversed(given.addresses)}
        prefix = given.prefix
        if prefix is not None and chosen is RecordType.A:
            raise AddressMismatch(f"{prefix} belongs into an AAAA record: leave the type out.")
        part = self._interface_ids.get(host)
        if part is not None and prefix is not None:
            found[RecordType.AAAA] = Address.parse(prefix.address_of(part))
        elif part is not None and request.announces_prefix:
            found.pop(RecordType.AAAA, None)  # that is the router's
            _require(found, host)
        desired = tuple(DesiredRecord(kind, found[kind]) for kind in RecordType if kind in found)
        # An address in full is the host's own; where there is none, the prefix has to do.
        return Update(host, desired, requester, None if RecordType.AAAA in found else prefix)

    def _given(self, request: UpdateRequest) -> Given:
        if request.addresses or request.prefixes:
            return read(request.addresses, request.prefixes)
        return Given((self._detected(request),))

    def _detected(self, request: UpdateRequest) -> Address:
        address = Address.parse(request.source)
        if address.is_local and not self._allow_private:
            raise PrivateAddress(
                f"The request seems to come from {address}, a private address: the proxy in front "
                "passes no client address (X-Real-Ip), or the caller is in the same network and "
                "has to send its address."
            )
        return address


def _require(found: Mapping[RecordType, Address], host: Hostname) -> None:
    if not found:
        raise BadAddress(
            f"The router left its prefix empty, and {host} has its host part in IPV6_INTERFACE_IDS:"
            " its AAAA record stays as it is until a prefix comes."
        )
