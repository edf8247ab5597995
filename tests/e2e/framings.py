"""Requests whose end two parsers may find in different places, as bytes for raw sockets.

A framing is what one hostile caller sends over one connection. Bodies hold nested requests. If a
server answers a complete one, another caller gets the answer. An incomplete one takes in the next
caller's request, with the login.
"""

from __future__ import annotations

from typing import Iterator, NamedTuple

FORGED = "203.0.113.66"  # a word that no regular request contains
LIMIT = 16384  # the largest body that the service reads

_TARGETS = {
    "POST /update": b"POST /update",
    "POST /nic/update": b"POST /nic/update",
    "DELETE /update": b"DELETE /update",
    "POST /healthz": b"POST /healthz",
    "POST /ip": b"POST /ip",
    "POST /nowhere": b"POST /nowhere",
    "GET /healthz": b"GET /healthz",
    "GET /ip": b"GET /ip",
    "GET /": b"GET /",
}
_MAIN_TARGETS = ("POST /update", "POST /healthz")

# The request line of the next caller would become part of the last header.
INCOMPLETE = f"GET /nic/update?myip={FORGED} HTTP/1.1\r\nX-Pad: ppp".encode()
COMPLETE = f"GET /nic/update?myip={FORGED} HTTP/1.1\r\nHost: evil\r\n\r\n".encode()
_SIZE = len(COMPLETE)
_WHOLE = f"Content-Length: {_SIZE}".encode()
CHUNKS = b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


class Framing(NamedTuple):
    """The bytes that one caller sends, and the maximum number of answers."""

    name: str
    wire: bytes
    requests: int = 1
    answered: int = 0  # minimum of answers; gunicorn 23 answers no pipelined request

    @property
    def is_head(self) -> bool:
        """Whether the answer has no body."""
        return self.wire.startswith(b"HEAD ")

    @property
    def is_http_0_9(self) -> bool:
        """Whether the answer may have no head."""
        return b"HTTP/" not in self.wire.split(b"\n", 1)[0]


def head(target: bytes, *lines: bytes, version: bytes = b"HTTP/1.1") -> bytes:
    """Return a head with a Host and the given header lines."""
    return b"\r\n".join([target + b" " + version, b"Host: dyndns", *lines, b"", b""])


def _padded(text: bytes, size: int, *, end: bool = False) -> bytes:
    """Return a body of the given size that begins or ends with a text."""
    text = text[:size]
    filler = b"p" * (size - len(text))
    return filler + text if end else text + filler


def _swallowing(size: int, line: str) -> bytes:
    """Return a request with a chunk of this size that ends with the start of another request."""
    beginning = CHUNKS + line.encode() + b"\r\n"
    at_the_end = _padded(INCOMPLETE, 1024)
    return _padded(beginning, size - len(at_the_end)) + at_the_end


def _lengths() -> Iterator[Framing]:
    for target, first in _TARGETS.items():
        every = (0, 1, LIMIT - 1, LIMIT, LIMIT + 1, 2 * LIMIT, 4 * LIMIT)
        for size in every if target in _MAIN_TARGETS else (0, LIMIT + 1):
            bodies = {"filler": b"p" * size}
            if size in (LIMIT, LIMIT + 1, 4 * LIMIT):
                bodies["a request at its end"] = _padded(COMPLETE, size, end=True)
                bodies["a beginning at its end"] = _padded(INCOMPLETE, size, end=True)
            if size in (LIMIT + 1, 4 * LIMIT):
                for line in ("0", "2000", "ffff", "ffffffff"):
                    bodies[f"a chunk of {line} and a beginning"] = _swallowing(size, line)
            if size == LIMIT + 1:
                bodies["twenty digits"] = _swallowing(size, "ffff")
            for what, body in bodies.items():
                digits = 20 if what == "twenty digits" else 1
                length = f"Content-Length: {size:0{digits}}".encode()
                name = f"{target}, length {size}, {what}"
                yield Framing(name, head(first, length) + body, answered=int(size <= LIMIT))


def _huge_lengths() -> Iterator[Framing]:
    for number in (2**31 - 1, 2**31, 2**32, 2**63 - 1, 2**63, 2**64, 2**64 + 5, 10**20, 10**400):
        for target in _MAIN_TARGETS:
            length = f"Content-Length: {number}".encode()
            wire = head(_TARGETS[target], length) + COMPLETE
            yield Framing(f"{target}, length {str(number)[:24]}", wire)


