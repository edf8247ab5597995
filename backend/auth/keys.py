"""The key file: which keys are valid for which host; reading and changing the file.

An editor empties the key file and then writes it, without a lock. Until the file has been unchanged
for `GRACE_SECONDS`, the keys known before stay accepted.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hmac
import logging
import math
import os
import re
import secrets
import stat
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Collection, Iterable, Iterator, Mapping, Sequence

from backend.errors import BadHostname, KeyFileUnusable, KeysUnavailable
from backend.model import Hostname, digest

SHORTEST = 16
# A file that was changed more recently may be incomplete: an editor may still write it.
GRACE_SECONDS = 2.0
_MOST_WAITS = 5
# This program's commands hold the lock for a few milliseconds. A longer lock delays no reader.
_LOCK_SECONDS = 1.0
_LOCK_POLL_SECONDS = 0.01
_NO_KEY = os.urandom(32)
_LARGEST = 16 * 1024 * 1024  # bytes; each host needs one line
_MODE = 0o600

_BOM = "\ufeff"
_COMMENT = re.compile(r"(?:^|\s)#.*")  # a key may contain a #
_LINE = re.compile(r"(\s*\S+\s+)\S+")

_HINTS = {
    errno.EROFS: "mount it writable, or write a line `<fqdn> <key>` for each host yourself",
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), "free space on its disk"),
}
_START_FIRST = "start the service once to create it, or run this in the service's folder"
# `move` writes this line if no key is left. Otherwise, a file without keys counts as an accident.
_EMPTIED = "# The last host was removed.\n"
_RESTORE = "before you restart: a restart would generate new keys"
_KEPT = "The keys read before stay in use."
_NONE_YET = "No keys are loaded: updates are answered 503 until the file can be read."

logger = logging.getLogger(__name__)


@dataclass(repr=False)
class AcceptedKeys:
    """The keys of each host: the newest one, and during an edit of the file the previous one."""

    newest: Mapping[Hostname, str]
    before: Mapping[Hostname, str] | None = None  # None: no edit

    def __post_init__(self) -> None:
        # Digests have one length, so that comparing them takes the same time for every key.
        both = (self.newest, self.before or {})
        self._digests = [{host: digest(key) for host, key in keys.items()} for keys in both]

    def opened(self, hosts: Iterable[Hostname], sent: bytes) -> list[Hostname]:
        """Return which of these hosts have a key with this digest.

        Both keys of each host are compared, or a random text in place of a missing key, so that
        timing doesn't reveal which keys exist.
        """
        found = []
        for host in hosts:
            right = [hmac.compare_digest(keys.get(host, _NO_KEY), sent) for keys in self._digests]
            if any(right):
                found.append(host)
        return found


NO_KEYS = AcceptedKeys({})


def _unusable(path: Path, problem: str, hint: str) -> KeyFileUnusable:
    """Return the error that the operator sees. It quotes nothing of the file's content."""
    return KeyFileUnusable(f"PRE_SHARED_KEY_FILE: can't use {path}: {problem}", hint=f"{hint}.")


def explain(path: Path, error: OSError, missing: str) -> KeyFileUnusable:
    """Return the error that the operator sees; `missing` is the hint if there is no file."""
    if os.path.isdir(path):  # noqa: PTH112 - Path.is_dir may raise PermissionError
        problem = "it is a directory (Docker makes one when a mounted file is missing)"
        hint = "remove it (with Docker, after `docker compose down`), then `touch` the file, "
        hint += "`chown 1000:1000` and `chmod 600` it"
    elif isinstance(error, (FileNotFoundError, NotADirectoryError)) and not path.parent.is_dir():
        problem = f"the folder {path.parent} doesn't exist"
        hint = "create it, or name another file"
    else:
        problem = str(error.strerror)
        hint = {errno.ENOENT: missing, **_HINTS}.get(error.errno or 0, "") or (
            f"let this user (uid {os.getuid()}) read and write the file, or the file mounted "
            f"there: `chown {os.getuid()} {path}`"
        )
    return _unusable(path, problem, hint)


