"""Tests settings, key file, store, tokens, zones, hosts and ntfy, and changes nothing."""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Dict, FrozenSet, Iterator, Mapping, Optional, Sequence, Tuple
from urllib.parse import urlsplit

from backend import __version__
from backend.admin.status import delegation_hint, is_undelegated
from backend.auth.keys import SHORTEST, KeyFile
from backend.commands.context import print_json, print_table
from backend.errors import DyndnsError, SettingUnusable, StoreUnavailable
from backend.hetzner import dns
from backend.hetzner.client import CloudApi
from backend.hetzner.dns import ZoneSight
from backend.model import Deadline, Hostname
from backend.notify.ntfy import Ntfy, Push, PushFailed, PushRefused
from backend.settings import AccessSettings, HetznerSettings, NtfySettings, Settings, read
from backend.store import Store, describe_store, require_store
from backend.text import counted

OK, WARN, FAIL = "ok", "warn", "fail"

_SECONDS = 20.0
_NETWORK_HINT = (
    "Check HETZNER_API_URL, and the network and the DNS of this machine; status.hetzner.com lists "
    "outages."
)
# By the answer of `dns.may_write`.
_WRITING: Mapping[Optional[bool], Tuple[str, str, str]] = {
    True: (OK, "It may write. Nothing was changed.", ""),
    False: (
        FAIL,
        "It may not write.",
        "Create a token with Read & Write permission, and set HETZNER_TOKEN to it.",
    ),
    None: (
        WARN,
        "Only a change would show whether it may write.",
        "Check at console.hetzner.com that the token has Read & Write permission.",
    ),
}


@dataclass(frozen=True)
class Line:
    """The result of one test. It contains no secret."""

    state: str
    what: str
    found: str
    hint: str = ""


@dataclass
class _Zone:
    """A zone, and the token that sees it."""

    api: CloudApi
    sight: ZoneSight
    cnames: Optional[FrozenSet[str]] = None  # None: the zone can't be used


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the format."""
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Print the results; return 1 if a test fails."""
    lines = list(_lines(environ))
    has_failed = any(line.state == FAIL for line in lines)
    if arguments.json:
        print_json({"ok": not has_failed, "checks": [asdict(line) for line in lines]})
    else:
        rows = []
        for line in lines:
            rows.append((line.state, line.what, line.found))
            if line.hint:
                rows.append(("", "", f"-> {line.hint}"))
        print_table(("STATE", "WHAT", "FOUND"), rows)
    return 1 if has_failed else 0


def _lines(environ: Mapping[str, str]) -> Iterator[Line]:
    _progress("settings")
    try:
        settings, warnings = read(environ)
    except SettingUnusable as error:
        yield _error(FAIL, "settings", error)
        return
    yield from _check_settings(settings, warnings)
    _progress("key file")
    yield from _check_key_file(settings.access)
    _progress("store")
    yield _check_store(settings.store.url)
    yield from _check_hetzner(settings.hetzner, settings.access.hosts)
    _progress("ntfy")
    yield _check_ntfy(settings.ntfy)


def _progress(what: str) -> None:
    print(f"checking {what} …", file=sys.stderr, flush=True)


def _error(state: str, what: str, error: DyndnsError) -> Line:
    return Line(state, what, error.seen, error.hint)


def _check_settings(settings: Settings, warnings: Sequence[SettingUnusable]) -> Iterator[Line]:
    for warning in warnings:
        yield _error(WARN, "settings", warning)
    access = settings.access
    hosts, tokens = len(access.hosts), len(settings.hetzner.tokens)
    yield Line(OK, "settings", f"{counted(hosts, 'host')}, {counted(tokens, 'token')}.")
    found = "Set." if access.operator_name else "Not set: the dashboard and /metrics are off."
    yield Line(OK, "operator's login", found)


def _check_key_file(access: AccessSettings) -> Iterator[Line]:
    """Read the key file, and change nothing."""
    what, path = "key file", access.key_file
    if _is_missing(path):
        yield _missing(what, path)
        return
    try:
        keys = KeyFile(path).read()
    except DyndnsError as error:
        yield _error(FAIL, what, error)
        return
    missing = [host.text for host in access.hosts if host not in keys]
    is_writable = os.access(path, os.W_OK)
    uid = os.getuid()
    let_write = f"Let uid {uid} write the file, for example with `chown {uid} {path}`."
    if missing and is_writable:
        hint = "The next start generates the missing keys."
        yield Line(WARN, what, f"No key for {', '.join(missing)}.", hint)
    elif missing:
        yield Line(FAIL, what, f"No key for {', '.join(missing)}.", let_write)
    elif not is_writable:
        yield Line(WARN, what, "The file can't be written, so no key can be replaced.", let_write)
    if path.stat().st_mode & 0o077:
        yield Line(WARN, what, f"Other users of this machine may read {path}.", f"chmod 600 {path}")
    short = [host.text for host, key in keys.items() if len(key) < SHORTEST]
    if short:
        hint = "`keys rotate HOST` generates a new key."
        yield Line(WARN, what, f"Short keys: {', '.join(short)}.", hint)
    yield Line(OK, what, f"{counted(len(keys), 'key')} in {path}.")


def _is_missing(path: Path) -> bool:
    """Whether a file doesn't exist. Where this user may not look, opening it gives the reason."""
    try:
        path.stat()
    except OSError as error:
        return isinstance(error, (FileNotFoundError, NotADirectoryError))
    return False


