"""Log lines: where they go, their format, and the mask over secrets."""

from __future__ import annotations

import fcntl
import logging
import os
import sys
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Iterable, TextIO

from backend.errors import SettingUnusable
from backend.settings import LogSettings
from backend.text import is_in_container, local, use_zone

_FORMAT = "%(asctime)s %(levelname)s %(message)s"
_SHORTEST_MASKED = 8
_TIME = "%Y-%m-%dT%H:%M:%S"


def set_up(settings: LogSettings, secrets: Iterable[str]) -> None:
    """Write all log lines to standard output, and to a rotating file if one is set.

    Raises:
        SettingUnusable: the file can't be written.

    """
    use_zone(settings.zone)
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stdout)]
    if settings.file is not None:
        file = settings.file
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            handlers.append(SharedRotatingFile(file, settings.max_bytes, settings.backup_count))
        except OSError as error:
            place = " in /data" if is_in_container() else ""
            raise SettingUnusable(
                f"LOG_FILE: can't write {file} ({error.strerror})",
                hint=f"name a file{place} that this user (uid {os.getuid()}) may write, or leave "
                "it empty to log to standard output only.",
            ) from None
    formatter = _Masking(secrets)
    for handler in handlers:
        handler.setFormatter(formatter)
    level = logging.DEBUG if settings.debug else logging.INFO
    logging.basicConfig(level=level, handlers=handlers, force=True)
    # Debug lines about connections and statements only help the developers of these libraries.
    for library in ("urllib3", "sqlalchemy", "werkzeug"):
        logging.getLogger(library).setLevel(logging.WARNING)
    # psycopg warns of each lost connection, and also raises an error, which the store reports once.
    logging.getLogger("psycopg").setLevel(logging.ERROR)


class SharedRotatingFile(RotatingFileHandler):
    """A rotating file that several processes may write. Only one of them rotates it."""

    def __init__(self, file: Path, max_bytes: int, backup_count: int) -> None:
        super().__init__(file, maxBytes=max_bytes, backupCount=backup_count, encoding="utf-8")
        self._open_lock()

    def _open_lock(self) -> None:
        """Open the lock. Each process opens its own, because a fork shares the inherited lock."""
        self._lock_file = open(f"{self.baseFilename}.lock", "a", encoding="utf-8")  # noqa: SIM115, PTH123
        self._owner = os.getpid()

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line to the current file, which another process may have rotated.

        If the file can't be opened, report this on standard error, and try again at the next line.
        """
        try:
            if self._owner != os.getpid():
                inherited = self._lock_file
                self._open_lock()
                inherited.close()
            fcntl.flock(self._lock_file, fcntl.LOCK_EX)
            try:
                self._follow()
                super().emit(record)
            finally:
                fcntl.flock(self._lock_file, fcntl.LOCK_UN)
        except OSError:
            self.handleError(record)

    def _follow(self) -> None:
        """Reopen the file if its name now belongs to another file."""
        stream: TextIO | None = self.stream
        if stream is None:
            return
        try:
            named = Path(self.baseFilename).stat()
            is_same = os.path.samestat(named, os.fstat(stream.fileno()))
        except OSError:
            is_same = False
        if not is_same:
            self.stream = self._open()  # if this fails, the next line still has the old file
            stream.close()

    def close(self) -> None:
        super().close()
        self._lock_file.close()


class _Masking(logging.Formatter):
    """Masks every secret. No code logs a secret on purpose, but a traceback may contain one."""

    def __init__(self, secrets: Iterable[str]) -> None:
        super().__init__(_FORMAT)
        # Shorter texts are parts of words. The longest first: a secret may contain another one.
        masked = {secret for secret in secrets if len(secret) >= _SHORTEST_MASKED}
        self._secrets = sorted(masked, key=len, reverse=True)

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802
        """Return the time of a line in the time zone TZ, by default UTC."""
        offset = local(record.created, "%z")
        zone = "Z" if offset == "+0000" else f"{offset[:3]}:{offset[3:]}"
        return local(record.created, datefmt or _TIME) + zone

    def format(self, record: logging.LogRecord) -> str:
        line = super().format(record)
        for secret in self._secrets:
            line = line.replace(secret, "(secret)")
        return line
