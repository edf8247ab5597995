"""The lines of the key file, and how the file is read and written."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import re
import secrets
import stat
import time
from pathlib import Path
from typing import BinaryIO, Dict, Iterable, List, NamedTuple, Tuple

from backend.errors import BadHostname
from backend.model import Hostname

logger = logging.getLogger(__name__)

BOM = "\ufeff"
_COMMENT = re.compile(r"(?:^|\s)#.*")  # a key may hold a #
_LINE = re.compile(r"(\s*\S+\s+)\S+")
_HINT = "write a host name, a blank and its key, without quotes"


class BadText(Exception):
    """What the file holds is no keys. Its flaw and its mend hold nothing of the text."""

    def __init__(self, problem: str, hint: str) -> None:
        """Take both as parts of a sentence."""
        super().__init__(problem)
        self.hint = hint


def parse(text: str) -> Dict[Hostname, str]:
    """Return the keys; raise `BadText` for a line that is none."""
    keys, problems = sound_lines(text)
    if problems:
        raise problems[0]
    return keys


def sound_lines(text: str) -> Tuple[Dict[Hostname, str], List[BadText]]:
    """Return the keys of the lines that have one, and what is wrong with the others."""
    keys: Dict[Hostname, str] = {}
    problems: List[BadText] = []
    for number, line in enumerate(text.lstrip(BOM).splitlines(), 1):
        fields = _COMMENT.sub("", line).split()
        if not fields:
            continue
        try:
            name, key = fields
            host = Hostname.parse(name)
        except (ValueError, BadHostname):
            # Never the line itself: it may hold a key.
            problems.append(BadText(f"line {number} isn't `<fqdn> <key>`", _HINT))
            continue
        if host in keys:
            logger.warning("The key file has %s twice: line %d counts.", host, number)
        keys[host] = key
    return keys, problems


def replaced(text: str, host: Hostname, key: str) -> str:
    """Return the text with another key for a host: in its last line, for that one counts."""
    known = parse(text)
    if host not in known:
        return text + ("" if text.endswith("\n") or not text else "\n") + f"{host} {key}\n"
    lines = text.splitlines(keepends=True)
    place = max(number for number, line in enumerate(lines) if _is_of(host, line))
    lines[place] = _LINE.sub(lambda found: found[1] + key, lines[place], count=1)
    return "".join(lines)


def _is_of(host: Hostname, line: str) -> bool:
    fields = _COMMENT.sub("", line).lstrip(BOM).split()
    return bool(fields) and Hostname.parse(fields[0]) == host


# A file whose last change is more recent than this may be incomplete.
SETTLE_SECONDS = 2.0
_LOOKS = 5
# Our own commands hold the lock for some milliseconds. A longer lock delays no reader.
_LOCK_SECONDS = 1.0
_LOCK_POLL_SECONDS = 0.01
_LARGEST = 16 * 1024 * 1024  # bytes; a line a host
_MODE = 0o600
_OTHERS = 0o077


class Stamp(NamedTuple):
    """One state of the file."""

    mtime_ns: int
    size: int
    inode: int


def stamp(path: Path) -> Stamp:
    """Return the current state of the file, to notice a change."""
    found = path.stat()
    return Stamp(found.st_mtime_ns, found.st_size, found.st_ino)


def seconds_to_settle(stamp: Stamp, now: float) -> float:
    """Return for how long a file must stay unchanged until it counts as complete."""
    age = now - stamp.mtime_ns / 1e9
    return min(SETTLE_SECONDS, max(0.0, SETTLE_SECONDS - age))


def await_editor(path: Path) -> None:
    """Wait until the file has been unchanged for `SETTLE_SECONDS`.

    Raises:
        OSError: the file is missing or can't be accessed.
        BadText: the file keeps changing.

    """
    before = stamp(path)
    for _ in range(_LOOKS):
        time.sleep(seconds_to_settle(before, time.time()))
        now = stamp(path)
        if now == before:
            return
        before = now
    raise BadText("it keeps changing", "stop the program that writes it")


def read(path: Path) -> str:
    """Return the text of the file; raise `OSError`, or `BadText` if it isn't UTF-8."""
    return text(content(path))


