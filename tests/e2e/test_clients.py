"""Update clients over HTTP and through nginx with TLS: success, refusal and outage.

Each client is configured as `python -m backend setup` prints.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Callable, Dict, Iterator, List, NamedTuple, Sequence

import pytest

from tests.e2e import clients, proxies
from tests.e2e.clients import CLIENTS, PROGRAMS, Machine
from tests.e2e.processes import HOSTS, Backend, Hetzner, Program, until

FIRST, SECOND, THIRD, V6 = "198.51.100.1", "198.51.100.2", "198.51.100.3", "2001:db8::5"
WRONG = "a-wrong-key-of-some-length"
UNKNOWN = "unknown.example.com"


class Told(NamedTuple):
    """The expected exit code and output of a program."""

    code: int
    words: str = ""


# Success; a wrong key (401); an unknown host (404); an outage (503). ddclient before 3.11
# shows 404 and 503 only in its cache, and dyndnsc always exits with 0.
ENDS: Dict[str, Sequence[Told]] = {
    "ddclient": [
        Told(0, "good: IP address set to"),
        Told(1, "authorization failed"),
        *(Told(0, "nohost"), Told(0, "911")),
    ],
    "inadyn": [
        Told(0, "Successful alias table update"),
        Told(50, "Authentication failure"),
        Told(48, "DDNS server response not OK"),
    ],
    "wget": [
        Told(0, "200 OK"),
        Told(6, "Authentication Failed"),
        *(Told(8, "ERROR 404"), Told(8, "ERROR 503")),
    ],
    "busybox": [
        Told(0, "written to stdout"),
        *(Told(1, " 401 "), Told(1, " 404 "), Told(1, " 503 ")),
    ],
    "curl": [Told(0, "good "), Told(22, "401"), Told(22, "404"), Told(22, "503")],
    "openwrt": [Told(0), Told(22, "401"), Told(22, "404"), Told(22, "503")],
    "dyndnsc": [
        Told(0, "status 200, good "),
        *(
            Told(0, "status 401, badauth"),
            Told(0, "status 404, nohost"),
            Told(0, "status 503, 911"),
        ),
    ],
    "client": [Told(0, "(updated)"), Told(1, "401"), Told(1, "401"), Told(1, "503")],
}
ENDS["unifi"] = ENDS["inadyn"]


def each(*names: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(
        "name",
        [
            pytest.param(name, marks=pytest.mark.real(PROGRAMS.get(name, name), "dig", "nginx"))
            for name in names
        ],
    )


@pytest.fixture(scope="module")
def backend(hetzner: Hetzner, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    """Return a backend that doesn't cache; the sandbox is reset after each failure."""
    with Backend(tmp_path_factory.mktemp("backend"), hetzner, REQUEST_CACHE_TTL="0") as backend:
        yield backend


@pytest.fixture(scope="module")
def nginx(backend: Backend, tmp_path_factory: pytest.TempPathFactory) -> Iterator[proxies.Proxy]:
    with proxies.tls_nginx(tmp_path_factory.mktemp("nginx"), f"127.0.0.1:{backend.port}") as nginx:
        yield nginx


@pytest.fixture(params=["http", "https"])
def machine(
    request: pytest.FixtureRequest, backend: Backend, hetzner: Hetzner, host: str, folder: Path
) -> Machine:
    """Return a machine whose host has an address that an update will change."""
    url, authority = backend.url, ""
    if request.param == "https":
        proxy: proxies.Proxy = request.getfixturevalue("nginx")
        url, authority = proxy.url, proxy.authority
    machine = Machine(folder, backend, hetzner, url, authority, host, backend.key_of(host))
    backend.updates(host, FIRST)
    hetzner.expect(host, FIRST)
    return machine


@pytest.fixture
def trouble(hetzner: Hetzner) -> Iterator[Callable[[], None]]:
    """Make all calls to Hetzner fail until the end of the test."""
    yield lambda: hetzner.door("POST", "fail", status=503, count=None)
    hetzner.door("POST", "reset")


def expect(ended: subprocess.CompletedProcess[str], told: Told) -> None:
    said = ended.stdout + ended.stderr
    assert (ended.returncode, told.words in said) == (told.code, True), said


def writes(machine: Machine) -> List[str]:
    """Return the writes at Hetzner about the machine's host."""
    calls = machine.hetzner.calls_about(machine.host)
    return [call["path"] for call in calls if call["method"] != "GET"]


@each(*CLIENTS)
def test_a_client_changes_the_address_that_dig_shows(name: str, machine: Machine) -> None:
    expect(CLIENTS[name](machine, SECOND), ENDS[name][0])
    machine.expects(SECOND)


@each(*CLIENTS)
def test_a_client_with_a_wrong_key_fails_and_changes_nothing(name: str, machine: Machine) -> None:
    before = writes(machine)
    expect(CLIENTS[name](machine.knows(key=WRONG), THIRD), ENDS[name][1])
    assert machine.digs() == [FIRST]
    assert writes(machine) == before


@each(*CLIENTS)
def test_a_client_of_an_unknown_host_fails_and_changes_nothing(name: str, machine: Machine) -> None:
    before = writes(machine)
    expect(CLIENTS[name](machine.knows(asks=(UNKNOWN,)), THIRD), ENDS[name][2])
    assert machine.digs() == [FIRST]
    assert writes(machine) == before


