"""Lines that users already have work unchanged, with only names filled in."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.clients import Machine
from tests.e2e.processes import OPERATOR, Backend, Hetzner

FIRST, SECOND = "198.51.100.1", "198.51.100.2"
WRONG = "a-wrong-key"
CRON = r"""curl -sf -X POST -H 'Content-Type: application/json' \
-H 'X-Pre-Shared-Key: <token>' \
-d '{"fqdn":"host.example.com"}' https://backend.example.com/update"""
FRITZ_BOX = "https://host:secret@your-backend.example.com/nic/update?hostname=host.example.com"
SPEEDPORT = (
    "https://your-backend.example.com/nic/update?hostname=host.example.com&user=host&pass=secret"
)
VODAFONE = (
    "https://host:secret@your-backend.example.com/nic/update?hostname=host.example.com&myip=%IP%"
)

pytestmark = pytest.mark.real("curl", "dig")


@pytest.fixture
def machine(backend: Backend, hetzner: Hetzner, host: str, folder: Path) -> Machine:
    """Return a machine whose host has an address that an update will change."""
    machine = Machine(folder, backend, hetzner, backend.url, "", host, backend.key_of(host))
    backend.update(host, FIRST)
    hetzner.expect(host, FIRST)
    return machine


def line_of(machine: Machine, line: str, key: str) -> str:
    """Return such a line with this machine's names filled in."""
    label = machine.host.split(".", 1)[0]
    for old, new in {
        "://host:secret@": f"://{label}:{key}@",
        "user=host&pass=secret": f"user={label}&pass={key}",
        "<token>": key,
        "https://": "http://",
        "your-backend.example.com": machine.server,
        "backend.example.com": machine.server,
        "host.example.com": machine.host,
    }.items():
        line = line.replace(old, new)
    return line


def test_the_cron_line_sets_the_address_it_comes_from(machine: Machine) -> None:
    for source in ("127.0.0.2", "127.0.0.3"):
        machine.write(".curlrc", f'interface = "{source}"\n')
        ended = machine.run("sh", "-c", line_of(machine, CRON, machine.key))
        assert (ended.returncode, ended.stderr) == (0, "")
        machine.expect(source)


def test_a_cron_line_with_a_wrong_key_changes_nothing(machine: Machine) -> None:
    ended = machine.run("sh", "-c", line_of(machine, CRON, WRONG))
    assert ended.returncode == 22  # of curl -f for an error answer
    assert machine.dig() == [FIRST]


def test_the_cron_line_prints_only_failures(machine: Machine) -> None:
    line = machine.snippet("cron").splitlines()[0].replace("*/5 * * * * ", "")
    machine.write(".curlrc", 'interface = "127.0.0.6"\n')
    ended = machine.run("sh", "-c", line)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
    machine.expect("127.0.0.6")
    assert machine.run("sh", "-c", line.replace(machine.key, WRONG)).returncode == 22


def powershell(machine: Machine, key: str, source: str) -> str:
    """Send what `Invoke-WebRequest -Method Post -Body @{ fqdn='…' }` sends; return the status."""
    ended = machine.run(
        *("curl", "-s", "-S", "-o", "body", "-w", "%{http_code}", "--interface", source),
        *("-X", "POST", "-H", "Content-Type: application/x-www-form-urlencoded"),
        *("-A", "Mozilla/5.0 (Windows NT; Windows NT 10.0; de-DE) WindowsPowerShell/5.1.19041"),
        *("-H", f"X-Pre-Shared-Key: {key}", "-d", f"fqdn={machine.host}"),
        f"{machine.backend.url}/update",
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_the_powershell_line_sets_the_address_it_comes_from(machine: Machine) -> None:
    assert powershell(machine, machine.key, "127.0.0.4") == "200"
    machine.expect("127.0.0.4")
    assert powershell(machine, WRONG, "127.0.0.5") == "401"
    assert machine.dig() == ["127.0.0.4"]


@pytest.mark.parametrize(
    ("line", "address"),
    [(FRITZ_BOX, "127.0.0.5"), (SPEEDPORT, "127.0.0.5"), (VODAFONE, SECOND)],
    ids=["Fritz!Box", "Speedport", "Vodafone"],
)
def test_the_router_urls_work_as_they_stand(machine: Machine, line: str, address: str) -> None:
    command = ["curl", "-sf", "--interface", "127.0.0.5"]
    url = line_of(machine, line, machine.key).replace("%IP%", SECOND)
    ended = machine.run(*command, url)
    assert (ended.returncode, ended.stdout) == (0, f"good {address}\n")
    machine.expect(address)
    assert machine.run(*command, line_of(machine, line, WRONG)).returncode == 22
    assert machine.dig() == [address]


@pytest.mark.parametrize("device", ["speedport", "vodafone", "any"])
def test_the_urls_that_setup_prints_work_as_they_stand(machine: Machine, device: str) -> None:
    words = machine.snippet(device).split()
    urls = [word for word in words if word.startswith("http") and "hostname=" in word]
    assert urls
    for url in urls:
        ended = machine.run("curl", "-sf", url.replace("%IP%", SECOND))
        assert (ended.returncode, ended.stdout.split()[0] in ("good", "nochg")) == (0, True)


def test_the_operator_may_use_curl_for_every_host(machine: Machine) -> None:
    url = f"{machine.backend.url}/nic/update?hostname={machine.host}&myip={SECOND},2001:db8::5"
    ended = machine.run("curl", "-sf", "-u", ":".join(OPERATOR), url)
    assert (ended.returncode, ended.stdout) == (0, f"good {SECOND},2001:db8::5\n")
    machine.expect(SECOND)
    machine.expect("2001:db8::5", kind="AAAA")
