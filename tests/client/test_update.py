from __future__ import annotations

from pathlib import Path

import pytest

from .conftest import KEY, ClientFor, Lines
from .fake_backend import FakeBackend, Reply, bad, good


def test_a_request_names_the_host_and_sends_its_key(
    backend: FakeBackend, client_for: ClientFor
) -> None:
    backend.set_answers(good("198.51.100.7"))
    assert client_for(backend.url).round()
    (request,) = backend.requests
    assert request.path == "/update"
    assert request.body == {"fqdn": "host.example.com", "type": "A"}
    assert request.key == KEY
    assert request.headers["Content-Type"] == "application/json"
    assert request.headers["User-Agent"].startswith("hetzner-dyndns-client/")


def test_a_given_address_is_sent_with_its_type(backend: FakeBackend, client_for: ClientFor) -> None:
    backend.set_answers(good("2001:db8::1"))
    assert client_for(backend.url, IP="2001:db8:0::1").round()
    assert backend.requests[0].body == {"fqdn": "host.example.com", "ip": "2001:db8::1"}


def test_each_of_several_hosts_is_updated_with_its_own_key(
    backend: FakeBackend, client_for: ClientFor
) -> None:
    backend.set_answers(good("198.51.100.7"))
    two = client_for(backend.url, FQDN="a.example.com,b.example.com", PRE_SHARED_KEY="k1,k2")
    assert two.round()
    seen = [(request.body["fqdn"], request.key) for request in backend.requests]
    assert seen == [("a.example.com", "k1"), ("b.example.com", "k2")]


def test_every_call_opens_a_new_connection(backend: FakeBackend, client_for: ClientFor) -> None:
    backend.set_answers(good("198.51.100.7"))
    client_for(backend.url).round()
    assert backend.requests[0].headers["Connection"] == "close"


def test_one_refused_host_does_not_stop_the_others(
    backend: FakeBackend, client_for: ClientFor, lines: Lines
) -> None:
    backend.set_answers(bad(401, "unauthorized"), good("198.51.100.7"))
    assert not client_for(backend.url, FQDN="a.example.com,b.example.com").round()
    logged = lines()
    assert len(backend.requests) == len(logged) == 2
    assert logged[1] == "INFO b.example.com A: 198.51.100.7 (unchanged)"


@pytest.mark.parametrize(
    ("reply", "parts"),
    [
        (bad(400, "private_address", "Seen: 10.0.0.1."), ["400", "Seen: 10.0.0.1; check FQDN"]),
        (bad(401, "unauthorized"), ["401", "This is why", "compare PRE_SHARED_KEY"]),
        (bad(403, "fqdn_not_allowed"), ["403", "REGISTERED_FQDNS"]),
        (bad(404, "zone_not_found"), ["404", "This is why", "path of BACKEND_URL"]),
        (bad(429, "too_many_failures"), ["429: This is why"]),
        (bad(502, "hetzner_refused"), ["502: This is why"]),
        (bad(503, "unavailable"), ["503: This is why"]),
        (bad(500, "internal", f"{KEY}\r\nERROR forged\x1b"), ["500: *** ERROR forged"]),
        (Reply(500, {}), ["500: no reason given"]),
        (Reply(200, "<html>Welcome!"), ["200 with text/html instead of a JSON", "login page"]),
        (Reply(404, "<html>None here"), ["404 with text/html", "check BACKEND_URL"]),
        (Reply(502, "<html>Bad gateway"), ["502 with text/html", "a proxy"]),
        (Reply(200, "[" * 60000), ["instead of a JSON object"]),
        (Reply(200, "[]"), ["instead of a JSON object"]),
        (Reply(200, {"status": "ok"}), ["isn't a hetzner-dyndns backend"]),
        (Reply(200, {"status": "updated", "ip": 4}), ["isn't a hetzner-dyndns backend"]),
        (
            Reply(200, {"status": ["updated"], "ip": "198.51.100.7"}),
            ["isn't a hetzner-dyndns backend"],
        ),
        (Reply(200, " " * 70000 + "{}"), ["instead of a JSON object"]),
    ],
)
def test_a_failure_is_one_line_with_cause_and_hint(
    backend: FakeBackend, client_for: ClientFor, lines: Lines, reply: Reply, parts: list[str]
) -> None:
    backend.set_answers(reply)
    assert not client_for(backend.url, INTERVAL="0").round()
    (line,) = lines()
    assert line.startswith("WARNING host.example.com A: ")
    assert [part for part in parts if part not in line] == []
    assert line.isprintable()
    assert "next try" not in line


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_reported_and_not_followed(
    backend: FakeBackend, client_for: ClientFor, lines: Lines, status: int
) -> None:
    place = f"{backend.url}/new/update"
    backend.set_answers(Reply(status, "", {"Location": place}), good("198.51.100.7"))
    assert not client_for(backend.url).round()
    (line,) = lines()
    assert len(backend.requests) == 1
    assert f"redirects ({status}) to {place}, which is not followed" in line
    assert f"set BACKEND_URL to {backend.url}/new;" in line


def test_a_relative_redirect_is_reported_as_a_full_url(
    backend: FakeBackend, client_for: ClientFor, lines: Lines
) -> None:
    backend.set_answers(Reply(308, "", {"Location": "/dns/update"}))
    client_for(backend.url).round()
    assert f"to {backend.url}/dns/update," in lines()[0]


def test_an_unreachable_backend_is_reported_with_the_reason(
    backend: FakeBackend, client_for: ClientFor, lines: Lines
) -> None:
    backend.close()
    assert not client_for(backend.url).round()
    assert "127.0.0.1 can't be reached over IPv4: Connection refused; check" in lines()[0]


def test_a_backend_that_never_answers_is_reported(
    backend: FakeBackend, client_for: ClientFor, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("client.update_dns.READ_SECONDS", 0.05)
    backend.set_answers(None)
    assert not client_for(backend.url).round()
    assert "127.0.0.1 accepted the request, but didn't answer within" in lines()[0]


def test_a_closed_connection_is_reported(
    backend: FakeBackend, client_for: ClientFor, lines: Lines
) -> None:
    backend.set_answers(None)
    backend.gate.set()
    assert not client_for(backend.url).round()
    assert "Remote end closed connection without response" in lines()[0]


def test_a_login_in_netrc_is_not_sent(
    backend: FakeBackend, client_for: ClientFor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login someone password other\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    backend.set_answers(good("198.51.100.7"))
    assert client_for(backend.url).round()
    assert "Authorization" not in backend.requests[0].headers


def test_an_unreachable_proxy_is_reported(
    backend: FakeBackend, client_for: ClientFor, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend.close()
    monkeypatch.setenv("HTTP_PROXY", backend.url)
    assert not client_for("http://dyndns.example.com").round()
    assert "the proxy for dyndns.example.com failed: Connection refused" in lines()[0]


def test_an_unexpected_error_is_logged_and_survived(
    backend: FakeBackend, client_for: ClientFor, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend.set_answers(good("198.51.100.7"))
    client = client_for(backend.url)
    with monkeypatch.context() as patch:
        patch.setattr("client.update_dns.judge", lambda *_: 1 / 0)
        assert not client.round()
    assert lines()[0] == "ERROR host.example.com A: a bug in this program"
    client.records[0].due = 0
    assert client.round()
