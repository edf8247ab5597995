"""Tries for real what the service needs: settings, key file, store, ntfy, tokens and each host."""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Callable, Dict, FrozenSet, Iterator, List, Mapping, Optional, Sequence
from urllib.parse import urlsplit

from backend import __version__
from backend.admin.status import delegation_hint, is_lost
from backend.auth.keys import SHORTEST, KeyFile
from backend.commands.context import tell_as_json, tell_as_table
from backend.errors import DyndnsError, SettingUnusable, StoreUnavailable
from backend.hetzner import dns
from backend.hetzner.client import CloudApi, Deadline
from backend.hetzner.dns import ZoneSight
from backend.model import Hostname
from backend.notify.ntfy import Ntfy, Push, PushFailed, PushRefused
from backend.settings import AccessSettings, HetznerSettings, NtfySettings, Settings, read
from backend.store import Store, describe_store, require_store
from backend.text import counted

OK, WARN, FAIL = "ok", "warn", "fail"


@dataclass(frozen=True)
class Line:
    """One thing that was tried. Nothing in it is secret."""

    state: str
    what: str
    found: str
    hint: str = ""


def told(state: str, what: str, error: DyndnsError) -> Line:
    """Return what an error says, its mend apart."""
    return Line(state, what, error.seen, error.hint)


def check_settings(settings: Settings, warnings: Sequence[SettingUnusable]) -> Iterator[Line]:
    """Say what was made of the settings."""
    for warning in warnings:
        yield told(WARN, "settings", warning)
    access = settings.access
    hosts, tokens = len(access.hosts), len(settings.hetzner.tokens)
    yield Line(OK, "settings", f"{counted(hosts, 'host')}, {counted(tokens, 'token')}.")
    found = "set." if access.operator_name else "not set, so no status page and no /metrics."
    yield Line(OK, "operator's login", found)


def check_key_file(access: AccessSettings) -> Iterator[Line]:
    """Try the key file, and leave it as it is."""
    what, path = "key file", access.key_file
    if _is_missing(path):
        yield _missing(what, path, "with a key for each host")
        return
    try:
        keys = KeyFile(path).read()
    except DyndnsError as error:
        yield told(FAIL, what, error)
        return
    missing = [host.text for host in access.hosts if host not in keys]
    is_writable = os.access(path, os.W_OK)
    if missing:
        found = f"no key for {', '.join(missing)}."
        hint = "Each gets one at the next start." if is_writable else _let_write(path)
        yield Line(WARN if is_writable else FAIL, what, found, hint)
    elif not is_writable:
        yield Line(WARN, what, "it can't be written, so no key can be replaced.", _let_write(path))
    if path.stat().st_mode & 0o077:
        yield Line(WARN, what, f"others on this machine may read {path}.", f"chmod 600 {path}")
    short = [host.text for host, key in keys.items() if len(key) < SHORTEST]
    if short:
        yield Line(WARN, what, f"short keys: {', '.join(short)}.", "`keys rotate HOST` makes new.")
    yield Line(OK, what, f"{counted(len(keys), 'key')} in {path}.")


def _is_missing(path: Path) -> bool:
    """Whether a file isn't there; where this user may not look, opening it says what is wrong."""
    try:
        path.stat()
    except OSError as error:
        return isinstance(error, (FileNotFoundError, NotADirectoryError))
    return False


def _missing(what: str, path: Path, extra: str) -> Line:
    folder = path.absolute().parent
    if folder.is_dir() and os.access(folder, os.W_OK):
        return Line(WARN, what, f"{path} isn't there yet.", f"The next start makes it, {extra}.")
    hint = f"Make the folder {folder}, and let uid {os.getuid()} write there."
    return Line(FAIL, what, f"{path} isn't there, and can't be made.", hint)


def _let_write(path: Path) -> str:
    return f"Let uid {os.getuid()} write it, as in `chown {os.getuid()} {path}`."


