"""Every setting: a field of a dataclass, with its variable, default, bounds, and reader.

To add a setting, add a field here, a row to the README's table, and a line to .secrets.example.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import re
import typing
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any, Callable, Iterator, Mapping, Union
from urllib.parse import unquote, unquote_plus, urlsplit

from backend.errors import BadHostname, SettingUnusable
from backend.hetzner.responses import IS_OLD, MAKE_NEW, is_old_token
from backend.model import Hostname

Network = Union[ipaddress.IPv4Network, ipaddress.IPv6Network]
_Read = Callable[["Variable", "Reader"], Any]

# Threads that answer unchanged updates while others wait for Hetzner. The requests that find no
# place also use them, so there are more than arrive during one call to Hetzner.
FREE_THREADS = 16
_LARGEST = 2**31 - 1
_YEAR = 365 * 24 * 3600
_SHORTEST_PASSWORD = 16
# The proxy in front of hetzner-dyndns runs on the same machine or in the same private network.
_PRIVATE_RANGES = (
    "127.0.0.0/8,10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,169.254.0.0/16,::1/128,fc00::/7,fe80::/10"
)
# As SQLAlchemy reads a URL: a password may hold every character but @.
_LOGIN = re.compile(r"[\w+.-]+://(?P<user>[^:/@]*)(?::(?P<password>[^@]*))?@")
_OPTION = re.compile(r"[?&]([^=&]+)=([^&]+)")


class Reader:
    """The environment, and the warnings that its values cause."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ = environ
        self.warnings: list[SettingUnusable] = []
        self.defaulted: set[str] = set()

    def text(self, name: str, default: str = "") -> str:
        """Return a variable; an empty value equals an absent one."""
        return self.environ.get(name, "").strip() or default

    def was_chosen(self, name: str) -> bool:
        """Return whether the operator gave a variable, read before, a valid value."""
        return bool(self.text(name)) and name not in self.defaulted

    def warn(self, problem: str, hint: str) -> None:
        self.warnings.append(SettingUnusable(problem, hint=hint))


@dataclass(frozen=True)
class Variable:
    """One environment variable: the reader of its value, and its default as the operator writes it.

    A secret is never shown. A variable with `has_file` may come from the file that NAME_FILE names.
    """

    name: str
    read: _Read
    default: str = ""
    low: int = 0
    high: int = _LARGEST
    is_secret: bool = False
    home: str = ""  # section.field

    @property
    def has_file(self) -> bool:
        return self.is_secret or self.read is _hosts

    def text(self, reader: Reader) -> str:
        """Return the text of the variable, or of its file.

        Raises:
            SettingUnusable: the file can't be read.

        """
        path = reader.text(f"{self.name}_FILE") if self.has_file else ""
        if not path or reader.text(self.name):
            return reader.text(self.name, self.default)
        try:
            return Path(path).read_text(encoding="utf-8-sig").strip() or self.default
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "not UTF-8 text"
            raise SettingUnusable(
                f"{self.name}_FILE: can't read {path} ({reason})",
                hint=f"name a readable file, or set {self.name}.",
            ) from None


def _text(variable: Variable, reader: Reader) -> str:
    return variable.text(reader)


def _path(variable: Variable, reader: Reader) -> Path | None:
    given = variable.text(reader)
    return Path(given) if given else None


def _number(variable: Variable, reader: Reader) -> int:
    """Read a whole number; an invalid one falls back to the default with a warning."""
    try:
        value = int(variable.text(reader))
    except ValueError:
        return _fall_back(variable, reader, "isn't a whole number")
    if variable.low <= value <= variable.high:
        return value
    return _fall_back(variable, reader, f"must be from {variable.low} to {variable.high}")


def _fall_back(variable: Variable, reader: Reader, problem: str) -> int:
    reader.defaulted.add(variable.name)
    hint = f"using the default, {variable.default}. Correct it, or leave it out."
    reader.warn(f"{variable.name} {problem}", hint)
    return int(variable.default)


