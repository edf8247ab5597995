"""Whether a request has arrived whole: a thread reads no other, so no slow sender holds one."""

from __future__ import annotations

import re
from typing import Optional

MOST_HEAD = 32 * 1024  # request line and headers together
MOST_BODY = 16 * 1024
MOST = MOST_HEAD + 4 * MOST_BODY  # in chunks, a body takes more than its size

_END_OF_HEAD = re.compile(rb"\r?\n\r?\n")
_LENGTH = re.compile(
    rb"^content-length[ \t]*:[ \t]*([0-9]{1,18})[ \t]*\r?$", re.IGNORECASE | re.MULTILINE
)
_CHUNKED = re.compile(rb"(?i)\ntransfer-encoding[ \t]*:[^\n]*chunked")
_CHUNK = re.compile(rb"(?i)([0-9a-f]{1,8})[^\n]*\n")
_TRAILERS = re.compile(rb"(?:[^\r\n][^\n]*\n)*\r?\n")

_EXPECT = re.compile(rb"(?<=\n)Expect(?=[ \t]*:[ \t]*100-continue[ \t]*\r?\n)", re.IGNORECASE)
_HEARD = b"X-pect"  # as long as the header's own name


class TooLong(Exception):
    """The head has no end where every honest one has."""


def length_of(data: bytes) -> Optional[int]:
    """Return the length of the request that `data` begins with; `None` while some of it is missing.

    The rest of a body that is too large isn't waited for: it is refused. What is no HTTP is let
    through as it is: whoever reads it finds out.

    Raises:
        TooLong: the head has no end where every honest one has.

    """
    end = _END_OF_HEAD.search(data, 0, MOST_HEAD)
    if end is None:
        if len(data) >= MOST_HEAD:
            raise TooLong
        return None
    head = data[: end.start()]
    if _CHUNKED.search(head):
        return _end_of_chunks(data, end.end())
    declared = max((int(found) for found in _LENGTH.findall(head)), default=0)
    whole = end.end() + (declared if declared <= MOST_BODY else 0)
    return whole if len(data) >= whole else None


def heard(data: bytes) -> Optional[bytes]:
    """Return a request without its wish to be told to send its body; `None` when it has none.

    Windows asks so (RFC 9110 §10.1.1), and waits a moment for the answer; others wait longer.
    """
    end = _END_OF_HEAD.search(data, 0, MOST_HEAD)
    if end is None or b" HTTP/1.0" in data.split(b"\n", 1)[0]:
        return None
    found = _EXPECT.search(data, 0, end.end())
    return data[: found.start()] + _HEARD + data[found.end() :] if found else None


def _end_of_chunks(data: bytes, at: int) -> Optional[int]:
    """Follow the chunks (RFC 9112 §7.1) to their end."""
    seen = 0  # of the body itself
    while len(data) < MOST:
        chunk = _CHUNK.match(data, at)
        if chunk is None:
            return None if b"\n" not in data[at:] else len(data)
        size = int(chunk.group(1), 16)
        if size == 0:
            trailers = _TRAILERS.match(data, chunk.end())
            return trailers.end() if trailers else None
        seen += min(size, len(data) - chunk.end())
        if seen > MOST_BODY:
            return len(data)
        at = chunk.end() + size + 2
        if at > len(data):
            return None
    return len(data)