def _odd_lengths() -> Iterator[Framing]:
    size, tens, ones = _SIZE, _SIZE // 10, _SIZE % 10
    values = {
        "twenty digits": f"{size:020}",
        "a plus": f"+{size}",
        "a minus": f"-{size}",
        "minus nothing": "-0",
        "hexadecimal": hex(size),
        "hexadecimal without a prefix": f"{size:x}",
        "an underscore": f"{tens}_{ones}",
        "a blank inside": f"{tens} {ones}",
        "a tab before": f"\t{size}",
        "a blank after": f"{size} \t",
        "a vertical tab": f"{size}\x0b",
        "a form feed before": f"\x0c{size}",
        "a fraction": f"{size}.0",
        "an exponent": f"{tens}e1",
        "nothing": "",
        "a word": "many",
        "NUL": f"{size}\0",
        "Arabic digits": "".join(chr(0x660 + int(digit)) for digit in str(size)),
        "wide digits": "".join(chr(0xFF10 + int(digit)) for digit in str(size)),
        "superscript": f"{tens}\u00b2",
        "a list of equals": f"{size},{size}",
        "a list of equals and blanks": f"{size} , {size}",
        "a list of two": f"0,{size}",
        "a list that ends early": f"{size},",
        "a semicolon": f"{size};x",
        "quotes": f'"{size}"',
    }
    for what, value in values.items():
        line = b"Content-Length: " + value.encode()
        yield from _on_main_targets(f"a length with {what}", [line], COMPLETE)
    right, nothing = f"Content-Length: {size}".encode(), b"Content-Length: 0"
    lines = {
        "two equal lengths": [right, right],
        "two lengths": [nothing, right],
        "two lengths the other way": [right, nothing],
        "a length by an underscore": [f"Content_Length: {size}".encode()],
        "a length and one by an underscore": [nothing, f"Content_Length: {size}".encode()],
        "a length before a colon apart": [f"Content-Length : {size}".encode()],
        "a length folded": [b"Content-Length:", f" {size}".encode()],
        "a length that is continued": [f"Content-Length: {tens}".encode(), f" {ones}".encode()],
        "a length behind a bare line feed": [f"X: y\nContent-Length: {size}".encode()],
        "a length behind a bare return": [f"X: y\rContent-Length: {size}".encode()],
        "a length behind NUL": [f"X: y\0\nContent-Length: {size}".encode()],
        "a length that Connection names": [right, b"Connection: keep-alive, content-length"],
    }
    for what, given in lines.items():
        yield from _on_main_targets(what, given, COMPLETE)


def _on_main_targets(
    what: str, lines: list[bytes], body: bytes, requests: int = 2, *, answered: int = 0
) -> Iterator[Framing]:
    """Frame a body for an endpoint that reads bodies and for one that doesn't.

    A server that sees no body may answer the nested request as a second one of the same caller.
    """
    for target in _MAIN_TARGETS:
        wire = head(_TARGETS[target], *lines) + body
        yield Framing(f"{target}, {what}", wire, requests, answered)


_CHUNKED = b"Transfer-Encoding: chunked"


def chunk(data: bytes, size: str | None = None, extension: bytes = b"") -> bytes:
    """Return a chunk, optionally with a wrong size."""
    declared = f"{len(data):x}" if size is None else size
    return declared.encode() + extension + b"\r\n" + data + b"\r\n"


