"""Every setting: its variable, its default and bounds, and how its value is read."""

from __future__ import annotations

import ipaddress
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Optional, Set, Tuple, Union
from urllib.parse import urlsplit

from backend.errors import BadHostname, SettingUnusable
from backend.hetzner.responses import IS_OLD, MAKE_NEW, is_old_token
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
            hint=f"name a readable file, or set {name}.",
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


def _fall_back(variable: Variable, reader: Reader, problem: str) -> int:
    reader.defaulted.add(variable.name)
    hint = f"using the default, {variable.default}. Correct it, or leave it out."
    reader.warnings.append(SettingUnusable(f"{variable.name} {problem}", hint=hint))
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
        hint = "list the hosts that may be updated; until then no updates are performed."
        reader.warnings.append(SettingUnusable(f"{variable.name} is empty", hint=hint))
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
            hint="write each host with the part of its address behind the prefix, as in "
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
            f"{variable.name}: {error}", hint="list networks, as in 10.0.0.0/8,::1."
        ) from None


def tokens(variable: Variable, reader: Reader) -> Tuple[str, ...]:
    """Read the API tokens, one a project, and look for what no token can be."""
    found = _items(secret(variable, reader))
    if not found:
        raise SettingUnusable(
            f"{variable.name} is missing",
            hint="set it to a Read & Write API token of the project that holds your zones "
            "(console.hetzner.com, Security, API tokens).",
        )
    for token in found:
        if not (token.isascii() and token.isprintable() and " " not in token):
            raise SettingUnusable(
                f"{variable.name} holds a character that no token has",
                hint="copy the token again.",
            )
        if is_old_token(token):
            reader.warnings.append(SettingUnusable(f"{variable.name}: {IS_OLD}", hint=MAKE_NEW))
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
            f"{variable.name} is no full URL", hint="write it as in https://example.com."
        )
    return given


_SHORTEST_PASSWORD = 16
_YEAR = 365 * 24 * 3600
# hetzner-dyndns is reached through a proxy on the same machine or in the same private network.
_PRIVATE_RANGES = (
    "127.0.0.0/8,10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,169.254.0.0/16,::1/128,fc00::/7,fe80::/10"
)


@dataclass(frozen=True)
class HetznerSettings:
    """What `hetzner` and `zones` need."""

    tokens: Tuple[str, ...] = field(repr=False)
    api_url: str = field(repr=False)  # it may hold a login
    zone_cache_ttl: int


@dataclass(frozen=True)
class RecordSettings:
    """What `updater` and `publisher` need."""

    ttl: int  # for new records
    chosen_ttl: Optional[int]  # for existing ones too, when the operator set RECORD_TTL
    request_cache_ttl: int


@dataclass(frozen=True)
class AccessSettings:
    """What `keys`, `gate` and `web.wire` need."""

    hosts: Tuple[Hostname, ...]
    key_file: Path
    operator_name: str
    operator_password: str = field(repr=False)
    trusted_proxies: Tuple[Network, ...]
    allow_private: bool
    interface_ids: Mapping[Hostname, ipaddress.IPv6Address]
    failure_limit: int
    failure_window: int


@dataclass(frozen=True)
class NtfySettings:
    """What `ntfy` and `reporter` need; no URL, no pushes."""

    url: str = field(repr=False)  # it may hold a login
    topic: str
    username: str
    password: str = field(repr=False)
    token: str = field(repr=False)
    on_change: bool


@dataclass(frozen=True)
class WatchSettings:
    """What `watcher` needs."""

    lost_after: int
    interval: int


@dataclass(frozen=True)
class LogSettings:
    """What `logs` needs."""

    debug: bool
    file: Optional[Path]
    max_bytes: int
    backup_count: int


# Threads that answer unchanged updates while others wait for Hetzner: more than requests come in
# while one is under way, for those that find no place are on them, too.
FREE_THREADS = 16


@dataclass(frozen=True)
class ServerSettings:
    """What the process itself needs."""

    address: str
    port: int
    workers: int
    threads: int


@dataclass(frozen=True)
class StoreSettings:
    """What `store` needs."""

    url: str = field(repr=False)  # it may hold the database's password
    history_days: int


@dataclass(frozen=True)
class Settings:
    """Everything the environment decides, a carrier for each consumer."""

    hetzner: HetznerSettings
    records: RecordSettings
    access: AccessSettings
    store: StoreSettings
    ntfy: NtfySettings
    watch: WatchSettings
    log: LogSettings
    server: ServerSettings


