"""How one environment variable is read: its kinds, its bounds, its default, its warnings."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Optional, Set, Tuple, Union
from urllib.parse import urlsplit

from backend.errors import BadHostname, SettingUnusable
from backend.hetzner.refusals import IS_OLD, MAKE_NEW, is_old_token
from backend.model import Hostname

Network = Union[ipaddress.IPv4Network, ipaddress.IPv6Network]

BIG = 2**31 - 1


class Reader:
    """The environment, with what deserves a warning gathered on the way."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ = environ
        self.warnings: List[SettingUnusable] = []  # nothing that stops the start
        self.defaulted: Set[str] = set()

    def text(self, name: str, default: str = "") -> str:
        """Return a variable; an empty value equals an absent one."""
        return self.environ.get(name, "").strip() or default

    def was_chosen(self, name: str) -> bool:
        """Whether a variable, read before, has a value of the operator's and not its default."""
        return bool(self.text(name)) and name not in self.defaulted


@dataclass(frozen=True)
class Variable:
    """One environment variable: its carrier, how it is read, its default as one would write it."""

    name: str
    home: str  # carrier.attribute
    read: Callable[[Variable, Reader], Any]
    default: str = ""
    low: int = 0
    high: int = BIG

    @property
    def is_secret(self) -> bool:
        """Whether its value must never be shown."""
        return self.read in (secret, tokens)

    @property
    def has_file(self) -> bool:
        """Whether it may come from the file NAME_FILE: a secret, or what may be too long."""
        return self.is_secret or self.read is hosts


def text(variable: Variable, reader: Reader) -> str:
    """Read a text."""
    return reader.text(variable.name, variable.default)


def path(variable: Variable, reader: Reader) -> Optional[Path]:
    """Read a path; `None` when the variable is absent."""
    given = text(variable, reader)
    return Path(given) if given else None


def secret(variable: Variable, reader: Reader) -> str:
    """Read a secret, which may be in a file."""
    return _text_or_file(variable, reader)


def _text_or_file(variable: Variable, reader: Reader) -> str:
    """Read a variable, or what the file named by NAME_FILE holds."""
    name = variable.name
    path = reader.text(f"{name}_FILE")
    if not path or reader.text(name):
        return text(variable, reader)
    try:
        return Path(path).read_text(encoding="utf-8-sig").strip() or variable.default
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise SettingUnusable(
            f"{name}_FILE: can't read {path} ({reason})",
            mend=f"name a readable file, or set {name}.",
        ) from None


def number(variable: Variable, reader: Reader) -> int:
    """Read a whole number; a bad one falls back to the default with a warning."""
    try:
        value = int(text(variable, reader))
    except ValueError:
        return _fall_back(variable, reader, "is no whole number")
    if variable.low <= value <= variable.high:
        return value
    return _fall_back(variable, reader, f"must be from {variable.low} to {variable.high}")


def _fall_back(variable: Variable, reader: Reader, flaw: str) -> int:
    reader.defaulted.add(variable.name)
    mend = f"using the default, {variable.default}. Correct it, or leave it out."
    reader.warnings.append(SettingUnusable(f"{variable.name} {flaw}", mend=mend))
    return int(variable.default)


def switch(variable: Variable, reader: Reader) -> bool:
    """Read a 0/1 switch; anything else falls back to 0 with a warning."""
    given = text(variable, reader).lower()
    if given in ("1", "true", "yes", "on"):
        return True
    if given not in ("0", "false", "no", "off"):
        _fall_back(variable, reader, "must be 0 or 1")
    return False


def _items(listed: str) -> Tuple[str, ...]:
    """Split a comma-separated list; blanks and duplicates drop out."""
    return tuple(dict.fromkeys(item.strip() for item in listed.split(",") if item.strip()))


def hosts(variable: Variable, reader: Reader) -> Tuple[Hostname, ...]:
    """Read a list of host names: comma-separated, in a file also one a line, with comments.

    Linux allows a variable 128 KiB, some five thousand names.
    """
    lines = _text_or_file(variable, reader).splitlines()
    if not reader.text(variable.name):
        lines = [line for line in lines if not line.lstrip().startswith("#")]
    names = _items(",".join(lines))
    if not names:
        mend = "list the hosts that may be updated; until then no updates are performed."
        reader.warnings.append(SettingUnusable(f"{variable.name} is empty", mend=mend))
    return tuple(dict.fromkeys(_host(variable, name) for name in names))


def _host(variable: Variable, name: str) -> Hostname:
    try:
        return Hostname.parse(name)
    except BadHostname as error:
        raise SettingUnusable(f"{variable.name}: {name!r}: {error}") from None


def interface_ids(variable: Variable, reader: Reader) -> Dict[Hostname, ipaddress.IPv6Address]:
    """Read a comma-separated list of ``host=::host:part``."""
    return dict(_interface_id(variable, item) for item in _items(text(variable, reader)))


def _interface_id(variable: Variable, item: str) -> Tuple[Hostname, ipaddress.IPv6Address]:
    name, _, given = item.partition("=")
    try:
        part = ipaddress.IPv6Address(given.strip())
    except ValueError:
        part = ipaddress.IPv6Address(0)
    # The lowest 64 bits, and perhaps the number of the network in what the provider gave.
    if "%" in given or int(part) >> 80 or not int(part) & ((1 << 64) - 1):
        raise SettingUnusable(
            f"{variable.name}: {item!r}",
            mend="write each host with the part of its address behind the prefix, as in "
            "nas.example.com=::211:32ff:fe11:2233.",
        )
    return _host(variable, name.strip()), part


def networks(variable: Variable, reader: Reader) -> Tuple[Network, ...]:
    """Read a comma-separated list of networks and addresses."""
    try:
        items = _items(text(variable, reader))
        return tuple(ipaddress.ip_network(item, strict=False) for item in items)
    except ValueError as error:
        raise SettingUnusable(
            f"{variable.name}: {error}", mend="list networks, as in 10.0.0.0/8,::1."
        ) from None


def tokens(variable: Variable, reader: Reader) -> Tuple[str, ...]:
    """Read the API tokens, one a project, and look for what no token can be."""
    found = _items(secret(variable, reader))
    if not found:
        raise SettingUnusable(
            f"{variable.name} is missing",
            mend="set it to a Read & Write API token of the project that holds your zones "
            "(console.hetzner.com, Security, API tokens).",
        )
    for token in found:
        if not (token.isascii() and token.isprintable() and " " not in token):
            raise SettingUnusable(
                f"{variable.name} holds a character that no token has",
                mend="copy the token again.",
            )
        if is_old_token(token):
            reader.warnings.append(SettingUnusable(f"{variable.name}: {IS_OLD}", mend=MAKE_NEW))
    return found


def url(variable: Variable, reader: Reader) -> str:
    """Read an http or https URL, without its final slashes."""
    given = text(variable, reader).rstrip("/")
    try:
        parts = urlsplit(given)
        if parts.port == 0 or " " in given:
            parts = urlsplit("")
    except ValueError:
        parts = urlsplit("")
    if given and not (parts.scheme in ("http", "https") and parts.hostname):
        raise SettingUnusable(
            f"{variable.name} is no full URL", mend="write it as in https://example.com."
        )
    return given
