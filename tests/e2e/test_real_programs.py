"""The programs people use change an address, and the DNS shows it; a wrong key changes nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Iterator, List

import pytest

from sandbox import Sandbox
from tests.e2e.cluster import ROOT, Replica, until

HOST = "host.example.com"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PROGRAMS = ("curl", "powershell", "ddclient", "inadyn", "client")

pytestmark = pytest.mark.real("curl", "dig", "ddclient", "inadyn")


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(zones=["example.com"], action_seconds=0.1) as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def replica(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replica]:
    replica = Replica(
        tmp_path_factory.mktemp("real"),
        sandbox,
        [HOST],
        ALLOW_PRIVATE_ADDRESSES="1",
        AUTH_FAILURE_LIMIT="1000",
    )
    replica.start()
    yield replica
    replica.stop()


def key_of(replica: Replica) -> str:
    line = (replica.log.parent / "pre-shared-key").read_text(encoding="utf-8")
    return line.split()[1]


def dig(sandbox: Sandbox) -> str:
    asked = ["dig", "+short", "@127.0.0.1", "-p", str(sandbox.dns_port), HOST, "A"]
    return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()


def run(program: str, replica: Replica, folder: Path, key: str, address: str) -> int:
    """Send an update by a program, and return its exit code."""
    command = {
        "curl": by_curl,
        "powershell": by_powershell,
        "ddclient": by_ddclient,
        "inadyn": by_inadyn,
        "client": by_client,
    }[program](replica.port, folder, key, address)
    environ = {"PATH": PATH, "PRE_SHARED_KEY": key, "INTERVAL": "0"}
    ran = subprocess.run(
        command, env=environ, cwd=folder, capture_output=True, timeout=60, check=False
    )
    return ran.returncode


def by_curl(port: int, _folder: Path, key: str, _address: str) -> List[str]:
    """The brief's cron line, which sends no address."""
    return [
        *("curl", "-sf", "-X", "POST", "-H", "Content-Type: application/json"),
        *("-H", f"X-Pre-Shared-Key: {key}", "-d", f'{{"fqdn":"{HOST}"}}'),
        f"http://127.0.0.1:{port}/update",
    ]


def by_powershell(port: int, _folder: Path, key: str, _address: str) -> List[str]:
    """What Invoke-WebRequest makes of `-Body @{ fqdn='host.example.com' }`: a form."""
    return [
        *("curl", "-sf", "-X", "POST", "-H", "Content-Type: application/x-www-form-urlencoded"),
        *("-H", f"X-Pre-Shared-Key: {key}", "-d", f"fqdn={HOST}"),
        f"http://127.0.0.1:{port}/update",
    ]


def by_ddclient(port: int, folder: Path, key: str, address: str) -> List[str]:
    (folder / "ddclient.conf").write_text(
        f"protocol=dyndns2\nserver=127.0.0.1:{port}\nssl=no\nlogin=host\npassword='{key}'\n"
        f"use=cmd\ncmd='echo {address}'\n{HOST}\n"
    )
    (folder / "ddclient.conf").chmod(0o600)
    cache = str(folder / "ddclient.cache")
    return [
        "ddclient",
        "-daemon=0",
        "-noquiet",
        "-file",
        "ddclient.conf",
        "-cache",
        cache,
        "-force",
    ]


def by_inadyn(port: int, folder: Path, key: str, address: str) -> List[str]:
    (folder / "inadyn.conf").write_text(
        "iterations = 1\nforced-update = 1\n"
        "custom me {\n  ssl = false\n  username = host\n"
        f"  password = {key}\n  ddns-server = 127.0.0.1:{port}\n"
        f'  ddns-path = "/nic/update?hostname=%h&myip=%i"\n  hostname = {HOST}\n'
        f'  checkip-command = "/bin/echo {address}"\n}}\n'
    )
    return [
        *("inadyn", "-1", "--force", "-n", "-l", "debug", "--cache-dir", str(folder)),
        *("-P", str(folder / "inadyn.pid"), "-f", str(folder / "inadyn.conf")),
    ]


def by_client(port: int, _folder: Path, _key: str, address: str) -> List[str]:
    program = str(ROOT / "client" / "update_dns.py")
    return [sys.executable, program, f"http://127.0.0.1:{port}", HOST, address]


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_changes_the_address_and_dig_sees_it(
    program: str, replica: Replica, sandbox: Sandbox, tmp_path: Path
) -> None:
    assert replica.updates(HOST, "198.51.100.99")[0] == 200
    until(lambda: dig(sandbox) == "198.51.100.99", lambda: dig(sandbox), 20)
    address = f"198.51.100.{PROGRAMS.index(program) + 1}"
    # These two send none, and are seen to come from this machine.
    expected = "127.0.0.1" if program in ("curl", "powershell") else address
    assert run(program, replica, tmp_path, key_of(replica), address) == 0
    until(lambda: dig(sandbox) == expected, lambda: f"{dig(sandbox)}\n{replica.said()}", 20)


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_wrong_key_changes_nothing(
    program: str, replica: Replica, sandbox: Sandbox, tmp_path: Path
) -> None:
    assert replica.updates(HOST, "198.51.100.98")[0] == 200
    until(lambda: dig(sandbox) == "198.51.100.98", lambda: dig(sandbox), 20)
    sandbox.forget_calls()
    exit_code = run(program, replica, tmp_path, "a-wrong-key-of-some-length", "198.51.100.50")
    assert exit_code != 0 or program == "ddclient"  # which exits 0 whatever the answer is
    assert [call for call in sandbox.calls() if call.method != "GET"] == []
    assert dig(sandbox) == "198.51.100.98"
