"""Which addresses does this request ask for?"""

from __future__ import annotations

import ipaddress
import logging
from typing import Iterable

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

_INTERFACE_ID = (1 << 64) - 1  # RFC 4291 §2.5.1
_POINT_TO_POINT = 2  # a network of at most two addresses has no network address (RFC 3021)

logger = logging.getLogger(__name__)


def requested_update(
    host: Hostname,
    request: UpdateRequest,
    interface_id: ipaddress.IPv6Address | None = None,
    *,
    allow_private: bool = False,
) -> Update:
    """Return the update that a request asks for.

    `interface_id` is the host part of the host's IPv6 addresses, if it is configured.

    Raises:
        BadAddress: the request has no address that can be published.
        BadRecordType, AddressMismatch: the record type is unknown or contradicts the address.
        PrivateAddress: the caller sent no address, and its own is private.

    """
    chosen = RecordType.parse(request.type) if request.type else None
    requester = Requester(request.source, request.protocol)
    if request.removes:
        types = [kind for kind in RecordType if chosen in (None, kind)]
        return Update(host, tuple(DesiredRecord(kind, None) for kind in types), requester)
    if request.addresses or request.prefixes:
        addresses, prefix = read(request.addresses, request.prefixes)
    else:
        detected, prefix = Address.parse(request.source), None
        if detected.is_local and not allow_private:
            raise PrivateAddress(
                f"The request seems to come from {detected}, a private address: the proxy passes "
                "no client address (X-Real-Ip), or the caller is in the same network and has to "
                "send its address."
            )
        addresses = (detected,)
    # In reverse, so that the first address of each type remains.
    found = {chosen or address.type: address for address in reversed(addresses)}
    if prefix is not None and chosen is RecordType.A:
        raise AddressMismatch(f"{prefix} doesn't fit into an A record: leave the type out.")
    if interface_id is not None and prefix is not None:
        found[RecordType.AAAA] = Address.parse(prefix.address_of(interface_id))
    elif interface_id is not None and request.announces_prefix:
        found.pop(RecordType.AAAA, None)  # the router's own address
        if not found:
            raise BadAddress(
                f"The router left its prefix empty, and {host} has its host part in "
                "IPV6_INTERFACE_IDS: its AAAA record stays unchanged until the router sends a "
                "prefix."
            )
    desired = tuple(DesiredRecord(kind, found[kind]) for kind in RecordType if kind in found)
    # A complete IPv6 address belongs to the host, so the prefix isn't needed.
    return Update(host, desired, requester, None if RecordType.AAAA in found else prefix)


def read(
    texts: Iterable[str], prefixes: Iterable[str] = ()
) -> tuple[tuple[Address, ...], Prefix | None]:
    """Return the addresses that can be published, and the first prefix; skip invalid texts.

    Each of `prefixes` is read as a prefix, even if it looks like an address.

    Raises:
        BadAddress: all texts are invalid.

    """
    found: list[Address | Prefix] = []
    problems = []
    parsers = [(Prefix.parse, text) for text in prefixes] + [(parse, text) for text in texts]
    for parser, text in parsers:
        try:
            found.append(parser(text))
        except BadAddress as problem:
            problems.append(problem)
    if not found:
        raise problems[0]
    for skipped in problems:
        logger.debug("Skipped a text beside a valid address: %s", skipped)
    addresses = tuple(one for one in found if isinstance(one, Address))
    return addresses, next((one for one in found if isinstance(one, Prefix)), None)


def parse(text: str) -> Address | Prefix:
    """Read an address, perhaps with a prefix length; an IPv6 address without host part is a prefix.

    Raises:
        BadAddress: the text is neither, or can't be published.

    """
    address, slash, _ = text.partition("/")
    try:
        bits = int(ipaddress.IPv6Address(address.strip()))
    except ValueError:
        bits = 0
    if bits and not bits & _INTERFACE_ID:
        return Prefix.parse(text)
    if slash:
        try:
            interface = ipaddress.ip_interface(text.strip())
        except ValueError:
            raise BadAddress("Not an address with a prefix length.") from None
        network = interface.network
        if interface.ip == network.network_address and network.num_addresses > _POINT_TO_POINT:
            raise BadAddress("Not an address of a host: it is the address of a network.")
    return Address.parse(address)
