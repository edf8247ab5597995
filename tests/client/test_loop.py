from __future__ import annotations

import os
from pathlib import Path
from typing import Callable, List

import pytest

from client.update_dns import Client, is_healthy, loop

from .conftest import ClientFor, Clock, Lines, LoopEnded
from .fake_backend import FakeBackend, Reply, bad, good

Run = Callable[[Client, int], List[float]]

A, B = "198.51.100.1", "198.51.100.2"


@pytest.fixture
def run(clock: Clock) -> Run:
    """Return a function that runs the loop for a number of sleeps."""

    def run(client: Client, naps: int) -> list[float]:
        clock.slept.clear()
        clock.naps = naps
        with pytest.raises(LoopEnded):
            loop(client, clock.sleep)
        return clock.slept

    return run


def test_unchanged_polls_are_logged_once(
    backend: FakeBackend, client_for: ClientFor, run: Run, lines: Lines
) -> None:
    backend.set_answers(good(A))
    assert run(client_for(backend.url), 5) == [60] * 5
    assert len(backend.requests) == 5
    assert lines() == [f"INFO host.example.com A: {A} (unchanged)"]


def test_changes_are_logged_old_and_new(
    backend: FakeBackend, client_for: ClientFor, run: Run, lines: Lines
) -> None:
    backend.set_answers(
        good(A, "created"), good(A), good(B, "updated"), good(B), good(B, "updated")
    )
    run(client_for(backend.url), 5)
    assert lines() == [
        f"INFO host.example.com A: {A} (created)",
        f"INFO host.example.com A: {A} -> {B} (updated)",
        f"INFO host.example.com A: {B} (updated)",
    ]


def test_a_failure_and_its_end_are_reported_once_each(
    backend: FakeBackend, client_for: ClientFor, run: Run, lines: Lines
) -> None:
    down = bad(503, "unavailable")
    backend.set_answers(good(A), down, down, down, good(A), good(A))
    run(client_for(backend.url), 9)
    assert lines() == [
        f"INFO host.example.com A: {A} (unchanged)",
        "WARNING host.example.com A: the backend answered 503: This is why; next attempt in 30 s",
        f"INFO host.example.com A works again after 3 min: {A} (unchanged)",
    ]


def test_each_new_cause_is_reported_once(
    backend: FakeBackend, client_for: ClientFor, run: Run, lines: Lines
) -> None:
    one, other = bad(503, "unavailable"), Reply(502, "<html>")
    backend.set_answers(one, other, one, other)
    run(client_for(backend.url), 20)
    first, second = lines()
    assert "503" in first
    assert "502" in second


def test_a_login_page_is_reported_once_despite_changing_redirects(
    backend: FakeBackend, client_for: ClientFor, run: Run, lines: Lines
) -> None:
    page = "https://login.example.net/?session="
    backend.set_answers(*(Reply(302, "", {"Location": f"{page}{n}"}) for n in range(4)))
    run(client_for(backend.url), 5)
    (line,) = lines()
    assert f"to {page}0," in line
    assert len(backend.requests) > 1


def test_a_long_failure_is_recalled_every_hour(
    backend: FakeBackend, client_for: ClientFor, run: Run, lines: Lines
) -> None:
    backend.set_answers(bad(401, "unauthorized"))
    client = client_for(backend.url)
    run(client, 180)
    logged = lines()
    assert len(logged) == 3
    assert "still failing, for 1 h " in logged[1]
    assert "still failing, for 2 h " in logged[2]
    assert "compare PRE_SHARED_KEY" in logged[2]


def test_the_heartbeat_continues_during_growing_pauses(
    backend: FakeBackend, client_for: ClientFor, run: Run, clock: Clock
) -> None:
    backend.set_answers(bad(503, "unavailable"))
    client = client_for(backend.url)
    run(client, 5)
    assert clock.slept == [30, 60, 60, 60, 60]
    assert len(backend.requests) == 4


def test_retry_after_is_honoured(
    backend: FakeBackend, client_for: ClientFor, run: Run, clock: Clock
) -> None:
    backend.set_answers(bad(429, "too_many_failures", Retry_After="200"), good(A))
    run(client_for(backend.url), 5)
    assert clock.slept == [60, 60, 60, 20, 60]
    assert len(backend.requests) == 2


def test_a_failing_host_does_not_delay_others(
    backend: FakeBackend, client_for: ClientFor, run: Run
) -> None:
    backend.set_answers(bad(401, "unauthorized"), good(A))
    run(client_for(backend.url, FQDN="a.example.com,b.example.com"), 4)
    request = [request.body["fqdn"][0] for request in backend.requests]
    assert request == ["a", "b", "b", "b", "b"]


def test_a_backend_that_comes_back_ends_the_growing_pauses(
    backend: FakeBackend, client_for: ClientFor, run: Run, clock: Clock
) -> None:
    down = bad(503, "unavailable")
    backend.set_answers(down, down, good(A), down)
    run(client_for(backend.url), 4)
    assert clock.slept == [30, 60, 60, 30]


def test_every_round_leaves_a_heartbeat(
    backend: FakeBackend, client_for: ClientFor, run: Run, tmp_path: Path
) -> None:
    heart = tmp_path / "heartbeat"
    backend.set_answers(good(A), bad(503, "unavailable"))
    client = client_for(backend.url, HEARTBEAT_FILE=str(heart))
    for _ in range(5):
        run(client, 1)
        assert heart.exists()
        heart.unlink()


def test_an_unwritable_heartbeat_is_only_reported_once(
    backend: FakeBackend, client_for: ClientFor, run: Run, lines: Lines, tmp_path: Path
) -> None:
    backend.set_answers(good(A))
    run(client_for(backend.url, HEARTBEAT_FILE=str(tmp_path / "none" / "heartbeat")), 3)
    assert len(backend.requests) == 3
    complaint = (
        "WARNING HEARTBEAT_FILE can't be written (No such file or directory): name another file"
    )
    assert lines().count(complaint) == 1


@pytest.mark.parametrize(
    ("age", "interval", "healthy"),
    [(0, "", True), (300, "", True), (301, "", False), (300, "9999", True), (121, "0", False)],
)
def test_a_recent_heartbeat_means_healthy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], age: int, interval: str, healthy: bool
) -> None:
    heart = tmp_path / "heartbeat"
    heart.touch()
    os.utime(heart, (5000, 5000))
    variables = {"HEARTBEAT_FILE": str(heart), "INTERVAL": interval}
    assert is_healthy(variables, 5000 + age) is healthy
    assert capsys.readouterr().out.startswith("healthy" if healthy else "not healthy")


@pytest.mark.parametrize("path", ["", "no/such/file"])
def test_no_heartbeat_is_not_healthy(capsys: pytest.CaptureFixture[str], path: str) -> None:
    assert not is_healthy({"HEARTBEAT_FILE": path}, 0)
    assert "not healthy: no heartbeat" in capsys.readouterr().out
