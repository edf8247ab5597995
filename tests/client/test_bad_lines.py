"""The client on an unreliable connection: outages, slow answers and clock changes."""

from __future__ import annotations

import errno
import re
import socket

import pytest

from client.update_dns import Client, loop

from .conftest import ClientFor, Clock, Lines, LoopEnded
from .fake_backend import FakeBackend, Reply, bad, good

A = "198.51.100.1"
HOUR, DAY = 3600, 86400


def run_until(client: Client, clock: Clock, end: float) -> None:
    """Run the loop until a time of the fake clock."""

    def sleep(seconds: float) -> None:
        clock.slept.append(seconds)
        clock.now += seconds
        if clock.now >= end:
            raise LoopEnded

    with pytest.raises(LoopEnded):
        loop(client, sleep)


def pause_after(reply: Reply | None, backend: FakeBackend, client: Client, clock: Clock) -> float:
    """Return the seconds until the next request, with the longest jitter."""
    backend.set_answers(reply)
    assert not client.round()
    return client.records[0].due - clock.now


def test_a_long_outage_is_logged_hourly_and_its_end_soon(
    backend: FakeBackend,
    client_for: ClientFor,
    clock: Clock,
    lines: Lines,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    backend.set_answers(good(A))
    client = client_for(backend.url)
    client.round()
    gone = clock.now
    attempts: list[float] = []
    real = socket.socket.connect

    def connect(self: socket.socket, address: tuple[str, int]) -> None:
        attempts.append(clock.now)
        if clock.now - gone < DAY:
            raise OSError(errno.ENETUNREACH, "Network is unreachable")
        real(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect)
    run_until(client, clock, gone + DAY + 600)
    assert max(after - before for before, after in zip(attempts, attempts[1:])) <= 120
    assert next(when for when in attempts if when >= gone + DAY) <= gone + DAY + 120
    first, *hourly, last = lines()[1:]
    assert "127.0.0.1 can't be reached over IPv4: Network is unreachable" in first
    assert len(hourly) == 23
    assert all("still failing, for " in line for line in hourly)
    assert re.search(rf"works again after (23 h 59|24 h [01]) min: {A} \(unchanged\)", last)


@pytest.mark.parametrize(
    ("reply", "seconds"),
    [
        (bad(401, "unauthorized"), 300),
        (bad(403, "fqdn_not_allowed"), 300),
        (bad(404, "zone_not_found"), 300),
        (bad(503, "unavailable"), 30),
        (bad(503, "unavailable", Retry_After="77"), 77),
        (bad(429, "too_many_failures", Retry_After="900"), 900),
        (bad(429, "too_many_failures", Retry_After="999999"), HOUR),
        (bad(503, "unavailable", Retry_After="Fri, 01 Jan 2038 00:00:00 GMT"), HOUR),
        (Reply(200, "<html>Welcome to the train!"), 30),
        (Reply(502, "<html>Bad gateway"), 30),
    ],
)
def test_the_retry_pause_depends_on_the_kind_of_error(
    backend: FakeBackend, client_for: ClientFor, clock: Clock, reply: Reply, seconds: float
) -> None:
    assert pause_after(reply, backend, client_for(backend.url), clock) == seconds


def test_a_refused_key_is_retried_until_it_is_corrected(
    backend: FakeBackend, client_for: ClientFor, clock: Clock, lines: Lines
) -> None:
    backend.set_answers(bad(401, "unauthorized"))
    client = client_for(backend.url)
    run_until(client, clock, clock.now + DAY)
    assert 90 <= len(backend.requests) <= 110  # a quarter of an hour between two attempts
    assert all("compare PRE_SHARED_KEY with the key" in line for line in lines())
    backend.set_answers(good(A))
    run_until(client, clock, clock.now + 1000)
    assert "works again" in lines()[-1]


@pytest.mark.parametrize(
    ("place", "seconds"), [("http://login.train.example/", 30), ("/elsewhere", 300)]
)
def test_a_login_page_is_retried_sooner_than_a_moved_backend(
    backend: FakeBackend, client_for: ClientFor, clock: Clock, place: str, seconds: float
) -> None:
    reply = Reply(302, "", {"Location": place})
    assert pause_after(reply, backend, client_for(backend.url), clock) == seconds


def test_one_version_that_hangs_does_not_stop_the_other(
    dual: FakeBackend, client_for: ClientFor, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("client.update_dns.READ_SECONDS", 0.2)
    dual.set_answers(None)
    dual.by_peer = {"::1": good("2001:db8::1")}
    client = client_for(dual.url, RECORD_TYPES="A,AAAA")
    assert not client.round()
    assert [progress.address for progress in client.records] == ["", "2001:db8::1"]
    hung, went_well = lines()
    assert "accepted the request, but didn't answer" in hung
    assert "AAAA: 2001:db8::1" in went_well


def test_each_family_has_its_own_pauses(
    dual: FakeBackend, client_for: ClientFor, clock: Clock
) -> None:
    dual.by_peer = {"127.0.0.1": bad(401, "unauthorized"), "::1": good("2001:db8::1")}
    run_until(client_for(dual.url, RECORD_TYPES="A,AAAA"), clock, clock.now + 299)
    peers = [request.peer for request in dual.requests]
    assert (peers.count("127.0.0.1"), peers.count("::1")) == (1, 5)


def test_an_answer_that_trickles_is_cut_off(
    client_for: ClientFor, lines: Lines, monkeypatch: pytest.MonkeyPatch, trickle: str
) -> None:
    monkeypatch.setattr("client.update_dns.READ_SECONDS", 0.3)
    assert not client_for(trickle).round()
    assert "accepted the request, but didn't answer within 0.3 s" in lines()[0]


def test_an_endless_answer_is_read_up_to_a_limit(
    backend: FakeBackend, client_for: ClientFor, lines: Lines
) -> None:
    backend.set_answers(Reply(200, "x" * 200_000))
    assert not client_for(backend.url).round()
    assert "instead of a JSON object" in lines()[0]


def test_an_hourly_client_gives_a_sign_of_life_each_minute(
    backend: FakeBackend, client_for: ClientFor, clock: Clock
) -> None:
    """The heartbeat is a wall-clock time, so it must recover soon after a clock change."""
    backend.set_answers(good(A))
    run_until(client_for(backend.url, INTERVAL="3600"), clock, clock.now + HOUR)
    assert max(clock.slept) == 60
    assert len(backend.requests) == 1


def test_a_corrected_clock_does_not_delay_updates(
    backend: FakeBackend, client_for: ClientFor, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend.set_answers(good(A))
    client = client_for(backend.url)
    walls: list[float] = [0.0, 2e9, 1e9, 1e9]  # 1970 to 2033 and back
    for wall in walls:
        monkeypatch.setattr("time.time", lambda wall=wall: wall)
        assert client.round()
        assert client.records[0].due - clock.now == 60
        clock.now += 60
    assert len(backend.requests) == len(walls)
