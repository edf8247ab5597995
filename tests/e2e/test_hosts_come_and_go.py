"""Hosts are added, renamed and removed while real services run, and while commands are killed."""

from __future__ import annotations

import functools
import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Iterator

import pytest
import requests

from backend.model import Hostname, Requester
from backend.store import Store, opened, prepare_store
from backend.store.registrations import HostExists
from sandbox import Sandbox
from tests.e2e.cluster import Replica, in_dns, until
from tests.e2e.postgres import PARTS, PostgreSQL, postgresql

__all__ = ["postgresql"]

BY = Requester("", "command")
HOME = "home.example.com"
SECONDS_UNTIL_KNOWN = 5.0
_HEAL_SECONDS = 90.0
_COMMAND_SECONDS = 60.0
KILLS = min(6, int(os.environ.get("KILLS", "1")))
VARIABLES = {"WEB_CONCURRENCY": "2", "AUTH_FAILURE_LIMIT": "1000000"}


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(zones=["example.com"], action_seconds=0.1, limits=(10**6, 10**6)) as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def one_machine(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replica]:
    folder = tmp_path_factory.mktemp("one")
    replica = Replica(folder, sandbox, [HOME], **VARIABLES)
    try:
        replica.start()
        yield replica
    finally:
        assert replica.stop() == 0
    assert "Traceback" not in replica.output()


@pytest.fixture(scope="module")
def replicas(
    sandbox: Sandbox, postgresql: PostgreSQL, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Replica, Replica]]:
    folders = [tmp_path_factory.mktemp(name) for name in ("left", "right")]
    # A key file from before, on one machine only.
    (folders[0] / "pre-shared-key").write_text(f"{HOME} the-key-from-before\n")
    url = postgresql.new_database()
    left, right = (
        Replica(folder, sandbox, [HOME], STATE_URL=url, **VARIABLES) for folder in folders
    )
    try:
        left.start()
        right.start()
        yield left, right
    finally:
        codes = (left.stop(), right.stop())
    assert codes == (0, 0)
    assert "Traceback" not in left.output() + right.output()


