"""Backends as real processes with a common store."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any, Callable, Iterable, Iterator, Sequence

import requests

from sandbox import Sandbox
from tests.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
OPERATOR = ("operator", "the-operators-password")
_START_SECONDS = 60.0
_END_SECONDS = 20.0


def until(condition: Callable[[], object], what: Callable[[], str], seconds: float) -> None:
    """Wait until a condition holds; fail with the message of `what` after the timeout."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, what()
        time.sleep(0.05)


class Replica:
    """A `python -m backend` with its worker processes."""

    def __init__(
        self, folder: Path, sandbox: Sandbox, hosts: Sequence[str], **variables: str
    ) -> None:
        self._folder = folder
        self.port = free_port()
        self.log = folder / f"backend-{self.port}.log"
        self._environ = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "HETZNER_TOKEN": sandbox.token,
            "HETZNER_API_URL": sandbox.http_url,
            "REGISTERED_FQDNS": ",".join(hosts),
            "BASIC_AUTH_USERNAME": OPERATOR[0],
            "BASIC_AUTH_PASSWORD": OPERATOR[1],
            "LISTEN_ADDRESS": "127.0.0.1",
            "LISTEN_PORT": str(self.port),
            **variables,
        }
        self.sandbox = sandbox
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.auth = OPERATOR
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, prefix: Sequence[str] = ()) -> None:
        """Start the service, optionally through another program, and wait until it answers."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*prefix, sys.executable, "-m", "backend"],
                **self.surroundings,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.wait_until_well()

    @property
    def surroundings(self) -> dict[str, Any]:
        """The folder and the environment of the service and of commands beside it."""
        return {"cwd": self._folder, "env": self._environ}

    def wait_until_well(self) -> None:
        until(self.is_well, lambda: f"the backend isn't well:\n{self.output()}", _START_SECONDS)

    def is_well(self) -> bool:
        try:
            answer = self.session.get(f"http://127.0.0.1:{self.port}/healthz", timeout=5)
        except requests.RequestException:
            return False
        return answer.status_code == 200

    def update(self, host: str, address: str, seconds: float = 20) -> tuple[int, str]:
        """Send an update and return the status; 0 without an answer."""
        query = {"hostname": host, "myip": address}
        url = f"http://127.0.0.1:{self.port}/nic/update"
        try:
            answer = self.session.get(url, params=query, timeout=seconds)
        except requests.RequestException:
            return 0, ""
        return answer.status_code, answer.text

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "the service was not started"
        return self._process

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def all_workers(self) -> list[int]:
        """Wait until all workers run; return their process ids."""
        number = int(self._environ.get("WEB_CONCURRENCY", "2"))
        until(lambda: len(self.workers()) == number, self.output, _START_SECONDS)
        return self.workers()

    def workers(self) -> list[int]:
        """Return the process ids of the running workers."""
        return [pid for pid in children(self.process.pid) if not _has_ended(pid)]

    def kill_workers(self) -> None:
        """Kill all workers, and wait for their end; the master process starts new ones."""
        killed = set(self.workers())
        _kill(sorted(killed))
        until(lambda: not killed.intersection(self.workers()), self.output, _END_SECONDS)

    def kill(self) -> None:
        """Kill the master process and then its workers."""
        _kill([self.process.pid, *descendants(self.process.pid)])
        self.process.wait(_END_SECONDS)

    def stop(self) -> int:
        """Stop the service with SIGTERM; return the exit code."""
        self.session.close()
        if self._process is None:
            return 0
        self._process.terminate()
        return self._process.wait(_END_SECONDS)

    def output(self) -> str:
        return self.log.read_text(encoding="utf-8") if self.log.exists() else ""


@contextlib.contextmanager
def load(replica: Replica, quiet: str, busy: str) -> Iterator[Counter[int]]:
    """Send updates of two hosts until the block ends; count the answers by status.

    `quiet` has the address 198.51.100.1; `busy` changes its address each time. At the end, fail if
    there was another answer than success for the address that was sent, or 503.
    """
    ends = threading.Event()
    statuses: Counter[int] = Counter()
    wrong: list[tuple[str, int, str]] = []

    def send(host: str, addresses: Iterable[str]) -> None:
        for address in addresses:
            if ends.is_set():
                return
            status, text = replica.update(host, address)
            statuses[status] += 1
            fitting = [(200, f"good {address}\n"), (200, f"nochg {address}\n"), (503, "911\n")]
            if (status, text) not in fitting:
                wrong.append((address, status, text))

    changing = (f"10.0.{number // 250}.{number % 250 + 1}" for number in itertools.count())
    senders = [(quiet, itertools.repeat("198.51.100.1")), (busy, changing)]
    threads = [threading.Thread(target=send, args=sender) for sender in senders]
    for thread in threads:
        thread.start()
    try:
        yield statuses
    finally:
        ends.set()
        for thread in threads:
            thread.join()
    assert wrong == []


def children(pid: int) -> list[int]:
    """Return the process ids of a process's children."""
    try:
        known = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
    except OSError:
        return []
    return [int(child) for child in known.split()]


def _has_ended(pid: int) -> bool:
    """Whether a process has ended, even if its parent doesn't know yet."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return True
    return stat.rpartition(")")[2].split()[0] == "Z"  # proc(5)


def descendants(pid: int) -> list[int]:
    """Return the process ids of all descendants of a process."""
    return [one for child in children(pid) for one in (child, *descendants(child))]


def _kill(pids: Sequence[int]) -> None:
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def in_dns(sandbox: Sandbox, hosts: Sequence[str]) -> dict[str, list[str]]:
    return {host: sandbox.answer(host, "A") for host in hosts}