def _missing(what: str, path: Path) -> Line:
    folder = path.absolute().parent
    if folder.is_dir() and os.access(folder, os.W_OK):
        return Line(WARN, what, f"{path} doesn't exist yet.", "The next start creates it.")
    hint = f"Create the folder {folder}, and let uid {os.getuid()} write there."
    return Line(FAIL, what, f"{path} doesn't exist and can't be created.", hint)


def _check_store(url: str) -> Line:
    """Test whether the store can be read and written, and change nothing."""
    what = "store"
    try:
        kind, file = describe_store(url)
        if file is not None and _is_missing(file):
            return _missing(what, file)
        require_store(url)
        store = Store(url, pool_size=1)
    except DyndnsError as error:
        return _error(FAIL, what, error)
    try:
        store.probe()
    except StoreUnavailable:
        hint = "Check the database, its disk and its permissions."
        return Line(FAIL, what, "The store can't be written.", hint)
    finally:
        store.close()
    return Line(OK, what, f"{kind}: can be read and written.")


def _check_hetzner(settings: HetznerSettings, hosts: Sequence[Hostname]) -> Iterator[Line]:
    """Test every token, then every zone that holds a host, then every host."""
    zones: Dict[str, _Zone] = {}
    has_failed = False
    for number, token in enumerate(settings.tokens, 1):
        what = f"token {number} of {len(settings.tokens)}"
        _progress(what)
        api = CloudApi(token, settings.api_url, f"hetzner-dyndns/{__version__} check")
        try:
            listed = dns.zones(api, Deadline(_SECONDS))
            left = "".join(f", {one.remaining} of {one.limit} calls left" for one in api.quotas)
            yield Line(OK, what, f"It may read: {counted(len(listed), 'zone')}{left}.")
            for zone in listed:
                zones.setdefault(zone.name, _Zone(api, zone))
            state, found, hint = _WRITING[dns.may_write(api, Deadline(_SECONDS))]
            yield Line(state, what, found, hint)
        except DyndnsError as error:
            has_failed = True
            yield Line(FAIL, what, error.seen, error.hint or _NETWORK_HINT)
    owners = {host: _longest_match(host, zones) for host in hosts}
    for name in sorted({zone.sight.name for zone in owners.values() if zone is not None}):
        _progress(f"zone {name}")
        yield from _check_zone(zones[name])
    for host, owner in owners.items():
        yield _check_host(host, owner, has_failed=has_failed)


def _longest_match(host: Hostname, zones: Mapping[str, _Zone]) -> Optional[_Zone]:
    labels = host.text.split(".")
    names = (".".join(labels[cut:]) for cut in range(len(labels)))
    return next((zones[name] for name in names if name in zones), None)


def _check_zone(zone: _Zone) -> Iterator[Line]:
    name, mode, delegation = zone.sight.name, zone.sight.mode, zone.sight.delegation
    what = f"zone {name}"
    state = OK if delegation == "valid" else FAIL if is_undelegated(delegation) else WARN
    found = f"Delegation: {delegation or 'not reported'}."
    yield Line(state, what, found, delegation_hint(delegation))
    if mode != "primary":
        hint = "Change its records at its primary server."
        yield Line(FAIL, what, f"It is a {mode} zone, which Hetzner doesn't change.", hint)
        return
    try:
        zone.cnames = dns.aliases(zone.api, name, Deadline(_SECONDS))
    except DyndnsError as error:
        yield _error(FAIL, what, error)


def _check_host(host: Hostname, zone: Optional[_Zone], *, has_failed: bool) -> Line:
    what = host.text
    if zone is None:
        if has_failed:
            found = "No working token sees a zone for this host."
            return Line(FAIL, what, found, "See the failed tokens above.")
        hint = "Create its zone at console.hetzner.com, or add a token of the zone's project."
        return Line(FAIL, what, "No token sees a zone for this host.", hint)
    name = zone.sight.name
    if zone.cnames is None:
        return Line(FAIL, what, f"Its zone {name} can't be used.", f"See zone {name} above.")
    if (host.text[: -len(name) - 1] or "@") in zone.cnames:
        hint = "Delete the CNAME record at Hetzner."
        return Line(FAIL, what, "It has a CNAME record, which excludes addresses.", hint)
    return Line(OK, what, f"Its records go into zone {name}.")


def _check_ntfy(ntfy: NtfySettings) -> Line:
    """Send a test message."""
    what = "ntfy"
    if not ntfy.url:
        hint = "Set NTFY_URL and NTFY_TOPIC."
        return Line(WARN, what, "Not set: the service sends no notifications.", hint)
    topic = Ntfy(
        ntfy.url, ntfy.topic, username=ntfy.username, password=ntfy.password, token=ntfy.token
    )
    try:
        topic.publish(Push("Test of hetzner-dyndns", "Notifications work: `check` sent this."))
    except PushRefused as error:
        hint = "Check NTFY_URL, NTFY_TOPIC and the login."
        return Line(FAIL, what, f"The test message was refused: {error}.", hint)
    except PushFailed as error:
        hint = "Check NTFY_URL and the ntfy server."
        return Line(FAIL, what, f"The test message wasn't delivered: {error}.", hint)
    place = urlsplit(ntfy.url).hostname
    return Line(OK, what, f"Sent a test message to topic {ntfy.topic} at {place}.")
