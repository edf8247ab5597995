"""Update clients over HTTP and through nginx with TLS: success, refusal and outage.

Each client is configured as `python -m backend setup` prints.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Callable, Iterator, NamedTuple, Sequence

import pytest

from tests.e2e import clients, proxies
from tests.e2e.clients import CLIENTS, PROGRAMS, Machine
from tests.e2e.processes import HOSTS, Backend, Hetzner, Program, until

FIRST, SECOND, THIRD, V6 = "198.51.100.1", "198.51.100.2", "198.51.100.3", "2001:db8::5"
WRONG = "a-wrong-key-of-some-length"
UNKNOWN = "unknown.example.com"


class Expected(NamedTuple):
    """The expected exit code and output of a program."""

    code: int
    words: str = ""


# Success; a wrong key (401); an unknown host (404); an outage (503). ddclient before 3.11
# shows 404 and 503 only in its cache, and dyndnsc always exits with 0.
ENDS: dict[str, Sequence[Expected]] = {
    "ddclient": [
        Expected(0, "good: IP address set to"),
        Expected(1, "authorization failed"),
        *(Expected(0, "nohost"), Expected(0, "911")),
    ],
    "inadyn": [
        Expected(0, "Successful alias table update"),
        Expected(50, "Authentication failure"),
        Expected(48, "DDNS server response not OK"),
    ],
    "wget": [
        Expected(0, "200 OK"),
        Expected(6, "Authentication Failed"),
        *(Expected(8, "ERROR 404"), Expected(8, "ERROR 503")),
    ],
    "busybox": [
        Expected(0, "written to stdout"),
        *(Expected(1, " 401 "), Expected(1, " 404 "), Expected(1, " 503 ")),
    ],
    "curl": [Expected(0, "good "), Expected(22, "401"), Expected(22, "404"), Expected(22, "503")],
    "openwrt": [Expected(0), Expected(22, "401"), Expected(22, "404"), Expected(22, "503")],
    "dyndnsc": [
        Expected(0, "status 200, good "),
        *(
            Expected(0, "status 401, badauth"),
            Expected(0, "status 404, nohost"),
            Expected(0, "status 503, 911"),
        ),
    ],
    "client": [
        Expected(0, "(updated)"),
        Expected(1, "401"),
        Expected(1, "401"),
        Expected(1, "503"),
    ],
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
    backend.update(host, FIRST)
    hetzner.expect(host, FIRST)
    return machine


@pytest.fixture
def outage(hetzner: Hetzner) -> Iterator[Callable[[], None]]:
    """Make all calls to Hetzner fail until the end of the test."""
    yield lambda: hetzner.control("POST", "fail", status=503, count=None)
    hetzner.control("DELETE", "fail")


def expect(ended: subprocess.CompletedProcess[str], expected: Expected) -> None:
    output = ended.stdout + ended.stderr
    assert (ended.returncode, expected.words in output) == (expected.code, True), output


def changes_of(machine: Machine) -> list[str]:
    """Return the writes at Hetzner about the machine's host."""
    calls = machine.hetzner.calls_about(machine.host)
    return [call["path"] for call in calls if call["method"] != "GET"]


@each(*CLIENTS)
def test_a_client_changes_the_address_that_dig_shows(name: str, machine: Machine) -> None:
    expect(CLIENTS[name](machine, SECOND), ENDS[name][0])
    machine.expect(SECOND)


@each(*CLIENTS)
def test_a_client_with_a_wrong_key_fails_and_changes_nothing(name: str, machine: Machine) -> None:
    before = changes_of(machine)
    expect(CLIENTS[name](machine.with_changes(key=WRONG), THIRD), ENDS[name][1])
    assert machine.dig() == [FIRST]
    assert changes_of(machine) == before


@each(*CLIENTS)
def test_a_client_of_an_unknown_host_fails_and_changes_nothing(name: str, machine: Machine) -> None:
    before = changes_of(machine)
    expect(CLIENTS[name](machine.with_changes(sent_names=(UNKNOWN,)), THIRD), ENDS[name][2])
    assert machine.dig() == [FIRST]
    assert changes_of(machine) == before


# Inadyn doesn't end; a test below covers it.
@each(*(name for name in CLIENTS if name not in ("inadyn", "unifi")))
def test_a_client_reports_a_failure_during_an_outage(
    name: str, machine: Machine, outage: Callable[[], None]
) -> None:
    outage()
    expect(CLIENTS[name](machine, THIRD), ENDS[name][3])
    assert machine.dig() == [FIRST]


