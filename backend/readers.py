"""Readers of settings: the variables of an environment, and the syntax of their values.

The reader of a syntax takes the text of a value, its variable, and the reader of the environment,
which collects warnings. It returns the value, or raises `SettingUnusable`.
"""

from __future__ import annotations

import ipaddress
import re
import ssl
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Callable, Mapping, TypeVar
from urllib.parse import urlsplit

from backend.errors import IS_OLD, MAKE_NEW, BadHostname, SettingUnusable, is_old_token
from backend.model import Hostname, Network
from backend.text import is_zone

Section = TypeVar("Section")

LARGEST = 2**31 - 1
INTERFACE_ID_EXAMPLE = "::211:32ff:fe11:2233"
MOUNTED = Path("/pre-shared-key")
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")  # RFC 6750
_QUOTED = re.compile(r"""(["'])((?!\1).)*\1""", re.DOTALL)
_COMMENT = re.compile(r"^[ \t]*#.*", re.MULTILINE)


class Reader:
    """Reads variables from the environment, and collects warnings about their values."""

    def __init__(self, environ: Mapping[str, str], *, needs_token: bool = True) -> None:
        self._environ = environ
        self.needs_token = needs_token
        self.warnings: list[SettingUnusable] = []
        self.chosen: set[str] = set()  # the variables that the operator gave a valid value
        self.hosts_file: Path | None = None

    def section(self, kind: Callable[..., Section]) -> Section:
        """Read only the variables of one section."""
        found = fields(kind)  # type: ignore[arg-type]
        variables = {field.name: field.metadata.get("variable") for field in found}
        return kind(**{name: self.value(one) for name, one in variables.items() if one})

    def value(self, variable: Variable) -> Any:  # noqa: ANN401
        """Read a variable or its file; an empty value counts as absent."""
        name = variable.name
        text = self._clean(variable, name, self._environ.get(name, ""))
        if not text and variable.has_file:
            text = self._clean(variable, f"{name}_FILE", self._text_in_file(variable))
        if text:
            self.chosen.add(name)
        elif name in self._environ and variable.read is number:
            self.warn(f"{name} is empty", f"using the default, {variable.default}.")
        return variable.read(text or variable.default, variable, self)

    def _text_in_file(self, variable: Variable) -> str:
        source = f"{variable.name}_FILE"
        path = self.unquoted(source, self._environ.get(source, ""))
        if not path:
            return ""
        if variable.read is hosts:
            self.hosts_file = Path(path)
        text = contents(source, path, f"name a readable file, or set {variable.name}.")
        return _COMMENT.sub("", text) if variable.read in (hosts, tokens, channels) else text

    def _clean(self, variable: Variable, source: str, text: str) -> str:
        """Return a value without ``NAME=`` in front of it, and without the quotes around it."""
        assignment = rf"^[ \t]*(?:export[ \t]+)?{variable.name}[ \t]*="
        text, count = re.subn(assignment, "", text, flags=re.MULTILINE | re.IGNORECASE)
        if count:
            self.warn(f"{source} contains `{variable.name}=`", "write only the value.")
        elif variable.read is password:
            return text.strip()
        return self.unquoted(source, text)

    def unquoted(self, source: str, text: str) -> str:
        """Return a text without quotes: a shell removes them, `docker run --env-file` doesn't."""
        text = text.strip()
        if not _QUOTED.fullmatch(text):
            return text
        self.warn(f"{source} has quotes around its value", "they are ignored; remove them.")
        return text[1:-1].strip()

    def warn(self, problem: str, hint: str) -> None:
        """Add a warning, once."""
        warning = SettingUnusable(problem, hint=hint)
        if str(warning) not in map(str, self.warnings):
            self.warnings.append(warning)

    def fall_back(self, variable: Variable, problem: str) -> int:
        """Return the default of a number or a switch, and warn."""
        self.chosen.discard(variable.name)
        hint = f"using the default, {variable.default}. Correct it, or leave it out."
        self.warn(f"{variable.name} {problem}", hint)
        return int(variable.default)


@dataclass(frozen=True)
class Variable:
    """One environment variable: the reader of its value, and its default as the operator writes it.

    A secret is never shown. A variable with `has_file` may come from the file that NAME_FILE names.
    """

    name: str
    read: Callable[[str, Variable, Reader], Any]
    default: str = ""
    low: int = 0
    high: int = LARGEST
    is_secret: bool = False
    home: str = ""  # section.field

    @property
    def has_file(self) -> bool:
        return self.is_secret or self.read is hosts


def contents(source: str, path: str, hint: str) -> str:
    """Return the text of a file that the setting `source` names."""
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise SettingUnusable(f"{source}: can't read {path} ({reason})", hint=hint) from None


def line(text: str, variable: Variable, _reader: Reader) -> str:
    if len(text.splitlines()) > 1:
        raise SettingUnusable(f"{variable.name} has several lines", hint="write only the value.")
    return text


def password(text: str, variable: Variable, reader: Reader) -> str:
    """Read a password. Quotes are part of it, but an empty value in quotes counts as absent."""
    if _QUOTED.fullmatch(text):
        hint = "the quotes count as part of the password; if they aren't part of it, remove them."
        reader.warn(f"{variable.name} has quotes around its value", hint)
        text = text if text[1:-1].strip() else ""
    return line(text, variable, reader)


def key_file(text: str, variable: Variable, _reader: Reader) -> Path:
    """Read the path of the key file; by default, use the one that is mounted in a container."""
    return MOUNTED if text == variable.default and MOUNTED.exists() else Path(text)


def path(text: str, _variable: Variable, _reader: Reader) -> Path | None:
    return Path(text) if text else None


def number(text: str, variable: Variable, reader: Reader) -> int:
    """Read a whole number; an invalid one falls back to the default with a warning."""
    try:
        value = int(text)
    except ValueError:
        return reader.fall_back(variable, "isn't a whole number")
    if variable.low <= value <= variable.high:
        return value
    return reader.fall_back(variable, f"must be from {variable.low} to {variable.high}")


def switch(text: str, variable: Variable, reader: Reader) -> bool:
    """Read a 0/1 switch; any other value falls back to 0 with a warning."""
    if text.lower() in ("1", "true", "yes", "on"):
        return True
    if text.lower() not in ("0", "false", "no", "off"):
        reader.fall_back(variable, "must be 0 or 1")
    return False


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


def certificates(text: str, variable: Variable, reader: Reader) -> Path | None:
    """Read the path of a file with certificates."""
    line(text, variable, reader)
    try:
        if text:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(text)
    except (OSError, ValueError) as error:  # ValueError: not a path
        is_empty = isinstance(error, ssl.SSLError)
        reason = "no certificate in it" if is_empty else getattr(error, "strerror", "not a path")
        hint = "name a readable PEM file with the certificate of your CA."
        problem = f"{variable.name}: can't read {text!r} ({reason})"
        raise SettingUnusable(problem, hint=hint) from None
    return path(text, variable, reader)


def zone(text: str, variable: Variable, reader: Reader) -> str:
    """Read the name of a time zone; an unknown one falls back to UTC with a warning."""
    if text and not is_zone(text):
        hint = "using UTC. Write it as in Europe/Berlin."
        reader.warn(f"{variable.name}: {text!r} isn't a time zone of this system", hint)
        return ""
    return text