def _switch(variable: Variable, reader: Reader) -> bool:
    """Read a 0/1 switch; any other value falls back to 0 with a warning."""
    given = variable.text(reader).lower()
    if given in ("1", "true", "yes", "on"):
        return True
    if given not in ("0", "false", "no", "off"):
        _fall_back(variable, reader, "must be 0 or 1")
    return False


def _items(listed: str) -> tuple[str, ...]:
    """Split a comma-separated list, without blanks and duplicates."""
    return tuple(dict.fromkeys(item.strip() for item in listed.split(",") if item.strip()))


def _hosts(variable: Variable, reader: Reader) -> tuple[Hostname, ...]:
    """Read a comma-separated list of host names. A file may have one a line, and comments.

    Linux limits a variable to 128 KiB, some five thousand names.
    """
    lines = variable.text(reader).splitlines()
    if not reader.text(variable.name):
        lines = [line for line in lines if not line.lstrip().startswith("#")]
    names = _items(",".join(lines))
    if not names:
        hint = "list the hosts that may be updated; until then no updates are performed."
        reader.warn(f"{variable.name} is empty", hint)
    return tuple(dict.fromkeys(_host(variable, name) for name in names))


def _host(variable: Variable, name: str) -> Hostname:
    try:
        return Hostname.parse(name)
    except BadHostname as error:
        raise SettingUnusable(f"{variable.name}: {name!r}: {error}") from None


def _interface_ids(variable: Variable, reader: Reader) -> dict[Hostname, ipaddress.IPv6Address]:
    """Read a comma-separated list of ``host=::host:part``."""
    found = {}
    for item in _items(variable.text(reader)):
        name, _, given = item.partition("=")
        try:
            part = ipaddress.IPv6Address(given.strip())
        except ValueError:
            part = ipaddress.IPv6Address(0)
        # The lowest 64 bits, and perhaps the number of a network within the provider's prefix.
        if "%" in given or int(part) >> 80 or not int(part) & ((1 << 64) - 1):
            raise SettingUnusable(
                f"{variable.name}: {item!r}",
                hint="write each host with the part of its address behind the prefix, as in "
                "nas.example.com=::211:32ff:fe11:2233.",
            )
        found[_host(variable, name.strip())] = part
    return found


def networks(variable: Variable, reader: Reader) -> tuple[Network, ...]:
    """Read a comma-separated list of networks and addresses."""
    try:
        items = _items(variable.text(reader))
        return tuple(ipaddress.ip_network(item, strict=False) for item in items)
    except ValueError as error:
        hint = "list networks, as in 10.0.0.0/8,::1."
        raise SettingUnusable(f"{variable.name}: {error}", hint=hint) from None


def _tokens(variable: Variable, reader: Reader) -> tuple[str, ...]:
    """Read the API tokens, one for each project."""
    found = _items(variable.text(reader))
    if not found:
        raise SettingUnusable(
            f"{variable.name} is missing",
            hint="set it to a Read & Write API token of the project that holds your zones "
            "(console.hetzner.com, Security, API tokens).",
        )
    for token in found:
        if not (token.isascii() and token.isprintable() and " " not in token):
            problem = f"{variable.name} has a character that is invalid in a token"
            raise SettingUnusable(problem, hint="copy the token again.")
        if is_old_token(token):
            reader.warn(f"{variable.name}: {IS_OLD}", MAKE_NEW)
    return found


def _url(variable: Variable, reader: Reader) -> str:
    """Read an http or https URL, without its final slashes."""
    given = variable.text(reader).rstrip("/")
    try:
        parts = urlsplit(given)
        is_full = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_full = False
    if given and (not is_full or " " in given):
        hint = "write it as in https://example.com."
        raise SettingUnusable(f"{variable.name} isn't a full URL", hint=hint)
    return given


def _setting(name: str, read: _Read, default: object = "", **options: Any) -> Any:  # noqa: ANN401
    is_shown = not options.get("is_secret") and read is not _url  # a URL may hold a login
    metadata = {"variable": Variable(name, read, str(default), **options)}
    return dataclasses.field(repr=is_shown, metadata=metadata)


