"""Determines the addresses that a request asks for."""

from __future__ import annotations

import contextlib
import ipaddress
import re
from typing import Callable, Iterable, Union

from backend.errors import AddressMismatch, BadAddress, BadRequest, CallerError, PrivateAddress
from backend.model import (
    INTERFACE_ID,
    Address,
    DesiredRecord,
    Hostname,
    OwnSettings,
    Parameter,
    Prefix,
    RecordType,
    Requester,
    Update,
    UpdateRequest,
)

_POINT_TO_POINT = 2  # a network of at most two addresses has no network address (RFC 3021)
# A prefix followed by a host part, as a Fritz!Box builds it from <ip6lanprefix>7656:3cff:fe47:1.
_GLUED = re.compile(r"([0-9a-f:]+)/([0-9]{2}):{0,2}([0-9a-f][0-9a-f:]*)", re.IGNORECASE)
# A text that looks like an address, within any other text.
_DOTTED = re.compile(r"(?<![0-9])(?<![0-9]\.)[0-9]{1,3}(?:\.[0-9]{1,3}){3}(?!\.?[0-9])")
_WITH_COLONS = re.compile(r"(?:[0-9a-f]{0,4}:)+[0-9a-f.]*", re.IGNORECASE)
_LENGTH = re.compile(r"[0-9]{1,2}|1[01][0-9]|12[0-8]")  # 0 to 128
# A host part has 64 bits, and perhaps the number of the LAN before them.
_LONGEST_HOST_PART = 1 << 112
HostPart = ipaddress.IPv6Address
Found = Union[Address, Prefix, HostPart]


def requested_update(
    request: UpdateRequest, host: Hostname, own: OwnSettings, *, allow_private: bool = False
) -> tuple[Update, str]:
    """Return the requested update, and the errors of values that were skipped.

    Raises:
        BadRequest: a part of the request can't be read, or has no meaning.
        BadAddress: the request has no address that can be published.
        BadRecordType, AddressMismatch: the record type is unknown or contradicts the address.
        PrivateAddress: the caller sent no address, and its own is private.

    """
    _check_unknown(request)
    chosen = RecordType.parse(request.type) if request.type else None
    requester = Requester(request.source, request.protocol)
    if request.removes:
        if request.addresses and not request.is_lenient:
            raise BadRequest("A removal has no address: leave it out, or send the type instead.")
        kinds = [kind for kind in RecordType if chosen in (None, kind)]
        return Update(host, tuple(DesiredRecord(kind, None) for kind in kinds), requester), ""
    found, problems = read(request)
    found = found or [_detected(request.source, allow_private=allow_private)]
    addresses, prefix, left_out = _one_of_each_family(found)
    problems += left_out
    if problems and not request.is_lenient:
        raise problems[0]
    host_part = own.interface_id
    if host_part is None and RecordType.AAAA not in addresses:
        host_part = next((one for one in found if isinstance(one, HostPart)), None)
    if prefix is not None and host_part is not None:
        addresses[RecordType.AAAA] = Address.parse(prefix.address_of(host_part))
    elif prefix is None and own.interface_id is not None and request.announces_prefix:
        addresses.pop(RecordType.AAAA, None)  # the router's own address
        if not addresses:
            raise BadAddress(
                f"The router left its prefix empty, and {host} has a host part in its settings: "
                "its AAAA record stays unchanged until the router sends a prefix."
            )
    # A complete IPv6 address belongs to the host, so the prefix isn't needed.
    if RecordType.AAAA in addresses:
        prefix = None
    if prefix is not None and chosen is RecordType.A:
        raise AddressMismatch(f"{prefix} doesn't fit into an A record: leave the type out.")
    desired = tuple(
        DesiredRecord(chosen or kind, addresses[kind]) for kind in RecordType if kind in addresses
    )
    return Update(host, desired, requester, prefix), " ".join(map(str, problems))


def _check_unknown(request: UpdateRequest) -> None:
    """Raise `BadRequest` if an address in a request would have no effect."""
    for parameter in (*request.unknown, *request.invalid_names):
        words = [parameter.value or parameter.name]
        if not (request.addresses or request.prefixes or request.removes):
            text = " ".join(parameter)
            words += [*_DOTTED.findall(text), *_WITH_COLONS.findall(text)]
        if any(map(is_address, words)):
            known = "myip" if request.is_lenient else "ip"
            quoted = request.quote_parameter(parameter)
            raise BadRequest(f"The parameter {quoted} is unknown: send an address as {known}.")


