"""The commands `check` and `notify`: test the set-up, or only the channels of notifications."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Iterator, Mapping, Sequence

from backend.admin.checks import check_all
from backend.auth.keys import KeyFile
from backend.commands.context import AGENT, print_json, print_table
from backend.errors import (
    FAIL,
    OK,
    WARN,
    DyndnsError,
    Line,
    SettingUnusable,
    StoreUnavailable,
    StoreUnusable,
    failed_line,
)
from backend.hetzner.zones import open_projects
from backend.model import Hostname
from backend.notify.channels import send_test
from backend.settings import read
from backend.store import file_hint, file_of, opened
from backend.text import counted

_MOST_PASSED = 40  # more are folded into one line


def check(parser: argparse.ArgumentParser) -> None:
    """Tests settings, key file, store, tokens, zones, hosts and channels without changing anything."""  # noqa: E501
    parser.set_defaults(run=run_check)
    parser.add_argument("--json", action="store_true", help="print JSON")


def run_check(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Print the results; return 1 if a test fails."""
    lines = list(_lines(environ))
    has_failed = any(line.state == FAIL for line in lines)
    if arguments.json:
        print_json({"ok": not has_failed, "checks": [asdict(line) for line in lines]})
    else:
        passed = [line for line in lines if line.state == OK]
        are_folded = len(passed) > _MOST_PASSED
        rows = _rows([line for line in lines if line.state != OK] if are_folded else lines)
        if are_folded:
            rows.append((OK, f"{len(passed)} others", "They passed; --json lists them."))
        print_table(("STATE", "WHAT", "FOUND"), rows)
        numbers = [f"{sum(line.state == one for line in lines)} {one}" for one in (OK, WARN, FAIL)]
        print(f"\n{counted(len(lines), 'check')}: {', '.join(numbers)}.")
    return 1 if has_failed else 0


def _rows(lines: Sequence[Line]) -> list[tuple[str, str, str]]:
    rows = []
    for line in lines:
        rows.append((line.state, line.what, line.found))
        if line.hint:
            rows.append(("", "", f"-> {line.hint}"))
    return rows


def _lines(environ: Mapping[str, str]) -> Iterator[Line]:
    _progress("settings")
    try:
        settings, warnings = read(environ)
    except SettingUnusable as error:
        yield failed_line(FAIL, "settings", error)
        return
    for warning in warnings:
        yield failed_line(WARN, "settings", warning)
    access = settings.access
    added: set[Hostname] = set()
    # The check of the store reports its errors.
    with contextlib.suppress(DyndnsError), opened(settings.store.url) as store:
        added, _ = store.registrations.read(time.time())
    hosts = [*access.hosts, *sorted(added.difference(access.hosts))]
    tokens = counted(len(settings.hetzner.tokens), "token")
    yield Line(OK, "settings", f"{counted(len(hosts), 'host')}, {tokens}.")
    if not hosts:
        hint = "Add one with `hosts add NAME`, or list them in REGISTERED_FQDNS."
        yield Line(WARN, "hosts", "No host is registered.", hint)
    found = "Set." if access.operator_name else "Not set, so the dashboard and /metrics are off."
    yield Line(OK, "operator's login", found)
    if not settings.store.is_shared:  # else the keys are in the store
        _progress("key file")
        yield from _check_key_file(access.key_file, hosts)
    _progress("store")
    yield _check_store(settings.store.url)
    yield from check_all(open_projects(settings, AGENT), hosts, _progress)
    _progress("notifications")
    try:
        tested = send_test(settings.ntfy, "`check`")
    except SettingUnusable as error:
        yield failed_line(FAIL, "notifications", error)
        return
    if not tested:
        hint = "Set NTFY_URL and NTFY_TOPIC, or NOTIFY_URLS."
        yield Line(WARN, "ntfy", "Not set, so the service sends no notifications.", hint)
    yield from tested


def _progress(what: str) -> None:
    print(f"checking {what} …", file=sys.stderr, flush=True)


def _check_key_file(path: Path, hosts: Sequence[Hostname]) -> Iterator[Line]:
    """Test the key file without changing it."""
    what = "key file"
    if _is_missing(path):
        yield _missing(what, path)
        return
    try:
        key_file = KeyFile(path)
        keys = key_file.read()
    except DyndnsError as error:
        yield failed_line(FAIL, what, error)
        return
    missing = [host.text for host in hosts if host not in keys]
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
        yield failed_line(WARN, what, warning)
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
        hint = "The next start or the first added host creates it."
        return Line(WARN, what, f"{path} doesn't exist yet.", hint)
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
        return failed_line(FAIL, what, StoreUnusable("The store can't be written", hint=hint))
    except DyndnsError as error:
        return failed_line(FAIL, what, error)
    kind = "postgresql" if file is None else "sqlite"
    return Line(OK, what, f"{kind}: can be read and written.")


def notify(parser: argparse.ArgumentParser) -> None:
    """Sends a test message to every notification channel."""
    parser.set_defaults(run=run_notify)
    parser.add_argument("what", choices=["test"], help="send a test message")


def run_notify(_arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Print the result for each channel; return 1 if one of them fails."""
    settings, _ = read(environ)
    lines = send_test(settings.ntfy, "`notify test`")
    if not lines:
        hint = "set NTFY_URL and NTFY_TOPIC, or NOTIFY_URLS."
        raise SettingUnusable("No notifications are set up", hint=hint)
    print_table(("STATE", "CHANNEL", "FOUND"), _rows(lines))
    return 1 if any(line.state == FAIL for line in lines) else 0