@dataclass(frozen=True)
class HetznerSettings:
    """The settings for calls to Hetzner."""

    tokens: tuple[str, ...] = _setting("HETZNER_TOKEN", _tokens, is_secret=True)
    api_url: str = _setting("HETZNER_API_URL", _url, "https://api.hetzner.cloud/v1")
    zone_cache_ttl: int = _setting("ZONE_CACHE_TTL", _number, 86400, low=1, high=_YEAR)


@dataclass(frozen=True)
class RecordSettings:
    """The settings for DNS records."""

    # 60…2147483647: https://docs.hetzner.cloud/cloud.spec.json, an RRSet's ttl
    ttl: int = _setting("RECORD_TTL", _number, 21600, low=60)
    request_cache_ttl: int = _setting("REQUEST_CACHE_TTL", _number, 300, high=_YEAR)
    chosen_ttl: int | None = None  # for existing records, too: RECORD_TTL, if it is set


@dataclass(frozen=True)
class AccessSettings:
    """Who may update which host."""

    hosts: tuple[Hostname, ...] = _setting("REGISTERED_FQDNS", _hosts)
    key_file: Path = _setting("PRE_SHARED_KEY_FILE", _path, "pre-shared-key")  # noqa: RUF009
    operator_name: str = _setting("BASIC_AUTH_USERNAME", _text)
    operator_password: str = _setting("BASIC_AUTH_PASSWORD", _text, is_secret=True)
    trusted_proxies: tuple[Network, ...] = _setting("TRUSTED_PROXIES", networks, _PRIVATE_RANGES)
    allow_private: bool = _setting("ALLOW_PRIVATE_ADDRESSES", _switch, 0)
    interface_ids: Mapping[Hostname, ipaddress.IPv6Address] = _setting(
        "IPV6_INTERFACE_IDS", _interface_ids
    )
    failure_limit: int = _setting("AUTH_FAILURE_LIMIT", _number, 10, low=1)
    failure_window: int = _setting("AUTH_FAILURE_WINDOW", _number, 900, low=1, high=_YEAR)


@dataclass(frozen=True)
class StoreSettings:
    """The settings of the store."""

    url: str = _setting("STATE_URL", _text, "sqlite:///hetzner-dyndns.db", is_secret=True)
    history_days: int = _setting("HISTORY_DAYS", _number, 90, low=1, high=36500)


@dataclass(frozen=True)
class NtfySettings:
    """The settings for pushes. Without a URL there are none."""

    url: str = _setting("NTFY_URL", _url)
    topic: str = _setting("NTFY_TOPIC", _text)
    username: str = _setting("NTFY_USERNAME", _text)
    password: str = _setting("NTFY_PASSWORD", _text, is_secret=True)
    token: str = _setting("NTFY_TOKEN", _text, is_secret=True)
    on_change: bool = _setting("NOTIFY_ON_CHANGE", _switch, 0)


@dataclass(frozen=True)
class WatchSettings:
    """When a host counts as silent."""

    lost_after: int = _setting("LOST_CONNECTION_TIMEOUT", _number, 10800, low=1, high=_YEAR)
    interval: int = _setting("CONNECTION_CHECK_INTERVAL", _number, 60, low=1, high=_YEAR)


@dataclass(frozen=True)
class LogSettings:
    """The settings of the log."""

    debug: bool = _setting("DEBUG_LOGGING", _switch, 0)
    file: Path | None = _setting("LOG_FILE", _path)  # noqa: RUF009
    max_bytes: int = _setting("LOG_MAX_BYTES", _number, 1048576)
    backup_count: int = _setting("LOG_BACKUP_COUNT", _number, 3, high=1000)


@dataclass(frozen=True)
class ServerSettings:
    """Where the service listens, and with how many processes and threads."""

    address: str = _setting("LISTEN_ADDRESS", _text)
    port: int = _setting("LISTEN_PORT", _number, 80, low=1, high=65535)
    workers: int = _setting("WEB_CONCURRENCY", _number, 2, low=1, high=64)
    threads: int = _setting("THREADS", _number, 8, low=1, high=256)


