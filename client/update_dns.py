"""Keeps DNS records up to date: sends the addresses of hosts to a hetzner-dyndns backend."""

from __future__ import annotations

import argparse
import email.utils
import http.client
import io
import ipaddress
import itertools
import json
import logging
import os
import random
import re
import signal
import socket
import sys
import threading
import time
import urllib.parse
import warnings
from dataclasses import dataclass, field
from datetime import datetime, timezone
from http import HTTPStatus
from pathlib import Path
from typing import Any, Callable, Mapping, NamedTuple, NoReturn, Sequence

import certifi
import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, ProxyManager
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    InsecureRequestWarning,
    NewConnectionError,
    ProtocolError,
    ProxyError,
)

__version__ = "0.1.0"

HELP = """\
variables (arguments take precedence; an empty variable counts as absent):
  BACKEND_URL           URL of the backend, such as https://dyndns.example.com
  FQDN                  host name to update; several, separated by commas
  PRE_SHARED_KEY        key of the host; several in the order of FQDN, or one for all
  PRE_SHARED_KEY_FILE   file with the keys, or with lines "<fqdn> <key>" like the backend's key file
  IP                    address to set; default: the address that the backend sees
  RECORD_TYPES          A (default), AAAA or A,AAAA: send updates over IPv4, over IPv6 or over both
  INTERVAL              seconds between updates (60); 0: update once and exit
  CA_BUNDLE             certificates to trust instead of those of certifi
  VERIFY_SSL            0: accept any certificate
  HEARTBEAT_FILE        file that is touched regularly; --healthy checks its age

exit status: 0 success, 1 an update failed (or not healthy), 2 unusable settings
"""
DEFAULT_INTERVAL, LONGEST_INTERVAL = 60, 7 * 86400
CONNECT_SECONDS, READ_SECONDS = 5, 15  # the backend answers within 8
FIRST_PAUSE, SLOW_PAUSE, LONGEST_PAUSE, LONGEST_RETRY_AFTER = 30, 300, 900, 3600
# After a lost connection, the address has often changed, and attempts cost the backend nothing.
LONGEST_UNREACHABLE_PAUSE = 120
REMIND_SECONDS = 3600
# Longest pause between heartbeats. After a clock change, --healthy may fail until the next one.
HEARTBEAT_SECONDS = 60
HEARTBEAT_SLACK = 120  # there is a heartbeat after each update, which takes 30 s at most
LONGEST_BODY = 1 << 16  # bytes; more than any answer of the backend
LONGEST_ANSWER = 1 << 20  # bytes, including head and chunk sizes
LONGEST_TEXT = 300

ARGUMENTS = ("BACKEND_URL", "FQDN", "IP")
ON, OFF = ("1", "true", "yes", "on"), ("0", "false", "no", "off")
HINTS = {  # for errors that only a person can fix, by HTTP status
    400: "check FQDN, IP and RECORD_TYPES",
    401: "compare PRE_SHARED_KEY with the key of this host on the dashboard of the backend",
    403: "add the host on the dashboard of the backend, or to its REGISTERED_FQDNS",
    404: "check FQDN, the path of BACKEND_URL, and that the backend's token has access to the zone",
}
IN_BETWEEN = "check BACKEND_URL, and whether a login page or a proxy is in between"
STATUSES = ("created", "updated", "unchanged")

log = logging.getLogger("update_dns")


class Family(NamedTuple):
    """A record type with its IP version."""

    type: str
    name: str
    family: socket.AddressFamily
    source: str  # unspecified address: binding a connection to it forces this IP version


_ANY_IPV4 = "0.0.0.0"  # noqa: S104 - not for listening
FAMILIES = {
    "A": Family("A", "IPv4", socket.AF_INET, _ANY_IPV4),
    "AAAA": Family("AAAA", "IPv6", socket.AF_INET6, "::"),
}


class SettingUnusable(Exception):
    """A setting is missing or invalid; the text names the setting and says how to fix it."""


