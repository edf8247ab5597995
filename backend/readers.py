"""Readers of settings with a syntax of their own: lists, host names, URLs, files.

Each takes the text of a value, its variable, and the reader that collects warnings. It returns the
value, or raises `SettingUnusable`.
"""

from __future__ import annotations

import ipaddress
import re
import ssl
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from backend.errors import BadHostname, SettingUnusable
from backend.hetzner.responses import IS_OLD, MAKE_NEW, is_old_token
from backend.model import Hostname, Network
from backend.text import is_zone

INTERFACE_ID_EXAMPLE = "::211:32ff:fe11:2233"
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")  # RFC 6750


class Variable(Protocol):
    """The variable whose value is read."""

    @property
    def name(self) -> str: ...


class Reader(Protocol):
    """Collects warnings, as `settings.Reader` does."""

    needs_token: bool

    def unquoted(self, source: str, text: str) -> str: ...

    def warn(self, problem: str, hint: str) -> None: ...


def items(text: str, variable: Variable, reader: Reader) -> tuple[str, ...]:
    """Split a list at commas and line ends; remove blanks, duplicates and quotes."""
    items = (reader.unquoted(variable.name, item.strip()) for item in re.split(r"[,\r\n]", text))
    return tuple(dict.fromkeys(filter(None, items)))


def hosts(text: str, variable: Variable, reader: Reader) -> tuple[Hostname, ...]:
    """Read a list of host names. Linux limits a variable to 128 KiB, about 5,000 names."""
    names = items(text, variable, reader)
    return tuple(dict.fromkeys(host(variable, name) for name in names))


def host(variable: Variable, name: str) -> Hostname:
    try:
        return Hostname.parse(name)
    except BadHostname as error:
        raise SettingUnusable(f"{variable.name}: {name!r}: {error}") from None


def interface_ids(
    text: str, variable: Variable, reader: Reader
) -> dict[Hostname, ipaddress.IPv6Address]:
    """Read a list of ``host=::host:part``."""
    found = {}
    for item in items(text, variable, reader):
        name, _, given = item.partition("=")
        try:
            found[host(variable, name.strip())] = interface_id(given)
        except ValueError:
            hint = "write each host with the part of its address after the prefix, as in "
            hint += f"nas.example.com={INTERFACE_ID_EXAMPLE}."
            raise SettingUnusable(f"{variable.name}: {item!r}", hint=hint) from None
    return found


def interface_id(text: str) -> ipaddress.IPv6Address:
    """Read the part of an IPv6 address after the prefix; raise `ValueError` for anything else."""
    part = ipaddress.IPv6Address(text.strip())
    # The lowest 64 bits, and optionally the number of a network within the provider's prefix.
    if "%" in text or int(part) >> 80 or not int(part) & ((1 << 64) - 1):
        raise ValueError(text)
    return part


def networks(text: str, variable: Variable, reader: Reader) -> tuple[Network, ...]:
    """Read a list of networks and addresses."""
    try:
        found = items(text, variable, reader)
        return tuple(ipaddress.ip_network(item, strict=False) for item in found)
    except ValueError as error:
        hint = "list networks, as in 10.0.0.0/8,::1."
        raise SettingUnusable(f"{variable.name}: {error}", hint=hint) from None


def tokens(text: str, variable: Variable, reader: Reader) -> tuple[str, ...]:
    """Read the API tokens, one for each project."""
    found = items(text, variable, reader)
    if not found and reader.needs_token:
        raise SettingUnusable(
            f"{variable.name} is missing",
            hint="set it to a Read & Write API token of the project that holds your zones "
            "(console.hetzner.com, Security, API tokens).",
        )
    for token in found:
        if not _TOKEN.fullmatch(token):
            problem = f"{variable.name} has a character that is invalid in a token"
            raise SettingUnusable(problem, hint="copy the token again.")
        if is_old_token(token):
            reader.warn(f"{variable.name}: {IS_OLD}", MAKE_NEW)
    return found


def url(text: str, variable: Variable, _reader: Reader) -> str:
    """Read an http or https URL, without its final slashes."""
    given = text.rstrip("/")
    try:
        parts = urlsplit(given)
        is_full = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_full = False
    if given and not (is_full and given.isprintable() and " " not in given):
        hint = "write it as in https://example.com."
        raise SettingUnusable(f"{variable.name} isn't a full URL", hint=hint)
    return given


def channels(text: str, variable: Variable, reader: Reader) -> tuple[str, ...]:
    """Split a list of URLs in which commas may occur, at line ends and before the next scheme."""
    items = re.split(r"[\r\n]+|[\s,]+(?=[A-Za-z0-9+.-]+://)", text)
    return tuple(filter(None, (reader.unquoted(variable.name, item.strip()) for item in items)))


def certificates(text: str, variable: Variable, _reader: Reader) -> Path | None:
    """Read the path of a file with certificates."""
    if len(text.splitlines()) > 1:
        raise SettingUnusable(f"{variable.name} has several lines", hint="write only the value.")
    try:
        if text:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(text)
    except (OSError, ValueError) as error:  # ValueError: not a path
        is_empty = isinstance(error, ssl.SSLError)
        reason = "no certificate in it" if is_empty else getattr(error, "strerror", "not a path")
        hint = "name a readable PEM file with the certificate of your CA."
        problem = f"{variable.name}: can't read {text!r} ({reason})"
        raise SettingUnusable(problem, hint=hint) from None
    return Path(text) if text else None


def zone(text: str, variable: Variable, reader: Reader) -> str:
    """Read the name of a time zone; an unknown one falls back to UTC with a warning."""
    if text and not is_zone(text):
        hint = "using UTC. Write it as in Europe/Berlin."
        reader.warn(f"{variable.name}: {text!r} isn't a time zone of this system", hint)
        return ""
    return text
