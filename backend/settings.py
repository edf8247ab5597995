"""Which settings there are, what they may be, and what they are when nobody says."""

from __future__ import annotations

import ipaddress
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Tuple

from backend import variables
from backend.errors import SettingUnusable
from backend.model import Hostname
from backend.variables import Network, Reader, Variable

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
    Variable("HETZNER_TOKEN", "hetzner.tokens", variables.tokens),
    Variable("HETZNER_API_URL", "hetzner.api_url", variables.url, "https://api.hetzner.cloud/v1"),
    Variable(
        "ZONE_CACHE_TTL", "hetzner.zone_cache_ttl", variables.number, "86400", low=1, high=_YEAR
    ),
    # 60…2147483647: https://docs.hetzner.cloud/cloud.spec.json, an RRSet's ttl
    Variable("RECORD_TTL", "records.ttl", variables.number, "21600", low=60),
    Variable("REQUEST_CACHE_TTL", "records.request_cache_ttl", variables.number, "300", high=_YEAR),
    Variable("REGISTERED_FQDNS", "access.hosts", variables.hosts),
    Variable("PRE_SHARED_KEY_FILE", "access.key_file", variables.path, "pre-shared-key"),
    Variable("BASIC_AUTH_USERNAME", "access.operator_name", variables.text),
    Variable("BASIC_AUTH_PASSWORD", "access.operator_password", variables.secret),
    Variable("TRUSTED_PROXIES", "access.trusted_proxies", variables.networks, _PRIVATE_RANGES),
    Variable("ALLOW_PRIVATE_ADDRESSES", "access.allow_private", variables.switch, "0"),
    Variable("IPV6_INTERFACE_IDS", "access.interface_ids", variables.interface_ids),
    Variable("AUTH_FAILURE_LIMIT", "access.failure_limit", variables.number, "10", low=1),
    Variable(
        "AUTH_FAILURE_WINDOW", "access.failure_window", variables.number, "900", low=1, high=_YEAR
    ),
    Variable("STATE_URL", "store.url", variables.secret, "sqlite:///hetzner-dyndns.db"),
    Variable("HISTORY_DAYS", "store.history_days", variables.number, "90", low=1, high=36500),
    Variable("NTFY_URL", "ntfy.url", variables.url),
    Variable("NTFY_TOPIC", "ntfy.topic", variables.text),
    Variable("NTFY_USERNAME", "ntfy.username", variables.text),
    Variable("NTFY_PASSWORD", "ntfy.password", variables.secret),
    Variable("NTFY_TOKEN", "ntfy.token", variables.secret),
    Variable("NOTIFY_ON_CHANGE", "ntfy.on_change", variables.switch, "0"),
    Variable(
        "LOST_CONNECTION_TIMEOUT", "watch.lost_after", variables.number, "10800", low=1, high=_YEAR
    ),
    Variable(
        "CONNECTION_CHECK_INTERVAL", "watch.interval", variables.number, "60", low=1, high=_YEAR
    ),
    Variable("DEBUG_LOGGING", "log.debug", variables.switch, "0"),
    Variable("LOG_FILE", "log.file", variables.path),
    Variable("LOG_MAX_BYTES", "log.max_bytes", variables.number, "1048576"),
    Variable("LOG_BACKUP_COUNT", "log.backup_count", variables.number, "3", high=1000),
    Variable("LISTEN_ADDRESS", "server.address", variables.text),
    Variable("LISTEN_PORT", "server.port", variables.number, "80", low=1, high=65535),
    Variable("WEB_CONCURRENCY", "server.workers", variables.number, "2", low=1, high=64),
    Variable("THREADS", "server.threads", variables.number, "8", low=1, high=256),
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
            mend="set both, or neither.",
        )
    if ":" in access["operator_name"]:
        raise SettingUnusable(
            "BASIC_AUTH_USERNAME can't hold a colon", mend="choose another (HTTP Basic forbids it)."
        )
    if 0 < len(access["operator_password"]) < _SHORTEST_PASSWORD:
        flaw = (
            f"BASIC_AUTH_PASSWORD has fewer than {_SHORTEST_PASSWORD} characters: it can be guessed"
        )
        mend = "choose a longer one, here or in the file that BASIC_AUTH_PASSWORD_FILE names."
        reader.warnings.append(SettingUnusable(flaw, mend=mend))


def _check_interface_ids(access: Mapping[str, Any], reader: Reader) -> None:
    for host in access["interface_ids"]:
        if host not in access["hosts"]:
            flaw = f"IPV6_INTERFACE_IDS: {host} isn't in REGISTERED_FQDNS"
            reader.warnings.append(
                SettingUnusable(flaw, mend="add it there, or it can't be updated.")
            )


def _check_ntfy(ntfy: Mapping[str, Any]) -> None:
    if bool(ntfy["url"]) is not bool(ntfy["topic"]):
        raise SettingUnusable(
            "NTFY_URL and NTFY_TOPIC belong together", mend="set both, or neither."
        )
