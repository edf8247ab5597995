"""Requests with one host's key can't block other hosts."""

from __future__ import annotations

import itertools
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Iterator

import pytest
import requests

from tests.e2e.processes import HOSTS, Backend, Hetzner, new_session, until

FLAPPING, TWIN, *OTHERS = HOSTS[:26]
CONNECTIONS = 40
_PAUSE_SECONDS = 0.1


def send_update(session: requests.Session, backend: Backend, host: str, ip: str) -> str:
    answer = session.get(
        f"{backend.url}/nic/update",
        params={"hostname": host, "myip": ip},
        auth=(host, backend.key_of(host)),
        timeout=60,
    )
    return answer.text.strip()


class Flappers:
    """Connections that send a new address of one host each time."""

    def __init__(self, backend: Backend, host: str) -> None:
        self._backend = backend
        self._host = host
        self._stopping = threading.Event()
        self._numbers = itertools.count()
        self.answers: list[str] = []
        self._threads = [threading.Thread(target=self._run) for _ in range(CONNECTIONS)]
        for thread in self._threads:
            thread.start()

    def _run(self) -> None:
        with new_session() as session:
            while not self._stopping.wait(_PAUSE_SECONDS):
                number = next(self._numbers)
                ip = f"198.18.{number // 250 % 250}.{number % 250}"
                self.answers.append(send_update(session, self._backend, self._host, ip))

    def stop(self) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()


@pytest.fixture
def slow(hetzner: Hetzner) -> Iterator[None]:
    hetzner.control("POST", "delay", seconds=0.5)
    yield
    hetzner.control("DELETE", "delay")


@pytest.fixture
def flappers(backend: Backend, slow: None) -> Iterator[Flappers]:
    assert slow is None
    flappers = Flappers(backend, FLAPPING)
    try:
        until(lambda: len(flappers.answers) >= CONNECTIONS, "the flapping to be under way")
        yield flappers
    finally:
        flappers.stop()


def all_others(backend: Backend, ip: str) -> list[str]:
    """Send one update from each of the other hosts, six at a time."""
    with ThreadPoolExecutor(6) as pool, new_session() as session:
        return list(pool.map(lambda host: send_update(session, backend, host, ip), OTHERS))


def test_forty_connections_for_one_host_block_no_other_host(
    backend: Backend, hetzner: Hetzner, flappers: Flappers
) -> None:
    changed = all_others(backend, "198.51.100.7")
    unchanged = all_others(backend, "198.51.100.7")
    flappers.stop()
    good = changed.count("good 198.51.100.7")
    known = unchanged.count("nochg 198.51.100.7")
    assert good >= len(OTHERS) - 4
    assert known >= good
    # The last address of the flapping host is published in the end.
    hetzner.control("DELETE", "delay")
    desired = f"SELECT desired FROM records WHERE host = '{FLAPPING}'"  # noqa: S608
    until(
        lambda: hetzner.resolve(FLAPPING) == [ip for (ip,) in backend.query(desired)],
        "the last address to be published",
    )


@pytest.mark.usefixtures("slow")
def test_two_requests_for_both_families_at_once_are_good(
    backend: Backend,
) -> None:
    addresses = ("198.51.100.8", "2001:db8::8")
    for number in range(3):
        both = [f"{ip}{number}" for ip in addresses]
        with ThreadPoolExecutor(2) as pool, new_session() as one, new_session() as other:
            answers = pool.map(
                lambda session, ip: send_update(session, backend, TWIN, ip), (one, other), both
            )
            assert list(answers) == [f"good {ip}" for ip in both]