def _chunked() -> Iterator[Framing]:
    end = b"0\r\n\r\n"
    inside = chunk(COMPLETE)
    well = {
        "one chunk": inside + end,
        "no chunk": end,
        "capitals in its size": chunk(b"q" * 0xAB, "AB") + end,
        "zeros before its size": chunk(COMPLETE, f"{len(COMPLETE):08x}") + end,
        "a thousand chunks": chunk(b"q") * 1000 + end,
        "a trailer": inside + b"0\r\nX-Trailer: y\r\n\r\n",
    }
    for what, body in well.items():
        yield from _on_main_targets(f"{what}", [_CHUNKED], body, 1, answered=1)
    large = {
        "one chunk beyond the limit": chunk(_padded(COMPLETE, LIMIT + 1, end=True)) + end,
        "chunks beyond the limit": chunk(_padded(INCOMPLETE, 4096, end=True)) * 5 + end,
        "a chunk of 64 KiB": chunk(_padded(COMPLETE, 4 * LIMIT, end=True)) + end,
        "twenty thousand chunks": chunk(b"q") * 20000 + end,
        "a beginning in large chunks": chunk(_padded(INCOMPLETE, 4 * LIMIT, end=True)) + end,
    }
    for what, body in large.items():
        yield from _on_main_targets(what, [_CHUNKED], body, 1)
    size = _SIZE
    odd = {
        "a size too small": chunk(COMPLETE, "5") + end,
        "a size too large": chunk(COMPLETE, f"{size + 40:x}") + end,
        "a size with a prefix": chunk(COMPLETE, hex(size)) + end,
        "a size with a plus": chunk(COMPLETE, f"+{size:x}") + end,
        "a size with a minus": chunk(COMPLETE, f"-{size:x}") + end,
        "a size with a blank before": chunk(COMPLETE, f" {size:x}") + end,
        "a size with a blank after": chunk(COMPLETE, f"{size:x} ") + end,
        "a size with a tab after": chunk(COMPLETE, f"{size:x}\t") + end,
        "a size with an underscore": chunk(COMPLETE, f"{size:x}"[0] + "_" + f"{size:x}"[1:]) + end,
        "no size": chunk(COMPLETE, "") + end,
        "a word as its size": chunk(COMPLETE, "many") + end,
        "a size beyond 64 bits": chunk(COMPLETE, "1" + "0" * 15 + f"{size:02x}") + end,
        "a size of all bits": chunk(COMPLETE, "f" * 16) + end,
        "a negative size of 32 bits": chunk(COMPLETE, "fffffff0") + end,
        "a size with many zeros": chunk(COMPLETE, "0" * 5000 + f"{size:x}") + end,
        "an extension": chunk(COMPLETE, extension=b";name=value") + end,
        "an extension in quotes": chunk(COMPLETE, extension=b';name="a; b"') + end,
        "an extension with a line feed": chunk(COMPLETE, extension=b";a\nb") + end,
        "an extension with a return": chunk(COMPLETE, extension=b";a\rb") + end,
        "an extension with NUL": chunk(COMPLETE, extension=b";a\0b") + end,
        "an extension in open quotes": chunk(COMPLETE, extension=b';a="\r\n') + end,
        "a huge extension": chunk(COMPLETE, extension=b";" + b"x" * 20000) + end,
        "a line of a size without end": b"5;" + b"x" * 70000,
        "sizes with line feeds alone": f"{size:x}\n".encode() + COMPLETE + b"\n0\n\n",
        "no line end behind the chunk": f"{size:x}\r\n".encode() + COMPLETE + end,
        "another line end behind it": f"{size:x}\r\n".encode() + COMPLETE + b"\n\n" + end,
        "an end with a line feed": inside + b"0\n\n",
        "an end with a size of zeros": inside + b"00000\r\n\r\n",
        "a trailer that is a length": inside + b"0\r\nContent-Length: 50\r\n\r\n",
        "a trailer that is an encoding": inside + b"0\r\nTransfer-Encoding: chunked\r\n\r\n",
        "a trailer without a colon": inside + b"0\r\nnonsense\r\n\r\n",
        "a trailer that is a request": inside + b"0\r\n" + COMPLETE,
        "a trailer that is a login": inside + b"0\r\nAuthorization: Basic eDp5\r\n\r\n",
        "a trailer of 64 KiB": inside + b"0\r\nX: " + b"x" * 4 * LIMIT + b"\r\n\r\n",
        "a thousand trailers": inside + b"0\r\n" + b"X: y\r\n" * 1000 + b"\r\n",
        "a request behind its end": inside + end + COMPLETE,
    }
    for what, body in odd.items():
        yield from _on_main_targets(what, [_CHUNKED], body)
    halves = {
        "no end": inside,
        "a half end": inside + b"0\r\n",
        "a half size": b"1",
        "a half chunk": inside[:-20],
    }
    for what, body in halves.items():
        yield from _on_main_targets(f"{what} of its chunks", [_CHUNKED], body, 1)


