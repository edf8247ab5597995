"""Failed logins are counted and rejected; the right key is always accepted; keys may change."""

from __future__ import annotations

import pytest

from backend.auth.throttle import LoginQueue
from tests.http.conftest import Serve
from tests.http.service import (
    HOME,
    LIST,
    NAS,
    OPERATOR,
    PEER,
    Host,
    Router,
    Service,
    basic,
    key_of,
    refused,
    said,
)
from tests.http.waiting import until

QUERY = {"hostname": HOME, "myip": "198.51.100.1"}
UNAUTHORIZED, LOCKED = (401, "unauthorized"), (429, "too_many_failures")


@pytest.fixture
def strict(serve: Serve) -> Service:
    return serve(AUTH_FAILURE_LIMIT="3", AUTH_FAILURE_WINDOW="900")


def guess(
    service: Service, peer: str = "198.51.100.77", host: str = HOME, **headers: str
) -> tuple[int, str]:
    """Try a wrong key; return status and code."""
    headers = {"X-Pre-Shared-Key": "wrong", **headers}
    return refused(service.asks("POST", "/update", peer, json={"fqdn": host}, headers=headers))


def test_a_source_over_the_limit_is_answered_429(strict: Service) -> None:
    assert [guess(strict) for _ in range(4)] == [UNAUTHORIZED] * 3 + [LOCKED]
    headers = {"Authorization": basic("home", "wrong")}
    answer = strict.asks("GET", "/nic/update", query_string=QUERY, headers=headers)
    assert said(answer) == (429, b"abuse\n")
    assert 1 <= int(answer.headers["Retry-After"]) <= 900
    assert strict.calls() == []


def test_the_right_key_is_accepted_over_the_limit(strict: Service) -> None:
    for _ in range(5):
        guess(strict)
    assert strict.host().updates("198.51.100.1").status_code == 200
    assert said(strict.router().updates(myip="198.51.100.2")) == (200, b"good 198.51.100.2\n")
    headers = {"Authorization": basic(*OPERATOR)}
    answer = strict.asks("GET", "/nic/update", query_string=QUERY, headers=headers)
    assert said(answer) == (200, b"good 198.51.100.1\n")
    assert guess(strict) == LOCKED


def test_other_sources_are_counted_apart(strict: Service) -> None:
    for _ in range(5):
        guess(strict, "198.51.100.8", "foreign.example.com")
    assert guess(strict, "198.51.100.8", "foreign.example.com") == LOCKED
    assert guess(strict, "198.51.100.9", "another.example.com") == UNAUTHORIZED


def test_a_whole_ipv6_network_counts_as_one_source(strict: Service) -> None:
    for number in range(3):
        guess(strict, f"2001:db8::{number + 1}", "foreign.example.com")
    assert guess(strict, "2001:db8::ffff:9", "another.example.com") == LOCKED
    assert guess(strict, "2001:db8:0:1::9", "another.example.com") == UNAUTHORIZED


def test_failures_for_a_host_count_across_sources(strict: Service) -> None:
    for number in range(3):
        assert guess(strict, f"198.51.100.{number}") == UNAUTHORIZED
    assert guess(strict, "198.51.100.200") == LOCKED
    assert guess(strict, "198.51.100.201", NAS) == UNAUTHORIZED


def test_behind_a_proxy_failures_count_for_the_client_address(strict: Service) -> None:
    for _ in range(5):
        guess(strict, "10.0.0.1", "foreign.example.com", **{"X-Real-Ip": "198.51.100.8"})
    caller = {"X-Real-Ip": "198.51.100.9"}
    assert guess(strict, "10.0.0.1", "another.example.com", **caller) == UNAUTHORIZED


def test_after_a_while_a_source_may_try_again(serve: Serve) -> None:
    service = serve(AUTH_FAILURE_LIMIT="1", AUTH_FAILURE_WINDOW="1")
    guess(service)
    until(lambda: guess(service) == LOCKED, "the lock-out")
    until(lambda: guess(service) == UNAUTHORIZED, "the end of the lock-out")