VARIABLES = (
    Variable("HETZNER_TOKEN", "hetzner.tokens", tokens),
    Variable("HETZNER_API_URL", "hetzner.api_url", url, "https://api.hetzner.cloud/v1"),
    Variable("ZONE_CACHE_TTL", "hetzner.zone_cache_ttl", number, "86400", low=1, high=_YEAR),
    # 60…2147483647: https://docs.hetzner.cloud/cloud.spec.json, an RRSet's ttl
    Variable("RECORD_TTL", "records.ttl", number, "21600", low=60),
    Variable("REQUEST_CACHE_TTL", "records.request_cache_ttl", number, "300", high=_YEAR),
    Variable("REGISTERED_FQDNS", "access.hosts", hosts),
    Variable("PRE_SHARED_KEY_FILE", "access.key_file", path, "pre-shared-key"),
    Variable("BASIC_AUTH_USERNAME", "access.operator_name", text),
    Variable("BASIC_AUTH_PASSWORD", "access.operator_password", secret),
    Variable("TRUSTED_PROXIES", "access.trusted_proxies", networks, _PRIVATE_RANGES),
    Variable("ALLOW_PRIVATE_ADDRESSES", "access.allow_private", switch, "0"),
    Variable("IPV6_INTERFACE_IDS", "access.interface_ids", interface_ids),
    Variable("AUTH_FAILURE_LIMIT", "access.failure_limit", number, "10", low=1),
    Variable("AUTH_FAILURE_WINDOW", "access.failure_window", number, "900", low=1, high=_YEAR),
    Variable("STATE_URL", "store.url", secret, "sqlite:///hetzner-dyndns.db"),
    Variable("HISTORY_DAYS", "store.history_days", number, "90", low=1, high=36500),
    Variable("NTFY_URL", "ntfy.url", url),
    Variable("NTFY_TOPIC", "ntfy.topic", text),
    Variable("NTFY_USERNAME", "ntfy.username", text),
    Variable("NTFY_PASSWORD", "ntfy.password", secret),
    Variable("NTFY_TOKEN", "ntfy.token", secret),
    Variable("NOTIFY_ON_CHANGE", "ntfy.on_change", switch, "0"),
    Variable("LOST_CONNECTION_TIMEOUT", "watch.lost_after", number, "10800", low=1, high=_YEAR),
    Variable("CONNECTION_CHECK_INTERVAL", "watch.interval", number, "60", low=1, high=_YEAR),
    Variable("DEBUG_LOGGING", "log.debug", switch, "0"),
    Variable("LOG_FILE", "log.file", path),
    Variable("LOG_MAX_BYTES", "log.max_bytes", number, "1048576"),
    Variable("LOG_BACKUP_COUNT", "log.backup_count", number, "3", high=1000),
    Variable("LISTEN_ADDRESS", "server.address", text),
    Variable("LISTEN_PORT", "server.port", number, "80", low=1, high=65535),
    Variable("WEB_CONCURRENCY", "server.workers", number, "2", low=1, high=64),
    Variable("THREADS", "server.threads", number, "8", low=1, high=256),
)


def read(environ: Mapping[str, str]) -> Tuple[Settings, List[SettingUnusable]]:
    """Build the settings from environment variables, and say what deserves a warning.

    Raises:
        SettingUnusable: a value nothing can be made of; the text names the variable and the mend.

    """
    reader = Reader(environ)
    carriers: Dict[str, Dict[str, Any]] = defaultdict(dict)
    for variable in VARIABLES:
        carrier, attribute = variable.home.split(".")
        carriers[carrier][attribute] = variable.read(variable, reader)
    records = carriers["records"]
    records["chosen_ttl"] = records["ttl"] if reader.was_chosen("RECORD_TTL") else None
    _check_operator(carriers["access"], reader)
    _check_interface_ids(carriers["access"], reader)
    _check_ntfy(carriers["ntfy"])
    settings = Settings(
        hetzner=HetznerSettings(**carriers["hetzner"]),
        records=RecordSettings(**records),
        access=AccessSettings(**carriers["access"]),
        store=StoreSettings(**carriers["store"]),
        ntfy=NtfySettings(**carriers["ntfy"]),
        watch=WatchSettings(**carriers["watch"]),
        log=LogSettings(**carriers["log"]),
        server=ServerSettings(**carriers["server"]),
    )
    return settings, reader.warnings


def read_server(environ: Mapping[str, str]) -> ServerSettings:
    """Read no more than where the service listens: what it takes to ask how it is."""
    return ServerSettings(**_read_carrier("server", environ))


def read_access(environ: Mapping[str, str]) -> AccessSettings:
    """Read no more than which hosts there are and where their keys are."""
    return AccessSettings(**_read_carrier("access", environ))


def _read_carrier(name: str, environ: Mapping[str, str]) -> Dict[str, Any]:
    reader = Reader(environ)
    homes = [(variable, variable.home.split(".")) for variable in VARIABLES]
    return {
        attribute: variable.read(variable, reader)
        for variable, (carrier, attribute) in homes
        if carrier == name
    }


def _check_operator(access: Mapping[str, Any], reader: Reader) -> None:
    if bool(access["operator_name"]) is not bool(access["operator_password"]):
        raise SettingUnusable(
            "BASIC_AUTH_USERNAME and BASIC_AUTH_PASSWORD belong together",
            hint="set both, or neither.",
        )
    if ":" in access["operator_name"]:
        raise SettingUnusable(
            "BASIC_AUTH_USERNAME can't hold a colon", hint="choose another (HTTP Basic forbids it)."
        )
    if 0 < len(access["operator_password"]) < _SHORTEST_PASSWORD:
        problem = (
            f"BASIC_AUTH_PASSWORD has fewer than {_SHORTEST_PASSWORD} characters: it can be guessed"
        )
        hint = "choose a longer one, here or in the file that BASIC_AUTH_PASSWORD_FILE names."
        reader.warnings.append(SettingUnusable(problem, hint=hint))


def _check_interface_ids(access: Mapping[str, Any], reader: Reader) -> None:
    for host in access["interface_ids"]:
        if host not in access["hosts"]:
            problem = f"IPV6_INTERFACE_IDS: {host} isn't in REGISTERED_FQDNS"
            reader.warnings.append(
                SettingUnusable(problem, hint="add it there, or it can't be updated.")
            )


def _check_ntfy(ntfy: Mapping[str, Any]) -> None:
    if bool(ntfy["url"]) is not bool(ntfy["topic"]):
        raise SettingUnusable(
            "NTFY_URL and NTFY_TOPIC belong together", hint="set both, or neither."
        )
