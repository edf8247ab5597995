from __future__ import annotations

import json
import logging
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Callable, Iterator

import pytest

from backend.errors import (
    DyndnsError,
    HetznerBusy,
    HetznerUnreachable,
)
from backend.hetzner.client import CloudApi
from backend.model import Deadline
from tests.unit.fakes import Clock

TOKEN = "secret" + "t" * 58

Script = Callable[["Exchange"], None]


class Exchange(BaseHTTPRequestHandler):
    """One call, answered by the script of the test."""

    protocol_version = "HTTP/1.1"
    server: Hetzner

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        self.body = self.rfile.read(length)
        self.server.seen.append(self)
        self.server.script(self)

    do_POST = do_DELETE = do_GET  # noqa: N815

    def answers(
        self, status: int, body: bytes = b"{}", length: int | None = None, **headers: str
    ) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)

    def refuses(self, status: int, code: str, message: str = "no", **headers: str) -> None:
        body = {"error": {"code": code, "message": message, "details": None}}
        self.answers(status, json.dumps(body).encode(), **headers)


class Hetzner(ThreadingHTTPServer):
    """A server at HETZNER_API_URL."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Exchange)
        self.script: Script = lambda call: call.answers(200)
        self.seen: list[Exchange] = []
        self.has_hung_up = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}/v1"

    def shutdown_request(self, request: socket.socket) -> None:  # type: ignore[override]
        super().shutdown_request(request)
        self.has_hung_up.set()

    def handle_error(self, *_: object) -> None:
        """Print nothing: clients close connections on purpose."""


@pytest.fixture
def hetzner(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hetzner]:
    """Start an HTTP server on 127.0.0.1.

    These tests cover redirects, incomplete bodies and timeouts, which a fake of `requests` wouldn't
    reproduce.
    """
    monkeypatch.setenv("NO_PROXY", "*")
    server = Hetzner()
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def api(hetzner: Hetzner) -> CloudApi:
    return CloudApi(TOKEN, hetzner.url, "hetzner-dyndns/test")


def call(api: CloudApi, method: str = "GET", path: str = "/zones", seconds: float = 5) -> object:
    return api.call(method, path, Deadline(seconds))


def failure(api: CloudApi, seconds: float = 5) -> DyndnsError:
    with pytest.raises(DyndnsError) as caught:
        call(api, seconds=seconds)
    assert TOKEN not in str(caught.value)
    return caught.value


def test_a_call_carries_its_token_its_query_and_its_body(api: CloudApi, hetzner: Hetzner) -> None:
    hetzner.script = lambda call: call.answers(201, b'{"action": {"id": 1}}')
    query = [("type", "A"), ("type", "AAAA"), ("name", "@")]
    answer = api.call("POST", "/zones/example.com/rrsets", Deadline(5), query, {"ttl": 60})
    assert answer == {"action": {"id": 1}}
    (seen,) = hetzner.seen
    assert seen.command == "POST"
    assert seen.path == "/v1/zones/example.com/rrsets?type=A&type=AAAA&name=%40"
    assert seen.headers["Authorization"] == f"Bearer {TOKEN}"
    assert seen.headers["User-Agent"] == "hetzner-dyndns/test"
    assert seen.headers["Content-Type"] == "application/json"
    assert json.loads(seen.body) == {"ttl": 60}


def test_a_call_without_a_body_sends_none(api: CloudApi, hetzner: Hetzner) -> None:
    call(api, "DELETE")
    assert hetzner.seen[0].body == b""


def test_a_redirect_is_not_followed(api: CloudApi, hetzner: Hetzner) -> None:
    hetzner.script = lambda call: call.answers(301, Location=f"{hetzner.url}/elsewhere")
    assert type(failure(api)) is HetznerUnreachable
    assert [seen.path for seen in hetzner.seen] == ["/v1/zones"]


def test_a_body_that_breaks_off_is_an_error(api: CloudApi, hetzner: Hetzner) -> None:
    def breaks_off(call: Exchange) -> None:
        call.answers(200, b'{"zones": []}', length=100)
        call.close_connection = True

    hetzner.script = breaks_off
    assert type(failure(api)) is HetznerUnreachable


def test_a_chunked_body_that_breaks_off_is_an_error(api: CloudApi, hetzner: Hetzner) -> None:
    def breaks_off(call: Exchange) -> None:
        call.send_response(200)
        call.send_header("Transfer-Encoding", "chunked")
        call.end_headers()
        call.wfile.write(b'd\r\n{"zones": []}\r\n')
        call.close_connection = True

    hetzner.script = breaks_off
    assert "broke off" in str(failure(api))


def test_a_missing_answer_ends_at_the_deadline(api: CloudApi, hetzner: Hetzner) -> None:
    is_given_up = threading.Event()

    def dawdles(call: Exchange) -> None:
        is_given_up.wait(2)
        call.answers(200)

    hetzner.script = dawdles
    assert "no complete answer in time" in str(failure(api, seconds=0.1))
    is_given_up.set()


def test_a_slow_body_is_cut_off_at_the_deadline(api: CloudApi, hetzner: Hetzner) -> None:
    was_hung_up_on = threading.Event()
    has_ended = threading.Event()

    def trickles(call: Exchange) -> None:
        call.answers(200, b"", length=200)
        try:
            for _ in range(200):  # two seconds
                call.wfile.write(b" ")
                time.sleep(0.01)
        except OSError:
            was_hung_up_on.set()
        has_ended.set()

    hetzner.script = trickles
    assert type(failure(api, seconds=0.2)) is HetznerUnreachable
    has_ended.wait(10)
    assert was_hung_up_on.is_set(), "the whole body was read"


def test_an_incomplete_body_is_reported_at_the_deadline(api: CloudApi, hetzner: Hetzner) -> None:
    is_given_up = threading.Event()

    def stops(call: Exchange) -> None:
        call.answers(200, b'{"zones"', length=100)
        is_given_up.wait(5)

    hetzner.script = stops
    assert "no complete answer in time" in str(failure(api, seconds=0.2))
    is_given_up.set()


def test_a_passed_deadline_prevents_the_call(api: CloudApi, hetzner: Hetzner) -> None:
    assert type(failure(api, seconds=0)) is HetznerUnreachable
    assert hetzner.seen == []


def test_a_body_that_is_too_long_is_cut_off(api: CloudApi, hetzner: Hetzner) -> None:
    sent: list[int] = []

    def floods(call: Exchange) -> None:
        call.answers(200, b"", length=1 << 30)
        for _ in range(1 << 10):
            call.wfile.write(b" " * (1 << 20))
            sent.append(1)

    hetzner.script = floods
    assert "too long" in str(failure(api, seconds=30))
    assert len(sent) < 100


@pytest.mark.usefixtures("hetzner")
def test_a_refused_connection_is_reported() -> None:
    error = failure(CloudApi(TOKEN, "http://127.0.0.1:1/v1", "agent"))
    assert type(error) is HetznerUnreachable
    assert "connection refused" in str(error)


def test_retry_after_is_read(api: CloudApi, hetzner: Hetzner) -> None:
    hetzner.script = lambda call: call.refuses(429, "rate_limit_exceeded", Retry_After="17")
    error = failure(api)
    assert isinstance(error, HetznerBusy)
    assert error.retry_after == 17


def test_an_echoed_token_is_masked(api: CloudApi, hetzner: Hetzner) -> None:
    hetzner.script = lambda call: call.refuses(401, "unauthorized", call.headers["Authorization"])
    assert "(token)" in str(failure(api))


def test_an_entry_in_netrc_does_not_replace_the_token(
    api: CloudApi, hetzner: Hetzner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    call(api)
    assert hetzner.seen[0].headers["Authorization"] == f"Bearer {TOKEN}"


def test_calls_of_one_thread_share_a_connection(api: CloudApi, hetzner: Hetzner) -> None:
    for _ in range(3):
        call(api)
    assert len({seen.client_address for seen in hetzner.seen}) == 1


def test_a_call_survives_a_connection_that_the_server_closed(
    api: CloudApi, hetzner: Hetzner
) -> None:
    def closes(call: Exchange) -> None:
        call.answers(200)
        call.close_connection = True

    hetzner.script = closes
    call(api)
    assert hetzner.has_hung_up.wait(10)
    call(api)
    assert len(hetzner.seen) == 2


@pytest.mark.parametrize(
    ("limit", "remaining", "is_low"),
    [
        *(("3600", "3599", False), ("3600", "360", False), ("3600", "358", True)),
        *(("3600", "0", True), ("10", "9", False)),
    ],
)
def test_the_quota_is_low_when_only_the_reserve_is_left(
    api: CloudApi, hetzner: Hetzner, limit: str, remaining: str, *, is_low: bool
) -> None:
    headers = {"RateLimit_Limit": limit, "RateLimit_Remaining": remaining}
    hetzner.script = lambda call: call.answers(200, **headers)
    assert not api.is_low
    call(api)
    assert api.is_low is is_low


def test_a_refusal_updates_the_quota(api: CloudApi, hetzner: Hetzner) -> None:
    headers = {"RateLimit_Limit": "3600", "RateLimit_Remaining": "0"}
    hetzner.script = lambda call: call.refuses(429, "rate_limit_exceeded", **headers)
    failure(api)
    assert api.is_low


def test_a_call_beyond_the_quota_is_not_made(api: CloudApi, hetzner: Hetzner) -> None:
    hetzner.script = lambda call: call.answers(200, RateLimit_Limit="3600", RateLimit_Remaining="0")
    call(api)
    error = failure(api)
    assert isinstance(error, HetznerBusy)
    assert 2 < error.retry_after <= 3
    assert len(hetzner.seen) == 1


def test_no_log_line_contains_the_token(
    api: CloudApi, hetzner: Hetzner, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    call(api)
    hetzner.script = lambda call: call.refuses(401, "unauthorized", call.headers["Authorization"])
    failure(api)
    assert "GET /zones: 200" in caplog.text
    assert TOKEN not in caplog.text


def test_a_deadline_has_the_remaining_seconds() -> None:
    clock = Clock(100)
    deadline = Deadline(8, clock)
    clock.advance(3)
    assert (deadline.remaining(), deadline.has_passed) == (5, False)
    clock.advance(5)
    assert deadline.has_passed
    with pytest.raises(HetznerUnreachable):
        deadline.remaining()
