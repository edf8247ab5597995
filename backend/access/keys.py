"""The pre-shared-key file: one key a host, kept as the operator left it."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import secrets
import time
from pathlib import Path
from typing import Iterable, Iterator, Mapping, Tuple, Union

from backend.access.key_flaws import MENDS, unusable
from backend.access.key_lines import BOM, BadText, parse, replaced, sound_lines
from backend.errors import KeysUnavailable
from backend.model import Hostname

SHORTEST = 16
_MODE = 0o600
_OTHERS = 0o077

# Started anew, it would give every host a new key.
_MENDS_WHILE_SERVING = {errno.ENOENT: "put it back, and don't start again before", **MENDS}

logger = logging.getLogger(__name__)


class KeyFile:
    """Knows every host's key, and notices when the file changes. Safe to share between threads."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp: Tuple[int, ...] = ()
        self._keys: Mapping[Hostname, str] = {}
        self._complained = False

    def keys(self) -> Mapping[Hostname, str]:
        """Return the keys as the file has them now.

        A file that can't be read any more costs no host its key: the last good state counts. Of
        one with a line that is none the others count, in every process alike.

        Raises:
            KeysUnavailable: this process could never read it yet.

        """
        try:
            stamp = _stamp(self._path)
            if stamp != self._stamp:
                self._keys = self._sound(_read(self._path))
                self._stamp = stamp
            self._complained = False
        except (OSError, BadText) as error:
            self._complain(error)
            if not self._stamp:
                raise KeysUnavailable("The key file can't be read right now.") from None
        return self._keys

    def _complain(self, error: Union[OSError, BadText]) -> None:
        if not self._complained:
            self._complained = True
            stays = "The keys read before stay in use."
            none = "No host's key is known: updates are answered 503 until it can be read."
            flaw = unusable(self._path, error, _MENDS_WHILE_SERVING)
            logger.error("%s %s", flaw, stays if self._stamp else none)

    def _sound(self, text: str) -> Mapping[Hostname, str]:
        keys, flaws = sound_lines(text)
        if not flaws:
            return keys
        flaw = unusable(self._path, flaws[0])
        logger.error("%s The other lines count. The keys read before stay in use.", flaw)
        return {**self._keys, **keys}

    def read(self) -> Mapping[Hostname, str]:
        """Return the keys; raise `KeyFileUnusable` where `keys` would go on with those before."""
        try:
            return parse(_read(self._path))
        except (OSError, BadText) as error:
            raise unusable(self._path, error) from None

    def complete(self, hosts: Iterable[Hostname]) -> None:
        """Give each host without a key a new one, written to the end of the file.

        The file is written in place, for it may be a bind mount, which can't be replaced.

        Raises:
            KeyFileUnusable: it can't be read, or can't be written and has to be.

        """
        try:
            text = _read(self._path) if self._path.exists() else ""
            keys = parse(text)
            new = [host for host in hosts if host not in keys]
            if new:
                _append(self._path, text, new)
            _tighten(self._path)
            if new:
                logger.info("New keys in %s for %s.", self._path, ", ".join(map(str, new)))
        except (OSError, BadText) as error:
            raise unusable(self._path, error, MENDS) from None
        for host, key in keys.items():
            if len(key) < SHORTEST:
                logger.warning(
                    "The key of %s has fewer than %d characters: use a longer one.", host, SHORTEST
                )

    def rotate(self, host: Hostname) -> str:
        """Give a host a new key and return it; the old one opens nothing from now on.

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
            with _locked(self._path) as descriptor:
                old = _contents(descriptor)
                new = replaced(_text(old), host, key).encode("utf-8")
                _overwrite(descriptor, old, new)
        except (OSError, BadText) as error:
            raise unusable(self._path, error) from None


def _stamp(path: Path) -> Tuple[int, ...]:
    found = path.stat()
    return (found.st_mtime_ns, found.st_size, found.st_ino)


def _read(path: Path) -> str:
    with path.open("rb") as file:
        # Not while somebody overwrites it: half a line would be no key.
        with contextlib.suppress(OSError):  # where nothing can be locked, hardly anybody does
            fcntl.flock(file, fcntl.LOCK_SH)
        return _text(file.read()).lstrip(BOM)


def _text(content: bytes) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        raise BadText("it is no UTF-8 text", "save it as UTF-8") from None


def _append(path: Path, text: str, hosts: Iterable[Hostname]) -> None:
    lines = "".join(f"{host} {secrets.token_urlsafe(32)}\n" for host in hosts)
    if text and not text.endswith("\n"):
        lines = "\n" + lines
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, _MODE)
    size = os.fstat(descriptor).st_size
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        _write_all(descriptor, lines.encode("utf-8"))
    except OSError:
        os.ftruncate(descriptor, size)  # half a line would stop the next start
        raise
    finally:
        os.close(descriptor)


def _write_all(descriptor: int, rest: bytes) -> None:
    while rest:
        rest = rest[os.write(descriptor, rest) :]
    os.fsync(descriptor)


def _tighten(path: Path) -> None:
    """Keep other users out; where that can't be done, as on a network share, it is said."""
    if not path.exists() or not path.stat().st_mode & _OTHERS:
        return
    with contextlib.suppress(OSError):
        path.chmod(_MODE)
    if path.stat().st_mode & _OTHERS:
        logger.warning("Other users can read %s: let its owner `chmod 600` it.", path)
    else:
        logger.info("Other users could read %s: it has mode 600 now.", path)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[int]:
    """Open the file for changes by one process at a time."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


def _contents(descriptor: int) -> bytes:
    return os.pread(descriptor, os.fstat(descriptor).st_size, 0)


def _overwrite(descriptor: int, old: bytes, new: bytes) -> None:
    """Write in place, for the file may be a bind mount; put the old text back if that fails."""
    try:
        _write_at_once(descriptor, new)
    except OSError:
        with contextlib.suppress(OSError):
            _write_at_once(descriptor, old)
        raise
    # Two changes within one tick of the file system's clock would look like one.
    os.utime(descriptor, ns=(time.time_ns(), time.time_ns()))


def _write_at_once(descriptor: int, text: bytes) -> None:
    done = 0
    while done < len(text):
        done += os.pwrite(descriptor, text[done:], done)
    os.ftruncate(descriptor, len(text))
    os.fsync(descriptor)