def test_missing_credentials_are_not_counted(strict: Service) -> None:
    for _ in range(9):
        assert said(strict.asks("GET", "/nic/update", query_string=QUERY))[0] == 401
        assert strict.asks("POST", "/update", json={"fqdn": HOME}).status_code == 401
    assert guess(strict) == UNAUTHORIZED


@pytest.mark.parametrize("header", ["Basic %%%", "Basic", "Bearer x"])
def test_a_malformed_header_is_counted(strict: Service, header: str) -> None:
    for _ in range(4):
        strict.asks("GET", "/nic/update", headers={"Authorization": header})
    assert guess(strict) == LOCKED


def test_a_good_login_for_another_host_is_not_counted(strict: Service) -> None:
    headers = {"Authorization": basic("home", key_of(HOME))}
    for _ in range(5):
        query = {**QUERY, "hostname": NAS}
        answer = strict.asks("GET", "/nic/update", query_string=query, headers=headers)
        assert said(answer) == (404, b"nohost\n")


def test_failures_are_counted_in_all_workers_together(serve: Serve) -> None:
    workers = [serve(AUTH_FAILURE_LIMIT="3") for _ in range(2)]
    assert [guess(workers[number % 2]) for number in range(4)][-1] == LOCKED


def test_a_changed_key_counts_without_a_restart(service: Service, host: Host) -> None:
    assert host.updates("198.51.100.1").status_code == 200
    service.key_file.write_text(f"{HOME} a-new-key-of-another-length\n")
    changed = service.host()
    changed.headers = {"X-Pre-Shared-Key": "a-new-key-of-another-length"}
    assert changed.updates("198.51.100.2").status_code == 200
    until(lambda: host.updates("198.51.100.2").status_code == 401, "the old key to end")
    assert changed.updates("198.51.100.2").status_code == 200


def test_repeated_updates_are_answered_by_the_accepted_keys(
    service: Service, router: Router
) -> None:
    def answer() -> bytes:
        return router.updates(myip="198.51.100.1").data.split()[0]

    for word in (b"good", b"nochg", b"nochg"):
        assert answer() == word
    service.key_file.write_text("")
    assert answer() == b"nochg"
    service.key_file.write_text(f"{HOME} a-new-key-of-another-length\n")
    assert answer() == b"nochg"
    # No further change of the file is needed: the old key ends after two seconds.
    until(lambda: answer() == b"badauth", "the old key to end")
    assert answer() == b"badauth"


@pytest.mark.parametrize("broken", [None, "nonsense without any meaning\n"])
def test_a_broken_key_file_invalidates_no_key(
    service: Service, host: Host, broken: str | None
) -> None:
    host.updates("198.51.100.1")
    if broken is None:
        service.key_file.unlink()
    else:
        service.key_file.write_text(broken)
    assert host.updates("198.51.100.2").status_code == 200


def test_the_key_of_an_unregistered_host_is_rejected(serve: Serve) -> None:
    service = serve(REGISTERED_FQDNS=NAS)
    assert refused(service.host(HOME).updates("198.51.100.1")) == UNAUTHORIZED
    assert service.host(NAS).updates("198.51.100.1").status_code == 200


def test_without_registered_hosts_no_updates_are_performed(serve: Serve) -> None:
    service = serve(REGISTERED_FQDNS="")
    assert refused(service.host().updates("198.51.100.1")) == UNAUTHORIZED
    headers = {"Authorization": basic(*OPERATOR)}
    answer = service.asks("POST", "/update", json={"fqdn": HOME}, headers=headers)
    assert refused(answer) == (403, "fqdn_not_allowed")


@pytest.mark.parametrize("login", [OPERATOR, ("", ""), ("operator", "")])
def test_without_an_operator_its_login_is_rejected(serve: Serve, login: tuple[str, str]) -> None:
    service = serve(BASIC_AUTH_USERNAME="", BASIC_AUTH_PASSWORD="")
    headers = {"Authorization": basic(*login)}
    answer = service.asks("POST", "/update", json={"fqdn": HOME}, headers=headers)
    assert refused(answer) == UNAUTHORIZED


def test_two_hosts_may_have_the_same_key(service: Service) -> None:
    service.key_file.write_text(f"{HOME} one-key-for-both\n{NAS} one-key-for-both\n")
    for name in (HOME, NAS):
        host = service.host(name)
        host.headers = {"X-Pre-Shared-Key": "one-key-for-both"}
        assert host.updates("198.51.100.1").status_code == 200
    assert service.calls()[0] == LIST