def _encodings() -> Iterator[Framing]:
    name = b"Transfer-Encoding: "
    lines: dict[str, list[bytes]] = {
        "chunked twice": [name + b"chunked, chunked"],
        "chunked in two headers": [_CHUNKED, _CHUNKED],
        "identity": [name + b"identity"],
        "identity before": [name + b"identity, chunked"],
        "identity after": [name + b"chunked, identity"],
        "identity in a header before": [name + b"identity", _CHUNKED],
        "identity in a header after": [_CHUNKED, name + b"identity"],
        "an unknown encoding": [name + b"xchunked"],
        "an unknown one before": [name + b"x, chunked"],
        "gzip before": [name + b"gzip, chunked"],
        "gzip": [name + b"gzip"],
        "chunked before gzip": [name + b"chunked, gzip"],
        "a tab before": [b"Transfer-Encoding:\tchunked"],
        "no blank": [b"Transfer-Encoding:chunked"],
        "a blank after": [_CHUNKED + b" "],
        "a vertical tab before": [name + b"\x0bchunked"],
        "a vertical tab after": [_CHUNKED + b"\x0b"],
        "a no-break space": [name + b"\xa0chunked"],
        "NUL": [_CHUNKED + b"\0"],
        "capitals": [b"TRANSFER-ENCODING: CHUNKED"],
        "one capital": [name + b"Chunked"],
        "a dotless i": ["Transfer-Encod\u0131ng: chunked".encode()],
        "a Kelvin sign": [name + "chun\u212aed".encode()],
        "quotes": [name + b'"chunked"'],
        "a parameter": [_CHUNKED + b";q=1"],
        "a comma after": [_CHUNKED + b","],
        "a comma before": [name + b",chunked"],
        "nothing": [name.strip()],
        "a colon apart": [b"Transfer-Encoding : chunked"],
        "an underscore": [b"Transfer_Encoding: chunked"],
        "a fold": [b"Transfer-Encoding:", b" chunked"],
        "a fold of its name": [b"X: y", b" Transfer-Encoding: chunked"],
        "a bare line feed before": [b"X: y\nTransfer-Encoding: chunked"],
        "a bare return before": [b"X: y\rTransfer-Encoding: chunked"],
        "a Connection that names it": [_CHUNKED, b"Connection: keep-alive, transfer-encoding"],
    }
    length = f"Content-Length: {len(chunk(COMPLETE)) + 5}".encode()
    for what, given in lines.items():
        body = chunk(COMPLETE) + b"0\r\n\r\n"
        yield from _on_main_targets(f"encoding: {what}", given, body)
        yield from _on_main_targets(f"encoding and length: {what}", [*given, length], body)
    both = {
        "chunked, then a length": [_CHUNKED, b"Content-Length: 5"],
        "a length, then chunked": [b"Content-Length: 5", _CHUNKED],
        "no length, then chunked": [b"Content-Length: 0", _CHUNKED],
        "chunked, then one too large": [_CHUNKED, f"Content-Length: {LIMIT + 1}".encode()],
    }
    for what, given in both.items():
        yield from _on_main_targets(what, given, b"0\r\n\r\n" + COMPLETE)
    for target in _MAIN_TARGETS:
        for connection in (b"close", b"keep-alive"):
            lines_ = (_CHUNKED, b"Connection: " + connection)
            wire = head(_TARGETS[target], *lines_, version=b"HTTP/1.0")
            wire += chunk(COMPLETE) + b"0\r\n\r\n"
            yield Framing(f"{target}, chunked in HTTP/1.0, {connection.decode()}", wire, 2)


def _pipelines() -> Iterator[Framing]:
    get, login = head(b"GET /ip"), head(b"GET /nic/update?myip=" + FORGED.encode())
    post = head(b"POST /update", b"Content-Length: 2") + b"{}"
    large = head(b"POST /healthz", f"Content-Length: {LIMIT + 1}".encode()) + b"p" * (LIMIT + 1)
    last = head(b"GET /ip", b"Connection: close")
    yield Framing("two requests at once", get * 2, 2, answered=1)
    yield Framing("ten requests at once", get * 10, 10, answered=1)
    yield Framing("a request and one with a body", get + post, 2, answered=1)
    yield Framing("one with a body and a request", post + get, 2, answered=1)
    yield Framing("requests without a login", login * 3, 3, answered=1)
    yield Framing("a request and half a one", get + login[:-2], 1, answered=1)
    yield Framing("a request and a line", get + b"GET /nic/upd", 1, answered=1)
    yield Framing("one too large and a request", large + login, 2)
    yield Framing("one too large and half a one", large + login[:-2], 1)
    yield Framing("the last one and one more", last + get, 2)
    yield Framing("the last one and half a one", last + login[:-2], 1)
    yield Framing("empty lines before a request", b"\r\n\r\n" + get, 1)
    yield Framing("empty lines between requests", get + b"\r\n\r\n" + get, 2)