def check_store(url: str) -> Iterator[Line]:
    """Try to read and write the store, and change nothing."""
    what = "store"
    try:
        kind, file = describe_store(url)
        if file is not None and _is_missing(file):
            yield _missing(what, file, "empty")
            return
        require_store(url)
        store = Store(url, pool_size=1)
    except DyndnsError as error:
        yield told(FAIL, what, error)
        return
    try:
        store.operations.probe()
        yield Line(OK, what, f"{kind}: it can be read and written.")
    except StoreUnavailable:
        yield Line(FAIL, what, "It can't be written.", "Check the database, its disk and rights.")
    finally:
        store.close()


def check_ntfy(ntfy: NtfySettings) -> Line:
    """Publish a test message."""
    what = "ntfy"
    if not ntfy.url:
        return Line(WARN, what, "not set, so nobody is told.", "Set NTFY_URL and NTFY_TOPIC.")
    topic = Ntfy(
        ntfy.url,
        ntfy.topic,
        username=ntfy.username,
        password=ntfy.password,
        token=ntfy.token,
    )
    try:
        topic.publish(Push("A test of hetzner-dyndns", "`check` has sent this: pushes arrive."))
    except PushRefused as error:
        return Line(FAIL, what, f"refused: {error}.", "Check NTFY_URL, NTFY_TOPIC and the login.")
    except PushFailed as error:
        return Line(FAIL, what, f"no success: {error}.", "Check NTFY_URL and the ntfy server.")
    place = urlsplit(ntfy.url).hostname
    return Line(OK, what, f"a test message was sent to topic {ntfy.topic} at {place}.")


_SECONDS = 20.0
_REACH = "Check HETZNER_API_URL, this machine's network and DNS; status.hetzner.com may say more."

Progress = Callable[[str], None]


@dataclass(frozen=True)
class _Seen:
    """A zone, and by which token."""

    api: CloudApi
    sight: ZoneSight


@dataclass
class _Tokens:
    """What all tokens see."""

    zones: Dict[str, _Seen] = field(default_factory=dict)
    have_failed: bool = False


def check_hetzner(
    settings: HetznerSettings, hosts: Sequence[Hostname], progress: Progress
) -> Iterator[Line]:
    """Try every token, then every zone that holds a host, then every host."""
    tokens = _Tokens()
    for number, token in enumerate(settings.tokens, 1):
        what = f"token {number} of {len(settings.tokens)}"
        progress(what)
        api = CloudApi(token, settings.api_url, f"hetzner-dyndns/{__version__} check")
        yield from _check_token(what, api, tokens)
    owners = {host: _zone_of(host, tokens.zones) for host in hosts}
    aliases: Dict[str, FrozenSet[str]] = {}
    for name in sorted({seen.sight.name for seen in owners.values() if seen is not None}):
        progress(f"zone {name}")
        yield from _check_zone(tokens.zones[name], aliases)
    for host, seen in owners.items():
        yield _check_host(host, seen, aliases, tokens)


def _check_token(what: str, api: CloudApi, tokens: _Tokens) -> Iterator[Line]:
    try:
        zones = dns.zones(api, Deadline(_SECONDS))
        left = "".join(f", {one.remaining} of {one.limit} calls left" for one in api.quotas)
        yield Line(OK, what, f"it may read: {counted(len(zones), 'zone')}{left}.")
        for zone in zones:
            tokens.zones.setdefault(zone.name, _Seen(api, zone))
        yield _writing(what, dns.may_write(api, Deadline(_SECONDS)))
    except DyndnsError as error:
        tokens.have_failed = True
        line = told(FAIL, what, error)
        yield line if line.hint else replace(line, hint=_REACH)


def _writing(what: str, may_write: Optional[bool]) -> Line:
    if may_write is None:
        hint = "See at console.hetzner.com whether it has the permission Read & Write."
        return Line(WARN, what, "whether it may write can't be told without a change.", hint)
    if not may_write:
        hint = "Make a token with Read & Write permission, and set HETZNER_TOKEN to it."
        return Line(FAIL, what, "it may not write.", hint)
    return Line(OK, what, "it may write (nothing was changed).")


