from __future__ import annotations

import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Callable, Iterator, Mapping

import pytest

from backend.notify.channels import Ntfy, PushFailed, PushRefused
from backend.notify.reporter import Push
from tests.unit.fakes import ntfy_at

SECRETS = ("tk_secret", "pass:wörd", "the-password-in-the-url")
LATE = "127.0.0.1 can't be reached: no complete answer in time"
PUSH = Push("„nas“ is lost ✓", "Nothing heard of it\nfor 3 h: ö€😀.", 4, ("rotating_light",))

Script = Callable[["Exchange"], None]


class Exchange(BaseHTTPRequestHandler):
    """One request, answered by the script of the test."""

    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, *_: object) -> None:
        pass

    def do_POST(self) -> None:
        self.body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.seen.append(self)
        self.server.script(self)

    def accepts(self, **more: object) -> None:
        """Answer as ntfy does to JSON."""
        sent = {name: self.body[name] for name in ("topic", "title", "message", "priority")}
        self.answers(200, {"id": "x", "event": "message", **sent, **more})

    def answers(self, status: int, body: object = "", **headers: str) -> None:
        text = (body if isinstance(body, str) else json.dumps(body)).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)


class Server(ThreadingHTTPServer):
    """The server at NTFY_URL."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Exchange)
        self.script: Script = Exchange.accepts
        self.seen: list[Exchange] = []
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.ends = threading.Event()

    def handle_error(self, *_: object) -> None:
        """Print nothing: clients hang up on this server on purpose."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A real HTTP server on 127.0.0.1, as in test_cloud_api.py, and for the same reason."""
    monkeypatch.setenv("NO_PROXY", "*")
    server = Server()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield server
    server.ends.set()
    server.shutdown()
    server.server_close()


def test_certificates_that_vanish_are_named(tmp_path: Path) -> None:
    ntfy = ntfy_at("https://127.0.0.1", ca_bundle=tmp_path / "ca.pem")
    with pytest.raises(PushFailed, match=r"can't be read \(NTFY_CA_BUNDLE\)"):
        ntfy.publish(PUSH)


def topic(server: Server, **login: str) -> Ntfy:
    return ntfy_at(server.url, **login)


def refused(server: Server, push: Push = PUSH) -> str:
    with pytest.raises(PushRefused) as caught:
        topic(server, token="tk_secret").publish(push)
    return str(caught.value)


def failed(ntfy: Ntfy, seconds: float = 10) -> PushFailed:
    with pytest.raises(PushFailed) as caught:
        ntfy.publish(PUSH, seconds)
    assert not any(secret in str(caught.value) for secret in SECRETS)
    return caught.value


def test_a_push_of_any_characters_is_published_as_json(server: Server) -> None:
    topic(server).publish(PUSH)
    (seen,) = server.seen
    assert seen.path == "/"
    assert seen.body == {
        "topic": "dyndns",
        "title": "„nas“ is lost ✓",
        "message": "Nothing heard of it\nfor 3 h: ö€😀.",
        "priority": 4,
        "tags": ["rotating_light"],
    }


def basic(login: str) -> str:
    return "Basic " + base64.b64encode(login.encode("utf-8")).decode()


@pytest.mark.parametrize(
    ("login", "header"),
    [
        ({}, None),
        ({"username": "müller", "password": "pass:wörd"}, basic("müller:pass:wörd")),
        ({"username": "me"}, basic("me:")),
        ({"token": "tk_secret"}, "Bearer tk_secret"),
        ({"token": "tk_secret", "username": "me", "password": "pw"}, "Bearer tk_secret"),
    ],
)
def test_a_token_precedes_a_login_and_a_login_is_utf8(
    server: Server, login: dict[str, str], header: str
) -> None:
    topic(server, **login).publish(PUSH)
    assert server.seen[0].headers["Authorization"] == header


def test_a_login_in_the_url_is_used(server: Server) -> None:
    url = server.url.replace("//", "//me:the-password-in-the-url@")
    ntfy_at(url).publish(PUSH)
    assert server.seen[0].headers["Authorization"] == basic("me:the-password-in-the-url")


@pytest.mark.parametrize("message", ["x" * 10_000, "ö" * 10_000, "😀" * 10_000])
def test_a_long_message_is_cut_so_that_it_stays_a_message(server: Server, message: str) -> None:
    topic(server).publish(Push("title", message))
    sent = server.seen[0].body["message"]
    assert 3990 < len(sent.encode()) <= 4096
    assert message.startswith(sent[:-2])
    assert sent.endswith(" …")


@pytest.mark.parametrize(
    ("status", "names"),
    [
        (401, ["wrong login", "NTFY_USERNAME", "NTFY_PASSWORD", "NTFY_TOKEN"]),
        (403, ["not allowed", "NTFY_TOPIC", "ntfy access"]),
    ],
)
def test_the_fifth_refusal_of_a_login_is_believed(
    server: Server, status: int, names: list[str]
) -> None:
    server.script = lambda call: call.answers(status, "no")
    failure = failed(topic(server, token="tk_secret"))
    assert failure.believed_after == 4
    assert [name for name in names if name not in str(failure)] == []


