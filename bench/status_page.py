"""The duration of dashboard pages with many hosts: `python -m bench.status_page [HOSTS]`.

A real backend with two workers, hosts with two records each, and one host with a long history.
"""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import requests

from backend.errors import ChangeRefused
from backend.model import Address, DesiredRecord, Hostname, Requester, Update
from backend.store import Store, prepare_store
from backend.store.hosts import State
from backend.store.records import Accepted, ChangeNote, Failed
from bench.parts import used
from tests.e2e.processes import ROOT, free_port, until

LOGIN = ("operator", "password")
ENTRIES = 2000
TIMES = 30


def fill(url: str, hosts: list[Hostname]) -> None:
    """Fill the store as after some months of service."""
    prepare_store(url)
    store = Store(url)
    now = time.time()
    store.hosts.register(hosts, now - 90 * 86400)
    store.hosts.see({host: now - number % 300 for number, host in enumerate(hosts)}, now)
    for number, host in enumerate(hosts):
        texts = (f"198.51.{number // 250}.{number % 250 + 1}", f"2001:db8::{number + 1:x}")
        desired = tuple(DesiredRecord(one.type, one) for one in map(Address.parse, texts))
        store.records.set_desired(
            Update(host, desired, Requester("198.51.100.1", "dyndns2")), now, 0
        )
        for record in store.records.of(host).values():
            if number % 50 == 1:
                store.records.note(
                    Failed(record, State.REFUSED, ChangeRefused("No", hint="do it."), now + 3600),
                    now,
                )
            else:
                store.records.note(
                    Accepted(record, None, ChangeNote("created", None, "asked")), now
                )
    (first, *_) = store.records.of(hosts[0]).values()
    for _ in range(ENTRIES):
        store.records.note(
            Accepted(first, None, ChangeNote("replaced", "198.51.100.9", "asked")), now
        )
    store.close()


def serve(folder: Path, url: str, hosts: list[Hostname]) -> tuple[int, str]:
    """Start the backend in a folder; return its process id and URL."""
    port = free_port()
    names = folder / "hosts"
    names.write_text("".join(f"{host.text}\n" for host in hosts), encoding="utf-8")
    environ = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "HETZNER_TOKEN": "b" * 64,
        "HETZNER_API_URL": "http://127.0.0.1:1/v1",
        "REGISTERED_FQDNS_FILE": str(names),  # a variable can't contain 10,000 hosts
        "PRE_SHARED_KEY_FILE": str(folder / "keys"),
        "STATE_URL": url,
        "BASIC_AUTH_USERNAME": LOGIN[0],
        "BASIC_AUTH_PASSWORD": LOGIN[1],
        "LISTEN_ADDRESS": "127.0.0.1",
        "LISTEN_PORT": str(port),
    }
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "backend"], env=environ, cwd=folder, stdout=log, stderr=log
        )
    return process.pid, f"http://127.0.0.1:{port}"


def measure(session: requests.Session, url: str, pid: int) -> str:
    """Request a page repeatedly; return its duration and its CPU time.

    On a busy machine, only the CPU time is reliable.
    """
    seconds, before = [], used(pid)
    for _ in range(TIMES):
        start = time.perf_counter()
        answer = session.get(url, timeout=60)
        seconds.append(time.perf_counter() - start)
        answer.raise_for_status()
    work = (used(pid) - before) * 1000 / TIMES
    median, most = statistics.median(seconds) * 1000, max(seconds) * 1000
    size = len(answer.content) // 1024
    return f"{median:6.0f} ms median {most:6.0f} ms max {work:6.0f} ms CPU {size:6} KiB"


def main() -> None:
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    hosts = [Hostname(f"host{index:04}.example.com") for index in range(number)]
    pages: dict[str, str] = {
        "all hosts": "/",
        "the last page": f"/?page={number // 50}",
        "a search": "/?q=host05",
        "refused hosts": "/?state=refused",
        f"a host with {ENTRIES} entries": f"/hosts/{hosts[0]}?days=90",
        "metrics": "/metrics",
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        url = f"sqlite:///{folder / 'state.db'}"
        fill(url, hosts)
        pid, base = serve(folder, url, hosts)
        try:
            report(base, pages, number, pid)
        finally:
            os.kill(pid, signal.SIGTERM)
            os.waitpid(pid, 0)


def is_well(session: requests.Session, base: str) -> bool:
    try:
        return session.get(f"{base}/healthz", timeout=5).ok
    except requests.RequestException:
        return False


def report(base: str, pages: dict[str, str], number: int, pid: int) -> None:
    """Wait for the backend, then measure every page."""
    with requests.Session() as session:
        session.trust_env = False
        session.auth = LOGIN
        until(lambda: is_well(session, base), "a healthy backend")
        print(f"{number} hosts, {os.cpu_count()} cores")
        for name, path in pages.items():
            print(f"{name:28} {measure(session, base + path, pid)}")


if __name__ == "__main__":
    main()
