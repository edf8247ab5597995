"""client/update_dns.py as a user starts it, against a real backend, to what DNS then shows."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Dict, Iterator, List

import pytest

from tests.e2e.processes import ROOT, Backend, Hetzner, Program, run

CLIENT = str(ROOT / "client" / "update_dns.py")
FIRST, SECOND, THIRD = "198.51.100.1", "198.51.100.2", "198.51.100.3"


@pytest.fixture
def variables(backend: Backend, host: str) -> Dict[str, str]:
    return {"BACKEND_URL": backend.url, "FQDN": host, "PRE_SHARED_KEY": backend.key_of(host)}


def once(folder: Path, variables: Dict[str, str]) -> subprocess.CompletedProcess[str]:
    return run([sys.executable, CLIENT], folder, **variables, INTERVAL="0")


@pytest.fixture
def loops(folder: Path) -> Iterator[List[Program]]:
    """Clients that run in a loop; each is told to stop at the end."""
    running: List[Program] = []
    yield running
    for loop in running:
        loop.stop()


def in_a_loop(loops: List[Program], folder: Path, variables: Dict[str, str]) -> Program:
    loop = Program("client", [CLIENT], folder, **variables, INTERVAL="1")
    loops.append(loop)
    loop.start()
    return loop


def test_run_once_it_sets_the_address_and_exits_with_0(
    folder: Path, variables: Dict[str, str], hetzner: Hetzner, host: str
) -> None:
    for address in (FIRST, SECOND):
        ended = once(folder, {**variables, "IP": address})
        assert ended.returncode == 0, ended.stdout
        assert f"{host} A: {address}" in ended.stdout
        hetzner.expect(host, address)


def test_without_an_address_the_backend_sets_the_one_it_sees(
    folder: Path, variables: Dict[str, str], hetzner: Hetzner, host: str
) -> None:
    assert once(folder, variables).returncode == 0
    hetzner.expect(host, "127.0.0.1")


def test_arguments_win_over_variables(
    folder: Path, variables: Dict[str, str], hetzner: Hetzner, host: str
) -> None:
    command = [sys.executable, CLIENT, variables["BACKEND_URL"], host, "2001:db8::5"]
    assert run(command, folder, **{**variables, "IP": FIRST}, INTERVAL="0").returncode == 0
    hetzner.expect(host, "2001:db8::5", kind="AAAA")
    hetzner.expect(host)


def test_the_key_file_of_the_backend_serves_the_client_as_well(
    folder: Path, variables: Dict[str, str], backend: Backend, hetzner: Hetzner, host: str
) -> None:
    del variables["PRE_SHARED_KEY"]
    other = "host59.example.com"
    key_file = str(backend.folder / "pre-shared-key")
    settings = {**variables, "FQDN": f"{host},{other}", "PRE_SHARED_KEY_FILE": key_file}
    assert once(folder, {**settings, "IP": SECOND}).returncode == 0
    hetzner.expect(host, SECOND)
    hetzner.expect(other, SECOND)


def test_with_a_wrong_key_it_exits_with_1_and_changes_nothing(
    folder: Path, variables: Dict[str, str], backend: Backend, hetzner: Hetzner, host: str
) -> None:
    backend.updates(host, FIRST)
    hetzner.expect(host, FIRST)
    asked = hetzner.calls_about(host)
    ended = once(folder, {**variables, "IP": SECOND, "PRE_SHARED_KEY": "a-wrong-key"})
    assert ended.returncode == 1
    assert "401" in ended.stdout
    assert "a-wrong-key" not in ended.stdout + ended.stderr
    assert hetzner.resolves(host) == [FIRST]
    assert hetzner.calls_about(host) == asked


def test_in_a_loop_it_brings_back_an_address_that_somebody_else_has_set(
    folder: Path,
    variables: Dict[str, str],
    backend: Backend,
    hetzner: Hetzner,
    host: str,
    loops: List[Program],
) -> None:
    loop = in_a_loop(loops, folder, {**variables, "IP": FIRST})
    loop.wait_until(lambda: hetzner.resolves(host) == [FIRST], "to set its address")
    assert backend.updates(host, SECOND)["status"] == "updated"
    hetzner.expect(host, FIRST)
    loop.wait_until(lambda: loop.output.count(f"{host} A: {FIRST}") == 2, "to say so")


def test_in_a_loop_with_a_wrong_key_it_goes_on_and_changes_nothing(
    folder: Path,
    variables: Dict[str, str],
    hetzner: Hetzner,
    host: str,
    loops: List[Program],
) -> None:
    settings = {**variables, "IP": FIRST, "PRE_SHARED_KEY": "a-wrong-key"}
    loop = in_a_loop(loops, folder, settings)
    loop.wait_until(lambda: "401" in loop.output, "to say that the key is wrong")
    assert loop.is_running
    assert hetzner.resolves(host) == []
    assert hetzner.calls_about(host) == []


def test_in_a_loop_it_outlives_a_backend_that_goes_and_comes_back(
    folder: Path, hetzner: Hetzner, host: str, loops: List[Program]
) -> None:
    backend = Backend(folder / "backend", hetzner)
    backend.start()
    settings = {"BACKEND_URL": backend.url, "FQDN": host, "PRE_SHARED_KEY": backend.key_of(host)}
    loop = in_a_loop(loops, folder, {**settings, "IP": THIRD})
    loop.wait_until(lambda: hetzner.resolves(host) == [THIRD], "to set its address")
    backend.stop()
    loop.wait_until(lambda: "cannot be reached" in loop.output, "to notice")
    backend.start()
    loop.wait_until(lambda: "works again after" in loop.output, "to notice that, too")
    backend.stop()
