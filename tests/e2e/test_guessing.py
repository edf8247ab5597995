"""Guesses of the operator's password are slow and don't delay other callers."""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from typing import Counter as Counts, Iterator

import pytest
import requests

from tests.e2e.processes import HOSTS, Backend, Hetzner, new_session, until

PASSWORD = "hunter-number-600-of-the-list"
CONNECTIONS, GUESSES, WORKERS, LIMIT = 16, 600, 2, 10
HOST = HOSTS[0]


@pytest.fixture(scope="module")
def backend(hetzner: Hetzner, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    folder = tmp_path_factory.mktemp("backend")
    settings = {"BASIC_AUTH_PASSWORD": PASSWORD, "AUTH_FAILURE_LIMIT": str(LIMIT)}
    with Backend(folder, hetzner, WEB_CONCURRENCY=str(WORKERS), **settings) as backend:
        yield backend


class Guessers:
    """Connections of one source that try a list of passwords; the last one is correct."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._numbers = itertools.count()
        self._stopping = threading.Event()
        self.answers: Counts[int] = Counter()
        self._start = time.monotonic()
        self._threads = [
            threading.Thread(target=self._run, args=(path,))
            for path in itertools.islice(itertools.cycle(("/", "/nic/update")), CONNECTIONS)
        ]
        for thread in self._threads:
            thread.start()

    def _run(self, path: str) -> None:
        with new_session() as session:
            for number in self._numbers:
                if number > GUESSES or self._stopping.is_set():
                    return
                answer = session.get(
                    self._backend.url + path,
                    params={"hostname": HOST, "myip": "203.0.113.66"},
                    auth=("operator", f"hunter-number-{number}-of-the-list"),
                    timeout=60,
                )
                self.answers[answer.status_code] += 1

    def has_ended(self) -> bool:
        return not any(thread.is_alive() for thread in self._threads)

    def seconds(self) -> float:
        """Return the duration of the guesses in seconds."""
        return time.monotonic() - self._start

    def stop(self) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()


def compared(session: requests.Session, backend: Backend) -> int:
    """Return the number of wrong logins that were compared with the operator's login."""
    answer = session.get(f"{backend.url}/metrics", auth=("operator", PASSWORD), timeout=60)
    assert answer.status_code == 200, answer.text
    lines = [line for line in answer.text.splitlines() if line.startswith("dyndns_failed")]
    return sum(int(float(line.split()[-1])) for line in lines)


def test_many_guesses_are_hardly_compared_and_delay_no_caller(
    backend: Backend, hetzner: Hetzner
) -> None:
    with new_session() as session:
        assert compared(session, backend) == 0
        guessers = Guessers(backend)
        try:
            until(lambda: guessers.answers[429] > LIMIT, "the limit to be passed")
            for number in range(10):  # a host's key, and the browser with a session
                ip = f"198.51.100.{number}"
                assert backend.update(HOST, ip)["ip"] == ip
                answer = session.get(
                    f"{backend.url}/nic/update",
                    params={"hostname": HOST, "myip": ip},
                    auth=(HOST, backend.key_of(HOST)),
                    timeout=60,
                )
                assert answer.text == f"nochg {ip}\n"
                compared(session, backend)
            until(guessers.has_ended, "the end of the list")
        finally:
            guessers.stop()
        assert sum(guessers.answers.values()) == GUESSES + 1
        assert guessers.answers[200] == 0
        hetzner.expect(HOST, "198.51.100.9")
        # One from each connection until the limit applies, then one a second in each worker.
        most = LIMIT + CONNECTIONS + WORKERS * (1 + guessers.seconds())
        assert LIMIT <= compared(session, backend) <= most
    for path in ("/", f"/nic/update?hostname={HOST}&myip=198.51.100.9"):
        with new_session() as session:  # a browser without a session
            wrong = session.get(backend.url + path, auth=("operator", "hunter"), timeout=60)
            assert wrong.status_code == 429
            right = session.get(backend.url + path, auth=("operator", PASSWORD), timeout=60)
            assert right.status_code == 200


def test_a_repeated_update_of_the_operator_helps_no_guesser(backend: Backend) -> None:
    source = "203.0.113.7"  # of the operator's device, and of the guesser
    with new_session() as session:

        def seconds(password: str, *statuses: int) -> float:
            start = time.monotonic()
            answer = session.get(
                f"{backend.url}/nic/update",
                params={"hostname": HOSTS[1], "myip": source},
                headers={"X-Real-Ip": source},
                auth=("operator", password),
                timeout=60,
            )
            assert answer.status_code in statuses, answer.text
            return time.monotonic() - start

        for _ in range(4):
            seconds(PASSWORD, 200)
        for _ in range(2 * LIMIT):
            seconds("hunter", 401, 429)
        until(lambda: seconds("hunter", 401, 429) >= 1, "the delay of wrong passwords")
        assert seconds(PASSWORD, 200) >= 1, "the right one of many guesses was answered at once"
