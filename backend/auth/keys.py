"""Which keys open which host, and how credentials are compared.

An editor empties the key file and then writes it, without a lock. Until the file has been unchanged
for `SETTLE_SECONDS`, the keys known before stay accepted.
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
from typing import Callable, Iterable, List, Mapping, Tuple, Union

from backend.auth import key_storage
from backend.auth.key_storage import BadText, parse, sound_lines
from backend.errors import KeyFileUnusable, KeysUnavailable
from backend.model import Hostname, digest

logger = logging.getLogger(__name__)


def same(one: str, other: str) -> bool:
    """Compare in constant time, whatever the lengths."""
    return hmac.compare_digest(digest(one), digest(other))


_FULL = "make room on its disk"
# What helps where it isn't the file's owner that is wrong.
HINTS = {
    errno.EROFS: "mount it writable, or write a line `<fqdn> <key>` for each host yourself",
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EFBIG: _FULL,
}
_HINTS_AFTER_START = {
    errno.ENOENT: "start the service once, and it makes one, or run this in the service's folder",
    **HINTS,
}


def unusable(
    path: Path,
    error: Union[OSError, BadText],
    hints: Mapping[int, str] = _HINTS_AFTER_START,
) -> KeyFileUnusable:
    """Return the error that a failure with the file means to the operator."""
    if isinstance(error, IsADirectoryError) or _is_folder(path, unknown=False):
        problem = "it is a directory (Docker makes one when a mounted file is missing)"
        hint = "remove it, then `touch` the file, `chown 1000:1000` and `chmod 600` it"
    elif not _is_folder(path.parent, unknown=True):
        problem, hint = f"the folder {path.parent} doesn't exist", "create it, or name another file"
    elif isinstance(error, BadText):
        problem, hint = str(error), error.hint
    else:
        problem, hint = _refusal(path, error, hints)
    return KeyFileUnusable(f"PRE_SHARED_KEY_FILE: can't use {path}: {problem}", hint=f"{hint}.")


def _refusal(path: Path, error: OSError, hints: Mapping[int, str]) -> Tuple[str, str]:
    hint = hints.get(error.errno or 0, "") or (
        f"let this user (uid {os.getuid()}) read and write it, as in "
        f"`chown {os.getuid()} {path}`, or of the file that is mounted there"
    )
    return str(error.strerror), hint


def _is_folder(path: Path, *, unknown: bool) -> bool:
    """Whether a path is a folder; `unknown` where this user may not look."""
    try:
        return path.is_dir()
    except OSError:
        return unknown


SHORTEST = 16
_NO_KEY = os.urandom(32)

_RESTORE = "before you restart: a restart would generate new keys"
_HINTS_WHILE_SERVING = {errno.ENOENT: f"restore it {_RESTORE}", **HINTS}
_EMPTY = BadText("it has no key any more", f"restore its keys {_RESTORE}")
_STAY = "The keys read before stay in use."


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
        """Whether a digest is that of a key of the host.

        Both keys are compared, or what stands in for them: the time doesn't show which ones exist.
        """
        right = [hmac.compare_digest(keys.get(host, _NO_KEY), presented) for keys in self._digests]
        return any(right)


NO_KEYS = AcceptedKeys({}, {})


class KeyFile:
    """Knows every host's key, and notices when the file changes. Safe to share between threads."""

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
        self._stamp: Tuple[int, ...] = ()
        self._accepted = NO_KEYS
        self._settled: Mapping[Hostname, str] = {}
        self._settles_at = math.inf  # monotonic: from when on the last content counts as complete
        self._complained = False

    def keys(self) -> Mapping[Hostname, str]:
        """Return each host's newest key; raise as `accepted` does."""
        return self.accepted().newest

    def accepted(self) -> AcceptedKeys:
        """Return the keys that are accepted now: the same object until they change.

        While the file can't be read, or has lost all its keys, the last good keys stay accepted. A
        bad line invalidates no other line.

        Raises:
            KeysUnavailable: this process hasn't read the file successfully yet.

        """
        try:
            stamp = key_storage.stamp(self._path)
            if stamp != self._stamp or self._monotonic() >= self._settles_at:
                with self._lock:
                    self._read_again()
            self._complained = False
        except (OSError, BadText) as error:
            self._complain(error)
            if not self._stamp:
                raise KeysUnavailable("The key file can't be read right now.") from None
        return self._accepted

    def _read_again(self) -> None:
        stamp = key_storage.stamp(self._path)
        if stamp == self._stamp and self._monotonic() < self._settles_at:
            return  # another thread has read it meanwhile
        content = key_storage.content(self._path)
        after = key_storage.stamp(self._path)
        # The first reading has no earlier keys to keep.
        is_edited = self._stamp not in ((), after)
        wait = key_storage.seconds_to_settle(after, self._clock()) if is_edited else 0.0
        if wait > 0:
            newest = self._newest(content.decode("utf-8", "replace"))
            self._accepted = AcceptedKeys(newest, self._settled)
            self._settles_at = self._monotonic() + wait
        else:
            self._settled = self._sound(key_storage.text(content))
            self._accepted = AcceptedKeys(self._settled, {})
            self._settles_at = math.inf
        self._stamp = stamp

    def _newest(self, text: str) -> Mapping[Hostname, str]:
        """Return the known keys and those of a file that may be incomplete; ignore its flaws.

        The text after the last line feed may be half a key, so it replaces no known key.
        """
        whole, feed, rest = text.rpartition("\n")
        keys, _ = sound_lines(whole + feed)
        unfinished, _ = sound_lines(rest)
        return {**unfinished, **self._accepted.newest, **keys}

    def _complain(self, error: Union[OSError, BadText]) -> None:
        if not self._complained:
            self._complained = True
            none = "No host's key is known: updates are answered 503 until it can be read."
            problem = unusable(self._path, error, _HINTS_WHILE_SERVING)
            logger.error("%s %s", problem, _STAY if self._stamp else none)

    def _sound(self, text: str) -> Mapping[Hostname, str]:
        keys, problems = sound_lines(text)
        if problems:
            problem = unusable(self._path, problems[0])
            logger.error("%s The other lines count. %s", problem, _STAY)
        elif self._settled and not keys:
            logger.error("%s %s", unusable(self._path, _EMPTY), _STAY)
        else:
            return keys
        return {**self._settled, **keys}

    def read(self) -> Mapping[Hostname, str]:
        """Return the keys; raise `KeyFileUnusable` where `keys` would go on with those before."""
        try:
            return parse(key_storage.read(self._path))
        except (OSError, BadText) as error:
            raise unusable(self._path, error) from None

    def await_editor(self) -> None:
        """Wait until no edit is running, and read the file; `accepted` reports errors later."""
        with contextlib.suppress(OSError, BadText, KeysUnavailable):
            key_storage.await_editor(self._path)
            self.accepted()

    def complete(self, hosts: Iterable[Hostname]) -> None:
        """Give each host without a key a new one, written to the end of the file.

        The file is written in place, since it may be a bind mount, which can't be replaced. If a
        key is missing or a line is bad, this waits for a running edit of the file to end.

        Raises:
            KeyFileUnusable: it can't be read, or can't be written and has to be.

        """
        hosts = tuple(hosts)
        try:
            keys = self._all(hosts)
            new = key_storage.append(self._path, _missing(hosts, keys))
            key_storage.tighten(self._path)
            if new:
                logger.info("New keys in %s for %s.", self._path, ", ".join(map(str, new)))
        except (OSError, BadText) as error:
            raise unusable(self._path, error, HINTS) from None
        for host, key in keys.items():
            if len(key) < SHORTEST:
                logger.warning(
                    "The key of %s has fewer than %d characters: use a longer one.", host, SHORTEST
                )

    def _all(self, hosts: Iterable[Hostname]) -> Mapping[Hostname, str]:
        """Return the keys of the file; wait for a running edit to end if one is missing."""
        if not self._path.exists():
            return {}
        keys, problems = sound_lines(key_storage.read(self._path))
        if problems or _missing(hosts, keys):
            key_storage.await_editor(self._path)
            return parse(key_storage.read(self._path))
        return keys

    def rotate(self, host: Hostname) -> str:
        """Give a host a new key and return it; the old one is invalid at once.

        Raises:
            KeyFileUnusable: the file can't be read or written.

        """
        key = secrets.token_urlsafe(32)
        self.replace(host, key)
        return key

    def replace(self, host: Hostname, key: str) -> None:
        """Give a host this key. The rest of the file stays as it is, comments and all.

        Raises:
            KeyFileUnusable: the file can't be read or written.

        """
        try:
            key_storage.replace(self._path, host, key)
        except (OSError, BadText) as error:
            raise unusable(self._path, error) from None


def _missing(hosts: Iterable[Hostname], keys: Mapping[Hostname, str]) -> List[Hostname]:
    return [host for host in hosts if host not in keys]