class UpdateFailed(Exception):
    """An update failed.

    `kind` identifies the cause: a cause is logged once. `slow` means that a person must fix it, and
    `unreachable` that the backend gave no answer. `retry_after` is in seconds.
    """

    def __init__(
        self,
        text: str,
        *,
        kind: str = "",
        slow: bool = False,
        unreachable: bool = False,
        retry_after: float = 0,
    ) -> None:
        super().__init__(text)
        self.kind = kind or text
        self.first = SLOW_PAUSE if slow else FIRST_PAUSE
        self.longest = LONGEST_UNREACHABLE_PAUSE if unreachable else LONGEST_PAUSE
        self.retry_after = retry_after


@dataclass(frozen=True)
class Record:
    """The A or AAAA record of a host, and the key of the host."""

    host: str
    type: str
    key: str = field(repr=False)

    def __str__(self) -> str:
        return f"{self.host} {self.type}"


@dataclass(frozen=True)
class Settings:
    """The validated settings; `verify` is as in requests, `interval` in seconds."""

    endpoint: str
    records: tuple[Record, ...]
    ip: str | None = None
    interval: int = DEFAULT_INTERVAL
    verify: str | bool = True
    heartbeat: str | None = None


@dataclass(frozen=True)
class Answer:
    """A successful answer of the backend."""

    status: str
    address: str


def read(environ: Mapping[str, str], args: Sequence[str]) -> tuple[Settings, list[str]]:
    """Return the settings from variables and positional arguments, and warnings to log.

    Raises:
        SettingUnusable: a setting is missing or invalid.

    """
    if len(args) > len(ARGUMENTS):  # the message doesn't show them: one may be a key
        raise SettingUnusable("unknown arguments: only <backend_url> <fqdn> [ip] are allowed")
    raw = {**_present(environ), **_present(dict(zip(ARGUMENTS, args)))}
    notes: list[str] = []
    endpoint, ip = read_endpoint(raw.get("BACKEND_URL", ""), notes), read_ip(raw.get("IP"))
    types = read_types(raw.get("RECORD_TYPES", "A"))
    if ip:
        given, types = types, ["AAAA" if ":" in ip else "A"]
        if "RECORD_TYPES" in raw and types != given:
            notes.append(f"RECORD_TYPES is {','.join(given)}, but IP allows only {types[0]}")
    hosts = read_hosts(raw.get("FQDN", ""))
    keys = read_keys(raw, hosts)
    records = tuple(Record(host, kind, keys[host]) for host in hosts for kind in types)
    interval, verify = read_interval(raw, notes), read_verify(raw, notes)
    return Settings(endpoint, records, ip, interval, verify, raw.get("HEARTBEAT_FILE")), notes


def _present(values: Mapping[str, str]) -> dict[str, str]:
    return {name: value.strip() for name, value in values.items() if value.strip()}


def read_endpoint(url: str, notes: list[str]) -> str:
    """Return the URL of `/update` for a BACKEND_URL with or without a path."""
    if not url:
        raise SettingUnusable("BACKEND_URL is not set: set it to the URL of the backend")
    if "@" in url:
        raise SettingUnusable(
            "BACKEND_URL contains a login: remove it, and set PRE_SHARED_KEY to the key"
        )
    if not re.match("https?://", url, re.IGNORECASE):
        raise SettingUnusable(f"BACKEND_URL {url!r} doesn't begin with http:// or https://: add it")
    try:
        parts = urllib.parse.urlsplit(url)
        usable = parts.hostname and parts.port != 0 and not re.search(r"[\s?#]", url)
    except ValueError:
        usable = False
    if not usable:
        raise SettingUnusable(
            f"BACKEND_URL {url!r} is not a valid URL: write it like https://host.example"
        )
    if parts.scheme == "http" and not _is_loopback(parts.hostname or ""):
        notes.append(
            "BACKEND_URL begins with http://: others can read the key in transit; use https://"
        )
    return re.sub("((/nic)?/update)?/*$", "", url) + "/update"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def read_ip(text: str | None) -> str | None:
    """Return the address in canonical form. The error doesn't show the text: it may be a key."""
    try:
        address = ipaddress.ip_address(text) if text else None
    except ValueError:
        raise SettingUnusable(
            "IP (the third argument) is not an IP address: correct it, or omit it to set the "
            "address that the backend sees"
        ) from None
    return str(getattr(address, "ipv4_mapped", None) or address) if address else None


