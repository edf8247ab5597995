"""Every setting: a field of a dataclass, with its variable, default, bounds, and reader.

To add a setting, add a field here, a row to docs/settings.md, and a line to .secrets.example.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import typing
from dataclasses import dataclass, fields
from operator import attrgetter
from pathlib import Path
from typing import Any, Callable, Iterator, Mapping

from backend import readers
from backend.errors import SettingUnusable
from backend.model import Credentials, Hostname, Network
from backend.readers import Reader, Variable
from backend.text import parts_of, secrets_in

# Updates of one worker that wait while `THREADS` others call Hetzner, each in a request thread.
MOST_QUEUED = 48
# Request threads besides the `THREADS` whose updates call Hetzner: for the waiting updates, and for
# all other requests.
FREE_THREADS = MOST_QUEUED + 16
# Certificate challenges that one worker waits for. With ACME_DNS=1 it has two threads more for each
# of them, as one more request of each name may wait.
CHALLENGE_SLOTS = 6
_YEAR = 365 * 24 * 3600
_SHORTEST_PASSWORD, _REFUSED_PASSWORD = 16, 8
LOWEST_TTL = 60  # https://docs.hetzner.cloud/cloud.spec.json, an RRSet's ttl
# The proxy in front of hetzner-dyndns runs on the same machine or in the same private network.
_PRIVATE_RANGES = (
    "127.0.0.0/8,10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,169.254.0.0/16,::1/128,fc00::/7,fe80::/10"
)


def _setting(name: str, read: Callable[..., Any], default: object = "", **options: Any) -> Any:  # noqa: ANN401
    is_shown = not options.get("is_secret") and read is not readers.url  # a URL may hold a login
    metadata = {"variable": Variable(name, read, str(default), **options)}
    return dataclasses.field(repr=is_shown, metadata=metadata)


@dataclass(frozen=True)
class HetznerSettings:
    """The settings for calls to Hetzner."""

    tokens: tuple[str, ...] = _setting("HETZNER_TOKEN", readers.tokens, is_secret=True)
    api_url: str = _setting("HETZNER_API_URL", readers.url, "https://api.hetzner.cloud/v1")
    zone_cache_ttl: int = _setting("ZONE_CACHE_TTL", readers.number, 86400, low=1, high=_YEAR)


@dataclass(frozen=True)
class RecordSettings:
    """The settings for DNS records."""

    ttl: int = _setting("RECORD_TTL", readers.number, 21600, low=LOWEST_TTL)
    request_cache_ttl: int = _setting("REQUEST_CACHE_TTL", readers.number, 300, high=_YEAR)
    chosen_ttl: int | None = None  # for existing records, too: RECORD_TTL, if it is set


@dataclass(frozen=True)
class AccessSettings:
    """Who may update which host."""

    hosts: tuple[Hostname, ...] = _setting("REGISTERED_FQDNS", readers.hosts)
    key_file: Path = _setting("PRE_SHARED_KEY_FILE", readers.key_file, "pre-shared-key")  # noqa: RUF009
    operator_name: str = _setting("BASIC_AUTH_USERNAME", readers.line)
    operator_password: str = _setting("BASIC_AUTH_PASSWORD", readers.password, is_secret=True)
    trusted_proxies: tuple[Network, ...] = _setting(
        "TRUSTED_PROXIES", readers.networks, _PRIVATE_RANGES
    )
    allow_private: bool = _setting("ALLOW_PRIVATE_ADDRESSES", readers.switch, 0)
    acme_dns: bool = _setting("ACME_DNS", readers.switch, 0)
    interface_ids: Mapping[Hostname, ipaddress.IPv6Address] = _setting(
        "IPV6_INTERFACE_IDS", readers.interface_ids
    )
    failure_limit: int = _setting("AUTH_FAILURE_LIMIT", readers.number, 10, low=1)
    failure_window: int = _setting("AUTH_FAILURE_WINDOW", readers.number, 900, low=1, high=_YEAR)
    hosts_file: Path | None = None  # REGISTERED_FQDNS_FILE, if the hosts come from it

    @property
    def operator(self) -> Credentials | None:
        """The operator's login, trimmed like the logins of requests."""
        name, password = self.operator_name.strip(), self.operator_password.strip()
        return Credentials(name, password) if name else None


@dataclass(frozen=True)
class StoreSettings:
    """The settings of the store."""

    url: str = _setting("STATE_URL", readers.line, "sqlite:///hetzner-dyndns.db", is_secret=True)
    history_days: int = _setting("HISTORY_DAYS", readers.number, 90, low=1, high=36500)

    @property
    def is_shared(self) -> bool:
        """Whether several machines may use the store."""
        return self.url.startswith("postgresql")


