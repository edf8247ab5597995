"""Tests settings, key file, store, tokens, zones, hosts and ntfy without changing anything."""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Iterator, Mapping, Tuple
from urllib.parse import urlsplit

from backend import __version__
from backend.admin.status import delegation_hint, is_undelegated
from backend.auth.keys import KeyFile
from backend.commands.context import print_json, print_table
from backend.errors import DyndnsError, SettingUnusable, StoreUnavailable, StoreUnusable
from backend.hetzner.client import CloudApi
from backend.hetzner.dns import PRIMARY, Hetzner, Location, RRSet, Zone
from backend.hetzner.zones import longest_match
from backend.model import Deadline, Hostname
from backend.notify.ntfy import Ntfy, Push, PushFailed, PushRefused
from backend.settings import AccessSettings, NtfySettings, Settings, read
from backend.store import file_hint, file_of, opened
from backend.text import counted

OK, WARN, FAIL = "ok", "warn", "fail"

RRSets = Mapping[Tuple[str, str], RRSet]

_SECONDS = 20.0
_KINDS = ("A", "AAAA", "CNAME")
_NETWORK_HINT = (
    "Check HETZNER_API_URL, and the network and DNS of this machine. "
    "Hetzner lists outages at status.hetzner.com."
)
# By the result of `Hetzner.may_write`.
_WRITING: Mapping[bool | None, tuple[str, str, str]] = {
    True: (OK, "The token may write. `check` changed nothing.", ""),
    False: (
        FAIL,
        "The token may not write.",
        "Create a token with Read & Write permission, and set HETZNER_TOKEN to it.",
    ),
    None: (
        WARN,
        "`check` can't find out whether the token may write.",
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


def add_arguments(parser: argparse.ArgumentParser) -> None:
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
    for warning in warnings:
        yield _error(WARN, "settings", warning)
    access = settings.access
    hosts, tokens = len(access.hosts), len(settings.hetzner.tokens)
    yield Line(OK, "settings", f"{counted(hosts, 'host')}, {counted(tokens, 'token')}.")
    found = "Set." if access.operator_name else "Not set, so the dashboard and /metrics are off."
    yield Line(OK, "operator's login", found)
    _progress("key file")
    yield from _check_key_file(access)
    _progress("store")
    yield _check_store(settings.store.url)
    yield from _check_hetzner(settings)
    _progress("ntfy")
    yield _check_ntfy(settings.ntfy)


def _progress(what: str) -> None:
    print(f"checking {what} …", file=sys.stderr, flush=True)


def _error(state: str, what: str, error: DyndnsError) -> Line:
    return Line(state, what, error.seen, error.hint)


def _check_key_file(access: AccessSettings) -> Iterator[Line]:
    """Test the key file without changing it."""
    what, path = "key file", access.key_file
    if _is_missing(path):
        yield _missing(what, path)
        return
    try:
        key_file = KeyFile(path)
        keys = key_file.read()
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
        yield Line(WARN, what, "The file can't be written, so keys can't be replaced.", let_write)
    for warning in key_file.warnings(keys):
        yield _error(WARN, what, warning)
    yield Line(OK, what, f"{counted(len(keys), 'key')} in {path}.")


def _is_missing(path: Path) -> bool:
    """Return whether a file doesn't exist. `False` if the user lacks the permission to find out."""
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
    """Test, without changing the store, whether it can be read and written."""
    what = "store"
    try:
        file = file_of(url)
        if file is not None and _is_missing(file):
            return _missing(what, file)
        with opened(url) as store:
            store.probe()
    except StoreUnavailable:
        hint = "check the database and its permissions." if file is None else file_hint(file)
        return _error(FAIL, what, StoreUnusable("The store can't be written", hint=hint))
    except DyndnsError as error:
        return _error(FAIL, what, error)
    kind = "postgresql" if file is None else "sqlite"
    return Line(OK, what, f"{kind}: can be read and written.")


def _check_hetzner(settings: Settings) -> Iterator[Line]:
    """Test every token, then every zone of a host, then every host."""
    zones: dict[str, Zone] = {}
    has_failed = False
    tokens = settings.hetzner.tokens
    for number, token in enumerate(tokens, 1):
        what = f"token {number} of {len(tokens)}"
        _progress(what)
        api = CloudApi(token, settings.hetzner.api_url, f"hetzner-dyndns/{__version__} check")
        hetzner = Hetzner(api, settings.records.ttl)
        try:
            listed = hetzner.zones(Deadline(_SECONDS))
            left = "".join(f", {one.remaining} of {one.limit} calls left" for one in api.quotas)
            yield Line(OK, what, f"The token can read {counted(len(listed), 'zone')}{left}.")
            for zone in listed:
                zones.setdefault(zone.name, zone)
            state, found, hint = _WRITING[hetzner.may_write(Deadline(_SECONDS))]
            yield Line(state, what, found, hint)
        except DyndnsError as error:
            has_failed = True
            yield Line(FAIL, what, error.seen, error.hint or _NETWORK_HINT)
    locations = {host: longest_match(zones, host) for host in settings.access.hosts}
    rrsets: dict[Zone, RRSets] = {}
    for name in sorted({found.zone.name for found in locations.values() if found is not None}):
        _progress(f"zone {name}")
        yield from _check_zone(zones[name], rrsets)
    for host, location in locations.items():
        yield from _check_host(host, location, rrsets, has_failed=has_failed)


def _check_zone(zone: Zone, rrsets: dict[Zone, RRSets]) -> Iterator[Line]:
    """Test a zone, and add its records to `rrsets` if the service can use the zone."""
    what = f"zone {zone.name}"
    delegation = zone.delegation
    state = OK if delegation == "valid" else FAIL if is_undelegated(delegation) else WARN
    found = f"Delegation: {delegation or 'not reported'}."
    yield Line(state, what, found, delegation_hint(delegation))
    if zone.has_failed:
        hint = "Check the zone at console.hetzner.com, or contact Hetzner's support."
        yield Line(FAIL, what, "Hetzner can't publish the zone.", hint)
    if zone.mode != PRIMARY:
        hint = "Change its records at its primary server."
        yield Line(FAIL, what, f"Hetzner doesn't change {zone.mode} zones.", hint)
        return
    try:
        _, rrsets[zone] = zone.project.read_zone(zone, Deadline(_SECONDS), _KINDS)
    except DyndnsError as error:
        yield _error(FAIL, what, error)


def _check_host(
    host: Hostname,
    location: Location | None,
    rrsets: Mapping[Zone, RRSets],
    *,
    has_failed: bool,
) -> Iterator[Line]:
    what = host.text
    if location is None:
        found = "No token has a zone for this host."
        hint = "Create its zone at console.hetzner.com, or add a token of the zone's project."
        if has_failed:
            found, hint = "No valid token has a zone for this host.", "See the failed tokens above."
        yield Line(FAIL, what, found, hint)
        return
    zone, name = location.zone, location.name
    if zone not in rrsets:
        found = f"The service can't use the zone {zone.name}."
        yield Line(FAIL, what, found, f"See zone {zone.name} above.")
        return
    found_here = {kind: rrsets[zone].get((name, kind)) for kind in _KINDS}
    if found_here["CNAME"] is not None:
        hint = "Delete the CNAME record at Hetzner."
        yield Line(FAIL, what, "The host has a CNAME record, so it can't have addresses.", hint)
        return
    for kind, rrset in found_here.items():
        if rrset is not None and len(rrset.comments) > 1:
            hint = "The next update replaces them with one. Give other machines their own names."
            yield Line(WARN, what, f"The host has several {kind} records: {rrset}.", hint)
    yield Line(OK, what, f"The records are in zone {zone.name}.")


def _check_ntfy(ntfy: NtfySettings) -> Line:
    """Send a test message."""
    what = "ntfy"
    if not ntfy.url:
        hint = "Set NTFY_URL and NTFY_TOPIC."
        return Line(WARN, what, "Not set, so the service sends no notifications.", hint)
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
