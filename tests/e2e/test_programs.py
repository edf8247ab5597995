"""The programs people use: each changes the address that dig shows; with a wrong key, nothing."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Callable, Dict, List, NamedTuple

import pytest

from tests.e2e.processes import OPERATOR, Backend, Hetzner, run, until

FIRST, SECOND, THIRD = "198.51.100.1", "198.51.100.2", "198.51.100.3"
WRONG = "a-wrong-key"


class Machine(NamedTuple):
    """A machine of somebody with a host and its key, on which programs are run."""

    folder: Path
    backend: Backend
    hetzner: Hetzner
    host: str
    key: str

    def runs(self, *command: str) -> subprocess.CompletedProcess[str]:
        return run(command, self.folder)

    def writes(self, name: str, text: str) -> str:
        path = self.folder / name
        path.write_text(text)
        path.chmod(0o600)
        return str(path)

    def digs(self, kind: str = "A") -> List[str]:
        port = str(self.hetzner.dns_port)
        answer = self.runs("dig", "+short", "@127.0.0.1", "-p", port, self.host, kind)
        assert answer.returncode == 0, answer.stderr
        return sorted(answer.stdout.split())

    def expects(self, *addresses: str, kind: str = "A") -> None:
        """Wait until dig shows these addresses."""
        what = f"dig to show {addresses}"
        until(lambda: self.digs(kind) == list(addresses), what, lambda: self.backend.output)

    def asked_hetzner(self) -> int:
        return len(self.hetzner.calls_about(self.host))


@pytest.fixture
def machine(backend: Backend, hetzner: Hetzner, host: str, folder: Path) -> Machine:
    """Its host has an address already, so that there is something to change."""
    machine = Machine(folder, backend, hetzner, host, backend.key_of(host))
    backend.updates(host, FIRST)
    hetzner.expect(host, FIRST)
    return machine


# The brief's own lines, with `<token>`, the host and the backend's address to be put in.
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


def line_of(machine: Machine, line: str, key: str) -> str:
    """A line of the brief, as this machine's owner would fill it in."""
    for old, new in {
        "://host:secret@": f"://{machine.host.split('.', 1)[0]}:{key}@",
        "user=host&pass=secret": f"user={machine.host.split('.', 1)[0]}&pass={key}",
        "<token>": key,
        "https://": "http://",
        "your-backend.example.com": f"127.0.0.1:{machine.backend.port}",
        "backend.example.com": f"127.0.0.1:{machine.backend.port}",
        "host.example.com": machine.host,
    }.items():
        line = line.replace(old, new)
    return line


@pytest.mark.real("curl", "dig")
def test_the_cron_line_of_the_brief_sets_the_address_it_comes_from(machine: Machine) -> None:
    for source in ("127.0.0.2", "127.0.0.3"):
        machine.writes(".curlrc", f'interface = "{source}"\n')
        ended = machine.runs("sh", "-c", line_of(machine, CRON, machine.key))
        assert (ended.returncode, ended.stderr) == (0, "")
        machine.expects(source)


@pytest.mark.real("curl", "dig")
def test_the_cron_line_with_a_wrong_key_fails_and_changes_nothing(machine: Machine) -> None:
    asked = machine.asked_hetzner()
    ended = machine.runs("sh", "-c", line_of(machine, CRON, WRONG))
    assert ended.returncode == 22  # of curl -f: the server answered with an error
    assert machine.digs() == [FIRST]
    assert machine.asked_hetzner() == asked