@contextlib.contextmanager
def _explained(path: Path, missing: str = _START_FIRST) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise explain(path, error, missing) from None


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
        self._state: tuple[int, ...] = ()  # of the file when it was last read
        self._accepted = NO_KEYS
        self._grace_ends = math.inf  # monotonic; the content counts as complete then
        self._has_complained = False

    def accepted(self) -> AcceptedKeys:
        """Return the keys that are accepted now: the same object until they change.

        While the file can't be read, or has lost all its keys, the last good keys stay accepted.
        An invalid line affects no other line. Raise `KeysUnavailable` until the first good read.
        """
        try:
            if state_of(self._path) != self._state or self._monotonic() >= self._grace_ends:
                with self._lock:
                    self._read_again()
            self._has_complained = False
        except (OSError, KeyFileUnusable) as error:
            if not self._has_complained:
                self._has_complained = True
                if isinstance(error, OSError):
                    error = explain(self._path, error, f"restore it {_RESTORE}")
                logger.error("%s %s", error, _KEPT if self._state else _NONE_YET)  # noqa: TRY400
            if not self._state:
                raise KeysUnavailable("The key file can't be read right now.") from None
        return self._accepted

    def _read_again(self) -> None:
        before = state_of(self._path)
        if before == self._state and self._monotonic() < self._grace_ends:
            return  # another thread has already read the file
        content = read_bytes(self._path)
        after = state_of(self._path)
        known = self._accepted
        complete = known.newest if known.before is None else known.before
        # The first time, there are no earlier keys to keep.
        is_edited = self._state not in ((), after)
        wait = _grace_left(after, self._clock()) if is_edited else 0.0
        if wait > 0:
            # The text after the last line feed may be half a key, so it replaces no known key.
            whole, feed, rest = content.decode("utf-8", "replace").rpartition("\n")
            unfinished, _ = _parse_lines(rest, self._path)
            finished, _ = _parse_lines(whole + feed, self._path)
            self._accepted = AcceptedKeys({**unfinished, **known.newest, **finished}, complete)
            self._grace_ends = self._monotonic() + wait
        else:
            text = _decode(content, self._path)
            keys, problem = _parse_lines(text, self._path, complete)
            if problem is not None:
                others = "The other lines are used. " if keys else ""
                logger.error("%s %s%s", problem, others, _KEPT)
            self._accepted = AcceptedKeys(keys if problem is None else {**complete, **keys})
            self._grace_ends = math.inf
        self._state = before

    def read(self) -> Mapping[Hostname, str]:
        """Return the keys that are in the file now; raise `KeyFileUnusable` for any problem."""
        with _explained(self._path):
            return parse(_decode(read_bytes(self._path), self._path), self._path)

    def load(self) -> None:
        """Wait until no edit is running, and read the file; `accepted` reports errors later."""
        with contextlib.suppress(OSError, KeyFileUnusable, KeysUnavailable):
            _await_editor(self._path)
            self.accepted()

    def complete(self, hosts: Iterable[Hostname]) -> None:
        """Append a new key for each host that has none in the file.

        The file is written in place, since it may be a bind mount, which can't be replaced. If a
        key is missing or a line is invalid, this waits for a running edit of the file to end.
        It raises `KeyFileUnusable` for a file that can't be read or written, or has lost all keys.
        """
        registered = dict.fromkeys(hosts)
        keys: Mapping[Hostname, str] = {}
        new: dict[Hostname, str] = {}

        def add_keys(text: str) -> str:
            known = parse(text, self._path, self._accepted.newest)
            missing = [host for host in registered if host not in known]
            new.update((host, secrets.token_urlsafe(32)) for host in missing)
            return _appended(text, new)

        with _explained(self._path, missing=""):
            if self._path.exists():
                content = _decode(read_bytes(self._path), self._path)
                keys, problem = _parse_lines(content, self._path)
                if problem is not None or not keys.keys() >= registered.keys():
                    _await_editor(self._path)
                    keys = self.read()
            if not keys.keys() >= registered.keys():
                is_new = not self._path.exists()
                _rewrite(self._path, add_keys, os.O_CREAT)
                if is_new and os.geteuid() == 0:  # for the service, which runs as another user
                    owner = self._path.absolute().parent.stat()
                    os.chown(self._path, owner.st_uid, owner.st_gid)
            if self._is_open_to_others():
                with contextlib.suppress(OSError):  # `warnings` reports it
                    self._path.chmod(_MODE)
                if not self._is_open_to_others():  # a network share may ignore the change
                    logger.info("Other users could read %s: its mode is 600 now.", self._path)
        if new:
            logger.info("New keys in %s for %s.", self._path, ", ".join(map(str, new)))
        for warning in self.warnings(keys):
            logger.warning("%s", warning)

    def warnings(self, keys: Mapping[Hostname, str]) -> list[KeyFileUnusable]:
        """Return warnings about keys that are easy to guess, and a file that others can read."""
        found = weak_keys(keys)
        if self._is_open_to_others():
            hint = f"let its owner run `chmod 600 {self._path}`."
            found.append(KeyFileUnusable(f"Other users can read {self._path}", hint=hint))
        return found

    def _is_open_to_others(self) -> bool:
        return self._path.exists() and bool(self._path.stat().st_mode & 0o077)

    def replace(self, host: Hostname, key: str) -> None:
        """Give a host this key, after waiting for a running edit of the file to end.

        The old key is invalid at once. The rest of the file stays unchanged, with its comments.
        If the file can't be changed or has an invalid line, this raises `KeyFileUnusable`.
        """

        def put_key(text: str) -> str:
            if host not in parse(text, self._path):
                return _appended(text, {host: key})
            lines = text.splitlines(keepends=True)
            number = _lines_of(host, lines)[-1]  # the last line of a host is used
            lines[number] = _LINE.sub(lambda found: found[1] + key, lines[number], count=1)
            return "".join(lines)

        self._edit(put_key)

    def move(self, old: Hostname, new: Hostname | None, key: str) -> None:
        """Remove the key of a host if it is still this one; `new` gets it unless it has a key."""

        def move_key(text: str) -> str:
            known = parse(text, self._path)
            if known.get(old) != key:
                return text
            if new is not None and new not in known:
                text = _appended(text, {new: key})
            lines = text.splitlines(keepends=True)
            for number in reversed(_lines_of(old, lines)):
                del lines[number]
            text = "".join(lines)
            return text if parse(text, self._path) else text + _EMPTIED

        self._edit(move_key)

    def _edit(self, change: Callable[[str], str]) -> None:
        with _explained(self._path):
            _await_editor(self._path)
            _rewrite(self._path, change)

    def exist(self) -> bool:
        """Return whether there is a key file; the first start without hosts makes none."""
        return self._path.exists()

    def require_writable(self, hosts: Collection[Hostname]) -> None:
        """Raise `KeyFileUnusable` if the file can't be changed, or has lost the keys of all hosts.

        With a single new key, the file would count as complete, and all earlier keys would end.
        """
        with _explained(self._path, f"restore it {_RESTORE}, or run this in the service's folder"):
            if hosts or self.exist():
                parse(_decode(read_bytes(self._path), self._path), self._path, hosts)
                os.close(os.open(self._path, os.O_RDWR))


