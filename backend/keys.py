"""The pre-shared-key file: one key a host, kept as the operator left it."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import re
import secrets
import time
from pathlib import Path
from typing import Dict, Iterable, Iterator, Mapping, Tuple

from backend.errors import BadHostname, KeyFileUnusable
from backend.model import Hostname

_COMMENT = re.compile(r"(?:^|\s)#.*")  # a key may hold a #
_LINE = re.compile(r"(\s*\S+\s+)\S+")
SHORTEST = 16
_MODE = 0o600
_BOM = "\ufeff"

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

        A file that can't be read any more costs no host its key: the last good state counts.
        """
        try:
            stamp = _stamp(self._path)
            if stamp != self._stamp:
                self._keys = _parse(_read(self._path))
                self._stamp = stamp
            self._complained = False
        except (OSError, KeyFileUnusable) as error:
            if not self._complained:
                flaw = _flaw(self._path, error)
                logger.error("%s The keys read before stay in use.", flaw)  # noqa: TRY400
                self._complained = True
        return self._keys

    def read(self) -> Mapping[Hostname, str]:
        """Return the keys; raise `KeyFileUnusable` where `keys` would go on with those before."""
        try:
            return _parse(_read(self._path))
        except (OSError, KeyFileUnusable) as error:
            raise KeyFileUnusable(_flaw(self._path, error)) from None

    def complete(self, hosts: Iterable[Hostname]) -> None:
        """Give each host without a key a new one, written to the end of the file.

        The file is written in place, for it may be a bind mount, which can't be replaced.

        Raises:
            KeyFileUnusable: it can't be read, or can't be written and has to be.

        """
        try:
            text = _read(self._path) if self._path.exists() else ""
            keys = _parse(text)
            new = [host for host in hosts if host not in keys]
            if new:
                _append(self._path, text, new)
                logger.info("New keys in %s for %s.", self._path, ", ".join(map(str, new)))
        except (OSError, KeyFileUnusable) as error:
            raise KeyFileUnusable(_flaw(self._path, error)) from None
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
                new = _replaced(_text(old), host, key).encode("utf-8")
                _overwrite(descriptor, old, new)
        except (OSError, KeyFileUnusable) as error:
            raise KeyFileUnusable(_flaw(self._path, error)) from None


def _stamp(path: Path) -> Tuple[int, ...]:
    found = path.stat()
    return (found.st_mtime_ns, found.st_size, found.st_ino)


def _read(path: Path) -> str:
    with path.open("rb") as file:
        # Not while somebody overwrites it: half a line would be no key.
        with contextlib.suppress(OSError):  # where nothing can be locked, hardly anybody does
            fcntl.flock(file, fcntl.LOCK_SH)
        return _text(file.read()).lstrip(_BOM)


def _text(content: bytes) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        raise KeyFileUnusable("it is no UTF-8 text") from None


def _parse(text: str) -> Dict[Hostname, str]:
    keys: Dict[Hostname, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        fields = _COMMENT.sub("", line).split()
        if not fields:
            continue
        try:
            name, key = fields
            host = Hostname.parse(name)
        except (ValueError, BadHostname):
            # Never the line itself: it may hold a key.
            raise KeyFileUnusable(f"line {number} isn't `<fqdn> <key>`") from None
        if host in keys:
            logger.warning("The key file has %s twice: line %d counts.", host, number)
        keys[host] = key
    return keys


def _append(path: Path, text: str, hosts: Iterable[Hostname]) -> None:
    lines = "".join(f"{host} {secrets.token_urlsafe(32)}\n" for host in hosts)
    if text and not text.endswith("\n"):
        lines = "\n" + lines
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, _MODE)
    size = os.fstat(descriptor).st_size
    try:
        os.fchmod(descriptor, _MODE)
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


def _replaced(text: str, host: Hostname, key: str) -> str:
    """Return the text with another key for a host: in its last line, for that one counts."""
    known = _parse(text.lstrip(_BOM))
    if host not in known:
        return text + ("" if text.endswith("\n") or not text else "\n") + f"{host} {key}\n"
    lines = text.splitlines(keepends=True)
    place = max(number for number, line in enumerate(lines) if _is_of(host, line))
    lines[place] = _LINE.sub(lambda found: found[1] + key, lines[place], count=1)
    return "".join(lines)


def _is_of(host: Hostname, line: str) -> bool:
    fields = _COMMENT.sub("", line).lstrip(_BOM).split()
    return bool(fields) and Hostname.parse(fields[0]) == host


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


def _flaw(path: Path, error: Exception) -> str:
    if isinstance(error, IsADirectoryError) or path.is_dir():
        return (
            f"PRE_SHARED_KEY_FILE: {path} is a directory (Docker makes one when a mounted file is "
            f"missing): remove it, then `touch` the file, `chown 1000:1000` and `chmod 600` it."
        )
    if isinstance(error, OSError):
        return (
            f"PRE_SHARED_KEY_FILE: can't use {path} ({error.strerror}): let this user (uid "
            f"{os.getuid()}) read and write it, as in `chown {os.getuid()} {path}`."
        )
    return f"PRE_SHARED_KEY_FILE: can't use {path}: {error}."
