"""A wildcard host with a key of special characters, as real programs send it."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Iterator

import pytest

from tests.e2e.clients import Machine, ddclient, inadyn
from tests.e2e.processes import ROOT, Backend, Hetzner

HOST = "*.home.example.com"
KEY = r"""a'b"c\d%e$f${HOME}`g`#h:i@j/k?l&m=n+o,p;q!r*s{t}u[v]w\\x\'y\n"""
FIRST = "198.51.100.1"


@pytest.fixture(scope="module")
def odd_backend(hetzner: Hetzner, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    folder = tmp_path_factory.mktemp("backend")
    keys = folder / "pre-shared-key"
    keys.write_text(f"{HOST} {KEY}\n")
    keys.chmod(0o600)
    with Backend(folder, hetzner, REGISTERED_FQDNS=HOST) as backend:
        yield backend


@pytest.fixture
def machine(odd_backend: Backend, hetzner: Hetzner, folder: Path) -> Machine:
    machine = Machine(folder, odd_backend, hetzner, odd_backend.url, "", HOST, KEY)
    odd_backend.update(HOST, FIRST)
    machine.expect(FIRST)
    return machine


@pytest.mark.real("ddclient", "dig")
def test_ddclient_sends_the_key(machine: Machine) -> None:
    ended = ddclient(machine, "198.51.100.2")
    assert "good: IP address set to" in ended.stdout + ended.stderr
    machine.expect("198.51.100.2")


@pytest.mark.real("inadyn", "dig")
def test_inadyn_sends_the_key(machine: Machine) -> None:
    ended = inadyn(machine, "198.51.100.3")
    assert ended.returncode == 0, ended.stdout
    machine.expect("198.51.100.3")


@pytest.mark.real("curl", "dig")
@pytest.mark.parametrize("device", ["curl", "cron"])
def test_a_shell_sends_the_key(machine: Machine, device: str) -> None:
    machine.write(".curlrc", f'interface = "127.0.0.{len(device)}"\n')
    line = machine.snippet(device).splitlines()[0].replace("*/5 * * * * ", "")
    ended = machine.run("sh", "-c", line)
    assert ended.returncode == 0, ended.stderr
    machine.expect(f"127.0.0.{len(device)}")


@pytest.mark.real("curl", "dig")
@pytest.mark.parametrize(("device", "count"), [("any", 2), ("speedport", 1), ("vodafone", 1)])
def test_a_url_contains_the_key(machine: Machine, device: str, count: int) -> None:
    words = machine.snippet(device).split()
    urls = [word for word in words if word.startswith("http") and "hostname=" in word]
    assert len(urls) == count
    for url in urls:
        ended = machine.run("curl", "-sSf", url.replace("%IP%", "198.51.100.4"))
        assert ended.stdout.split()[:1] in (["good"], ["nochg"]), ended.stderr


@pytest.mark.real("dig")
def test_the_client_sends_the_key(machine: Machine) -> None:
    lines = "\n".join(machine.snippet("client").splitlines()[:2])
    program = shlex.quote(str(ROOT / "client" / "update_dns.py"))
    script = lines.replace("python update_dns.py", f"INTERVAL=0 python3 {program}")
    ended = machine.run("sh", "-c", f"{script} 198.51.100.5")
    assert ended.returncode == 0, ended.stderr
    machine.expect("198.51.100.5")