@each("ddclient", "inadyn", "wget", "busybox", "curl", "openwrt")
def test_a_client_sets_an_ipv6_address(name: str, machine: Machine) -> None:
    expect(CLIENTS[name](machine, V6), ENDS[name][0])
    machine.expect(V6, kind="AAAA")
    assert machine.dig() == [FIRST]


@each("wget", "busybox", "curl", "openwrt")
def test_a_client_sets_both_families_at_once(name: str, machine: Machine) -> None:
    expect(CLIENTS[name](machine, f"{SECOND},{V6}"), ENDS[name][0])
    machine.expect(SECOND)
    machine.expect(V6, kind="AAAA")


@pytest.fixture
def shared_key(machine: Machine) -> Machine:
    """Return the names of two hosts that share the machine's key."""
    other = HOSTS[-1]
    path = machine.backend.folder / "pre-shared-key"
    lines = [line for line in path.read_text().splitlines() if not line.startswith(f"{other} ")]
    path.write_text("\n".join([*lines, f"{other} {machine.key}", ""]))
    return machine.with_changes(sent_names=(machine.host, other))


@each("ddclient", "inadyn", "wget", "busybox", "curl", "openwrt", "client")
def test_a_client_updates_several_hosts_with_one_key(
    name: str, shared_key: Machine, hetzner: Hetzner
) -> None:
    address = f"198.51.100.{100 + list(CLIENTS).index(name) * 2 + shared_key.is_secure}"
    ended = CLIENTS[name](shared_key, address)
    expect(ended, ENDS[name][0])
    for host in shared_key.sent_names:
        hetzner.expect(host, address)


@pytest.mark.real("ddclient", "dig", "nginx")
def test_ddclient_takes_one_of_two_hosts_for_failed(
    machine: Machine,
) -> None:
    ended = clients.ddclient(machine.with_changes(sent_names=(machine.host, UNKNOWN)), SECOND)
    assert ended.returncode == 1
    output = ended.stdout + ended.stderr
    assert f"updating {machine.host}: good" in output
    assert f"updating {UNKNOWN}: nohost" in output
    machine.expect(SECOND)


@pytest.mark.real("ddclient", "dig", "nginx")
def test_ddclient_tries_again_by_itself(machine: Machine, hetzner: Hetzner) -> None:
    """Run as cron does, with a shortened pause after a failure."""
    configuration = clients.ddclient_conf(machine, THIRD, "min-error-interval=1\nmin-interval=1")
    cache = machine.folder / "cache"
    command = ("ddclient", "-file", configuration, "-cache", str(cache), "-daemon=0", "-noquiet")

    def is_through() -> bool:
        return f"good: IP address set to {THIRD}" in machine.run(*command, "-verbose").stdout or (
            "nochg" in cache.read_text() or "status=good" in cache.read_text()
        )

    hetzner.control("POST", "fail", status=503, count=None)
    try:
        machine.run(*command)
        assert "status=good" not in cache.read_text()
    finally:
        hetzner.control("DELETE", "fail")
    until(is_through, "ddclient to try again", cache.read_text)
    machine.expect(THIRD)


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

    def command(self, arguments: Sequence[str]) -> list[str]:
        return list(arguments)


@pytest.mark.real("inadyn", "dig", "nginx")
def test_inadyn_waits_and_tries_again_by_itself(machine: Machine, hetzner: Hetzner) -> None:
    hetzner.control("POST", "fail", status=503, count=None)
    inadyn = Inadyn(machine, THIRD)
    try:
        inadyn.start()
        inadyn.wait_until(lambda: "Temporary error" in inadyn.output, "a temporary error")
        inadyn.wait_until(lambda: "600 sec" in inadyn.output, "the time of the next attempt")
        assert machine.dig() == [FIRST]
    finally:
        hetzner.control("DELETE", "fail")
    inadyn.wait_until(lambda: machine.dig() == [THIRD], "the update to be published")
    inadyn.stop()


@pytest.mark.real("wget", "dig", "nginx")
def test_wget_tries_again_by_itself(machine: Machine, hetzner: Hetzner) -> None:
    hetzner.control("POST", "fail", status=503, count=3)
    options = ("--retry-on-http-error=503", "--tries=9", "--waitretry=1")
    ended = clients.wget(machine, THIRD, *options)
    assert ended.returncode == 0, ended.stderr
    assert "Retrying." in ended.stderr
    machine.expect(THIRD)
