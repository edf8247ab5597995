"""The values that all layers share, and the parsers that accept only valid values."""

from __future__ import annotations

import enum
import functools
import hashlib
import ipaddress
import re
import time
import unicodedata
from dataclasses import dataclass
from typing import Callable, NamedTuple, Union

import idna

from backend.errors import (
    AddressMismatch,
    BadAddress,
    BadHostname,
    BadRecordType,
    CallerError,
    HetznerUnreachable,
    MissingHostname,
)

IP = Union[ipaddress.IPv4Address, ipaddress.IPv6Address]
Network = Union[ipaddress.IPv4Network, ipaddress.IPv6Network]

# The time for an answer: inadyn gives up after ten seconds, and the network may take two of them.
ANSWER_SECONDS = 8.0
_LAN = 64  # RFC 4291 §2.5.4: the prefix length of a network that hosts are in
_WIDTH = 128
# RFC 1123 §2.1: letters, digits and inner hyphens.
_LABEL = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)")
_MAX_NAME = 253  # RFC 1035 §2.3.4: 255 octets on the wire are 253 characters of text
INTERFACE_ID = (1 << 64) - 1  # RFC 4291 §2.5.1: the host part of an address
_THIS_NETWORK = ipaddress.ip_network("0.0.0.0/8")  # RFC 791 §3.2
_LONGEST_QUOTE = 80
_SHORTEST_SECRET = 3  # shorter texts are parts of many words
# Words with underscores, as in external_ip_address, are names of parameters.
_LIKE_A_KEY = re.compile(r"(?<![\w.-])(?![a-z]+(?:_[a-z]+)+(?![\w.-]))[\w-]{16,}(?![\w.-])")
_BRACKETS = {"Pi", "Pf", "Ps", "Pe"}  # categories of Unicode: typographic quotes, brackets
_LEADING_ZERO = re.compile(r"(?:^|\.)0[0-9]")

# Addresses that can't be reached from other networks. `is_private` and `is_global` don't fit: they
# include the documentation ranges, and changed between Python releases.
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
    """The network part of IPv6 addresses, which the provider may change at any time."""

    network: ipaddress.IPv6Network

    @classmethod
    def parse(cls, text: str) -> Prefix:
        """Read a prefix as routers write it; the default length is 64 bits, that of a LAN.

        A Fritz!Box sends its LAN as ``2001:db8:1:2::/64`` in one place, and the whole range it was
        assigned, ``2001:db8:1::/56``, in another (cromefire/fritzbox-cloudflare-dyndns pull request
        11). Other routers leave out the last colons. Bits beyond the first 64 are removed. The
        address of a LAN counts as its prefix, whatever length follows it.

        Raises:
            BadAddress: it isn't a prefix, or no host on the internet can have it.

        """
        address, _, length = text.strip().partition("/")
        if "%" in address:
            raise BadAddress("Not a prefix: leave out zone indices.")
        if address.count(":") == 3 and "::" not in address:  # noqa: PLR2004
            address += "::"
        lan = _network(address, _LAN)
        if length and not (re.fullmatch("[0-9]{1,3}", length) and int(length) <= _WIDTH):
            raise BadAddress("Not a prefix: its length must be from 0 to 128.")
        given = _network(address, min(int(length or _LAN), _LAN))
        network = given if given.network_address == lan.network_address else lan
        if network.is_unspecified or not int(network.network_address):
            raise BadAddress("Not a prefix: it has no network part.")
        if network.is_link_local or network.is_multicast:
            raise BadAddress(f"{network} isn't a network of hosts on the internet.")
        return cls(network)

    @property
    def is_local(self) -> bool:
        """Whether other networks can't reach its addresses (ULA)."""
        return Address(self.network.network_address).is_local

    def address_of(self, host_part: ipaddress.IPv6Address) -> str:
        """Return the address of a host in this network.

        If the prefix is shorter than 64 bits, the host part also contains the number of the LAN.
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


class RecordType(enum.Enum):
    """The types of the records that an update can set."""

    A = "A"
    AAAA = "AAAA"

    @classmethod
    def parse(cls, text: str) -> RecordType:
        """Read a record type in any case; raise `BadRecordType` for any other than A and AAAA."""
        try:
            return cls(text.strip().upper())
        except ValueError:
            raise BadRecordType(
                "Unknown record type: use A or AAAA, or omit the type: it follows from the address."
            ) from None


@dataclass(frozen=True, order=True)
class Hostname:
    """A fully qualified host name in its canonical spelling."""

    __slots__ = ("text",)
    text: str

    @classmethod
    def parse(cls, text: str) -> Hostname:
        """Read a name in any case, with or without final dot, in Unicode or Punycode.

        A wildcard (``*`` as the first label) counts as a host name here.

        Raises:
            MissingHostname: the text is empty.
            BadHostname: it isn't a fully qualified host name (RFC 1123 §2.1).

        """
        name = text.strip()
        if not name:
            raise MissingHostname("No host name given: send the full name, as in host.example.com.")
        if name.endswith("."):
            name = name[:-1]
        if not name.isascii():
            name = to_punycode(name)
        name = name.lower()
        labels = (name[2:] if name.startswith("*.") else name).split(".")
        is_hostname = len(name) <= _MAX_NAME and all(map(_LABEL.fullmatch, labels))
        # An IPv4 address isn't a host name: no top-level domain is a number.
        if not is_hostname or len(labels) < 2 or labels[-1].isdigit():  # noqa: PLR2004
            raise BadHostname(
                "Not a full host name: write it as in host.example.com, "
                "with letters, digits and hyphens only, and at most 63 between two dots."
            )
        return cls(name)

    @property
    def is_wildcard(self) -> bool:
        return self.text.startswith("*.")

    @property
    def first_label(self) -> str:
        """The part before the first dot, which routers may use as user name."""
        return self.text.split(".", 1)[0]

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class OwnSettings:
    """A host's own settings; `None` means that the variable applies."""

    lost_after: int | None = None  # seconds
    ttl: int | None = None  # seconds
    interface_id: ipaddress.IPv6Address | None = None
    note: str = ""
    certificates: bool | None = None  # false: its key gets none, even with ACME_DNS=1