def _expectations() -> Iterator[Framing]:
    expect = b"Expect: 100-continue"
    for target in _MAIN_TARGETS:
        line = _TARGETS[target]
        body = _padded(COMPLETE, LIMIT + 1, end=True)
        large = f"Content-Length: {LIMIT + 1}".encode()
        cases: dict[str, tuple[bytes, int, int]] = {
            "a body at once": (head(line, expect, b"Content-Length: 2") + b"{}", 1, 1),
            "a body that never comes": (head(line, expect, b"Content-Length: 99"), 1, 0),
            "no body": (head(line, expect), 1, 1),
            "an empty body": (head(line, expect, b"Content-Length: 0"), 1, 1),
            "HTTP/1.0": (
                head(line, expect, b"Content-Length: 2", version=b"HTTP/1.0") + b"{}",
                1,
                0,
            ),
            "chunks": (head(line, expect, _CHUNKED) + chunk(COMPLETE) + b"0\r\n\r\n", 1, 1),
            "a body too large at once": (head(line, expect, large) + body, 1, 0),
            "a body too large that never comes": (head(line, expect, large), 1, 0),
            "a request in its place": (head(line, expect, large) + COMPLETE, 2, 0),
            "another expectation": (head(line, b"Expect: x", b"Content-Length: 0"), 1, 0),
            "two expectations": (head(line, expect, expect, b"Content-Length: 0"), 1, 0),
        }
        for what, (wire, requests, answered) in cases.items():
            yield Framing(f"{target}, expects and sends {what}", wire, requests, answered)


def _halves() -> Iterator[Framing]:
    yield Framing("nothing at all", b"", 0)
    yield Framing("one byte", b"G", 0)
    yield Framing("half a request line", INCOMPLETE[:30], 0)
    yield Framing("a request line", INCOMPLETE.split(b"\r\n", 1)[0], 0)
    yield Framing("a line and its end", INCOMPLETE.split(b"\r\n", 1)[0] + b"\r\n", 0)
    yield Framing("half a header", INCOMPLETE, 0)
    yield Framing("half the last line end", COMPLETE[:-1], 0)
    yield Framing("an empty line", b"\r\n", 0)
    for target, first in _TARGETS.items():
        wire = head(first, b"Content-Length: 200") + COMPLETE
        yield Framing(f"{target}, half a body", wire, 1)


