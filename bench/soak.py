"""A long run of two replicas while everything around them fails: `python -m bench.soak`.

1,000 hosts poll, and change their addresses now and then, at two replicas with one PostgreSQL
database. Workers, replicas and database connections are killed at random, the clock of the second
replica is three seconds ahead, and one call to Hetzner in ten fails. At the end, DNS must have the
last accepted address of each host.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import statistics
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Callable, Mapping, Sequence

import requests

from bench.parts import PLENTY, Backend, Fleet, children, memory
from sandbox import Sandbox
from sandbox.faults import Fault
from tests.e2e.postgres import PostgreSQL
from tests.e2e.processes import ROOT, TOKEN, new_session

HOSTS, CLIENTS, SKEW = 1000, 8, 3.0
POLL_SECONDS, CHANGES = 30.0, 0.05  # how often a host polls, and the share of changed addresses
CHAOS_SECONDS = (4.0, 12.0)
FAILING = 0.1
SETTLE_SECONDS = 300.0
FAULTS = (
    *(Fault(status) for status in (429, 500, 503, 504)),
    *(Fault(409, "conflict"), Fault(423, "locked"), Fault(drop=True), Fault(after=True)),
    *(Fault(html=True), Fault(body='{"rrsets": [')),
)
AHEAD = f"import time\n_now = time.time\ntime.time = lambda: _now() + {SKEW}\n"


class FailingSandbox(Sandbox):
    """Hetzner, which fails one call in ten until it recovers."""

    def start(self, *arguments: object, **options: object) -> None:
        take = self.guard.faults.take_fault
        self.is_failing = True

        def sometimes(method: str, path: str) -> Fault | None:
            if self.is_failing and random.random() < FAILING:
                return random.choice(FAULTS)
            return take(method, path)

        self.guard.faults.take_fault = sometimes  # type: ignore[method-assign]
        super().start(*arguments, **options)  # type: ignore[arg-type]


class Device:
    """A host: it repeats its address until it is accepted, and remembers what may be stored."""

    def __init__(self, fleet: Fleet, index: int) -> None:
        self.name, self.key = fleet.hosts[index], fleet.key(index)
        self._fleet, self._index, self._version = fleet, index, 0
        self.address = self.accepted = fleet.address(index)
        self.possible: set[str] = set()  # sent since, and perhaps stored

    def changes(self) -> None:
        self._version = self._version % 200 + 1
        self.address = self._fleet.address(self._index, self._version)

    def sends(self, session: requests.Session, url: str) -> tuple[str, float]:
        """Send the address; return the status, or the kind of failure, and the seconds."""
        start = time.perf_counter()
        self.possible.add(self.address)
        try:
            answer = session.get(
                f"{url}/nic/update",
                params={"hostname": self.name, "myip": self.address},
                auth=(self.name, self.key),
                timeout=20,
            )
        except requests.RequestException as error:
            return type(error).__name__, time.perf_counter() - start
        seconds = time.perf_counter() - start
        if answer.status_code != 200:
            return str(answer.status_code), seconds
        word, _, address = answer.text.strip().partition(" ")
        if address != self.address:
            return "wrong answer", seconds
        self.accepted, self.possible = self.address, set()
        return word, seconds


class Load:
    """Clients on threads: each polls for its share of the devices."""

    def __init__(self, devices: Sequence[Device], urls: Sequence[str]) -> None:
        self.devices, self.urls = devices, urls
        self.seconds: dict[str, list[float]] = {"good": [], "nochg": []}
        self.answers: Counter[str] = Counter()
        self.ends = threading.Event()
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(target=self._poll, args=(devices[number::CLIENTS],))
            for number in range(CLIENTS)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self.ends.set()
        for thread in self._threads:
            thread.join()

    def _poll(self, mine: Sequence[Device]) -> None:
        session = new_session()
        while True:
            for device in mine:
                if self.ends.wait(random.uniform(0.5, 1.5) * POLL_SECONDS / len(mine)):
                    session.close()
                    return
                if random.random() < CHANGES:
                    device.changes()
                answer, seconds = device.sends(session, random.choice(self.urls))
                with self._lock:
                    self.answers[answer] += 1
                    if answer in self.seconds:
                        self.seconds[answer].append(seconds)

    def p99(self, answer: str) -> str:
        found = self.seconds[answer]
        if len(found) < 100:
            return "-"
        return f"{statistics.quantiles(found, n=100)[-1] * 1e3:.0f} ms"


class Chaos(threading.Thread):
    """Kills something every few seconds."""

    def __init__(self, replicas: Sequence[Backend], database: PostgreSQL, name: str) -> None:
        super().__init__()
        self.replicas, self.database, self.database_name = replicas, database, name
        self.done: Counter[str] = Counter()
        self.ends = threading.Event()

    def run(self) -> None:
        acts: Sequence[tuple[str, Callable[[], None]]] = (
            ("workers killed", self._kill_worker),
            ("replicas killed", self._kill_replica),
            ("times all database connections ended", self._end_connections),
        )
        while not self.ends.wait(random.uniform(*CHAOS_SECONDS)):
            what, act = random.choices(acts, (3, 1, 2))[0]
            act()
            self.done[what] += 1

    def _kill_worker(self) -> None:
        workers = children(random.choice(self.replicas).pid)
        if workers:
            os.kill(random.choice(workers), signal.SIGKILL)

    def _kill_replica(self) -> None:
        replica = random.choice(self.replicas)
        replica.kill()
        self.ends.wait(3)
        replica.start()

    def _end_connections(self) -> None:
        others = "datname = current_database() AND pid <> pg_backend_pid()"
        self.database.ask(
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}",  # noqa: S608
            database=self.database_name,
        )


def usage(replicas: Sequence[Backend]) -> str:
    """Return the memory and the open files of all workers."""
    workers = [pid for replica in replicas for pid in children(replica.pid)]
    megabytes = [memory(pid) for pid in workers]
    files = [len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in workers]
    words = ", ".join(f"{one:.0f} MB and {number} files" for one, number in zip(megabytes, files))
    return f"workers have {words}"


def soak(folder: Path, seconds: float) -> bool:
    """Run, print the figures, and return whether no update was lost."""
    fleet, database = Fleet(HOSTS), PostgreSQL()
    database.create()
    database.start()
    try:
        with FailingSandbox(fleet.zones, [TOKEN], limits=PLENTY, action_seconds=1.0) as hetzner:
            for index, host in enumerate(fleet.hosts):
                hetzner.publish(host, "A", fleet.address(index))
            url = database.new_database()
            ahead = folder / "ahead"
            ahead.mkdir()
            (ahead / "sitecustomize.py").write_text(AHEAD, encoding="ascii")
            replicas = [
                Backend(folder / "one", fleet, hetzner.http_url, STATE_URL=url),
                Backend(
                    folder / "two",
                    fleet,
                    hetzner.http_url,
                    filled=False,
                    STATE_URL=url,
                    PYTHONPATH=f"{ahead}:{ROOT}",
                ),
            ]
            with replicas[0], replicas[1]:
                return run(hetzner, database, url.rpartition("/")[2], replicas, seconds)
    finally:
        database.destroy()


def run(
    hetzner: FailingSandbox,
    database: PostgreSQL,
    name: str,
    replicas: Sequence[Backend],
    seconds: float,
) -> bool:
    fleet = replicas[0].fleet
    load = Load([Device(fleet, index) for index in range(HOSTS)], [one.url for one in replicas])
    chaos = Chaos(replicas, database, name)
    load.start()
    time.sleep(min(60.0, seconds / 5))
    print(f"start: {usage(replicas)}", flush=True)
    chaos.start()
    time.sleep(seconds)
    chaos.ends.set()
    chaos.join()
    print(f"end: {usage(replicas)}", flush=True)
    load.stop()
    hetzner.is_failing = False
    start = time.monotonic()
    waiting = "SELECT host FROM records WHERE state <> 'published'"
    while database.ask(waiting, database=name) and time.monotonic() - start < SETTLE_SECONDS:
        time.sleep(1)
    ended = time.monotonic() - start
    desired = dict(database.ask("SELECT host, desired FROM records", database=name))
    lost, wrong = compare(hetzner, load.devices, desired)
    answers = ", ".join(f"{count} {answer}" for answer, count in load.answers.most_common())
    done = ", ".join(f"{count} {what}" for what, count in chaos.done.items())
    print(f"chaos: {done}; calls to Hetzner: {len(hetzner.calls())}")
    print(f"answers: {answers}")
    print(f"p99: unchanged {load.p99('nochg')}, changed {load.p99('good')}")
    print(f"all published {ended:.0f} s after the end")
    print(f"lost: {len(lost)}, wrong: {len(wrong) + load.answers['wrong answer']}")
    for line in [*lost, *wrong]:
        print(line)
    return not lost and not wrong and not load.answers["wrong answer"]


def compare(
    hetzner: Sandbox, devices: Sequence[Device], desired: Mapping[str, str]
) -> tuple[list[str], list[str]]:
    """Return the hosts whose last accepted address is lost, and those with a wrong one in DNS.

    After an update without a good answer, the store may have the address before or the new one.
    """
    lost, wrong = [], []
    for device in devices:
        found, stored = hetzner.answer(device.name, "A"), desired[device.name]
        line = f"{device.name}: DNS {found}, store {stored}, accepted {device.accepted}"
        if stored != device.accepted and stored not in device.possible:
            lost.append(line)
        elif found != [stored]:
            wrong.append(line)
    return lost, wrong


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=20.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="dyndns-soak-") as folder:
        return 0 if soak(Path(folder), options.minutes * 60) else 1


if __name__ == "__main__":
    raise SystemExit(main())