def to_punycode(name: str) -> str:
    """Map a Unicode name as browsers do: UTS #46, non-transitional, emoji included.

    `idna.encode` follows IDNA 2008 strictly and refuses emoji, which registries sell.

    Raises:
        BadHostname: it has characters that no name may have.

    """
    if len(name) > _MAX_NAME:  # old versions of idna take seconds for thousands of characters
        raise BadHostname("Not a host name: it has more than 253 characters.")
    try:
        mapped = idna.uts46_remap(name, std3_rules=False, transitional=False)
        if not _BRACKETS.isdisjoint(map(unicodedata.category, mapped)):
            raise BadHostname("Not a host name: remove the quotes or brackets around it.")
        labels = [
            label if label.isascii() else "xn--" + label.encode("punycode").decode("ascii")
            for label in mapped.split(".")
        ]
    except (idna.IDNAError, UnicodeError):
        raise BadHostname("Not a host name: it has characters that no name may have.") from None
    return ".".join(labels)


def shown(host: Hostname) -> str:
    """Return the name of a host as people write it: in Unicode, if that is the same name."""
    labels = []
    for label in host.text.split("."):
        try:
            is_encoded = label.startswith("xn--")
            labels.append(label[4:].encode("ascii").decode("punycode") if is_encoded else label)
        except UnicodeError:
            return host.text
    name = ".".join(labels)
    try:
        is_same = Hostname.parse(name) == host
    except BadHostname:
        is_same = False
    return name if is_same and name.isprintable() else host.text


@dataclass(frozen=True)
class Address:
    """An IPv4 or IPv6 address that a record may contain."""

    ip: IP

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read an address in any spelling; ``::ffff:a.b.c.d`` counts as an IPv4 address.

        Raises:
            BadAddress: it isn't an address, or no record may contain it.

        """
        text = text.strip()
        # 010.0.0.1 is refused: Python 3.8 reads it as 10.0.0.1, C libraries as 8.0.0.1.
        # Python 3.9 and newer read fe80::1%eth0, which has no meaning on another machine.
        dotted = text.rpartition(":")[2]
        if "%" in text or ("." in dotted and _LEADING_ZERO.search(dotted)):
            raise BadAddress("Not an address: leave out zone indices and leading zeros.")
        try:
            ip = ipaddress.ip_address(text)
        except ValueError:
            raise BadAddress("Not an IPv4 or IPv6 address.") from None
        ip = getattr(ip, "ipv4_mapped", None) or ip
        problem = ""
        if ip.is_unspecified:
            problem = "the unspecified address"
        elif ip.is_multicast:
            problem = "a multicast address"
        elif ip.is_link_local or getattr(ip, "is_site_local", False):  # deprecated by RFC 3879
            problem = "a link-local address"
        elif isinstance(ip, ipaddress.IPv4Address):
            problem = "in a reserved range" if ip.is_reserved or ip in _THIS_NETWORK else ""
        elif not (int(ip) >> _WIDTH - 16 or ip.is_loopback):  # no network begins with 16 zero bits
            problem = "a host part without a prefix"
        elif not int(ip) & INTERFACE_ID:  # RFC 4291 §2.6.1: addresses the routers of the network
            problem = "a bare prefix without a host part"
        if problem:
            raise BadAddress(f"{ip} can't be published: it is {problem}.")
        return cls(ip)

    @functools.cached_property
    def type(self) -> RecordType:
        """The type of the records that contain such an address."""
        return RecordType.A if self.ip.version == 4 else RecordType.AAAA  # noqa: PLR2004

    @property
    def is_local(self) -> bool:
        """Whether other networks can't reach the address (private, loopback, CGNAT, ULA)."""
        return any(
            self.ip in network for network in _LOCAL_NETWORKS if network.version == self.ip.version
        )

    def __str__(self) -> str:
        return str(self.ip)