def is_address(text: str) -> bool:
    """Return whether a text has the form of an address, and isn't a placeholder for none."""
    for word in (text, text.strip(":."), text.rpartition(":")[0]):  # perhaps with a label or a port
        if _DOTTED.fullmatch(word):
            return word != "0.0.0.0"  # noqa: S104
        with contextlib.suppress(ValueError):
            return not ipaddress.ip_address(word.strip("[]")).is_unspecified
    return False


def _detected(source: str, *, allow_private: bool) -> Address:
    """Return the caller's own address."""
    detected = Address.parse(source)
    if detected.is_local and not allow_private:
        raise PrivateAddress(
            f"The request seems to come from {detected}, a private address: the proxy passes "
            "no client address (X-Real-Ip), or the caller is in the same network and has to "
            "send its address."
        )
    return detected


def _one_of_each_family(
    found: Iterable[Found],
) -> tuple[dict[RecordType, Address], Prefix | None, list[BadAddress]]:
    """Choose the first address of each family, and the first prefix, that others can reach.

    Return further reachable addresses, and further prefixes, as errors.
    """
    addresses: dict[RecordType, Address] = {}
    prefix: Prefix | None = None
    left_out: list[BadAddress] = []
    ours = [one for one in found if isinstance(one, (Address, Prefix))]
    for one in sorted(ours, key=lambda one: (isinstance(one, Prefix), one.is_local)):
        used: Address | Prefix
        if isinstance(one, Address):
            used = addresses.setdefault(one.type, one)
        else:
            used = prefix = prefix or one
        if one != used and not one.is_local:
            left_out.append(BadAddress(f'"{used}" and "{one}" contradict each other: send one.'))
    return addresses, prefix, left_out


def read(request: UpdateRequest) -> tuple[list[Found], list[CallerError]]:
    """Read the addresses, prefixes and host parts of a request; return invalid texts as errors.

    A parameter for prefixes is read as a prefix, even if its value looks like an address.

    Raises:
        BadAddress: all texts are invalid.

    """
    found: list[Found] = []
    problems: list[CallerError] = []
    parsers: list[tuple[Callable[[str], Found], Parameter]]
    parsers = [(Prefix.parse, one) for one in request.prefixes]
    for parser, parameter in [*parsers, *((parse, one) for one in request.addresses)]:
        try:
            found.append(parser(parameter.value))
        except BadAddress as problem:
            quoted = request.quote_parameter(parameter)
            problems.append(BadAddress(f"{quoted}: {problem}"))
    if not any(isinstance(one, Prefix) for one in found):
        parts = [one for one in found if isinstance(one, HostPart)]
        found = [one for one in found if one not in parts]
        for part in parts:
            try:
                found.append(Address.parse(str(part)))  # ::1 is an address as well
            except BadAddress as problem:
                problems.append(problem)
    if problems and not found:
        raise problems[0]
    return found, problems


def parse(text: str) -> Found:
    """Read an address, perhaps with a prefix length, a prefix without host part, or a host part.

    Raises:
        BadAddress: the text is none of these, or can't be published.

    """
    text = text.strip()
    if text.startswith("[") and text.endswith("]"):
        text = text[1:-1]
    address, slash, length = text.partition("/")
    glued = _GLUED.fullmatch(text)
    if glued is not None and not _LENGTH.fullmatch(length):
        prefix = Prefix.parse(f"{glued[1]}/{glued[2]}")
        try:
            return Address.parse(prefix.address_of(HostPart(f"::{glued[3]}")))
        except ValueError:
            raise BadAddress("Not a prefix with a host part behind it.") from None
    try:
        bits = int(ipaddress.IPv6Address(address.strip()))
    except ValueError:
        bits = 0
    if bits and not bits & INTERFACE_ID:
        return Prefix.parse(text)
    if 0 < bits < _LONGEST_HOST_PART and "." not in text:
        return HostPart(bits)
    if slash:
        try:
            interface = ipaddress.ip_interface(text)
        except ValueError:
            raise BadAddress("Not an address with a prefix length.") from None
        network = interface.network
        if interface.ip == network.network_address and network.num_addresses > _POINT_TO_POINT:
            raise BadAddress("Not an address of a host: it is the address of a network.")
    return Address.parse(address)