def _zone_of(host: Hostname, zones: Dict[str, _Seen]) -> Optional[_Seen]:
    """Return the zone that holds a host: the longest that matches."""
    labels = host.text.split(".")
    names = (".".join(labels[cut:]) for cut in range(len(labels)))
    return next((zones[name] for name in names if name in zones), None)


def _check_zone(seen: _Seen, aliases: Dict[str, FrozenSet[str]]) -> Iterator[Line]:
    zone = seen.sight
    what = f"zone {zone.name}"
    hint = delegation_hint(zone.delegation)
    state = OK if zone.delegation == "valid" else FAIL if is_lost(zone.delegation) else WARN
    yield Line(state, what, f"delegation {zone.delegation or 'not told'}.", hint)
    if zone.mode != "primary":
        yield Line(FAIL, what, f"it is a {zone.mode} zone.", "Change it at its primary server.")
        return
    try:
        aliases[zone.name] = dns.aliases(seen.api, zone.name, Deadline(_SECONDS))
    except DyndnsError as error:
        yield told(FAIL, what, error)


def _check_host(
    host: Hostname,
    seen: Optional[_Seen],
    aliases: Dict[str, FrozenSet[str]],
    tokens: _Tokens,
) -> Line:
    what = host.text
    if seen is None:
        return _zoneless(what, tokens)
    zone = seen.sight.name
    if zone not in aliases:
        return Line(FAIL, what, f"its zone {zone} can't be used.", f"See zone {zone}.")
    if _relative(host, zone) in aliases[zone]:
        hint = "Delete the CNAME record at Hetzner."
        return Line(FAIL, what, "it is a CNAME, which excludes addresses.", hint)
    return Line(OK, what, f"there is room for it in zone {zone}.")


def _zoneless(what: str, tokens: _Tokens) -> Line:
    if tokens.have_failed:
        found = "no token that works sees a zone that holds it."
        return Line(FAIL, what, found, "See the tokens above.")
    hint = "Create its zone at console.hetzner.com, or add a token of the zone's project."
    return Line(FAIL, what, "no token sees a zone that holds it.", hint)


def _relative(host: Hostname, zone: str) -> str:
    return host.text[: -len(zone) - 1] or "@"


def any_failed(lines: List[Line]) -> bool:
    """Whether anything is wrong."""
    return any(line.state == FAIL for line in lines)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Take the form."""
    parser.add_argument("--json", action="store_true", help="for programs")


def run(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Check; return 1 when anything is wrong."""
    lines = list(_lines(environ))
    if arguments.json:
        tell_as_json({"ok": not any_failed(lines), "checks": [asdict(line) for line in lines]})
    else:
        tell_as_table(("STATE", "WHAT", "FOUND"), list(_rows(lines)))
    return 1 if any_failed(lines) else 0


def _lines(environ: Mapping[str, str]) -> Iterator[Line]:
    _progress("settings")
    try:
        settings, warnings = read(environ)
    except SettingUnusable as error:
        yield told(FAIL, "settings", error)
        return
    yield from check_settings(settings, warnings)
    _progress("key file")
    yield from check_key_file(settings.access)
    _progress("store")
    yield from check_store(settings.store.url)
    yield from check_hetzner(settings.hetzner, settings.access.hosts, _progress)
    _progress("ntfy")
    yield check_ntfy(settings.ntfy)


def _progress(what: str) -> None:
    """Say what is being tried, where it doesn't mix with the answer."""
    print(f"checking {what} …", file=sys.stderr, flush=True)


def _rows(lines: List[Line]) -> Iterator[List[str]]:
    for line in lines:
        yield [line.state, line.what, line.found]
        if line.hint:
            yield ["", "", f"-> {line.hint}"]