@dataclass(frozen=True)
class NtfySettings:
    """The settings for pushes. Without a URL there are none."""

    url: str = _setting("NTFY_URL", readers.url)
    topic: str = _setting("NTFY_TOPIC", readers.line)
    username: str = _setting("NTFY_USERNAME", readers.line)
    password: str = _setting("NTFY_PASSWORD", readers.password, is_secret=True)
    token: str = _setting("NTFY_TOKEN", readers.line, is_secret=True)
    ca_bundle: Path | None = _setting("NTFY_CA_BUNDLE", readers.certificates)  # noqa: RUF009
    urls: tuple[str, ...] = _setting("NOTIFY_URLS", readers.channels, is_secret=True)
    heartbeat_url: str = _setting("HEARTBEAT_URL", readers.url, is_secret=True)
    on_change: bool = _setting("NOTIFY_ON_CHANGE", readers.switch, 0)


@dataclass(frozen=True)
class WatchSettings:
    """When a host counts as silent."""

    lost_after: int = _setting("LOST_CONNECTION_TIMEOUT", readers.number, 10800, low=1, high=_YEAR)
    interval: int = _setting("CONNECTION_CHECK_INTERVAL", readers.number, 60, low=1, high=_YEAR)


@dataclass(frozen=True)
class LogSettings:
    """The settings of the log."""

    debug: bool = _setting("DEBUG_LOGGING", readers.switch, 0)
    file: Path | None = _setting("LOG_FILE", readers.path)  # noqa: RUF009
    max_bytes: int = _setting("LOG_MAX_BYTES", readers.number, 1048576)
    backup_count: int = _setting("LOG_BACKUP_COUNT", readers.number, 3, high=1000)
    zone: str = _setting("TZ", readers.zone)  # empty: UTC


@dataclass(frozen=True)
class ServerSettings:
    """Where the service listens, and with how many processes and threads."""

    address: str = _setting("LISTEN_ADDRESS", readers.line)
    port: int = _setting("LISTEN_PORT", readers.number, 80, low=1, high=65535)
    workers: int = _setting("WEB_CONCURRENCY", readers.number, 2, low=1, high=64)
    threads: int = _setting("THREADS", readers.number, 8, low=1, high=256)


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
        """Return all secrets, including logins in URLs, which the log masks."""
        for variable in VARIABLES:
            value = attrgetter(variable.home)(self)
            texts = (value,) if isinstance(value, str) else value if variable.is_secret else ()
            for text in texts:
                yield from secrets_in(text)
                if variable.is_secret:
                    yield text
                if variable.is_secret and variable.read in (readers.channels, readers.url):
                    yield from parts_of(text)


_SECTIONS: Mapping[str, Any] = typing.get_type_hints(Settings)
VARIABLES = tuple(
    dataclasses.replace(field.metadata["variable"], home=f"{section}.{field.name}")
    for section, kind in _SECTIONS.items()
    for field in fields(kind)
    if "variable" in field.metadata
)


def read(
    environ: Mapping[str, str], *, needs_token: bool = True
) -> tuple[Settings, list[SettingUnusable]]:
    """Read the settings from environment variables; return them with the warnings.

    Commands that don't call Hetzner need no token.

    Raises:
        SettingUnusable: a value is unusable. The text names the variable and what to do.

    """
    reader = Reader(environ, needs_token=needs_token)
    settings = Settings(**{name: reader.section(kind) for name, kind in _SECTIONS.items()})
    if "RECORD_TTL" in reader.chosen:
        records = dataclasses.replace(settings.records, chosen_ttl=settings.records.ttl)
        settings = dataclasses.replace(settings, records=records)
    if reader.hosts_file:
        access = dataclasses.replace(settings.access, hosts_file=reader.hosts_file)
        settings = dataclasses.replace(settings, access=access)
    name, password = settings.access.operator_name, settings.access.operator_password
    _check_pair("BASIC_AUTH_USERNAME", name, "BASIC_AUTH_PASSWORD", password)
    if ":" in name:
        hint = "choose a name without a colon, which HTTP Basic forbids."
        raise SettingUnusable("BASIC_AUTH_USERNAME can't contain a colon", hint=hint)
    if 0 < len(password) < _REFUSED_PASSWORD:
        problem = f"BASIC_AUTH_PASSWORD has fewer than {_REFUSED_PASSWORD} characters"
        raise SettingUnusable(problem, hint=f"choose one of at least {_SHORTEST_PASSWORD}.")
    if 0 < len(password) < _SHORTEST_PASSWORD:
        problem = f"has fewer than {_SHORTEST_PASSWORD} characters and can be guessed"
        hint = "choose a longer password, here or in the file that BASIC_AUTH_PASSWORD_FILE names."
        reader.warn(f"BASIC_AUTH_PASSWORD {problem}", hint)
    _check_pair("NTFY_URL", settings.ntfy.url, "NTFY_TOPIC", settings.ntfy.topic)
    return settings, reader.warnings


def hosts_in(file: Path) -> tuple[Hostname, ...]:
    """Return the hosts that REGISTERED_FQDNS_FILE lists; raise `SettingUnusable` if it can't be."""
    (variable,) = (one for one in VARIABLES if one.read is readers.hosts)
    found: tuple[Hostname, ...] = Reader({f"{variable.name}_FILE": str(file)}).value(variable)
    return found


def _check_pair(name: str, value: str, other_name: str, other: str) -> None:
    if bool(value) is not bool(other):
        problem = f"{name} and {other_name} must be set together"
        raise SettingUnusable(problem, hint="set both, or neither.")