def _heads() -> Iterator[Framing]:
    lines = {
        "a folded header": [b"X: y", b" z"],
        "a folded header by a tab": [b"X: y", b"\tz"],
        "a bare return": [b"X: y\rz"],
        "a bare line feed": [b"X: y\nZ: z"],
        "NUL in a value": [b"X: \0"],
        "NUL in a name": [b"X\0: y"],
        "a blank before a colon": [b"X : y"],
        "an empty name": [b": y"],
        "no colon": [b"nonsense"],
        "a blank in a name": [b"X Y: z"],
        "a control character": [b"X: \x01\x7f"],
        "raw UTF-8": ["X: Grüße".encode()],
        "a header of 8 KiB": [b"X: " + b"x" * 8000],
        "a header of 9 KiB": [b"X: " + b"x" * 9000],
        "a header of 70 KiB": [b"X: " + b"x" * 70000],
        "fifty headers": [b"X: y"] * 50,
        "a hundred headers": [b"X: y"] * 100,
        "two thousand headers": [b"X: y"] * 2000,
        "two Hosts": [b"Host: other"],
        "a Host by a fold": [b"Host:", b" other"],
        "an upgrade to HTTP/2": [b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c"],
        "an upgrade to a websocket": [b"Connection: Upgrade", b"Upgrade: websocket"],
        "a Connection that names Host": [b"Connection: host, authorization"],
        "headers with underscores": [f"X_Real_Ip: {FORGED}".encode()],
    }
    for what, given in lines.items():
        yield Framing(f"{what}", head(b"GET /ip", *given), 1)
        body = head(b"POST /healthz", *given, _WHOLE) + COMPLETE
        yield Framing(f"{what}, and a body", body, 2)


def _request_lines() -> Iterator[Framing]:
    rest = b"\r\nHost: dyndns\r\n\r\n"
    firsts = {
        "an absolute target": b"GET http://dyndns/ip HTTP/1.1",
        "an absolute target of others": b"GET http://other/ip HTTP/1.1",
        "an authority": b"CONNECT dyndns:443 HTTP/1.1",
        "an asterisk": b"OPTIONS * HTTP/1.1",
        "HTTP/1.2": b"GET /ip HTTP/1.2",
        "HTTP/2.0": b"GET /ip HTTP/2.0",
        "HTTP/0.9": b"GET /ip HTTP/0.9",
        "HTTP/1": b"GET /ip HTTP/1",
        "HTTP/1.10": b"GET /ip HTTP/1.10",
        "another protocol": b"GET /ip HTP/1.1",
        "small letters": b"GET /ip http/1.1",
        "no protocol": b"GET /ip",
        "a method alone": b"GET",
        "tabs": b"GET\t/ip\tHTTP/1.1",
        "two blanks": b"GET  /ip  HTTP/1.1",
        "a blank before": b" GET /ip HTTP/1.1",
        "a blank after": b"GET /ip HTTP/1.1 ",
        "a blank in the target": b"GET /ip /x HTTP/1.1",
        "a bare return": b"GET /ip\r HTTP/1.1",
        "NUL": b"GET /ip\0 HTTP/1.1",
        "raw UTF-8": "GET /ip?x=ü HTTP/1.1".encode(),
        "raw bytes": b"GET /ip?x=\xff\xfe HTTP/1.1",
        "a line end in the target": b"GET /ip?x=%0d%0aHost:%20x HTTP/1.1",
        "8 KiB": b"GET /ip?" + b"x" * 8000 + b" HTTP/1.1",
        "9 KiB": b"GET /ip?" + b"x" * 9000 + b" HTTP/1.1",
        "70 KiB": b"GET /ip?" + b"x" * 70000 + b" HTTP/1.1",
        "an unknown method": b"BREW /ip HTTP/1.1",
        "a method in small letters": b"get /ip HTTP/1.1",
        "TRACE": b"TRACE /ip HTTP/1.1",
        "the preface of HTTP/2": b"PRI * HTTP/2.0",
        "a PROXY line": b"PROXY TCP4 203.0.113.66 127.0.0.1 1 2\r\nGET /ip HTTP/1.1",
    }
    for what, first in firsts.items():
        yield Framing(f"a request line with {what}", first + rest, 1)
    for version in (b"HTTP/1.0", b"HTTP/1.1"):
        named = version.decode()
        keep = b"Connection: keep-alive"
        yield Framing(f"{named} kept alive", head(b"GET /ip", keep, version=version) * 2, 2)
        large = f"Content-Length: {LIMIT + 1}".encode()
        wire = head(b"POST /healthz", keep, large, version=version)
        wire += _padded(COMPLETE, LIMIT + 1, end=True)
        yield Framing(f"{named} kept alive, a body too large", wire, 1)
        for method in (b"HEAD /ip", b"GET /ip", b"OPTIONS /ip", b"PUT /update", b"TRACE /ip"):
            wire = head(method, _WHOLE, keep, version=version) + COMPLETE
            yield Framing(f"{named} {method.decode()} with a body", wire, 1)
    yield Framing("HTTP/1.1 without a Host", b"GET /ip HTTP/1.1\r\n\r\n", 1)
    yield Framing("line feeds alone", b"GET /ip HTTP/1.1\nHost: dyndns\n\n", 1)
    yield Framing(
        "line feeds alone, and a body", b"POST /ip HTTP/1.1\n" + _WHOLE + b"\n\n" + COMPLETE, 2
    )
    yield Framing("nonsense", b"nonsense\r\n\r\n", 1)
    yield Framing("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 500, 1)


KINDS: dict[str, list[Framing]] = {
    "lengths": [*_lengths()],
    "huge lengths": [*_huge_lengths()],
    "odd lengths": [*_odd_lengths()],
    "chunks": [*_chunked()],
    "encodings": [*_encodings()],
    "pipelines": [*_pipelines()],
    "expectations": [*_expectations()],
    "halves": [*_halves()],
    "heads": [*_heads()],
    "request lines": [*_request_lines()],
}
