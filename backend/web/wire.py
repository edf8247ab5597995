"""Whose address is it, and which credentials were sent: what a request says besides its words."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import math
from typing import Mapping, Optional, Sequence, Type, TypeVar, Union

from flask import Request

from backend.errors import DyndnsError
from backend.gate import Credentials

Network = Union[ipaddress.IPv4Network, ipaddress.IPv6Network]
T = TypeVar("T")
IP = Union[ipaddress.IPv4Address, ipaddress.IPv6Address]

UNREADABLE = Credentials("", "")  # a login, but none that can be right
CHALLENGE = 'Basic realm="dyndns", charset="UTF-8"'


def client_address(request: Request, trusted: Sequence[Network]) -> str:
    """Return the address a request comes from, as far as the proxies in between are trusted.

    Behind a trusted peer: X-Real-Ip, else the rightmost entry of X-Forwarded-For that isn't
    itself a trusted proxy, for everything left of it can be made up by the caller.
    """
    peer = _ip(request.environ.get("REMOTE_ADDR", ""))
    if peer is None:
        return ""
    if not _is_trusted(peer, trusted):
        return str(peer)
    real = _ip(request.headers.get("X-Real-Ip", ""))
    if real is not None:
        return str(real)
    return str(_forwarded(request, trusted) or peer)


def _forwarded(request: Request, trusted: Sequence[Network]) -> Optional[IP]:
    """Return the rightmost untrusted hop; the leftmost one when all are trusted."""
    hop = None
    for entry in reversed(",".join(request.headers.getlist("X-Forwarded-For")).split(",")):
        ip = _ip(entry)
        if ip is None:
            return hop
        hop = ip
        if not _is_trusted(ip, trusted):
            return hop
    return hop


def _is_trusted(ip: IP, trusted: Sequence[Network]) -> bool:
    return any(ip in network for network in trusted if network.version == ip.version)


def _ip(text: str) -> Optional[IP]:
    """Read an address as proxies write it: perhaps with a port, a zone index or brackets."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].split("]", 1)[0]
    elif text.count(":") == 1:
        text = text.split(":", 1)[0]
    try:
        ip = ipaddress.ip_address(text.split("%", 1)[0])
    except ValueError:
        return None
    return getattr(ip, "ipv4_mapped", None) or ip


def base_url(request: Request, trusted: Sequence[Network]) -> str:
    """Return the address of this service as its caller has it, as far as proxies tell."""
    peer = _ip(request.environ.get("REMOTE_ADDR", ""))
    scheme, host = request.scheme, request.host
    if peer is not None and _is_trusted(peer, trusted):
        told = request.headers.get("X-Forwarded-Proto", "").strip().lower()
        scheme = told if told in ("http", "https") else scheme
        host = request.headers.get("X-Forwarded-Host", "").strip() or host
    return f"{scheme}://{host}"


def answer(table: Mapping[Type[DyndnsError], T], error: DyndnsError) -> T:
    """Return what a face's table says of an error: of its class, else of the nearest parent."""
    return next(table[family] for family in type(error).__mro__ if family in table)


def whole_seconds(seconds: float) -> str:
    """Return a pause as ``Retry-After`` has it: whole seconds, one at least."""
    return str(max(1, math.ceil(seconds)))


def credentials(request: Request) -> Optional[Credentials]:
    """Return the key or the login of a request; `None` when it has neither.

    A login that can't be read counts as a wrong one.
    """
    key = request.headers.get("X-Pre-Shared-Key", "").strip()
    if key:
        return Credentials(None, key)
    header = request.headers.get("Authorization", "").strip()
    if not header:
        return None
    return _basic(header) or UNREADABLE


def _basic(header: str) -> Optional[Credentials]:
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        decoded = base64.b64decode(encoded.strip(), validate=True)
    except (binascii.Error, ValueError):
        return None
    try:
        login = decoded.decode("utf-8")
    except UnicodeDecodeError:
        login = decoded.decode("latin-1")  # RFC 7617 leaves the encoding open
    user, colon, secret = login.partition(":")
    return Credentials(user, secret) if colon else None
