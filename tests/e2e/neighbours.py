"""Hostile and regular callers that share a proxy's connections to the backend."""

from __future__ import annotations

import base64
import collections
import contextlib
import http.client
import json
import re
import socket
import threading
from typing import Iterable

from tests.e2e.framings import FORGED, Framing
from tests.e2e.processes import Backend, Hetzner

_TIMEOUT = 20.0
_LINGERING = 4  # hostile connections that stay open at the same time
_STATUS = re.compile(rb"HTTP/1\.[0-9] ([1-5][0-9][0-9]) [ -~]*\r\n")
_FIELD = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[ \t]*[^\r\n\0]*\r\n")
_NO_BODY = (b"204", b"304")


class Malformed(Exception):
    """The received bytes are not a valid answer."""


def answers_in(data: bytes, *, ended: bool, without_bodies: bool = False) -> list[int]:
    """Return the statuses of the complete final answers.

    Raises:
        Malformed: the bytes are not a valid answer.

    """
    found: list[int] = []
    while data:
        head, end, rest = data.partition(b"\r\n\r\n")
        status = _STATUS.match(head + b"\r\n")
        if not end and not ended and (status or b"\r\n" not in head):
            break
        if not end or not status:
            raise Malformed(repr(data[:200]))
        fields = _fields((head + b"\r\n")[status.end() :])
        if status[1].startswith(b"1"):
            data = rest
            continue
        size = 0
        # HAProxy's own answers have a body even to a HEAD request.
        bodiless = without_bodies and not rest.startswith(b"<html>")
        if not bodiless and status[1] not in _NO_BODY:
            whole = _size(fields, rest, ended=ended)
            if whole is None:
                break
            size = whole
        found.append(int(status[1]))
        data = rest[size:]
    return found


def _fields(lines: bytes) -> dict[bytes, bytes]:
    fields: dict[bytes, bytes] = {}
    for line in lines.splitlines(keepends=True):
        if not _FIELD.fullmatch(line):
            raise Malformed(repr(line))
        name, _, value = line.partition(b":")
        fields[name.lower()] = value.strip()
    return fields


def _size(fields: dict[bytes, bytes], rest: bytes, *, ended: bool) -> int | None:
    """Return the length of the body, or `None` if it is incomplete."""
    if fields.get(b"transfer-encoding", b"").lower() == b"chunked":
        end = re.match(rb"(?:[0-9a-fA-F]+\r\n(?s:.*?)\r\n)*?0+\r\n\r\n", rest)
        return end.end() if end else None
    declared = fields.get(b"content-length")
    if declared is None:
        return len(rest) if ended else None
    return int(declared) if len(rest) >= int(declared) else None


class Hostile:
    """A connection that sends a framing, and is closed after the server has closed it."""

    def __init__(self, port: int, framing: Framing) -> None:
        self.framing = framing
        self._received = b""
        self._ended = False
        self._note = threading.Condition()
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=_TIMEOUT)
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        with contextlib.suppress(OSError):  # the server may refuse the request before its end
            self._socket.sendall(framing.wire)

    def _read(self) -> None:
        part = b"-"
        while part:
            try:
                part = self._socket.recv(65536)
            except OSError:
                part = b""
            with self._note:
                self._received += part
                self._ended = not part
                self._note.notify_all()
        # gunicorn 27 blocks for up to two seconds until its peer has closed the connection.
        self._socket.close()

    def _answers(self) -> list[int]:
        without_bodies = self.framing.is_head
        return answers_in(self._received, ended=self._ended, without_bodies=without_bodies)

    @property
    def has_ended_without_a_byte(self) -> bool:
        return self._ended and not self._received

    def wait(self) -> None:
        """Wait for the minimum number of answers or the end of the connection."""

        def is_done() -> bool:
            try:
                return self._ended or len(self._answers()) >= self.framing.answered
            except Malformed:
                return True

        with self._note:
            self._note.wait_for(is_done, _TIMEOUT)

    def close(self) -> str:
        """Close the connection; return a problem with its answers, or an empty string."""
        ended = self._ended
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._reader.join()
        self._ended = ended
        if self.framing.is_http_0_9:
            return ""
        try:
            answers = self._answers()
        except Malformed as error:
            return f"not an answer: {error}"
        if self.framing.answered <= len(answers) <= self.framing.requests:
            return ""
        end = "closed" if ended else "open"
        problem = f"{len(answers)} answers to {self.framing.requests} requests: {answers}"
        return f"{problem}, connection {end} after {self._received[-200:]!r}"