def read_types(text: str) -> list[str]:
    """Return the record types without duplicates."""
    types = _split(text.upper())
    if not types or not set(types) <= set(FAMILIES):
        raise SettingUnusable(f"RECORD_TYPES {text!r} is unknown: set it to A, AAAA or A,AAAA")
    return list(dict.fromkeys(types))


def read_hosts(text: str) -> list[str]:
    """Return the host names as written, without duplicates."""
    hosts = _split(text)
    if not hosts:
        raise SettingUnusable("FQDN is not set: set it to the host name to update")
    for host in hosts:
        if not host.isprintable() or re.search(r"[\s/:@]", host):
            raise SettingUnusable(
                f"FQDN {host!r} is not a host name: write it like host.example.com"
            )
    return list(dict.fromkeys(hosts))


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def read_keys(raw: Mapping[str, str], hosts: Sequence[str]) -> dict[str, str]:
    """Return the key of each host."""
    key, path = raw.get("PRE_SHARED_KEY"), raw.get("PRE_SHARED_KEY_FILE")
    if key and path:
        raise SettingUnusable("PRE_SHARED_KEY and PRE_SHARED_KEY_FILE are both set: remove one")
    if path:
        keys = keys_in_file(_read_key_file(path), hosts)
    elif key:
        keys = pair_keys(_keys_in(key, hosts), hosts)
    else:
        raise SettingUnusable(
            "PRE_SHARED_KEY is not set: copy it from the dashboard of the backend"
        )
    for host in hosts:
        if not re.fullmatch("[!-~]+", keys[host]):
            raise SettingUnusable(
                f"PRE_SHARED_KEY of {host} contains invalid characters: copy it again"
            )
    return keys