def test_a_refusal_without_a_login_asks_for_one(server: Server) -> None:
    server.script = lambda call: call.answers(403, "forbidden")
    hint = "no login is set: set NTFY_TOKEN, or NTFY_USERNAME and NTFY_PASSWORD"
    assert hint in str(failed(topic(server)))
    in_the_url = ntfy_at(server.url.replace("//", "//me:pw@"))
    for ntfy in (topic(server, token="tk_secret"), in_the_url):
        assert "no login" not in str(failed(ntfy))


@pytest.mark.parametrize(
    ("status", "names"),
    [
        (404, ["404", "NTFY_URL", "base URL"]),
        (405, ["405", "NTFY_URL", "base URL"]),
        (400, ["400", "NTFY_URL", "NTFY_TOPIC"]),
        (413, ["413"]),
        (301, ["301", "NTFY_URL"]),
        (204, ["204", "NTFY_URL"]),
    ],
)
def test_a_permanent_refusal_names_the_status_and_the_setting(
    server: Server, status: int, names: list[str]
) -> None:
    location = {"Location": f"{server.url}/elsewhere"} if status == 301 else {}
    server.script = lambda call: call.answers(status, "" if status == 204 else "no", **location)
    error = refused(server)
    assert [name for name in names if name not in error] == []
    assert len(server.seen) == 1, "no redirect is followed"


@pytest.mark.parametrize(
    "answer",
    [
        *("", "<html><title>Welcome to nginx!</title></html>", "[]", "null", "5", '"ok"', "{}"),
        *("[" * 50_000, {"topic": "dyndns"}, {"topic": ["dyndns"]}),
        # What ntfy answers at the URL of a topic: the JSON has become the message.
        {"event": "message", "topic": "dyndns", "message": json.dumps({"topic": "dyndns"})},
        {"event": "message", "topic": "other", "title": PUSH.title, "message": PUSH.message},
    ],
)
def test_a_200_without_the_receipt_of_ntfy_is_a_wrong_url(server: Server, answer: object) -> None:
    server.script = lambda call: call.answers(200, answer)
    assert "isn't an ntfy server: check that NTFY_URL is its base URL" in refused(server)


@pytest.mark.parametrize("status", [429, 500, 502, 503, 507, 599])
def test_a_temporary_status_is_a_failure(server: Server, status: int) -> None:
    server.script = lambda call: call.answers(status, "<html>")
    failure = failed(topic(server))
    assert (str(failure), failure.retry_after) == (f"127.0.0.1 answers {status}", 0)


@pytest.mark.parametrize(
    ("header", "pause"),
    [("7", 7), ("0", 0), ("-5", 0), ("1e9", 300), ("Wed, 21 Oct 2026 07:28:00 GMT", 0), ("", 0)],
)
def test_retry_after_is_kept_within_bounds(server: Server, header: str, pause: float) -> None:
    server.script = lambda call: call.answers(429, "", Retry_After=header)
    assert failed(topic(server)).retry_after == pause


def test_an_absent_server_is_a_failure(server: Server) -> None:
    server.server_close()
    url = server.url.replace("//", "//me:the-password-in-the-url@")
    for ntfy in (topic(server, token="tk_secret"), ntfy_at(url)):
        assert str(failed(ntfy)).startswith("127.0.0.1 can't be reached: connection re")


def test_a_server_without_tls_at_an_https_url_is_a_failure(server: Server) -> None:
    ntfy = ntfy_at(server.url.replace("http:", "https:"))
    assert str(failed(ntfy)) == (
        "127.0.0.1 can't be reached: TLS failed, check the clock and the CA certificates "
        "(NTFY_CA_BUNDLE)"
    )


def test_a_server_that_does_not_answer_in_time_is_a_failure(server: Server) -> None:
    server.script = lambda call: call.server.ends.wait(20)
    assert str(failed(topic(server), 0.2)) == LATE


def test_an_answer_that_trickles_is_cut_off(server: Server) -> None:
    def trickle(call: Exchange) -> None:
        call.send_response(200)
        call.send_header("Content-Length", "100000")
        call.end_headers()
        while not call.server.ends.wait(0.05):
            call.wfile.write(b" ")

    server.script = trickle
    assert str(failed(topic(server), 0.5)) == LATE


def test_an_answer_that_breaks_off_is_a_failure(server: Server) -> None:
    def break_off(call: Exchange) -> None:
        call.send_response(200)
        call.send_header("Content-Length", "1000")
        call.end_headers()
        call.wfile.write(b"{")
        call.close_connection = True

    server.script = break_off
    assert str(failed(topic(server))) == "127.0.0.1 can't be reached: the answer broke off"


def test_an_endless_answer_is_cut_off(server: Server) -> None:
    def flood(call: Exchange) -> None:
        call.send_response(200)
        call.send_header("Content-Length", str(10**9))
        call.end_headers()
        while not call.server.ends.is_set():
            call.wfile.write(b"x" * 65536)

    server.script = flood
    assert "isn't an ntfy server" in refused(server)


def test_one_connection_serves_many_pushes(server: Server) -> None:
    ntfy = topic(server)
    for _ in range(3):
        ntfy.publish(PUSH)
    ports: list[Any] = [seen.client_address for seen in server.seen]
    assert len(ports) == 3
    assert len(set(ports)) == 1


def test_a_receipt_may_have_unknown_fields(server: Server) -> None:
    more: Mapping[str, object] = {"expires": 1, "new": {"x": []}}
    server.script = lambda call: call.accepts(**more)
    topic(server).publish(PUSH)
