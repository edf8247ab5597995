"""Answers that no regular server sends, and servers on loopback that send them."""

from __future__ import annotations

import contextlib
import gzip
import itertools
import re
import socket
import ssl
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Callable, Iterable, Iterator, TypeVar

T = TypeVar("T")

# The required treatment of an answer.
LATE = "it does not end, and the caller gives up in time"
BROKEN = "it is not a complete answer"
ODD = "it is complete, but a caller can't use it"
REDIRECT = "it is a redirect"

GUARD_SECONDS = 60.0  # far more than any answer may take, even on a busy machine
_PAUSE = 0.03

Answer = Callable[[bytes], Iterable[bytes]]

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
GZIP = b"Content-Encoding: gzip\r\n"


@dataclass(frozen=True)
class Hostile:
    """An answer: its beginning, the part that is repeated forever, and its treatment."""

    name: str
    outcome: str
    start: bytes = b""
    forever: bytes = b""
    slow: bool = True  # single bytes with pauses, otherwise at full speed
    closes: bool = True  # after an answer that has an end

    def pieces(self) -> Iterator[bytes]:
        yield self.start
        if self.forever and self.slow:
            yield from (bytes([byte]) for byte in itertools.cycle(self.forever))
        elif self.forever:
            yield from itertools.repeat(self.forever * (1 + 65536 // len(self.forever)))


def whole(name: str, outcome: str, answer: bytes) -> Hostile:
    return Hostile(name, outcome, answer)


def trickled(name: str, start: bytes, forever: bytes) -> Hostile:
    return Hostile(f"{name}, slowly", LATE, start, forever)


def flood(name: str, start: bytes, forever: bytes, outcome: str = BROKEN) -> Hostile:
    return Hostile(f"{name}, fast", outcome, start, forever, slow=False)


def sized(body: bytes, *headers: bytes, status: bytes = b"200 OK") -> bytes:
    length = b"Content-Length: %d\r\n" % len(body)
    return b"HTTP/1.1 %s\r\n%s%s\r\n" % (status, b"".join(headers), length) + body


def good(body: bytes) -> bytes:
    """An answer of a regular server."""
    return sized(body, b"Content-Type: application/json\r\n")


def redirect(status: int, location: bytes) -> bytes:
    return sized(b"", b"Location: %s\r\n" % location, status=b"%d Moved" % status)


def chunks(body: bytes) -> bytes:
    return b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)


ZEROS = bytes(16 << 20)
BOMB = gzip.compress(ZEROS)

ENDLESS = (
    ("status line", b"HTTP/1.1 200 ", b"x"),
    ("100 Continue", b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    ("headers of a 100", b"HTTP/1.1 100 Continue\r\n", b"X-More: 1\r\n"),
    ("headers", OK, b"X-More: 1\r\n"),
    ("header line", OK + b"X-Long: ", b"x"),
    ("folded header", OK + b"X-Long: x\r\n", b" x\r\n"),
    ("chunk size", CHUNKED, b"0"),
    ("chunk extension", CHUNKED + b"5;", b"x"),
    ("small chunks", CHUNKED, b"40\r\n" + b"x" * 64 + b"\r\n"),
    ("chunk", CHUNKED + b"7fffffff\r\n", b"x"),
    ("trailers", CHUNKED + b"2\r\n{}\r\n0\r\n", b"X-More: 1\r\n"),
    ("trailer line", CHUNKED + b"2\r\n{}\r\n0\r\nX-Long: ", b"x"),
    ("body of a length", OK + b"Content-Length: 999999999999\r\n\r\n", b" "),
    ("body without a length", OK + b"\r\n", b" "),
    ("body of an error", b"HTTP/1.1 503 Busy\r\n\r\n", b" "),
    ("body of HTTP/1.0", b"HTTP/1.0 200 OK\r\n\r\n", b"{"),
)
# Of these answers, the caller reads the beginning: it isn't JSON, or it is too long.
_READ_SO_FAR = ("small chunks", "chunk", *(name for name, *_ in ENDLESS if "body" in name))

LOCATIONS = (
    *(
        b"http://[",
        b"//[",
        b"http://[::1",
        b"https://user@[/",
        b"http://[::1]x/",
        b"http://[v1.x]/",
    ),
    *(
        b"http://h:99999/",
        b"http://h:x/",
        b"http://\xff\xfe/",
        b"http://" + b"h" * 5000,
        b"http://",
    ),
    *(b"javascript:alert(1)", b"\x01\x02", b"http://%zz/", b"?", b"http://\xe2\x84\x80/"),
)

ANSWERS = (
    *(trickled(*parts) for parts in ENDLESS),
    *(
        flood(*parts, outcome=ODD if parts[0] in _READ_SO_FAR else BROKEN)
        for parts in ENDLESS
    ),
    Hostile("nothing at all", LATE, closes=False),
    Hostile("half a head, then nothing", LATE, OK + b"Content-Le", closes=False),
    Hostile("half a body, then nothing", LATE, good(b'{"a": 1}')[:-3], closes=False),
    trickled("redirect with a body", b"HTTP/1.1 302 Found\r\nLocation: http://[\r\n\r\n", b"x"),
    flood("redirect with a body", b"HTTP/1.1 302 Found\r\nLocation: /x\r\n\r\n", b"x", REDIRECT),
    *(
        whole(f"{status} to {location[:30]!r}", REDIRECT, redirect(status, location))
        for status, location in (
            *((302, location) for location in LOCATIONS),
            *((status, b"http://[") for status in (301, 303, 307, 308)),
        )
    ),
    whole("gzip bomb", ODD, sized(BOMB, GZIP)),
    whole("deflate bomb", ODD, sized(zlib.compress(ZEROS), b"Content-Encoding: deflate\r\n")),
    whole("bomb in a bomb", ODD, sized(gzip.compress(BOMB), b"Content-Encoding: gzip, gzip\r\n")),
    whole("chunked bomb", ODD, CHUNKED[:-2] + GZIP + b"\r\n" + chunks(BOMB)),
    whole("bomb in a redirect", REDIRECT, sized(BOMB, GZIP, b"Location: /\r\n", status=b"302 -")),
    whole("gzip that is none", ODD, sized(b"nonsense", GZIP)),
    whole("no answer", BROKEN, b""),
    whole("SSH", BROKEN, b"SSH-2.0-OpenSSH_9.2p1\r\n"),
    whole("a TLS alert", BROKEN, b"\x15\x03\x01\x00\x02\x02\x46"),
    whole("a status that is no number", BROKEN, b"HTTP/1.1 abc OK\r\n\r\n"),
    whole("a status of five digits", BROKEN, b"HTTP/1.1 20000 OK\r\n\r\n"),
    whole("HTTP/2", BROKEN, b"HTTP/2 200\r\n\r\n{}"),
    whole("a 103 and no more", ODD, b"HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n"),
    whole("a 204", ODD, b"HTTP/1.1 204 No Content\r\n\r\n"),
    whole("a 101", ODD, b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n"),
    whole("two lengths", BROKEN, OK + b"Content-Length: 2, 3\r\n\r\n{}"),
    whole("a length that is none", ODD, OK + b"Content-Length: many\r\n\r\n[]"),
    whole("a length below zero", ODD, OK + b"Content-Length: -5\r\n\r\n[]"),
    whole("a length of 60 digits", BROKEN, OK + b"Content-Length: %s\r\n\r\n{}" % (b"9" * 60)),
    whole("a length of 6,000 digits", ODD, OK + b"Content-Length: %s\r\n\r\n[]" % (b"9" * 6000)),
    whole("too short", BROKEN, OK + b"Content-Length: 99\r\n\r\n{}"),
    whole("a chunk size that is none", BROKEN, CHUNKED + b"zz\r\n{}\r\n0\r\n\r\n"),
    whole("a chunk size below zero", BROKEN, CHUNKED + b"-5\r\n{}\r\n0\r\n\r\n"),
    whole("a chunk size of 60 digits", BROKEN, CHUNKED + b"f" * 60 + b"\r\n{}"),
    whole("a chunk that is too short", BROKEN, CHUNKED + b"50\r\n{}"),
    whole("chunks without an end", BROKEN, CHUNKED + b"2\r\n{}\r\n"),
    whole("a header without a colon", ODD, OK + b"nonsense\r\nContent-Length: 2\r\n\r\n[]"),
    whole("a header of zeros", ODD, OK + b"X: \x00\x00\r\nContent-Length: 2\r\n\r\n[]"),
    whole("a header that is no text", ODD, OK + b"\xff\xfe: \xff\r\nContent-Length: 2\r\n\r\n[]"),
    *(
        whole(name, ODD, good(body))
        for name, body in (
            ("no body", b""),
            ("deep JSON", b"[" * 60_000),
            ("a deep object", b'{"a":' * 10_000),
            ("a number of 60,000 digits", b"1" * 60_000),
            ("no number", b"NaN"),
            ("UTF-16", '{"status":'.encode("utf-16")),
            ("no UTF-8", b'{"\xff\xfe": 1}'),
            ("half a character", b'"\\ud800"'),
            ("a list", b"[]"),
            ("a page", b"<html>Sign in</html>"),
        )
    ),
)  # fmt: skip

CONNECT_ANSWERS = (
    *(trickled(*parts) for parts in ENDLESS[:6] if "100" not in parts[0]),
    *(flood(*parts) for parts in ENDLESS[:6]),
    whole("no answer", BROKEN, b""),
    whole("SSH", BROKEN, b"SSH-2.0-OpenSSH_9.2p1\r\n"),
    whole("a login", BROKEN, b"HTTP/1.1 407 Login\r\nContent-Length: 0\r\n\r\n"),
    whole("a redirect", BROKEN, b"HTTP/1.1 302 Found\r\nLocation: http://[\r\n\r\n"),
)


@dataclass
class Servers:
    """Hostile servers, each on its own port."""

    context: ssl.SSLContext | None = None
    _over: threading.Event = field(default_factory=threading.Event)
    _sockets: list[socket.socket] = field(default_factory=list)
    _threads: list[threading.Thread] = field(default_factory=list)

    def start(self, answer: Answer, *, closes: bool = True) -> int:
        """Start a server that sends the pieces of an answer to each request; return its port."""
        sink = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._sockets.append(sink)
        self._run(partial(self._listen, sink, answer, closes=closes))
        port: int = sink.getsockname()[1]
        return port

    def give(self, hostile: Hostile) -> int:
        return self.start(lambda _: hostile.pieces(), closes=hostile.closes)

    def __enter__(self) -> Servers:  # noqa: PYI034 - Python 3.8 has no Self
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        while self._sockets:
            one = self._sockets.pop()
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        for thread in list(self._threads):
            thread.join(GUARD_SECONDS)

    def _run(self, work: Callable[[], None]) -> None:
        def run() -> None:
            with contextlib.suppress(OSError):  # closed by the caller, or by the end of the test
                work()

        thread = threading.Thread(target=run, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _listen(self, sink: socket.socket, answer: Answer, *, closes: bool) -> None:
        while True:
            connection, _ = sink.accept()
            self._run(partial(self._serve, connection, answer, closes=closes))

    def _serve(self, connection: socket.socket, answer: Answer, *, closes: bool) -> None:
        self._sockets.append(connection)
        with contextlib.ExitStack() as stack:
            stack.enter_context(connection)
            if self.context is not None:
                connection = self.context.wrap_socket(connection, server_side=True)
                self._sockets.append(connection)
                stack.enter_context(connection)
            self._send(connection, answer(read_request(connection)))
            if not closes:
                self._over.wait(GUARD_SECONDS)

    def _send(self, connection: socket.socket, pieces: Iterable[bytes]) -> None:
        for piece in pieces:
            connection.sendall(piece)
            if self._over.wait(_PAUSE if len(piece) == 1 else 0):
                return

    def slow_line(self, port: int, spared: int) -> int:
        """Return the port of a proxy to a server; it passes answers on in slow single bytes.

        It passes the first `spared` bytes on at once.
        """
        sink = socket.create_server(("127.0.0.1", 0))
        self._sockets.append(sink)

        def connect() -> None:
            near, far = sink.accept()[0], socket.create_connection(("127.0.0.1", port))
            self._sockets.extend((near, far))
            self._run(lambda: self._send(far, iter(lambda: near.recv(65536), b"")))
            self._send(near, slowly(iter(lambda: far.recv(65536), b""), spared))

        self._run(connect)
        slow: int = sink.getsockname()[1]
        return slow


def slowly(pieces: Iterable[bytes], spared: int) -> Iterator[bytes]:
    """Split the pieces into single bytes, except for the first `spared` bytes."""
    for piece in pieces:
        yield piece[:spared]
        yield from (bytes([byte]) for byte in piece[spared:])
        spared = max(0, spared - len(piece))


def read_request(connection: socket.socket) -> bytes:
    """Read a complete request: closing a connection with unread data would drop the answer."""
    read = b""
    while True:
        head, end, body = read.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: (\d+)", head)
        if end and len(body) >= int(length.group(1) if length else 0):
            break
        some = connection.recv(65536)
        if not some:
            break
        read += some
    return read


def together(work: dict[str, Callable[[], T]]) -> dict[str, T]:
    """Run all functions at the same time; each must end in time."""
    with ThreadPoolExecutor(len(work)) as pool:
        futures = {name: pool.submit(one) for name, one in work.items()}
        return {name: future.result(GUARD_SECONDS) for name, future in futures.items()}