def _read_key_file(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        reason = error.strerror
    except UnicodeDecodeError:
        reason = "not UTF-8 text"
    raise SettingUnusable(f"PRE_SHARED_KEY_FILE {path} can't be read ({reason}): name a key file")


def keys_in_file(text: str, hosts: Sequence[str]) -> dict[str, str]:
    """Return keys from the text of a file that has only keys, or lines `<fqdn> <key>`."""
    lines = [re.sub(r"(^|\s)#.*", "", line).split() for line in text.splitlines()]
    lengths = {len(words) for words in lines} - {0}
    if lengths <= {1}:
        bare = [key for words in lines if words for key in _keys_in(words[0], hosts)]
        return pair_keys(bare, hosts)
    if lengths != {2}:
        raise SettingUnusable(
            'PRE_SHARED_KEY_FILE: write "<fqdn> <key>" on every line, or only keys'
        )
    known = {_plain(words[0]): words[1] for words in lines if words}
    for host in hosts:
        if _plain(host) not in known:
            raise SettingUnusable(f"PRE_SHARED_KEY_FILE has no line for {host}: add it")
    return {host: known[_plain(host)] for host in hosts}


def _plain(host: str) -> str:
    return host.lower().rstrip(".")


def _keys_in(text: str, hosts: Sequence[str]) -> list[str]:
    """Split keys at commas; the key of a single host may contain commas."""
    return [text] if len(hosts) == 1 else [key.strip() for key in text.split(",")]


def pair_keys(keys: Sequence[str], hosts: Sequence[str]) -> dict[str, str]:
    """Assign one key to all hosts, or one key to each host in order."""
    if not all(keys) or len(keys) not in (1, len(hosts)):
        raise SettingUnusable(
            f"PRE_SHARED_KEY: {len(hosts)} name(s) in FQDN, {len([k for k in keys if k])} key(s): "
            "set one key for each in the same order, or one for all"
        )
    return dict(zip(hosts, itertools.cycle(keys)))


def read_interval(raw: Mapping[str, str], notes: list[str]) -> int:
    """Return the interval in seconds; 0 means once."""
    text = raw.get("INTERVAL", str(DEFAULT_INTERVAL))
    if re.fullmatch("[0-9]{1,9}", text) and int(text) <= LONGEST_INTERVAL:
        return int(text)
    limits = f"0 to {LONGEST_INTERVAL}"
    notes.append(f"INTERVAL {text!r} is not a number from {limits}: using {DEFAULT_INTERVAL}")
    return DEFAULT_INTERVAL


def read_verify(raw: Mapping[str, str], notes: list[str]) -> str | bool:
    """Return False, or the path of the certificates to trust."""
    text, bundle = raw.get("VERIFY_SSL", "1"), raw.get("CA_BUNDLE", certifi.where())
    if text.lower() in OFF:
        notes.append("VERIFY_SSL is 0: an attacker can impersonate the backend and get the key")
        return False
    if text.lower() not in ON:
        notes.append(f"VERIFY_SSL {text!r} is neither 0 nor 1: certificates are verified")
    if not os.access(bundle, os.R_OK):
        raise SettingUnusable(f"CA_BUNDLE {bundle} can't be read: name a PEM certificate file")
    return bundle


def next_pause(
    failures: int, interval: int, error: UpdateFailed, jitter: Callable[[float, float], float]
) -> float:
    """Return the seconds to wait after this number of failures in a row."""
    first = error.first if error.first > FIRST_PAUSE else min(interval, error.first)
    pause = min(error.longest, first * 2 ** min(failures - 1, 10))
    return max(jitter(pause / 2, pause), error.retry_after)


def parse_retry_after(value: str, now: datetime) -> float:
    """Return the seconds of a Retry-After header (RFC 9110 §10.2.3): 0 if invalid, 3600 at most."""
    try:
        if re.fullmatch("[0-9]+", value):
            seconds = float(value)
        else:
            then = email.utils.parsedate_to_datetime(value)
            seconds = (then.replace(tzinfo=then.tzinfo or timezone.utc) - now).total_seconds()
    except (TypeError, ValueError, OverflowError):  # TypeError: Python before 3.10
        return 0
    return min(max(seconds, 0), LONGEST_RETRY_AFTER)


def clean(text: object, key: str = "") -> str:
    """Make text fit for a log line: without the key and control characters, and not too long."""
    shown = str(text).replace(key, "***") if key else str(text)
    shown = " ".join("".join(c if c.isprintable() else " " for c in shown).split())
    return shown if len(shown) <= LONGEST_TEXT else shown[:LONGEST_TEXT] + "…"


def spell(seconds: float) -> str:
    """Format a duration: 45 s, 3 min, 3 h 12 min."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min" if minutes else f"{rest} s"


class _BoundedReader(io.RawIOBase):
    """Reads one answer, and applies the socket's timeout to the whole answer.

    The timeout of a Python socket limits a single `recv`, so a server that sends single bytes never
    exceeds it (https://docs.python.org/3/library/socket.html, "Notes on socket timeouts"). requests
    and urllib3 use it as their read timeout. It does limit a whole `sendall` and a whole TLS
    handshake, but no name lookup.
    """

    def __init__(self, raw: Any, sock: socket.socket) -> None:  # noqa: ANN401
        self._raw = raw
        self._sock = sock
        self._seconds = sock.gettimeout() or READ_SECONDS
        self._end = time.monotonic() + self._seconds
        self._bytes = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:  # noqa: ANN401
        left = self._end - time.monotonic()
        if left <= 0:
            raise socket.timeout("timed out")
        if self._bytes > LONGEST_ANSWER:
            raise http.client.HTTPException("the answer is too long")
        self._sock.settimeout(left)
        try:
            number: int | None = self._raw.readinto(buffer)
        finally:
            self._sock.settimeout(self._seconds)  # limits the TLS handshake after CONNECT
        self._bytes += number or 0
        return number

    def close(self) -> None:
        self._raw.close()
        super().close()


class _BoundedResponse(http.client.HTTPResponse):
    """The answer to a request, or a proxy's answer to CONNECT: http.client uses it for both."""

    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
        super().__init__(sock, *args, **kwargs)
        self.fp = io.BufferedReader(_BoundedReader(self.fp.detach(), sock))


class _BoundedHTTPConnection(HTTPConnection):
    """A connection with time limits for a whole answer, and for all addresses of a host name."""

    response_class = _BoundedResponse

    def _new_conn(self) -> socket.socket:
        # urllib3 applies the time limit to each address; here, all addresses share twice that time.
        host, end = self._dns_host, time.monotonic() + 2 * CONNECT_SECONDS
        failure: Exception = NewConnectionError(self, f"{host} has no address")
        for address in self._addresses():
            left = end - time.monotonic()
            if left <= 0:
                break
            self._dns_host, self.timeout = address, min(CONNECT_SECONDS, left)
            try:
                sock = super()._new_conn()
            except (ConnectTimeoutError, NewConnectionError) as error:
                failure = error
            else:
                sock.settimeout(CONNECT_SECONDS)
                return sock
            finally:
                self._dns_host, self.timeout = host, CONNECT_SECONDS
        raise failure

    def _tunnel(self) -> None:
        # Otherwise a proxy's invalid answer to CONNECT looks like an answer of the backend.
        base: Any = super()  # has no types on Python 3.8
        try:
            base._tunnel()  # noqa: SLF001
        except (OSError, http.client.HTTPException) as error:
            raise ProxyError("no tunnel", error) from error

    def _addresses(self) -> list[str]:
        host = self._dns_host.strip("[]")
        try:
            found = socket.getaddrinfo(host, self.port, 0, socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise NewConnectionError(self, f"{host} can't be resolved: {error}") from error
        return [str(address[0]) for *_, address in found]


class _BoundedHTTPSConnection(_BoundedHTTPConnection, HTTPSConnection):
    pass


class _HTTPPool(HTTPConnectionPool):
    ConnectionCls = _BoundedHTTPConnection


class _HTTPSPool(HTTPSConnectionPool):
    ConnectionCls = _BoundedHTTPSConnection


_POOLS = {"http": _HTTPPool, "https": _HTTPSPool}


class _BoundedAdapter(HTTPAdapter):
    """Uses these pools for direct connections and through a proxy."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
        base: Any = super()
        base.init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        base: Any = super()
        manager = base.proxy_manager_for(*args, **kwargs)
        if isinstance(manager, ProxyManager):  # a manager for SOCKS has its own pools
            manager.pool_classes_by_scheme = _POOLS
        return manager


class Session(requests.Session):
    """A session that uses one IP version only, if `source` is its unspecified address."""

    def __init__(self, source: str | None) -> None:
        super().__init__()
        for scheme in ("http://", "https://"):
            adapter = _BoundedAdapter()
            if source:
                adapter.poolmanager.connection_pool_kw["source_address"] = (source, 0)
            self.mount(scheme, adapter)
        self.auth = lambda request: request  # or requests would send a login from ~/.netrc
        self.headers["User-Agent"] = f"hetzner-dyndns-client/{__version__}"
        # A reused connection would still have the address of the last round.
        self.headers["Connection"] = "close"
        self.headers["Accept-Encoding"] = "identity"  # a small compressed answer could become large

    def get_redirect_target(self, resp: requests.Response) -> None:  # noqa: ARG002
        """Ignore redirects: requests would read the whole body of a redirect before it returns."""
        return


def read_body(response: requests.Response) -> bytes:
    """Return the body of an answer, or the beginning of a body that is too long."""
    body = b""
    response.raw.enforce_content_length = True  # urllib3 1.26 accepts incomplete bodies by default
    try:
        while len(body) < LONGEST_BODY and (
            part := response.raw.read(LONGEST_BODY, decode_content=False)
        ):
            body += part
    except ValueError as error:  # http.client accepts a negative chunk size
        raise ProtocolError(str(error)) from None
    return body


def judge(response: requests.Response, body: bytes, key: str) -> Answer:
    """Return a successful answer of the backend.

    Raises:
        UpdateFailed: the answer is an error, a redirect, or not from a backend.

    """
    status, headers = response.status_code, response.headers
    if response.is_redirect:
        raise redirected(response, key)
    wait = parse_retry_after(headers.get("Retry-After", ""), datetime.now(timezone.utc))
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        kind = clean(headers.get("Content-Type", "nothing"), key)
        text = (
            f"{response.url} answered {status} with {kind} instead of a JSON object; {IN_BETWEEN}"
        )
        raise UpdateFailed(text, retry_after=wait)
    if status != HTTPStatus.OK:
        reason = clean(content.get("error", "no reason given"), key).rstrip(".")
        hint = f"; {HINTS[status]}" if status in HINTS else ""
        text, kind = f"the backend answered {status}: {reason}", f"{status} {content.get('code')}"
        raise UpdateFailed(text + hint, kind=kind, slow=bool(hint), retry_after=wait)
    if content.get("status") not in STATUSES or not isinstance(content.get("ip"), str):
        text = f"{response.url} answered, but isn't a hetzner-dyndns backend; check BACKEND_URL"
        raise UpdateFailed(text)
    return Answer(content["status"], clean(content["ip"], key))


def redirected(response: requests.Response, key: str) -> UpdateFailed:
    """Describe a redirect, which is never followed: the key must go only to BACKEND_URL."""
    location = response.headers["Location"]
    redirects = f"{response.url} redirects ({response.status_code}) to"
    try:
        place = clean(urllib.parse.urljoin(response.url, location), key)
        parts = urllib.parse.urlsplit(place)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        text = f"{redirects} {clean(location, key)!r}, which is not a URL; {IN_BETWEEN}"
        return UpdateFailed(text, kind="redirect to no URL")
    base = re.sub("/update/*$", "", place)
    text = f"{redirects} {place}, which is not followed; if that is the backend, "
    text += f"set BACKEND_URL to {base}"
    # Another host may be a temporary login page, as in a hotel or a train.
    host = parts.hostname
    own = host == urllib.parse.urlsplit(response.url).hostname
    # Only the host identifies the cause: the rest may contain a new session each time.
    return UpdateFailed(text, kind=f"redirect to {host}", slow=own)


class Backend:
    """Sends updates, with one session for each IP version."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.host = urllib.parse.urlsplit(settings.endpoint).hostname or ""
        self.sessions: dict[str, requests.Session] = {}
        if settings.verify is False:
            warnings.simplefilter(
                "ignore", InsecureRequestWarning
            )  # there is a warning at the start

    def update(self, record: Record) -> Answer:
        """Send one update.

        Raises:
            UpdateFailed: there was no answer, or the answer isn't a success.

        """
        ip = self.settings.ip
        try:
            with self._session(record).post(
                self.settings.endpoint,
                json={"fqdn": record.host, **({"ip": ip} if ip else {"type": record.type})},
                headers={"X-Pre-Shared-Key": record.key},
                timeout=(CONNECT_SECONDS, READ_SECONDS),
                verify=self.settings.verify,
                stream=True,
            ) as response:
                body = read_body(response)
        except (OSError, HTTPError) as error:  # every exception of requests is an OSError
            text = clean(self._explain(error, record), record.key)
            kind = text.partition("; the clock")[0]  # the time differs in each message
            raise UpdateFailed(text, kind=kind, unreachable=True) from error
        return judge(response, body, record.key)

    def _session(self, record: Record) -> requests.Session:
        # The IP version matters only if the backend detects the address.
        kind = "" if self.settings.ip else record.type
        if kind not in self.sessions:
            self.sessions[kind] = Session(FAMILIES[kind].source if kind else None)
        return self.sessions[kind]

    def _explain(self, error: OSError | HTTPError, record: Record) -> str:
        """Describe a failed connection, with a hint."""
        cause = _root(error)
        reason = getattr(cause, "verify_message", "") or getattr(cause, "strerror", "") or cause
        if isinstance(error, requests.exceptions.SSLError):
            trust = (
                f"the trusted certificates are in {self.settings.verify}; CA_BUNDLE names others"
            )
            if not self.settings.verify:
                trust = "check the scheme and port of BACKEND_URL"
            if re.search("not yet valid|expired", str(reason)):
                now = datetime.now(timezone.utc)
                trust += f"; the clock of this machine shows {now:%Y-%m-%d %H:%M} UTC"
            return f"no TLS with {self.host}: {reason}; {trust}"
        if isinstance(error, requests.exceptions.ProxyError):
            return f"the proxy for {self.host} failed: {reason}; check HTTP(S)_PROXY"
        if isinstance(error, requests.exceptions.ConnectTimeout):
            reason = f"no connection within {CONNECT_SECONDS} s"
        elif isinstance(cause, socket.timeout) and "handshake" in str(cause):
            return f"no TLS with {self.host} within {CONNECT_SECONDS} s; check BACKEND_URL"
        elif isinstance(cause, socket.timeout):
            return f"{self.host} accepted the request, but didn't answer within {READ_SECONDS} s"
        elif isinstance(error, (HTTPError, requests.exceptions.InvalidHeader)) or (
            isinstance(cause, http.client.HTTPException) and not isinstance(cause, OSError)
        ):
            return (
                f"{self.host} sent an invalid HTTP answer ({type(cause).__name__}); "
                "check BACKEND_URL, and whether a proxy is in between"
            )
        # The gaierror of the other IP version isn't helpful.
        detail = "" if isinstance(cause, socket.gaierror) else f": {reason}"
        return self._unreachable(record, detail)

    def _unreachable(self, record: Record, detail: str) -> str:
        own, other = FAMILIES[record.type], FAMILIES["AAAA" if record.type == "A" else "A"]
        found, elsewhere = _resolves(self.host, own.family), _resolves(self.host, other.family)
        if found or (elsewhere and self.settings.ip):
            over = "" if self.settings.ip else f" over {own.name}"
            return f"{self.host} can't be reached{over}{detail}; check that the backend runs"
        if elsewhere:
            hint = f"set RECORD_TYPES to {other.type}, set IP, or use another host in BACKEND_URL"
            return f"{self.host} has no {own.name} address, so it can't see yours; {hint}"
        return f"{self.host} can't be resolved; check BACKEND_URL and this machine's name servers"


def _resolves(host: str, family: socket.AddressFamily) -> bool:
    try:
        return bool(socket.getaddrinfo(host, None, family, socket.SOCK_STREAM))
    except (OSError, UnicodeError):
        return False


def _root(error: BaseException) -> BaseException:
    """Return the error of the system or of http.client that requests and urllib3 have wrapped."""
    below: BaseException | None = error
    while below:
        error = below if isinstance(below, (OSError, http.client.HTTPException)) else error
        below = below.__cause__ or below.__context__
    return error


class Progress:
    """The state of one record between rounds, so that only changes are logged."""

    def __init__(self, record: Record) -> None:
        self.record = record
        self.due = float("-inf")
        self.address = ""
        self.failures = 0
        self.since = self.reminded = 0.0
        self.kinds: set[str] = set()

    def succeed(self, answer: Answer, now: float) -> str:
        """Return the line to log; empty if nothing has changed."""
        before, self.address = self.address, answer.address
        failures, self.failures = self.failures, 0
        self.kinds.clear()
        change = f"{before} -> {self.address}" if before not in ("", self.address) else self.address
        if failures:
            lasted = spell(now - self.since)
            return f"{self.record} works again after {lasted}: {change} ({answer.status})"
        if before == self.address and answer.status == "unchanged":
            return ""
        return f"{self.record}: {change} ({answer.status})"

    def fail(self, error: UpdateFailed, now: float) -> str:
        """Return the line to log; empty if the cause was logged within the last hour."""
        self.failures += 1
        if self.failures == 1:
            self.since = now
        new = error.kind not in self.kinds
        if not new and now - self.reminded < REMIND_SECONDS:
            return ""
        self.kinds.add(error.kind)
        self.reminded = now
        still = "" if new else f"still failing, for {spell(now - self.since)}: "
        return f"{self.record}: {still}{error}"


class Client:
    """Keeps all records of the settings up to date, each with its own pauses."""

    def __init__(
        self,
        settings: Settings,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self.settings = settings
        self.clock = clock
        self.jitter = jitter
        self.backend = Backend(settings)
        self.records = [Progress(record) for record in settings.records]
        self.heartbeat_failed = False

    def round(self) -> bool:
        """Update each record that is due; return whether all records are up to date."""
        for progress in self.records:
            if progress.due <= self.clock():
                self._update(progress)
            self.beat()
        return not any(progress.failures for progress in self.records)

    def _update(self, progress: Progress) -> None:
        try:
            answer = self.backend.update(progress.record)
        except UpdateFailed as error:
            self._failed(progress, error)
        except Exception:
            log.exception("%s: a bug in this program", progress.record)
            self._failed(progress, UpdateFailed("please report the traceback above"))
        else:
            now = self.clock()
            progress.due = now + self.settings.interval
            line = progress.succeed(answer, now)
            if line:
                log.info(line)

    def _failed(self, progress: Progress, error: UpdateFailed) -> None:
        now, interval = self.clock(), self.settings.interval
        line = progress.fail(error, now)
        pause = next_pause(progress.failures, interval, error, self.jitter)
        progress.due = now + pause
        if line:
            log.warning("%s%s", line, f"; next attempt in {spell(pause)}" if interval else "")

    def idle(self) -> float:
        """Return the seconds to sleep until the next update or heartbeat."""
        wait = min(progress.due for progress in self.records) - self.clock()
        return min(max(wait, 0), self.settings.interval, HEARTBEAT_SECONDS)

    def beat(self) -> None:
        """Touch the heartbeat file; log only the first failure."""
        if not self.settings.heartbeat:
            return
        try:
            Path(self.settings.heartbeat).touch()
        except OSError as error:
            if not self.heartbeat_failed:
                reason = error.strerror
                log.warning("HEARTBEAT_FILE can't be written (%s): name another file", reason)
            self.heartbeat_failed = True


def loop(client: Client, sleep: Callable[[float], None] = time.sleep) -> NoReturn:
    """Run rounds until a signal stops the process."""
    while True:
        client.round()
        sleep(client.idle())


def is_healthy(environ: Mapping[str, str], now: float) -> bool:
    """Return whether the heartbeat file is recent enough; `now` is in seconds since 1970."""
    raw = _present(environ)
    limit = 3 * min(read_interval(raw, []), HEARTBEAT_SECONDS) + HEARTBEAT_SLACK
    try:
        age = abs(now - Path(raw["HEARTBEAT_FILE"]).stat().st_mtime)
    except (KeyError, OSError):
        print("not healthy: no heartbeat; check that the client runs with this HEARTBEAT_FILE")
        return False
    print(f"{'healthy' if age <= limit else 'not healthy'}: last heartbeat {spell(age)} ago")
    return age <= limit


def in_background(work: Callable[[], int], on_sigterm: int) -> int:
    """Do the work in a thread, so that a signal stops it at once, even during a name lookup."""
    statuses: dict[int, int] = {signal.SIGTERM: on_sigterm, signal.SIGINT: 130}

    def end(number: int, _frame: object) -> None:
        log.info("stopped by %s", signal.Signals(number).name)
        os._exit(statuses[number])  # not sys.exit: the thread may hang in a system call

    result: list[int] = []
    worker = threading.Thread(target=lambda: result.append(work()), daemon=True)
    for number in statuses:
        signal.signal(number, end)
    worker.start()
    while worker.is_alive():
        worker.join(1)  # with a timeout, because Windows handles Ctrl-C only between waits
    return result[0] if result else 1


def parse_arguments() -> tuple[argparse.Namespace, list[str]]:
    """Return the options, and all other arguments."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=HELP, formatter_class=form, allow_abbrev=False
    )
    for name in ARGUMENTS:
        parser.add_argument(
            name.lower(), nargs="?", default="", help=f"takes precedence over {name}"
        )
    parser.add_argument(
        "--healthy", action="store_true", help="check the heartbeat file; exit status 0 or 1"
    )
    parser.add_argument(
        "--version", action="version", version=f"hetzner-dyndns client {__version__}"
    )
    options, excess = parser.parse_known_args()
    return options, [getattr(options, name.lower()) for name in ARGUMENTS] + excess


def start_log() -> None:
    """Log to stdout, with escapes for characters that its encoding lacks."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    form = "%(asctime)s %(levelname)s %(message)s"
    logging.basicConfig(stream=sys.stdout, format=form, datefmt="%Y-%m-%dT%H:%M:%S%z")
    log.setLevel(logging.INFO)
    logging.getLogger("urllib3").setLevel(logging.ERROR)  # it logs tracebacks for invalid headers


def main() -> int:
    """Run the program; return the exit status."""
    start_log()
    options, args = parse_arguments()
    if options.healthy:
        return 0 if is_healthy(os.environ, time.time()) else 1
    try:
        settings, notes = read(os.environ, args)
    except SettingUnusable as error:
        print(f"update_dns.py: {error}", file=sys.stderr)
        return 2
    for note in notes:
        log.warning(note)
    client = Client(settings)
    if not settings.interval:
        return in_background(lambda: 0 if client.round() else 1, on_sigterm=128 + signal.SIGTERM)
    names = ", ".join(map(str, settings.records))
    log.info("updating %s every %d s at %s", names, settings.interval, settings.endpoint)
    return in_background(lambda: loop(client), on_sigterm=0)


if __name__ == "__main__":
    sys.exit(main())
