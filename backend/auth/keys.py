"""Which keys are valid for which host?

An editor empties the key file and then writes it, without a lock. Until the file has been unchanged
for `GRACE_SECONDS`, the keys known before stay accepted.
"""

from __future__ import annotations

import contextlib
import errno
import hmac
import logging
import math
import os
import secrets
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Iterable, Mapping, Tuple

from backend.auth import key_storage
from backend.auth.key_storage import GRACE_SECONDS, BadText
from backend.errors import KeyFileUnusable, KeysUnavailable
from backend.model import Hostname, digest

SHORTEST = 16
_LOOKS = 5
_NO_KEY = os.urandom(32)

_FULL = "free space on its disk"
_HINTS = {
    errno.EROFS: "mount it writable, or write a line `<fqdn> <key>` for each host yourself",
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EFBIG: _FULL,
}
_START_FIRST = "start the service once to create it, or run this in the service's folder"
_RESTORE = "before you restart: a restart would generate new keys"
_EMPTY = BadText("it has no key any more", f"restore its keys {_RESTORE}")
_KEPT = "The keys read before stay in use."
_NONE_YET = "No host's key is known: updates are answered 503 until the file can be read."

logger = logging.getLogger(__name__)

_State = Tuple[int, ...]


def unusable(path: Path, error: OSError | BadText, missing: str = _START_FIRST) -> KeyFileUnusable:
    """Return the error that the operator sees; `missing` is the hint if there is no file."""
    if os.path.isdir(path):  # noqa: PTH112 - Path.is_dir may raise PermissionError
        problem = "it is a directory (Docker makes one when a mounted file is missing)"
        hint = "remove it, then `touch` the file, `chown 1000:1000` and `chmod 600` it"
    elif isinstance(error, (FileNotFoundError, NotADirectoryError)) and not path.parent.is_dir():
        problem = f"the folder {path.parent} doesn't exist"
        hint = "create it, or name another file"
    elif isinstance(error, BadText):
        problem, hint = str(error), error.hint
    else:
        problem = str(error.strerror)
        hint = {errno.ENOENT: missing, **_HINTS}.get(error.errno or 0, "") or (
            f"let this user (uid {os.getuid()}) read and write the file, or the file mounted "
            f"there: `chown {os.getuid()} {path}`"
        )
    return KeyFileUnusable(f"PRE_SHARED_KEY_FILE: can't use {path}: {problem}", hint=f"{hint}.")


@dataclass(repr=False)
class AcceptedKeys:
    """The keys of each host: the newest one, and the previous one during an edit of the file."""

    newest: Mapping[Hostname, str]
    before: Mapping[Hostname, str]

    def __post_init__(self) -> None:
        # Digests have one length, so that comparing them takes the same time for every key.
        both = (self.newest, self.before)
        self._digests = [{host: digest(key) for host, key in keys.items()} for keys in both]

    def open(self, host: Hostname, presented: bytes) -> bool:
        """Return whether a digest is that of a key of the host.

        Both keys are compared, or a random text in place of a missing key, so that timing doesn't
        reveal which keys exist.
        """
        right = [hmac.compare_digest(keys.get(host, _NO_KEY), presented) for keys in self._digests]
        return any(right)


NO_KEYS = AcceptedKeys({}, {})