def types(replica: Replica, *words: str) -> str:
    """Run a command beside a service, and return its output."""
    done = subprocess.run(
        [sys.executable, "-m", "backend", *words],
        **replica.surroundings,
        capture_output=True,
        text=True,
        timeout=_COMMAND_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def key_of(replica: Replica, host: str) -> str:
    """Return the key from the login in the settings for curl."""
    (login,) = re.findall("-u '(.*?)'", types(replica, "setup", host, "--for", "curl"))[:1]
    return str(login).partition(":")[2]


def status(replica: Replica, host: str, key: str, address: str) -> int:
    """Send an update with the host's own key, on a new connection, to any worker."""
    url = f"http://127.0.0.1:{replica.port}/nic/update"
    query = {"hostname": host, "myip": address}
    with requests.Session() as session:
        session.trust_env = False
        return session.get(url, params=query, auth=(host, key), timeout=20).status_code


def expect_in_dns(sandbox: Sandbox, host: str, *addresses: str) -> None:
    until(
        lambda: in_dns(sandbox, [host]) == {host: list(addresses)},
        lambda: str(in_dns(sandbox, [host])),
        _HEAL_SECONDS,
    )


def all_workers_answer(replica: Replica, host: str, key: str, expected: int) -> None:
    """Wait until many requests in a row, of both workers, have this status."""

    def is_known() -> bool:
        return all(status(replica, host, key, "198.51.100.1") == expected for _ in range(12))

    until(is_known, replica.output, 4 * SECONDS_UNTIL_KNOWN)


def test_all_workers_know_an_added_host(one_machine: Replica, sandbox: Sandbox) -> None:
    types(one_machine, "hosts", "add", "new.example.com")
    key = key_of(one_machine, "new")
    all_workers_answer(one_machine, "new.example.com", key, 200)
    expect_in_dns(sandbox, "new.example.com", "198.51.100.1")
    types(one_machine, "hosts", "remove", "new", "--delete-records")
    assert status(one_machine, "new.example.com", key, "198.51.100.2") == 401  # at once
    all_workers_answer(one_machine, "new.example.com", key, 401)
    expect_in_dns(sandbox, "new.example.com")


@pytest.mark.real(*PARTS)
def test_a_host_added_on_one_replica_is_updated_through_the_other(
    replicas: tuple[Replica, Replica], sandbox: Sandbox
) -> None:
    left, right = replicas
    types(left, "hosts", "add", "box.example.com")
    key = key_of(right, "box")
    all_workers_answer(right, "box.example.com", key, 200)
    types(right, "hosts", "rename", "box", "tower.example.com")
    all_workers_answer(left, "tower.example.com", key, 200)
    expect_in_dns(sandbox, "tower.example.com", "198.51.100.1")
    expect_in_dns(sandbox, "box.example.com")
    new = types(right, "keys", "rotate", "tower").split()[-1]
    all_workers_answer(left, "tower.example.com", new, 200)
    all_workers_answer(left, "tower.example.com", key, 401)
    assert status(right, HOME, "the-key-from-before", "198.51.100.1") == 200


@pytest.mark.real(*PARTS)
@pytest.mark.parametrize("task", ["add", "rename"])
def test_two_operators_can_not_take_one_name_at_the_same_time(
    postgresql: PostgreSQL, task: str
) -> None:
    url = postgresql.new_database()
    prepare_store(url)
    first, second, name = map(Hostname, ("one.example.com", "two.example.com", "new.example.com"))
    with opened(url) as left, opened(url) as right, ThreadPoolExecutor(1) as other:
        left.registrations.add([first, second], BY, time.time())

        def takes(store: Store, old: Hostname) -> None:
            if task == "add":
                store.registrations.add([name], BY, time.time())
            else:
                store.registrations.rename(old, name, BY, time.time())

        with left.transaction():
            takes(left, first)
            done = other.submit(takes, right, second)
            time.sleep(0.5)  # it waits for the end of this transaction
        with pytest.raises(HostExists):
            done.result(_COMMAND_SECONDS)


@pytest.mark.parametrize("task", ["add", "rename", "remove"])
def test_a_command_killed_at_any_time_leaves_a_state_that_heals(
    one_machine: Replica, sandbox: Sandbox, task: str
) -> None:
    started = time.monotonic()
    types(one_machine, "hosts")
    whole = time.monotonic() - started
    for number in range(KILLS):
        old, new = (f"{task}-{kind}{number}.example.com" for kind in ("old", "new"))
        types(one_machine, "hosts", "add", old)
        key = key_of(one_machine, old)
        all_workers_answer(one_machine, old, key, 200)
        words = {
            "add": ["add", new],
            "rename": ["rename", old, new],
            "remove": ["remove", old, "--delete-records"],
        }[task]
        command = subprocess.Popen(
            [sys.executable, "-m", "backend", "hosts", *words],
            **one_machine.surroundings,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            command.wait(whole * (0.5 + 0.7 * (number + 0.5) / KILLS))
        except subprocess.TimeoutExpired:
            command.kill()
            command.wait()
        until(
            functools.partial(is_whole, one_machine, sandbox, task, old, new, key),
            one_machine.output,
            _HEAL_SECONDS,
        )


def test_a_start_finishes_a_rename_that_was_killed(sandbox: Sandbox, tmp_path: Path) -> None:
    replica = Replica(tmp_path, sandbox, [HOME], **VARIABLES)
    old, new = "before.example.com", "behind.example.com"
    try:
        replica.start()
        types(replica, "hosts", "add", old)
        key = key_of(replica, old)
        replica.kill()
        with opened(f"sqlite:///{tmp_path}/hetzner-dyndns.db") as store:
            # The command was killed before it moved the key.
            store.registrations.rename(Hostname(old), Hostname(new), BY, time.time())
        replica.start()
        assert key_of(replica, new) == key
        assert status(replica, old, key, "198.51.100.1") == 401
    finally:
        assert replica.stop() == 0


def is_whole(  # noqa: PLR0913, PLR0917
    replica: Replica, sandbox: Sandbox, task: str, old: str, new: str, key: str
) -> bool:
    """Whether keys and records agree: the command has either had no effect or its whole effect."""
    works = [status(replica, name, key, "198.51.100.1") == 200 for name in (old, new)]
    found = in_dns(sandbox, [old, new])
    shown = [found[name] == ["198.51.100.1"] for name in (old, new)]
    outcomes = {
        "add": ([True, False],),
        "rename": ([True, False], [False, True]),
        "remove": ([True, False], [False, False]),
    }[task]
    return works == shown and works in outcomes