# Inadyn doesn't end; a test below covers it.
@each(*(name for name in CLIENTS if name not in ("inadyn", "unifi")))
def test_a_client_reports_a_failure_while_hetzner_is_away(
    name: str, machine: Machine, trouble: Callable[[], None]
) -> None:
    trouble()
    expect(CLIENTS[name](machine, THIRD), ENDS[name][3])
    assert machine.digs() == [FIRST]


@each("ddclient", "inadyn", "wget", "busybox", "curl", "openwrt")
def test_a_client_sets_an_ipv6_address(name: str, machine: Machine) -> None:
    expect(CLIENTS[name](machine, V6), ENDS[name][0])
    machine.expects(V6, kind="AAAA")
    assert machine.digs() == [FIRST]


@each("wget", "busybox", "curl", "openwrt")
def test_a_client_sets_both_families_at_once(name: str, machine: Machine) -> None:
    expect(CLIENTS[name](machine, f"{SECOND},{V6}"), ENDS[name][0])
    machine.expects(SECOND)
    machine.expects(V6, kind="AAAA")


@pytest.fixture
def two(machine: Machine) -> Machine:
    """Return the names of two hosts that share the machine's key."""
    other = HOSTS[-1]
    path = machine.backend.folder / "pre-shared-key"
    lines = [line for line in path.read_text().splitlines() if not line.startswith(f"{other} ")]
    path.write_text("\n".join([*lines, f"{other} {machine.key}", ""]))
    return machine.knows(asks=(machine.host, other))


@each("ddclient", "inadyn", "wget", "busybox", "curl", "openwrt", "client")
def test_a_client_updates_several_hosts_with_one_key(
    name: str, two: Machine, hetzner: Hetzner
) -> None:
    address = f"198.51.100.{100 + list(CLIENTS).index(name) * 2 + two.is_secure}"
    ended = CLIENTS[name](two, address)
    expect(ended, ENDS[name][0])
    for host in two.asks:
        hetzner.expect(host, address)


@pytest.mark.real("ddclient", "dig", "nginx")
def test_ddclient_takes_one_of_two_hosts_for_failed(
    machine: Machine,
) -> None:
    ended = clients.ddclient(machine.knows(asks=(machine.host, UNKNOWN)), SECOND)
    assert ended.returncode == 1
    said = ended.stdout + ended.stderr
    assert f"updating {machine.host}: good" in said
    assert f"updating {UNKNOWN}: nohost" in said
    machine.expects(SECOND)


@pytest.mark.real("ddclient", "dig", "nginx")
def test_ddclient_tries_again_by_itself(machine: Machine, hetzner: Hetzner) -> None:
    """Run as cron does, with a shortened pause after a failure."""
    configuration = clients.ddclient_conf(machine, THIRD, "min-error-interval=1\nmin-interval=1")
    cache = machine.folder / "cache"
    command = ("ddclient", "-file", configuration, "-cache", str(cache), "-daemon=0", "-noquiet")

    def is_through() -> bool:
        return f"good: IP address set to {THIRD}" in machine.runs(*command, "-verbose").stdout or (
            "nochg" in cache.read_text() or "status=good" in cache.read_text()
        )

    hetzner.door("POST", "fail", status=503, count=None)
    try:
        machine.runs(*command)
        assert "status=good" not in cache.read_text()
    finally:
        hetzner.door("POST", "reset")
    until(is_through, "ddclient to try again", cache.read_text)
    machine.expects(THIRD)


class Inadyn(Program):
    """Inadyn as a daemon."""

    def __init__(self, machine: Machine, address: str) -> None:
        configuration = clients.inadyn_conf(machine, address)
        super().__init__(
            "inadyn",
            clients.inadyn_command(machine, configuration),
            machine.folder,
            **machine.trust,
        )

    def command(self, arguments: Sequence[str]) -> List[str]:
        return list(arguments)


@pytest.mark.real("inadyn", "dig", "nginx")
def test_inadyn_waits_and_tries_again_by_itself(machine: Machine, hetzner: Hetzner) -> None:
    hetzner.door("POST", "fail", status=503, count=None)
    inadyn = Inadyn(machine, THIRD)
    try:
        inadyn.start()
        inadyn.wait_until(lambda: "Temporary error" in inadyn.output, "to say so")
        inadyn.wait_until(lambda: "600 sec" in inadyn.output, "to say when it tries again")
        assert machine.digs() == [FIRST]
    finally:
        hetzner.door("POST", "reset")
    inadyn.wait_until(lambda: machine.digs() == [THIRD], "its wish to be fulfilled")
    inadyn.stop()


@pytest.mark.real("wget", "dig", "nginx")
def test_wget_tries_again_by_itself(machine: Machine, hetzner: Hetzner) -> None:
    hetzner.door("POST", "fail", status=503, count=3)
    options = ("--retry-on-http-error=503", "--tries=9", "--waitretry=1")
    ended = clients.wget(machine, THIRD, *options)
    assert ended.returncode == 0, ended.stderr
    assert "Retrying." in ended.stderr
    machine.expects(THIRD)
