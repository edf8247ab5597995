"""Where log lines go, what they look like, and that no secret is in one."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import re
import sys
import time
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Iterable, Iterator, Optional, TextIO, Tuple
from urllib.parse import unquote, unquote_plus

from backend.errors import SettingUnusable

_FORMAT = "%(asctime)s %(levelname)s %(message)s"
_TIME = "%Y-%m-%dT%H:%M:%SZ"


def set_up(
    *,
    debug: bool,
    file: Optional[Path],
    max_bytes: int,
    backup_count: int,
    secrets: Iterable[str],
) -> None:
    """Send all log lines to standard output, and to a rotating file if there shall be one.

    Raises:
        SettingUnusable: the file can't be written.

    """
    handlers = [logging.StreamHandler(sys.stdout)]
    if file is not None:
        handlers.append(_file_handler(file, max_bytes, backup_count))
    formatter = _Masking(secrets)
    for handler in handlers:
        handler.setFormatter(formatter)
    level = logging.DEBUG if debug else logging.INFO
    logging.basicConfig(level=level, handlers=handlers, force=True)
    # Other people's debug lines: connections and statements, of use to them alone.
    for chatty in ("urllib3", "sqlalchemy", "werkzeug"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


def _file_handler(file: Path, max_bytes: int, backup_count: int) -> logging.StreamHandler:  # type: ignore[type-arg]
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        return SharedRotatingFile(file, max_bytes, backup_count)
    except OSError as error:
        raise SettingUnusable(
            f"LOG_FILE: can't write {file} ({error.strerror})",
            hint=f"name a file this user (uid {os.getuid()}) may write, or leave it empty to log "
            "to standard output only.",
        ) from None


class SharedRotatingFile(RotatingFileHandler):
    """A rotating file that several processes may write: only one of them rotates it."""

    def __init__(self, file: Path, max_bytes: int, backup_count: int) -> None:
        super().__init__(file, maxBytes=max_bytes, backupCount=backup_count, encoding="utf-8")
        self._open_lock()

    def _open_lock(self) -> None:
        """Open the lock: each process its own, for a lock is shared with what a fork inherits."""
        self._lock_file = open(f"{self.baseFilename}.lock", "a", encoding="utf-8")  # noqa: SIM115, PTH123
        self._owner = os.getpid()

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line, after another process may have rotated the file.

        A file that can't be opened is told of on standard error, and tried again at the next line:
        whoever logs must not fail for it.
        """
        try:
            with self._locked():
                self._follow()
                super().emit(record)
        except OSError:
            self.handleError(record)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        if self._owner != os.getpid():
            inherited = self._lock_file
            self._open_lock()
            inherited.close()
        fcntl.flock(self._lock_file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._lock_file, fcntl.LOCK_UN)

    def _follow(self) -> None:
        """Open the file anew when its name now belongs to another one."""
        stream: Optional[TextIO] = self.stream
        if stream is None:
            return
        try:
            current: Optional[Tuple[int, int]] = _identity(Path(self.baseFilename).stat())
        except OSError:
            current = None
        if current != _identity(os.fstat(stream.fileno())):
            self.stream = self._open()  # while that fails, the next line finds the old one open
            stream.close()

    def close(self) -> None:
        """Close the file and its lock."""
        super().close()
        self._lock_file.close()


def _identity(found: os.stat_result) -> Tuple[int, int]:
    return (found.st_dev, found.st_ino)


def secrets_in(url: str) -> Iterator[str]:
    """Return what of a URL nobody may see, as it is written there and as it is meant.

    A user without a password is one: tokens are given so. Databases also take a password as an
    option.
    """
    login = _LOGIN.match(url)
    written = [value for name, value in _OPTION.findall(url) if "password" in name.lower()]
    if login is not None and login["password"] is not None:
        written += [login["password"], f"{login['user']}:{login['password']}"]
    elif login is not None and url.startswith("http"):
        written.append(login["user"])
    for secret in written:
        yield from (secret, unquote(secret), unquote_plus(secret))


# As SQLAlchemy reads it: in a password every character but @ may stand as it is.
_LOGIN = re.compile(r"[\w+.-]+://(?P<user>[^:/@]*)(?::(?P<password>[^@]*))?@")
_OPTION = re.compile(r"[?&]([^=&]+)=([^&]+)")


class _Masking(logging.Formatter):
    """The last line of defence: nobody logs a secret on purpose, but a traceback might."""

    def __init__(self, secrets: Iterable[str]) -> None:
        super().__init__(_FORMAT)
        # The longest first: one secret may be a part of another.
        self._secrets = sorted({secret for secret in secrets if secret}, key=len, reverse=True)

    def formatTime(self, record: logging.LogRecord, datefmt: Optional[str] = None) -> str:  # noqa: N802
        """Return the time of a line in UTC: hosts and servers sit in many time zones."""
        return time.strftime(datefmt or _TIME, time.gmtime(record.created))

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, with every secret masked."""
        line = super().format(record)
        for secret in self._secrets:
            line = line.replace(secret, "(secret)")
        return line