@dataclass(frozen=True)
class Settings:
    """All settings."""

    hetzner: HetznerSettings
    records: RecordSettings
    access: AccessSettings
    store: StoreSettings
    ntfy: NtfySettings
    watch: WatchSettings
    log: LogSettings
    server: ServerSettings

    def secrets(self) -> Iterator[str]:
        """Return every secret, and the logins in URLs, for the mask of the log."""
        for variable in VARIABLES:
            value = attrgetter(variable.home)(self)
            if variable.is_secret:
                yield from (value,) if isinstance(value, str) else value
            if isinstance(value, str):
                yield from secrets_in(value)


_SECTIONS: Mapping[str, Any] = typing.get_type_hints(Settings)
VARIABLES = tuple(
    dataclasses.replace(field.metadata["variable"], home=f"{section}.{field.name}")
    for section, kind in _SECTIONS.items()
    for field in dataclasses.fields(kind)
    if "variable" in field.metadata
)


def read(environ: Mapping[str, str]) -> tuple[Settings, list[SettingUnusable]]:
    """Read the settings from environment variables; return them with the warnings.

    Raises:
        SettingUnusable: a value is unusable. The text names the variable and what to do.

    """
    reader = Reader(environ)
    settings = Settings(**{name: kind(**_read(name, reader)) for name, kind in _SECTIONS.items()})
    if reader.was_chosen("RECORD_TTL"):
        records = dataclasses.replace(settings.records, chosen_ttl=settings.records.ttl)
        settings = dataclasses.replace(settings, records=records)
    _check_operator(settings.access, reader)
    for host in settings.access.interface_ids:
        if host not in settings.access.hosts:
            problem = f"IPV6_INTERFACE_IDS: {host} isn't in REGISTERED_FQDNS"
            reader.warn(problem, "add it there, or it can't be updated.")
    _check_pair("NTFY_URL", settings.ntfy.url, "NTFY_TOPIC", settings.ntfy.topic)
    return settings, reader.warnings


def read_server(environ: Mapping[str, str]) -> ServerSettings:
    """Read only where the service listens."""
    return ServerSettings(**_read("server", Reader(environ)))


def read_access(environ: Mapping[str, str]) -> AccessSettings:
    """Read only which hosts are registered and where their keys are."""
    return AccessSettings(**_read("access", Reader(environ)))


def _read(section: str, reader: Reader) -> dict[str, Any]:
    homes = [(one, *one.home.split(".")) for one in VARIABLES]
    return {name: one.read(one, reader) for one, home, name in homes if home == section}


def _check_pair(name: str, value: str, other_name: str, other: str) -> None:
    if bool(value) is not bool(other):
        problem = f"{name} and {other_name} belong together"
        raise SettingUnusable(problem, hint="set both, or neither.")


def _check_operator(access: AccessSettings, reader: Reader) -> None:
    name, password = access.operator_name, access.operator_password
    _check_pair("BASIC_AUTH_USERNAME", name, "BASIC_AUTH_PASSWORD", password)
    if ":" in name:
        hint = "choose another (HTTP Basic forbids it)."
        raise SettingUnusable("BASIC_AUTH_USERNAME can't hold a colon", hint=hint)
    if 0 < len(password) < _SHORTEST_PASSWORD:
        problem = f"has fewer than {_SHORTEST_PASSWORD} characters: it can be guessed"
        hint = "choose a longer one, here or in the file that BASIC_AUTH_PASSWORD_FILE names."
        reader.warn(f"BASIC_AUTH_PASSWORD {problem}", hint)


def secrets_in(url: str) -> Iterator[str]:
    """Return the secret parts of a URL, as they are written and decoded.

    A user name without a password is a secret in an http URL: it may be a token. Databases also
    take a password as an option.
    """
    login = _LOGIN.match(url)
    written = [value for name, value in _OPTION.findall(url) if "password" in name.lower()]
    if login is not None and login["password"] is not None:
        written += [login["password"], f"{login['user']}:{login['password']}"]
    elif login is not None and url.startswith("http"):
        written.append(login["user"])
    for secret in written:
        yield from (secret, unquote(secret), unquote_plus(secret))