def weak_keys(keys: Mapping[Hostname, str]) -> list[KeyFileUnusable]:
    """Return a warning for each key that is easy to guess."""
    return [
        KeyFileUnusable(
            f"The key of {host} has fewer than {SHORTEST} characters",
            hint=f"`keys rotate {host}` generates a longer one.",
        )
        for host, key in keys.items()
        if len(key) < SHORTEST
    ]


def parse(text: str, path: Path, had: Collection[Hostname] = ()) -> dict[Hostname, str]:
    """Return the keys in the text of the file; raise `KeyFileUnusable` as `_parse_lines` says."""
    keys, problem = _parse_lines(text, path, had)
    if problem is not None:
        raise problem from None
    return keys


def _parse_lines(
    text: str, path: Path, had: Collection[Hostname] = ()
) -> tuple[dict[Hostname, str], KeyFileUnusable | None]:
    """Return the keys of the valid lines, and the problem of the first invalid one.

    If the file had the keys of some hosts, it is also a problem that it has none any more.
    """
    keys: dict[Hostname, str] = {}
    problem = None
    for number, line in enumerate(text.lstrip(_BOM).splitlines(), 1):
        fields = _COMMENT.sub("", line).split()
        if not fields:
            continue
        try:
            name, key = fields
            host = Hostname.parse(name)
        except (ValueError, BadHostname):
            hint = "write a host name, a space and its key, without quotes"
            problem = problem or _unusable(path, f"line {number} isn't `<fqdn> <key>`", hint)
            continue
        if host in keys:
            logger.warning("The key file contains %s twice: line %d is used.", host, number)
        keys[host] = key
    if had and not (keys or problem or _EMPTIED in text):
        hint = f"restore its keys {_RESTORE}"
        problem = _unusable(path, "it no longer contains any key", hint)
    return keys, problem


