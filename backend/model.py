"""The values everything is about, and the parsers that admit only valid ones."""

from __future__ import annotations

import enum
import functools
import hashlib
import ipaddress
import re
import time
from dataclasses import dataclass
from typing import Callable, Optional, Tuple, Union

import idna

from backend.errors import (
    AddressMismatch,
    BadAddress,
    BadHostname,
    BadRecordType,
    HetznerUnreachable,
    MissingHostname,
)

# How long a caller waits for an answer: inadyn gives up after ten seconds, and two are for the way.
ANSWER_SECONDS = 8.0
_LAN = 64  # RFC 4291 §2.5.4: the prefix length of a network that hosts are in
_WIDTH = 128
# RFC 1123 §2.1: letters, digits and inner hyphens.
_LABEL = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)")
_MAX_NAME = 253  # RFC 1035 §2.3.4: 255 octets on the wire are 253 characters of text
_INTERFACE_ID = (1 << 64) - 1  # RFC 4291 §2.5.1
_NETWORK_PART = _INTERFACE_ID << 64
_THIS_NETWORK = ipaddress.ip_network("0.0.0.0/8")  # RFC 791 §3.2
_LEADING_ZERO = re.compile(r"(?:^|\.)0[0-9]")

# Where an address means nothing to the rest of the world. `is_private` and `is_global` won't do:
# they take in the documentation ranges, and the answer changed between Python releases.
_LOCAL_NETWORKS = tuple(
    ipaddress.ip_network(network)
    for network in (
        "10.0.0.0/8",  # RFC 1918
        "172.16.0.0/12",
        "192.168.0.0/16",
        "127.0.0.0/8",  # loopback
        "100.64.0.0/10",  # RFC 6598: carrier-grade NAT
        "::1/128",
        "fc00::/7",  # RFC 4193: unique local addresses
    )
)


@dataclass(frozen=True)
class Prefix:
    """The network bits of addresses: what a provider changes, and the host can't know."""

    network: ipaddress.IPv6Network

    @classmethod
    def parse(cls, text: str) -> Prefix:
        """Read a prefix as routers write it; without a length it is that of a LAN, 64 bits.

        A Fritz!Box sends its LAN as ``2001:db8:1:2::/64``, and elsewhere the whole range it was
        given, ``2001:db8:1::/56`` (cromefire/fritzbox-cloudflare-dyndns pull request 11); others
        leave out the last colons. What is set beyond 64 bits is cut off, and an address that
        names a LAN counts as one whatever length is written behind it.

        Raises:
            BadAddress: it is none, or one that no host on the internet is in.

        """
        address, _, length = text.strip().partition("/")
        if "%" in address:
            raise BadAddress("Not a prefix: leave out zone indices.")
        if address.count(":") == 3 and "::" not in address:  # noqa: PLR2004
            address += "::"
        lan = _network(address, _LAN)
        given = _network(address, _length(length)) if length else lan
        network = given if given.network_address == lan.network_address else lan
        if network.is_unspecified or not int(network.network_address):
            raise BadAddress("Not a prefix: it has no network part.")
        if network.is_link_local or network.is_multicast:
            raise BadAddress(f"{network} is no network that hosts on the internet are in.")
        return cls(network)

    def address_of(self, host_part: ipaddress.IPv6Address) -> str:
        """Return the address of a host: the network's bits, and the host's for the others.

        A prefix that is shorter than a LAN's takes the number of the LAN from the host part.
        """
        bits = int(self.network.network_address) | int(host_part) & int(self.network.hostmask)
        return str(ipaddress.IPv6Address(bits))

    def __str__(self) -> str:
        return str(self.network)


def _network(address: str, length: int) -> ipaddress.IPv6Network:
    try:
        return ipaddress.IPv6Network(f"{address}/{length}", strict=False)
    except ValueError:
        raise BadAddress("Not an IPv6 prefix: write it as in 2001:db8:1:2::/64.") from None


def _length(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 3 and int(text) <= _WIDTH):  # noqa: PLR2004
        raise BadAddress("Not a prefix: its length must be from 0 to 128.")
    return min(int(text), _LAN)


