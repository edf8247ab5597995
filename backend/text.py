"""Parses and formats times, durations, numbers and commands for people; finds secrets in URLs."""

from __future__ import annotations

import os
import re
import shlex
import socket
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Iterator
from urllib.parse import unquote, unquote_plus

_UNITS = {"s": 1, "min": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_PART = re.compile(r"(\d{1,4})(s|min|h|d|w)")
_SPAN = re.compile(r"(\d{1,4})\s*(min|h|d|w)")
_LONGEST_SPAN = 366 * 86400
# Like SQLAlchemy: a password may contain any character except @.
_LOGIN = re.compile(r"[\w+.-]+://(?P<user>[^:/@]*)(?::(?P<password>[^@]*))?@")
_OPTION = re.compile(r"[?&]([^=&]+)=([^&]+)")
_INSTALLED = "hetzner-dyndns"  # the command of the installed package
# Where the image has this package, and a file that podman creates in every container.
_IN_IMAGE = Path("/app/backend")
_OF_PODMAN = Path("/run/.containerenv")
_LATEST = 253_402_300_799.0  # the end of the year 9999

_DELIMITERS = re.compile(r"[/?&=:@#,;]+")
_DOMAIN = re.compile(r"([a-z0-9-]+\.)+[a-z]{2,}|[0-9]+(\.[0-9]+){3}|localhost", re.IGNORECASE)
# Shorter parts of a URL are words such as `path`, which the log needs.
_SHORTEST_SECRET = 8
_ZONES = Path("/usr/share/zoneinfo")
_ZONE = re.compile(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*")
_LONGEST_ZONE = 64


def use_zone(name: str) -> None:
    """Let `local` use a time zone; an empty or unknown name means UTC."""
    os.environ["TZ"] = name if is_zone(name) else "UTC"
    time.tzset()


def is_zone(name: str) -> bool:
    """Whether this system knows a time zone."""
    is_name = len(name) < _LONGEST_ZONE and _ZONE.fullmatch(name) is not None
    return name == "UTC" or (is_name and (_ZONES / name).is_file())


def before(text: str, now: float) -> float:
    """Read a time (UTC seconds), or a duration before now.

    Raises:
        ValueError: the text is neither.

    """
    return _read(text, now, -1)


def after(text: str, now: float) -> float:
    """Read a time in the future (UTC seconds), or a duration from now.

    Raises:
        ValueError: the text is neither, or the time has passed.

    """
    found = _read(text, now, 1)
    if found <= now:
        raise ValueError("choose a time in the future")
    return found


def span(text: str) -> int:
    """Read a duration, in seconds or with units; raise `ValueError` for anything else."""
    parts = text.lower().replace(" ", "")
    seconds = sum(int(number) * _UNITS[unit] for number, unit in _PART.findall(parts))
    if parts.isdecimal():
        seconds = int(parts)
    elif _PART.sub("", parts):
        seconds = 0
    if 0 < seconds <= _LONGEST_SPAN:
        return seconds
    raise ValueError("write a duration, as in 90min, 12h or 3d")


def _read(text: str, now: float, direction: int) -> float:
    span = _SPAN.fullmatch(text.strip())
    if span is not None:
        return now + direction * int(span[1]) * _UNITS[span[2]]
    try:
        found = datetime.fromisoformat(text.strip().replace("Z", "+00:00"))
        return min(found.timestamp(), _LATEST)
    except (ValueError, OverflowError):
        raise ValueError(
            "write a date (2026-12-01), a time (2026-12-01T18:30) or a duration (3d, 12h)"
        ) from None


def counted(number: int, thing: str, things: str = "") -> str:
    """Write a number with its noun: ``1 zone``, ``2 zones``."""
    return f"{number} {thing if number == 1 else things or f'{thing}s'}"


def moment(at: float, form: str = "%Y-%m-%d %H:%M UTC") -> str:
    """Write a time (UTC seconds), by default to the minute: ``2026-11-24 12:03 UTC``."""
    return time.strftime(form, time.gmtime(at))


def local(at: float, form: str = "%Y-%m-%d %H:%M %Z") -> str:
    """Write a time (UTC seconds) in the operator's time zone: ``2026-11-24 13:03 CET``."""
    return time.strftime(form, time.localtime(at))


def duration(seconds: float) -> str:
    """Write a duration in its two largest units: ``3 h 12 min``."""
    minutes, rest = divmod(int(max(0.0, seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [(days, "d"), (hours, "h"), (minutes, "min"), (rest, "s")]
    first = next((index for index, (number, _) in enumerate(parts) if number), len(parts) - 1)
    shown = [f"{number} {unit}" for number, unit in parts[first : first + 2] if number]
    return " ".join(shown) or "0 s"


def exactly(seconds: int) -> str:
    """Write a duration so that `span` reads the same one: ``1d2h``, ``90s``."""
    found, rest = "", seconds
    for unit in ("d", "h", "min", "s"):
        number, rest = divmod(rest, _UNITS[unit])
        found += f"{number}{unit}" if number else ""
    return found or "0s"


def rough(seconds: float) -> str:
    """Write a duration in its largest unit: ``3 h``, ``2 days``."""
    number, unit = duration(seconds).split()[:2]
    return counted(int(number), "day") if unit == "d" else f"{number} {unit}"


def command(*words: str) -> str:
    """Write a command of the backend for a shell: for this Python, or for this container.

    The command reads the same ``--env-file`` as this process.
    """
    python = Path(sys.executable)
    shown = python.relative_to(Path.cwd()) if Path.cwd() in python.parents else python
    start = [str(shown), "-m", "backend"]
    if is_in_container():
        # By default, the host name of a container is its id.
        engine = "podman" if _OF_PODMAN.exists() else "docker"
        start = [engine, "exec", socket.gethostname(), _INSTALLED]
    elif program() == _INSTALLED:
        start = [_INSTALLED]
    files = [
        part
        for name, value in zip(sys.argv, [*sys.argv[1:], ""])
        if name.partition("=")[0] == "--env-file"
        for part in ([name] if "=" in name else [name, value])
    ]
    return " ".join(map(shlex.quote, [*start, *files, *words]))


def program() -> str:
    """Return the words that call this program, as its help shows them."""
    is_installed = Path(sys.argv[0]).name == _INSTALLED or is_in_container()
    return _INSTALLED if is_installed else "python -m backend"


def is_in_container() -> bool:
    """Return whether this process runs in a container of the image."""
    return Path(__file__).parent == _IN_IMAGE


def secrets_in(url: str) -> Iterator[str]:
    """Return the secret parts of a URL, as they are written and decoded.

    A user name without a password is a secret in an http URL: it may be a token. Databases also
    take a password as an option.
    """
    login = _LOGIN.match(url)
    written = [value for name, value in _OPTION.findall(url) if "password" in name.lower()]
    if login is not None and login["password"] is not None:
        written += [login["password"], f"{login['user']}:{login['password']}"]
    elif login is not None and url.startswith("http"):
        written.append(login["user"])
    for secret in written:
        yield from (secret, unquote(secret), unquote_plus(secret))


def parts_of(url: str) -> Iterator[str]:
    """Return the parts of a URL that may be secrets, as the key in a path or a query."""
    for part in _DELIMITERS.split(url.partition("://")[2]):
        for secret in (part, unquote(part), unquote_plus(part)):
            if len(secret) >= _SHORTEST_SECRET and not _DOMAIN.fullmatch(secret):
                yield secret