def content(path: Path) -> bytes:
    """Return the bytes of the file; raise `OSError`, or `BadText` if it can hold no keys."""
    with open(path, "rb", opener=_open_at_once) as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise BadText("it is no regular file", "write the keys into a file of their own")
        if found.st_size > _LARGEST:
            raise BadText("it is too large to be a key file", "restore its keys")
        _lock_to_read(file)
        return file.read()


def _open_at_once(path: str, flags: int) -> int:
    """Open a file without waiting for a writer, in case it is a pipe."""
    return os.open(path, flags | os.O_NONBLOCK)


def _lock_to_read(file: BinaryIO) -> None:
    """Wait, within bounds, for a process of ours that is writing the file."""
    end = time.monotonic() + _LOCK_SECONDS
    with contextlib.suppress(OSError):  # the file system may not support locks
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > end:
                    return
                time.sleep(_LOCK_POLL_SECONDS)
            else:
                return


def text(content: bytes) -> str:
    """Decode the bytes of the file; raise `BadText` if they aren't UTF-8."""
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        raise BadText("it is no UTF-8 text", "save it as UTF-8") from None


def append(path: Path, hosts: Iterable[Hostname]) -> List[Hostname]:
    """Append new keys for the hosts that have none in the file; return these hosts.

    Raises:
        OSError: the file can't be written; its content is unchanged.
        BadText: the file contains a bad line.

    """
    hosts = list(hosts)
    if not hosts:
        return []
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, _MODE)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        before = _contents(descriptor)
        known = parse(text(before))
        new = [host for host in hosts if host not in known]
        lines = "".join(f"{host} {secrets.token_urlsafe(32)}\n" for host in new)
        if before and not before.endswith(b"\n"):
            lines = "\n" + lines
        try:
            _write_all(descriptor, lines.encode("utf-8"))
        except OSError:
            os.ftruncate(descriptor, len(before))  # half a line would make the next start fail
            raise
        _settle(descriptor)
    finally:
        os.close(descriptor)
    return new


def _write_all(descriptor: int, rest: bytes) -> None:
    while rest:
        rest = rest[os.write(descriptor, rest) :]
    os.fsync(descriptor)


def tighten(path: Path) -> None:
    """Deny other users access, or log that this failed, as on a network share."""
    if not path.exists() or not path.stat().st_mode & _OTHERS:
        return
    with contextlib.suppress(OSError):
        path.chmod(_MODE)
    if path.stat().st_mode & _OTHERS:
        logger.warning("Other users can read %s: let its owner `chmod 600` it.", path)
    else:
        logger.info("Other users could read %s: it has mode 600 now.", path)


def replace(path: Path, host: Hostname, key: str) -> None:
    """Give a host another key, after waiting for a running edit of the file to end.

    Raises:
        OSError: the file can't be read or written; its content is unchanged.
        BadText: the file contains a bad line, or keeps changing.

    """
    await_editor(path)
    descriptor = os.open(path, os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        old = _contents(descriptor)
        _overwrite(descriptor, old, replaced(text(old), host, key).encode("utf-8"))
        _settle(descriptor)
    finally:
        os.close(descriptor)


def _settle(descriptor: int) -> None:
    """Set the modification time back: our change is complete, so it ends old keys at once.

    The nanoseconds differ between two changes within one tick of the file system's clock.
    """
    now = time.time_ns()
    with contextlib.suppress(PermissionError):  # another user owns the file
        os.utime(descriptor, ns=(now, now - int(SETTLE_SECONDS * 1e9)))


def _contents(descriptor: int) -> bytes:
    return os.pread(descriptor, os.fstat(descriptor).st_size, 0)


def _overwrite(descriptor: int, old: bytes, new: bytes) -> None:
    """Write in place, since the file may be a bind mount; restore the old text on failure."""
    try:
        _write_at_once(descriptor, new)
    except OSError:
        with contextlib.suppress(OSError):
            _write_at_once(descriptor, old)
        raise


def _write_at_once(descriptor: int, text: bytes) -> None:
    done = 0
    while done < len(text):
        done += os.pwrite(descriptor, text[done:], done)
    os.ftruncate(descriptor, len(text))
    os.fsync(descriptor)