class RecordType(enum.Enum):
    """The two records an update can set."""

    A = "A"
    AAAA = "AAAA"

    @classmethod
    def parse(cls, text: str) -> RecordType:
        """Read a record type in any case; raise `BadRecordType` for any other than A and AAAA."""
        try:
            return cls(text.strip().upper())
        except ValueError:
            raise BadRecordType(
                "Unknown record type: use A or AAAA, or leave it out and it follows the address."
            ) from None


@dataclass(frozen=True, order=True)
class Hostname:
    """A fully qualified host name in the one spelling DNS has for it."""

    text: str

    @classmethod
    def parse(cls, text: str) -> Hostname:
        """Read a name in any case, with or without final dot, in Unicode or Punycode.

        A wildcard (``*`` as the first label) counts as a host name here.

        Raises:
            MissingHostname: the text is empty.
            BadHostname: it is no fully qualified host name (RFC 1123 §2.1).

        """
        name = text.strip()
        if not name:
            raise MissingHostname("No host name given: send the full name, as in host.example.com.")
        if name.endswith("."):
            name = name[:-1]
        if not name.isascii() and len(name) <= _MAX_NAME:
            name = _to_punycode(name)
        name = name.lower()
        if not _is_hostname(name):
            raise BadHostname(
                "Not a full host name: write it as in host.example.com, "
                "with letters, digits and hyphens only."
            )
        return cls(name)

    @property
    def first_label(self) -> str:
        """The part before the first dot: the short user name routers log in with."""
        return self.text.split(".", 1)[0]

    def __str__(self) -> str:
        return self.text


def _to_punycode(name: str) -> str:
    """Map a Unicode name as browsers do: UTS #46, non-transitional, emoji included.

    `idna.encode` follows IDNA 2008 to the letter and refuses emoji, which registries sell.
    """
    try:
        mapped = idna.uts46_remap(name, std3_rules=False, transitional=False)
        labels = [
            label if label.isascii() else "xn--" + label.encode("punycode").decode("ascii")
            for label in mapped.split(".")
        ]
    except (idna.IDNAError, UnicodeError):
        raise BadHostname("Not a host name: it has characters no name may have.") from None
    return ".".join(labels)


def _is_hostname(name: str) -> bool:
    labels = (name[2:] if name.startswith("*.") else name).split(".")
    return (
        len(name) <= _MAX_NAME
        and len(labels) > 1
        and all(_LABEL.fullmatch(label) for label in labels)
        and not labels[-1].isdigit()  # no top-level domain is a number: this is an IPv4 address
    )