class KeyFile:
    """The keys of all hosts, reread when the file changes. Safe to share between threads."""

    def __init__(
        self,
        path: Path,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = path
        self._clock = clock
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._state: _State = ()  # of the file when it was last read
        self._accepted = NO_KEYS
        self._complete_keys: Mapping[Hostname, str] = {}  # of the last complete content
        self._grace_ends = math.inf  # monotonic; the content counts as complete then
        self._has_complained = False

    def keys(self) -> Mapping[Hostname, str]:
        """Return each host's newest key; raise as `accepted` does."""
        return self.accepted().newest

    def accepted(self) -> AcceptedKeys:
        """Return the keys that are accepted now: the same object until they change.

        While the file can't be read, or has lost all its keys, the last good keys stay accepted.
        An invalid line affects no other line.

        Raises:
            KeysUnavailable: this process hasn't read the file successfully yet.

        """
        try:
            if _state_of(self._path) != self._state or self._monotonic() >= self._grace_ends:
                with self._lock:
                    self._read_again()
            self._has_complained = False
        except (OSError, BadText) as error:
            if not self._has_complained:
                self._has_complained = True
                problem = unusable(self._path, error, f"restore it {_RESTORE}")
                logger.error("%s %s", problem, _KEPT if self._state else _NONE_YET)  # noqa: TRY400
            if not self._state:
                raise KeysUnavailable("The key file can't be read right now.") from None
        return self._accepted

    def _read_again(self) -> None:
        before = _state_of(self._path)
        if before == self._state and self._monotonic() < self._grace_ends:
            return  # another thread has read it meanwhile
        content = key_storage.read_bytes(self._path)
        after = _state_of(self._path)
        # The first time, there are no earlier keys to keep.
        is_edited = self._state not in ((), after)
        wait = _grace_left(after, self._clock()) if is_edited else 0.0
        if wait > 0:
            # The text after the last line feed may be half a key, so it replaces no known key.
            whole, feed, rest = content.decode("utf-8", "replace").rpartition("\n")
            unfinished, _ = key_storage.parse_lines(rest)
            finished, _ = key_storage.parse_lines(whole + feed)
            newest = {**unfinished, **self._accepted.newest, **finished}
            self._accepted = AcceptedKeys(newest, self._complete_keys)
            self._grace_ends = self._monotonic() + wait
        else:
            keys, problems = key_storage.parse_lines(key_storage.decode(content))
            if problems:
                problem = unusable(self._path, problems[0])
                logger.error("%s The other lines count. %s", problem, _KEPT)
            elif self._complete_keys and not keys:
                logger.error("%s %s", unusable(self._path, _EMPTY), _KEPT)
            self._complete_keys = {**self._complete_keys, **keys} if problems or not keys else keys
            self._accepted = AcceptedKeys(self._complete_keys, {})
            self._grace_ends = math.inf
        self._state = before

    def read(self) -> Mapping[Hostname, str]:
        """Return the keys that are in the file now; raise `KeyFileUnusable` for any problem."""
        try:
            return key_storage.parse(key_storage.read(self._path))
        except (OSError, BadText) as error:
            raise unusable(self._path, error) from None

    def await_editor(self) -> None:
        """Wait until no edit is running, and read the file; `accepted` reports errors later."""
        with contextlib.suppress(OSError, BadText, KeysUnavailable):
            _await_editor(self._path)
            self.accepted()

    def complete(self, hosts: Iterable[Hostname]) -> None:
        """Append a new key for each host that has none in the file.

        The file is written in place, since it may be a bind mount, which can't be replaced. If a
        key is missing or a line is invalid, this waits for a running edit of the file to end.

        Raises:
            KeyFileUnusable: the file can't be read, or a key is missing and can't be written.

        """
        hosts = tuple(hosts)
        try:
            keys: Mapping[Hostname, str] = {}
            if self._path.exists():
                keys, problems = key_storage.parse_lines(key_storage.read(self._path))
                if problems or not keys.keys() >= set(hosts):
                    _await_editor(self._path)
                    keys = key_storage.parse(key_storage.read(self._path))
            new = {host: secrets.token_urlsafe(32) for host in hosts if host not in keys}
            added = key_storage.append(self._path, new) if new else []
            key_storage.tighten(self._path)
        except (OSError, BadText) as error:
            raise unusable(self._path, error, missing="") from None
        if added:
            logger.info("New keys in %s for %s.", self._path, ", ".join(map(str, added)))
        for host, key in keys.items():
            if len(key) < SHORTEST:
                logger.warning(
                    "The key of %s has fewer than %d characters: use a longer one.", host, SHORTEST
                )

    def rotate(self, host: Hostname) -> str:
        """Give a host a new key and return it; raise as `replace` does."""
        key = secrets.token_urlsafe(32)
        self.replace(host, key)
        return key

    def replace(self, host: Hostname, key: str) -> None:
        """Give a host this key, after waiting for a running edit of the file to end.

        The old key is invalid at once. The rest of the file stays unchanged, with its comments.

        Raises:
            KeyFileUnusable: the file can't be read or written.

        """
        try:
            _await_editor(self._path)
            key_storage.replace(self._path, host, key)
        except (OSError, BadText) as error:
            raise unusable(self._path, error) from None


def _state_of(path: Path) -> _State:
    """Return the modification time, size and inode of the file, to notice a change."""
    found = path.stat()
    return found.st_mtime_ns, found.st_size, found.st_ino


def _grace_left(state: _State, now: float) -> float:
    """Return for how long the file must stay unchanged until it counts as complete."""
    age = now - state[0] / 1e9
    return min(GRACE_SECONDS, max(0.0, GRACE_SECONDS - age))


def _await_editor(path: Path) -> None:
    """Wait until the file has been unchanged for `GRACE_SECONDS`; raise `OSError` or `BadText`."""
    before = _state_of(path)
    for _ in range(_LOOKS):
        time.sleep(_grace_left(before, time.time()))
        now = _state_of(path)
        if now == before:
            return
        before = now
    raise BadText("it keeps changing", "stop the program that writes it")
