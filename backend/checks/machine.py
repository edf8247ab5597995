"""Tries for real what the service needs on this machine: settings, key file, store, ntfy."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator, Sequence
from urllib.parse import urlsplit

from backend.access.keys import SHORTEST, KeyFile
from backend.errors import DyndnsError, SettingUnusable, StoreUnavailable
from backend.plural import counted
from backend.reporting.ntfy import Ntfy, Push, PushFailed, PushRefused
from backend.settings import AccessSettings, NtfySettings, Settings
from backend.store import Store, describe_store, require_store

OK, WARN, FAIL = "ok", "warn", "fail"


@dataclass(frozen=True)
class Line:
    """One thing that was tried. Nothing in it is secret."""

    state: str
    what: str
    found: str
    mend: str = ""


def told(state: str, what: str, error: DyndnsError) -> Line:
    """Return what an error says, its mend apart."""
    return Line(state, what, error.seen, error.mend)


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
        mend = "Each gets one at the next start." if is_writable else _let_write(path)
        yield Line(WARN if is_writable else FAIL, what, found, mend)
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
    mend = f"Make the folder {folder}, and let uid {os.getuid()} write there."
    return Line(FAIL, what, f"{path} isn't there, and can't be made.", mend)


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