@dataclass(frozen=True)
class Address:
    """An IPv4 or IPv6 address that a record may publish."""

    ip: Union[ipaddress.IPv4Address, ipaddress.IPv6Address]

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read an address in any spelling; ``::ffff:a.b.c.d`` is the IPv4 address in it.

        Raises:
            BadAddress: it is no address, or one that no record may publish.

        """
        ip = _read_ip(text.strip())
        problem = _problem(ip)
        if problem:
            raise BadAddress(f"{ip} can't be published: it is {problem}.")
        return cls(ip)

    @property
    def type(self) -> RecordType:
        """The record type that holds such an address."""
        return RecordType.A if self.ip.version == 4 else RecordType.AAAA  # noqa: PLR2004

    @property
    def is_local(self) -> bool:
        """Whether it means nothing outside its own network (private, loopback, CGNAT, ULA)."""
        return any(
            self.ip in network for network in _LOCAL_NETWORKS if network.version == self.ip.version
        )

    def __str__(self) -> str:
        return str(self.ip)


def _read_ip(text: str) -> Union[ipaddress.IPv4Address, ipaddress.IPv6Address]:
    # Python 3.8 reads 010.0.0.1 as 10.0.0.1, C libraries read 8.0.0.1: refuse to guess.
    # Python 3.9 and newer read fe80::1%eth0, which means nothing on another machine.
    dotted = text.rpartition(":")[2]
    if "%" in text or ("." in dotted and _LEADING_ZERO.search(dotted)):
        raise BadAddress("Not an address: leave out zone indices and leading zeros.")
    try:
        ip = ipaddress.ip_address(text)
    except ValueError:
        raise BadAddress("Not an IPv4 or IPv6 address.") from None
    return getattr(ip, "ipv4_mapped", None) or ip


def _problem(ip: Union[ipaddress.IPv4Address, ipaddress.IPv6Address]) -> str:
    """Why no record may publish this address; empty when one may."""
    if ip.is_unspecified:
        return "the unspecified address"
    if ip.is_multicast:
        return "a multicast address"
    if ip.is_link_local or getattr(ip, "is_site_local", False):  # RFC 3879 took the latter back
        return "a link-local address"
    if isinstance(ip, ipaddress.IPv4Address):
        return "in a reserved range" if ip.is_reserved or ip in _THIS_NETWORK else ""
    if not (int(ip) & _NETWORK_PART or ip.is_loopback):
        return "a host part without a prefix"
    # RFC 4291 §2.6.1: host bits all zero name the network's routers, never one machine.
    return "" if int(ip) & _INTERFACE_ID else "a bare prefix without a host part"


@dataclass(frozen=True)
class DesiredRecord:
    """What one record of a host shall be: this address, or (`None`) gone."""

    type: RecordType
    address: Optional[Address]

    def __post_init__(self) -> None:
        if self.address is not None and self.address.type is not self.type:
            raise AddressMismatch(
                f"{self.address} doesn't fit into an {self.type.value} record: "
                f"leave the type out, or send {self.address.type.value}."
            )


@dataclass(frozen=True)
class Requester:
    """Who asked for an update, for the history: the address and the face it came in by."""

    source: str
    protocol: str


@dataclass(frozen=True)
class Update:
    """What one host wants: at most one wish a family; a family without a wish isn't touched."""

    host: Hostname
    desired: Tuple[DesiredRecord, ...]
    requester: Requester
    prefix: Optional[Prefix] = None  # of an AAAA whose host part is still to be found


class Change(enum.Enum):
    """What an update did to a record."""

    CREATED = "created"
    REPLACED = "replaced"
    UNCHANGED = "unchanged"  # Hetzner was asked
    CACHED = "cached"  # Hetzner was not asked
    DELETED = "deleted"


@dataclass(frozen=True)
class RecordOutcome:
    """One wish and what became of it."""

    desired: DesiredRecord
    change: Change


@dataclass(frozen=True)
class Outcome:
    """What became of an update that succeeded, wish by wish."""

    host: Hostname
    records: Tuple[RecordOutcome, ...]

    @property
    def changed(self) -> bool:
        """Whether any record is other than before."""
        return any(one.change not in (Change.UNCHANGED, Change.CACHED) for one in self.records)


def digest(text: str) -> bytes:
    """Return the SHA-256 of a text, whatever characters it holds."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


@dataclass(frozen=True)
class Credentials:
    """The login of a caller; `user` is `None` when a key was sent alone."""

    user: Optional[str]
    secret: str

    @functools.cached_property
    def digest(self) -> bytes:
        """The SHA-256 of the secret."""
        return digest(self.secret)

    def __repr__(self) -> str:
        return "Credentials(…)"


@dataclass(frozen=True)
class UpdateRequest:
    """What a caller asks for, as plain strings: not yet authorized, and not yet valid."""

    protocol: str
    source: str  # the address of the caller, as far as proxies are trusted
    credentials: Optional[Credentials]
    name: str = ""
    addresses: Tuple[str, ...] = ()
    type: str = ""
    removes: bool = False
    name_follows_login: bool = False  # without a name, the login's own host is meant
    prefixes: Tuple[str, ...] = ()  # of the network of the host
    announces_prefix: bool = False  # a parameter for the prefix was sent, perhaps an empty one


class Deadline:
    """The time by which a chain of calls has to end."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._end = clock() + seconds

    @property
    def has_passed(self) -> bool:
        """Whether no time is left."""
        return self._clock() >= self._end

    def remaining(self) -> float:
        """Return the seconds left.

        Raises:
            HetznerUnreachable: there are none.

        """
        left = self._end - self._clock()
        if left <= 0:
            raise HetznerUnreachable("Hetzner's API took too long to answer.")
        return left
