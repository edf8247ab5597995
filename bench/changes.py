"""Benchmarks 7 and 8: the cost of a changed address, and the time of A and AAAA together.

python -m bench.changes PORT STORE API_URL runs the least program that publishes a change.
"""

from __future__ import annotations

import contextlib
import functools
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Callable, NamedTuple

import requests
from flask import request

from bench import plain
from bench.parts import (
    Backend,
    Fleet,
    Hetzner,
    Request,
    Served,
    children,
    nic_update,
    running,
    used,
)
from bench.report import Figure, Scale, median
from tests.e2e.processes import TOKEN, free_port, new_session

_SESSION = new_session()
_HOSTS = 20
_QUIET_SECONDS = 12.0
_SYNC = re.compile(r"(?:fsync|fdatasync)\(")


class Least(Served):
    """Flask with one call to Hetzner between two commits to SQLite."""

    def __init__(self, folder: Path, api_url: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        arguments = ["-m", "bench.changes", str(self.port), str(folder / "least.db"), api_url]
        super().__init__("least", arguments, folder)

    def start(self) -> None:
        super().start()
        self.wait_until(self._answers, "to answer")

    def _answers(self) -> bool:
        try:
            return requests.get(f"{self.url}/nic/update", timeout=5).ok
        except OSError:
            return False


class Cost(NamedTuple):
    """The CPU time and the fsyncs of a program in a number of seconds."""

    seconds: float
    cpu: float  # seconds
    syncs: int


def _cost(program: Served, work: Callable[[], object]) -> Cost:
    """Measure work: once for the CPU time, and once more for fsyncs, since strace takes time."""
    pids = [program.pid, *children(program.pid)]
    before, start = used(program.pid), time.monotonic()
    work()
    seconds, cpu = time.monotonic() - start, used(program.pid) - before
    command = ["strace", "-f", "-q", "-e", "trace=fsync,fdatasync"]
    command += [word for pid in pids for word in ("-p", str(pid))]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as strace:
        time.sleep(0.5)
        work()
        strace.send_signal(signal.SIGINT)
        assert strace.stderr is not None
        return Cost(seconds, cpu, len(_SYNC.findall(strace.stderr.read())))


def one_change(folder: Path, scale: Scale) -> Figure:
    figure = Figure(
        "change",
        "7. One changed address, when Hetzner answers at once",
        ("", "fsyncs", "CPU ms", "CPU of least", "fsyncs a minute, quiet"),
        notes=[
            "Until the change is published; without what the quiet program needs in that time.",
            "Least: Flask with one call to Hetzner between two commits. Target: 2 fsyncs, 3 ms.",
        ],
    )
    fleet = Fleet(_HOSTS)
    number = scale.number(200, 60)
    with contextlib.ExitStack() as stack:
        hetzner = stack.enter_context(running(Hetzner(folder / "hetzner", fleet, action=0.5)))
        ours = stack.enter_context(
            running(Backend(folder / "ours", fleet, hetzner.api_url, checked_before=3600))
        )
        least = stack.enter_context(running(Least(folder / "least", hetzner.api_url)))
        ours.verify()
        versions = iter(range(1, 200))
        found: dict[str, list[tuple[float, float]]] = {"ours": [], "least": []}

        def changes(program: Served, settle: Callable[[], object]) -> None:
            for _ in range(number // _HOSTS):
                version = next(versions) % 100
                for index in range(_HOSTS):
                    _send(program, nic_update(fleet, index, version))
            settle()

        def settle() -> None:
            ours.wait_until(lambda: not ours.count("state <> 'published'"), "to publish")

        quiet = {}
        for name, program in (("ours", ours), ("least", least)):
            quiet[name] = _cost(program, lambda: time.sleep(_QUIET_SECONDS))
        for _ in range(scale.number(3, 1)):
            for name, program in (("ours", ours), ("least", least)):
                done = settle if program is ours else bool
                cost = _cost(program, functools.partial(changes, program, done))
                share = cost.seconds / quiet[name].seconds
                cpu = cost.cpu - share * quiet[name].cpu
                syncs = cost.syncs - share * quiet[name].syncs
                found[name].append((syncs / number, cpu * 1000 / number))
    for name, some in found.items():
        figure.add(
            name,
            median(syncs for syncs, _ in some),
            median(cpu for _, cpu in some),
            median(cpu / other for (_, cpu), (_, other) in zip(some, found["least"])),
            quiet[name].syncs * 60 / quiet[name].seconds,
        )
    return figure


def both_families(folder: Path, scale: Scale) -> Figure:
    figure = Figure(
        "families",
        "8. A and AAAA in one update, when Hetzner takes 100 ms a call",
        ("", "median ms", "max ms", "of one call"),
        notes=["Target: 120 ms. Both records exist, and were verified shortly before."],
    )
    fleet = Fleet(1)
    with contextlib.ExitStack() as stack:
        hetzner = stack.enter_context(running(Hetzner(folder / "hetzner", fleet)))
        ours = stack.enter_context(running(Backend(folder / "ours", fleet, hetzner.api_url)))
        kinds = {"A": 1, "A and AAAA": 2}
        times: dict[str, list[float]] = {"one call": [], **{name: [] for name in kinds}}
        rounds = scale.number(30, 10)
        for version in range(1, rounds + 2):
            if version == 2:  # the first round reads and creates the records
                hetzner.control("POST", "delay", seconds=0.1)
            found = {"one call": _time(hetzner.addresses)}
            for number, name in enumerate(kinds):
                found[name] = _send(ours, _update(fleet, 2 * version + number, kinds[name]))
            for name, seconds in found.items() if version > 1 else ():
                times[name].append(seconds * 1000)
    for name, some in times.items():
        share = median(one / other for one, other in zip(some, times["one call"]))
        figure.add(name, median(some), max(some), share)
    return figure


def _update(fleet: Fleet, version: int, families: int) -> Request:
    request = nic_update(fleet, 0, version)
    more = f",2001:db8::{version}" if families > 1 else ""
    return request._replace(path=request.path + more)


def _send(program: Served, what: Request) -> float:
    """Send an update that has to be published; return the seconds until the answer."""

    def send() -> None:
        answer = _SESSION.get(program.url + what.path, headers=dict(what.headers), timeout=20)
        assert answer.text.startswith("good"), answer.text

    return _time(send)


def _time(action: Callable[[], object]) -> float:
    start = time.monotonic()
    action()
    return time.monotonic() - start


def _serve_least(store: str, api_url: str) -> None:
    local = threading.local()

    def change() -> str:
        if "myip" not in request.args:
            return "nochg\n"
        if not hasattr(local, "session"):
            local.session = requests.Session()
            local.session.headers["Authorization"] = f"Bearer {TOKEN}"
            local.store = sqlite3.connect(store, isolation_level=None)
            local.store.execute("PRAGMA journal_mode=WAL")
            local.store.execute("PRAGMA synchronous=FULL")
            local.store.execute("CREATE TABLE IF NOT EXISTS records (host PRIMARY KEY, ip, state)")
        host, ip = request.args["hostname"], request.args["myip"]
        label, _, zone = host.partition(".")
        write = "INSERT OR REPLACE INTO records VALUES (?, ?, ?)"
        local.store.execute(write, (host, ip, "pending"))
        url = f"{api_url}/zones/{zone}/rrsets/{label}/A/actions/set_records"
        local.session.post(url, json={"records": [{"value": ip}]}, timeout=8).raise_for_status()
        local.store.execute(write, (host, ip, "published"))
        return f"good {ip}\n"

    plain.app.view_functions["nic_update"] = change


if __name__ == "__main__":
    _serve_least(*sys.argv[2:])
    plain.main()