def powershell(machine: Machine, key: str, source: str) -> str:
    """Send what `Invoke-WebRequest -Method Post -Body @{ fqdn='…' }` sends; return the status."""
    ended = machine.runs(
        *("curl", "-s", "-S", "-o", "body", "-w", "%{http_code}", "--interface", source),
        *("-X", "POST", "-H", "Content-Type: application/x-www-form-urlencoded"),
        *("-A", "Mozilla/5.0 (Windows NT; Windows NT 10.0; de-DE) WindowsPowerShell/5.1.19041"),
        *("-H", f"X-Pre-Shared-Key: {key}", "-d", f"fqdn={machine.host}"),
        f"{machine.backend.url}/update",
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@pytest.mark.real("curl", "dig")
def test_the_powershell_line_of_the_brief_sets_the_address_it_comes_from(
    machine: Machine,
) -> None:
    assert powershell(machine, machine.key, "127.0.0.4") == "200"
    machine.expects("127.0.0.4")


@pytest.mark.real("curl", "dig")
def test_the_powershell_line_with_a_wrong_key_changes_nothing(machine: Machine) -> None:
    asked = machine.asked_hetzner()
    assert powershell(machine, WRONG, "127.0.0.4") == "401"
    assert machine.digs() == [FIRST]
    assert machine.asked_hetzner() == asked


@pytest.mark.real("curl", "dig")
@pytest.mark.parametrize(
    ("line", "address"),
    [(FRITZ_BOX, "127.0.0.5"), (SPEEDPORT, "127.0.0.5"), (VODAFONE, SECOND)],
    ids=["Fritz!Box", "Speedport", "Vodafone"],
)
def test_the_router_urls_of_the_brief_work_as_they_stand(
    machine: Machine, line: str, address: str
) -> None:
    command = ["curl", "-sf", "--interface", "127.0.0.5"]
    url = line_of(machine, line, machine.key).replace("%IP%", SECOND)
    ended = machine.runs(*command, url)
    assert (ended.returncode, ended.stdout) == (0, f"good {address}\n")
    machine.expects(address)
    assert machine.runs(*command, line_of(machine, line, WRONG)).returncode == 22
    assert machine.digs() == [address]


@pytest.mark.real("curl", "dig")
def test_the_operator_may_use_curl_for_every_host(machine: Machine) -> None:
    url = f"{machine.backend.url}/nic/update?hostname={machine.host}&myip={SECOND},2001:db8::5"
    ended = machine.runs("curl", "-sf", "-u", ":".join(OPERATOR), url)
    assert (ended.returncode, ended.stdout) == (0, f"good {SECOND},2001:db8::5\n")
    machine.expects(SECOND)
    machine.expects("2001:db8::5", kind="AAAA")


def ddclient(machine: Machine, key: str, address: str) -> subprocess.CompletedProcess[str]:
    lines = [
        "protocol=dyndns2",
        "ssl=no",
        f"use=ip, ip={address}",
        f"server=127.0.0.1:{machine.backend.port}",
        f"login={machine.host}",
        f"password='{key}'",
        machine.host,
    ]
    configuration = machine.writes("ddclient.conf", "\n".join(lines) + "\n")
    cache, pid = str(machine.folder / "cache"), str(machine.folder / "pid")
    command = ["ddclient", "-file", configuration, "-cache", cache, "-pid", pid]
    return machine.runs(*command, "-daemon=0", "-noquiet", "-verbose")


def inadyn(machine: Machine, key: str, address: str) -> subprocess.CompletedProcess[str]:
    text = f"""
    custom backend {{
        username = {machine.host}
        password = {key}
        ddns-server = "127.0.0.1:{machine.backend.port}"
        ddns-path = "/nic/update?hostname=%h&myip=%i"
        hostname = {machine.host}
        checkip-command = "/bin/echo {address}"
        ssl = false
    }}
    """
    configuration = machine.writes("inadyn.conf", text)
    command = ["inadyn", "--once", "--foreground", "--force", "--no-pidfile"]
    return machine.runs(*command, "--cache-dir", str(machine.folder), "-f", configuration)


def wget(machine: Machine, key: str, address: str) -> subprocess.CompletedProcess[str]:
    """Ask as GNU wget does: without the login at first, with it after the challenge."""
    url = f"{machine.backend.url}/nic/update?hostname={machine.host}&myip={address}"
    return machine.runs("wget", "-O", "-", "--user", machine.host, "--password", key, url)


def busybox(machine: Machine, key: str, address: str) -> subprocess.CompletedProcess[str]:
    """Ask as small routers do, and OpenWrt without GNU wget."""
    place = f"{machine.host}:{key}@127.0.0.1:{machine.backend.port}"
    url = f"http://{place}/nic/update?hostname={machine.host}&myip={address}"
    return machine.runs("busybox", "wget", "-O", "-", url)


class Client(NamedTuple):
    """How a program is run, and what it says when it has and hasn't worked."""

    update: Callable[[Machine, str, str], "subprocess.CompletedProcess[str]"]
    success: str
    failure: str
    exit_code: int


CLIENTS: Dict[str, Client] = {
    "ddclient": Client(ddclient, "good: IP address set to", "authorization failed", 1),
    "inadyn": Client(inadyn, "Successful alias table update", "Authentication failure", 50),
    "wget": Client(wget, "good ", "Authentication Failed", 6),
    "busybox": Client(busybox, "good ", "401", 1),
}
EVERY_CLIENT = pytest.mark.parametrize(
    "client",
    [
        pytest.param(client, id=name, marks=pytest.mark.real(name, "dig"))
        for name, client in CLIENTS.items()
    ],
)


@EVERY_CLIENT
def test_a_client_changes_the_address_that_dig_shows(machine: Machine, client: Client) -> None:
    ended = client.update(machine, machine.key, SECOND)
    assert ended.returncode == 0, ended.stderr
    assert client.success in ended.stdout + ended.stderr
    machine.expects(SECOND)


@EVERY_CLIENT
def test_a_client_with_a_wrong_key_says_so_and_changes_nothing(
    machine: Machine, client: Client
) -> None:
    asked = machine.asked_hetzner()
    ended = client.update(machine, WRONG, THIRD)
    assert ended.returncode == client.exit_code
    assert client.failure in ended.stdout + ended.stderr
    assert machine.digs() == [FIRST]
    assert machine.asked_hetzner() == asked


@EVERY_CLIENT
def test_a_client_hears_of_a_failure_at_hetzner_and_the_address_comes_all_the_same(
    machine: Machine, client: Client
) -> None:
    machine.hetzner.door(
        "POST", "fail", status=503, path="/zones/*/rrsets/*/actions/set_records", count=1
    )
    ended = client.update(machine, machine.key, THIRD)
    if client.update is not ddclient:  # 3.10 says nothing of a 503, and tries again later
        assert ended.returncode != 0
    assert client.success not in ended.stdout + ended.stderr
    machine.expects(THIRD)
