"""The key file: its format, and how it is read and written."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import re
import stat
import time
from pathlib import Path
from typing import Callable, Mapping

from backend.errors import BadHostname
from backend.model import Hostname

# A file that was changed more recently may be incomplete: an editor may still write it.
GRACE_SECONDS = 2.0
# Our own commands hold the lock for some milliseconds. A longer lock delays no reader.
_LOCK_SECONDS = 1.0
_LOCK_POLL_SECONDS = 0.01
_LARGEST = 16 * 1024 * 1024  # bytes; each host needs one line
_MODE = 0o600
_OTHERS = 0o077

_BOM = "\ufeff"
_COMMENT = re.compile(r"(?:^|\s)#.*")  # a key may contain a #
_LINE = re.compile(r"(\s*\S+\s+)\S+")

logger = logging.getLogger(__name__)


class BadText(Exception):
    """The file is invalid. Neither the problem nor the hint quotes its content."""

    def __init__(self, problem: str, hint: str) -> None:
        """Take both as parts of a sentence."""
        super().__init__(problem)
        self.hint = hint


def parse(text: str) -> dict[Hostname, str]:
    """Return the keys; raise `BadText` for an invalid line."""
    keys, problems = parse_lines(text)
    if problems:
        raise problems[0]
    return keys


def parse_lines(text: str) -> tuple[dict[Hostname, str], list[BadText]]:
    """Return the keys of the valid lines, and the problems of the others."""
    keys: dict[Hostname, str] = {}
    problems: list[BadText] = []
    for number, line in enumerate(text.lstrip(_BOM).splitlines(), 1):
        fields = _COMMENT.sub("", line).split()
        if not fields:
            continue
        try:
            name, key = fields
            host = Hostname.parse(name)
        except (ValueError, BadHostname):
            hint = "write a host name, a space and its key, without quotes"
            problems.append(BadText(f"line {number} isn't `<fqdn> <key>`", hint))
            continue
        if host in keys:
            logger.warning("The key file contains %s twice: line %d counts.", host, number)
        keys[host] = key
    return keys, problems


def read_bytes(path: Path) -> bytes:
    """Return the content of the file; raise `OSError`, or `BadText` if it can't contain keys."""
    # Without O_NONBLOCK, opening a pipe would wait for a writer.
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise BadText("it is no regular file", "write the keys into a regular file")
        if found.st_size > _LARGEST:
            raise BadText("it is too large to be a key file", "restore its keys")
        end = time.monotonic() + _LOCK_SECONDS
        while time.monotonic() < end:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(_LOCK_POLL_SECONDS)
            except OSError:
                break  # the file system may not support locks
            else:
                break
        return file.read()


def decode(content: bytes) -> str:
    """Return the content as text; raise `BadText` if it isn't UTF-8."""
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        raise BadText("it is no UTF-8 text", "save it as UTF-8") from None


def read(path: Path) -> str:
    """Return the text of the file; raise `OSError` or `BadText`."""
    return decode(read_bytes(path))


def append(path: Path, keys: Mapping[Hostname, str]) -> list[Hostname]:
    """Append the keys of the hosts that have none in the file; return these hosts.

    Raises:
        OSError: the file can't be written; its content is unchanged.
        BadText: the file contains an invalid line.

    """
    new: list[Hostname] = []

    def change(text: str) -> str:
        known = parse(text)
        new.extend(host for host in keys if host not in known)
        return _appended(text, {host: keys[host] for host in new})

    _rewrite(path, change, os.O_CREAT)
    return new


def replace(path: Path, host: Hostname, key: str) -> None:
    """Replace the key in the last line of a host, which counts; raise as `append` does."""

    def change(text: str) -> str:
        if host not in parse(text):
            return _appended(text, {host: key})
        lines = text.splitlines(keepends=True)
        for number in reversed(range(len(lines))):
            fields = _COMMENT.sub("", lines[number]).lstrip(_BOM).split()
            if fields and Hostname.parse(fields[0]) == host:
                lines[number] = _LINE.sub(lambda found: found[1] + key, lines[number], count=1)
                break
        return "".join(lines)

    _rewrite(path, change)


def _appended(text: str, keys: Mapping[Hostname, str]) -> str:
    feed = "" if text.endswith("\n") or not text else "\n"
    return text + feed + "".join(f"{host} {key}\n" for host, key in keys.items())


def _rewrite(path: Path, change: Callable[[str], str], flags: int = 0) -> None:
    """Change the text in place, since the file may be a bind mount; restore it on failure."""
    descriptor = os.open(path, os.O_RDWR | flags, _MODE)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        old = os.pread(descriptor, os.fstat(descriptor).st_size, 0)
        new = change(decode(old)).encode("utf-8")
        try:
            _write(descriptor, new)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(descriptor, len(old))  # needs no space, unlike writing
                _write(descriptor, old)
            raise
        # The change is complete: an earlier modification time ends old keys at once. Its
        # nanoseconds differ between two changes within one tick of the file system's clock.
        now = time.time_ns()
        with contextlib.suppress(PermissionError):  # another user owns the file
            os.utime(descriptor, ns=(now, now - int(GRACE_SECONDS * 1e9)))
    finally:
        os.close(descriptor)


def _write(descriptor: int, content: bytes) -> None:
    done = 0
    while done < len(content):
        done += os.pwrite(descriptor, content[done:], done)
    os.ftruncate(descriptor, len(content))
    os.fsync(descriptor)


def tighten(path: Path) -> None:
    """Deny other users access, or log that this failed, as on a network share."""
    if not path.exists() or not path.stat().st_mode & _OTHERS:
        return
    with contextlib.suppress(OSError):
        path.chmod(_MODE)
    if path.stat().st_mode & _OTHERS:
        logger.warning("Other users can read %s: let its owner run `chmod 600 %s`.", path, path)
    else:
        logger.info("Other users could read %s: its mode is 600 now.", path)