def _lines_of(host: Hostname, lines: Sequence[str]) -> list[int]:
    """Return the numbers of the lines of a host; all lines have to be valid."""
    named = [_COMMENT.sub("", line).lstrip(_BOM).split()[:1] for line in lines]
    return [number for number, name in enumerate(named) if name and Hostname.parse(*name) == host]


def _appended(text: str, keys: Mapping[Hostname, str]) -> str:
    text = text.replace(_EMPTIED, "")
    feed = "" if text.endswith("\n") or not text else "\n"
    return text + feed + "".join(f"{host} {key}\n" for host, key in keys.items())


def state_of(path: Path) -> tuple[int, ...]:
    """Return the modification time, size and inode of the file, to notice a change."""
    found = path.stat()
    return found.st_mtime_ns, found.st_size, found.st_ino


def _grace_left(state: Sequence[int], now: float) -> float:
    """Return for how long the file must stay unchanged until it counts as complete."""
    age = now - state[0] / 1e9
    return min(GRACE_SECONDS, max(0.0, GRACE_SECONDS - age))


def _await_editor(path: Path) -> None:
    """Wait until the file has been unchanged for `GRACE_SECONDS`."""
    now = state_of(path)
    for _ in range(_MOST_WAITS):
        before = now
        time.sleep(_grace_left(before, time.time()))
        now = state_of(path)
        if now == before:
            return
    raise _unusable(path, "it keeps changing", "stop the program that writes it")


def read_bytes(path: Path) -> bytes:
    """Return the content of the file; raise `OSError`, or `KeyFileUnusable` if it isn't a file."""
    # Without O_NONBLOCK, opening a pipe would wait for a writer.
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise _unusable(path, "it isn't a regular file", "write the keys into a regular file")
        if found.st_size > _LARGEST:
            raise _unusable(path, "it is too large to be a key file", "restore its keys")
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


def _decode(content: bytes, path: Path) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        raise _unusable(path, "it isn't UTF-8 text", "save it as UTF-8") from None


def _rewrite(path: Path, change: Callable[[str], str], flags: int = 0) -> None:
    """Change the text in place, since the file may be a bind mount; restore it on failure."""
    descriptor = os.open(path, os.O_RDWR | flags, _MODE)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        old = os.pread(descriptor, os.fstat(descriptor).st_size, 0)
        new = change(_decode(old, path)).encode("utf-8")
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