class Neighbour:
    """A regular caller with its own login and a persistent connection to the proxy."""

    def __init__(self, backend: Backend, port: int, host: str, address: str) -> None:
        self.host, self.address = host, address
        self._key = backend.key_of(host)
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT)

    def update_by_dyndns2(self) -> str:
        """Send an update as a router does; return a problem with the answer, if any."""
        login = base64.b64encode(f"{self.host}:{self._key}".encode()).decode()
        path = f"/nic/update?hostname={self.host}&myip={self.address}"
        status, body = self._request("GET", path, None, {"Authorization": f"Basic {login}"})
        expected = (f"good {self.address}", f"nochg {self.address}")
        return "" if status == 200 and body.strip() in expected else f"{status} {body!r}"

    def update_by_json(self) -> str:
        """Send an update as the client does; return a problem with the answer, if any."""
        order = json.dumps({"fqdn": self.host, "ip": self.address})
        status, body = self._request("POST", "/update", order, {"X-Pre-Shared-Key": self._key})
        try:
            answer = json.loads(body)
        except ValueError:
            answer = {}
        fits = status == 200 and (answer.get("fqdn"), answer.get("ip")) == (self.host, self.address)
        return "" if fits else f"{status} {body!r}"

    def _request(
        self, method: str, path: str, body: str | None, headers: dict[str, str]
    ) -> tuple[int, str]:
        try:
            return self._request_once(method, path, body, headers)
        except (ConnectionError, http.client.HTTPException):
            # The proxy may close a persistent connection at any time, but not a new one.
            self._connection.close()
            return self._request_once(method, path, body, headers)

    def _request_once(
        self, method: str, path: str, body: str | None, headers: dict[str, str]
    ) -> tuple[int, str]:
        self._connection.request(method, path, body, headers)
        answer = self._connection.getresponse()
        return answer.status, answer.read().decode("utf-8", "replace")

    def close(self) -> None:
        self._connection.close()


class Neighbourhood:
    """Two regular callers, and hostile ones that use the same proxy."""

    def __init__(
        self, backend: Backend, hetzner: Hetzner, port: int, hosts: tuple[str, str], number: int
    ) -> None:
        self.port = port
        self._hetzner = hetzner
        addresses = (f"198.51.100.{number}", f"198.51.100.{number + 1}")
        self._neighbours = [Neighbour(backend, port, *one) for one in zip(hosts, addresses)]

    def problems(self) -> list[str]:
        """Send updates of the regular callers; return problems with their answers and addresses."""
        first, second = self._neighbours
        answers = [first.update_by_dyndns2(), second.update_by_json(), second.update_by_dyndns2()]
        problems = [f"a neighbour got {one}" for one in answers if one]
        for neighbour in self._neighbours:
            found = self._hetzner.resolve(neighbour.host)
            if found not in ([], [neighbour.address]):  # the first record may not be published yet
                problems.append(f"{neighbour.host} is published as {found}")
        return problems

    def attack(self, framings: Iterable[Framing]) -> list[str]:
        """Start hostile callers one after the other, some of which stay; return all problems."""
        problems: list[str] = []
        lingering: collections.deque[Hostile] = collections.deque()

        def ends(hostile: Hostile) -> None:
            problem = hostile.close()
            if problem:
                problems.append(f"{hostile.framing.name}: {problem}")

        for framing in framings:
            hostile = Hostile(self.port, framing)
            if framing.answered:
                hostile.wait()
                if hostile.has_ended_without_a_byte:
                    # The proxy may have used a connection that the backend was about to close.
                    hostile = Hostile(self.port, framing)
                    hostile.wait()
            lingering.append(hostile)
            problems += [f"beside {framing.name}: {problem}" for problem in self.problems()]
            if len(lingering) > _LINGERING:
                ends(lingering.popleft())
                problems += [f"after {framing.name}: {problem}" for problem in self.problems()[:1]]
        while lingering:
            ends(lingering.popleft())
        problems += [f"at last: {problem}" for problem in self.problems()]
        return problems

    def close(self) -> None:
        for neighbour in self._neighbours:
            neighbour.close()


def forged_writes(hetzner: Hetzner) -> list[object]:
    """Return the writes at Hetzner that contain a forged address."""
    return [call for call in hetzner.control("GET", "calls") if FORGED in json.dumps(call)]
