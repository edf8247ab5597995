"""Which addresses a request gives: each text is an address, the prefix of a network, or garbage."""

from __future__ import annotations

import ipaddress
import logging
from dataclasses import dataclass
from typing import Iterable, List, Optional, Tuple, Union

from backend.errors import BadAddress
from backend.model import Address
from backend.prefixes import Prefix

_INTERFACE_ID = (1 << 64) - 1  # RFC 4291 §2.5.1

logger = logging.getLogger(__name__)


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
    flaws = []
    tries = [(Prefix.parse, text) for text in prefixes] + [(parse, text) for text in texts]
    for read_one, text in tries:
        try:
            found.append(read_one(text))
        except BadAddress as flaw:
            flaws.append(flaw)
    if not found:
        raise flaws[0]
    for passed_over in flaws:
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