@dataclass(frozen=True)
class DesiredRecord:
    """The desired state of one record: an address, or `None` for no record."""

    type: RecordType
    address: Address | None

    def __post_init__(self) -> None:
        if self.address is not None and self.address.type is not self.type:
            raise AddressMismatch(
                f"{self.address} doesn't fit into an {self.type.value} record: "
                f"leave the type out, or send {self.address.type.value}."
            )


@dataclass(frozen=True)
class Requester:
    """Who sent an update, and by which protocol: for the history."""

    source: str
    protocol: str


@dataclass(frozen=True)
class Update:
    """An authorized update: for each family at most one record; the other family isn't changed."""

    host: Hostname
    desired: tuple[DesiredRecord, ...]
    requester: Requester
    prefix: Prefix | None = None  # for an AAAA record whose host part isn't known yet
    by_operator: bool = False  # whether the login is the operator's, and not a key of the host


class Change(enum.Enum):
    """What an update did to a record."""

    CREATED = "created"
    REPLACED = "replaced"
    UNCHANGED = "unchanged"  # Hetzner was asked
    CACHED = "cached"  # Hetzner was not asked
    DELETED = "deleted"


@dataclass(frozen=True)
class RecordOutcome:
    """The outcome for one record."""

    desired: DesiredRecord
    change: Change


@dataclass(frozen=True)
class Outcome:
    """The outcome of an update that succeeded, record by record."""

    host: Hostname
    records: tuple[RecordOutcome, ...]

    @property
    def changed(self) -> bool:
        """Whether any record was changed."""
        return any(one.change not in (Change.UNCHANGED, Change.CACHED) for one in self.records)


def digest(text: str) -> bytes:
    """Return the SHA-256 of a text, which may contain lone surrogates."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


@dataclass(frozen=True)
class Credentials:
    """The login of a caller; `user` is `None` when a key was sent alone."""

    user: str | None
    secret: str
    parameters: tuple[Parameter, ...] = ()  # that it comes from, unless they are a host name

    @functools.cached_property
    def digest(self) -> bytes:
        """The SHA-256 of the secret."""
        return digest(self.secret)

    def __repr__(self) -> str:
        return "Credentials(…)"


class Parameter(NamedTuple):
    """A parameter of a request, in its query or in its body."""

    name: str
    value: str


@dataclass(frozen=True)
class UpdateRequest:
    """The update that a caller requests, as plain strings: neither authorized nor validated yet."""

    protocol: str
    source: str  # the caller's address, found through trusted proxies
    logins: tuple[Credentials, ...]  # in the headers and in the parameters
    name: str = ""
    addresses: tuple[Parameter, ...] = ()
    type: str = ""
    removes: bool = False
    # Sent by a device: without a name, the request updates the host of its login, and invalid
    # values are ignored if there is a valid address.
    is_lenient: bool = False
    prefixes: tuple[Parameter, ...] = ()  # of the network of the host
    announces_prefix: bool = False  # a parameter for the prefix was sent, perhaps an empty one
    unknown: tuple[Parameter, ...] = ()  # without a meaning; may contain an address or a host
    other_names: tuple[Parameter, ...] = ()  # contradict `name`
    invalid_names: tuple[Parameter, ...] = ()  # may contain an address
    problem: CallerError | None = None  # why a part of the request can't be read

    def quote(self, text: str) -> str:
        """Return a text for messages: short, on one line, and without anything like a key."""
        for login in self.logins:
            if len(login.secret) > _SHORTEST_SECRET:
                text = re.sub(re.escape(login.secret), "…", text, flags=re.IGNORECASE)
        text = _LIKE_A_KEY.sub("…", text)
        text = "".join(c if c.isprintable() and c != '"' else "?" for c in text)
        return f'"{text if len(text) <= _LONGEST_QUOTE else text[:_LONGEST_QUOTE] + "…"}"'

    def quote_parameter(self, parameter: Parameter) -> str:
        """Return a parameter for messages, as `quote` does."""
        name, value = (self.quote(text)[1:-1] for text in parameter)
        return f'{name}="{value}"' if value else f'"{name}"'


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
            HetznerUnreachable: no time is left.

        """
        left = self._end - self._clock()
        if left <= 0:
            raise HetznerUnreachable("Hetzner's API took too long to answer.")
        return left