def test_updates_are_answered_503_until_the_key_file_is_read(
    serve: Serve,
) -> None:
    service = serve()
    away = service.key_file.rename(service.key_file.with_name("away"))
    for _ in range(2):  # a client may never retry after a 401
        assert said(service.router().updates(myip="198.51.100.1")) == (503, b"911\n")
        answer = service.host().updates("198.51.100.1")
        assert refused(answer) == (503, "unavailable")
        assert "key file can't be read" in answer.get_json()["error"]
    # If the service were unhealthy, a supervisor would restart it, which would generate new keys.
    assert service.asks("GET", "/healthz").status_code == 200
    away.rename(service.key_file)
    assert said(service.router().updates(myip="198.51.100.1")) == (200, b"good 198.51.100.1\n")


def test_without_hosts_no_key_file_is_needed(serve: Serve) -> None:
    service = serve(REGISTERED_FQDNS="")
    service.key_file.unlink()
    assert guess(service) == UNAUTHORIZED


def test_a_logged_in_browser_is_not_delayed_by_an_attacker(
    strict: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[str] = []
    monkeypatch.setattr(LoginQueue, "wait", lambda _, source: waited.append(source))
    peer = {"environ_overrides": {"REMOTE_ADDR": PEER}}
    right, wrong = ({"Authorization": basic(OPERATOR[0], word)} for word in (OPERATOR[1], "wrong"))
    browser, guesser = strict.app.test_client(), strict.app.test_client()
    assert guesser.get("/metrics", headers=wrong, **peer).status_code == 401
    assert "Set-Cookie" not in guesser.get("/metrics", headers=wrong, **peer).headers
    cookie = browser.get("/metrics", headers=right, **peer).headers["Set-Cookie"]
    for part in ("HttpOnly", "SameSite=Strict", "Path=/"):
        assert part in cookie
    for _ in range(5):
        guesser.get("/metrics", headers=wrong, **peer)
    waited.clear()
    answer = browser.get("/metrics", headers=right, **peer)
    assert (answer.status_code, waited) == (200, [])
    assert "Set-Cookie" not in answer.headers
    # The cookie is invalid with another password.
    assert browser.get("/metrics", headers=wrong, **peer).status_code == 429
    assert guesser.get("/metrics", headers=right, **peer).status_code == 200
    assert waited == [f"{PEER}/32"] * 2


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_repeats_of_the_operator_are_delayed_like_guesses(
    strict: Service, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    waited: list[str] = []
    monkeypatch.setattr(LoginQueue, "wait", lambda _, source: waited.append(source))
    path, query = ("/nic/update", QUERY) if method == "GET" else ("/update", {**QUERY, "type": "A"})

    def update(password: str) -> int:
        headers = {"Authorization": basic(OPERATOR[0], password)}
        return strict.asks(method, path, query_string=query, headers=headers).status_code

    assert [update(OPERATOR[1]) for _ in range(4)] == [200] * 4
    assert [update("wrong") for _ in range(5)] == [401] * 3 + [429] * 2
    waited.clear()
    assert update(OPERATOR[1]) == 200
    assert waited == [f"{PEER}/32"]


def test_the_operator_waits_once_for_several_hosts(
    strict: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[str] = []
    monkeypatch.setattr(LoginQueue, "wait", lambda _, source: waited.append(source))
    for _ in range(5):
        guess(strict)
    query = {"hostname": f"nothing,{HOME},foreign.example.com,{NAS}", "myip": "198.51.100.1"}
    headers = {"Authorization": basic(*OPERATOR)}
    answer = strict.asks("GET", "/nic/update", query_string=query, headers=headers)
    good = b"good 198.51.100.1\n"
    assert said(answer) == (200, b"notfqdn\n" + good + b"nohost\n" + good)
    assert waited == [f"{PEER}/32"]
    headers = {"Authorization": basic("operator", "wrong")}
    answer = strict.asks("GET", "/nic/update", query_string=query, headers=headers)
    assert said(answer) == (429, b"abuse\n")
    assert len(waited) == 2
