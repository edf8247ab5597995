"""Real ACME clients get certificates with the key of a host, as `setup` prints."""

from __future__ import annotations

import itertools
import json
import subprocess
import threading
import time
from pathlib import Path
from typing import Iterator

import pytest

from backend.model import Hostname
from backend.setup_guides import snippet
from tests.e2e.pebble import Pebble, account, names_in
from tests.e2e.processes import Backend, Hetzner, until
from tests.shipping.tools import find, miss

pytestmark = pytest.mark.real("pebble", "lego", "openssl")

NAMES = tuple(f"host{number}.example.com" for number in range(30))
WILDCARD = "*.wild.example.com"
Ended = subprocess.CompletedProcess
_hosts = itertools.cycle(NAMES)


@pytest.fixture(scope="module")
def backend(hetzner: Hetzner, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    with backend_of(hetzner, tmp_path_factory.mktemp("backend")) as backend:
        yield backend


@pytest.fixture(scope="module")
def pebble(hetzner: Hetzner, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pebble]:
    with Pebble(tmp_path_factory.mktemp("pebble") / "pebble", hetzner) as pebble:
        yield pebble


@pytest.fixture
def host() -> str:
    return next(_hosts)


def backend_of(hetzner: Hetzner, folder: Path) -> Backend:
    hosts = ",".join((*NAMES, WILDCARD))
    return Backend(folder, hetzner, REGISTERED_FQDNS=hosts, ACME_DNS="1")


class Machine:
    """A machine with the key of one host."""

    def __init__(self, folder: Path, backend: Backend, pebble: Pebble, host: str) -> None:
        self.folder = folder
        self.backend = backend
        self.pebble = pebble
        self.host = host
        self.parent = host[2:] if host.startswith("*.") else host
        self.key = backend.key_of(host)

    def snippet(self, device: str) -> str:
        return snippet(device, Hostname.parse(self.host), self.key, self.backend.url).text

    def lego(self, more: str = "", settings: str | None = None) -> Ended[str]:
        text = self.snippet("lego").split("\n\n", maxsplit=1)[0] if settings is None else settings
        resolver = f"127.0.0.1:{self.pebble.hetzner.dns_port}"
        server = f"--server {self.pebble.url} --dns.disable-cp --dns.resolvers {resolver}"
        text = text.replace("lego --accept-tos", f"lego {server} --path {self.folder} --accept-tos")
        return self.pebble.run(text.replace(" run", f" {more} run"), self.folder)

    def certbot(self, line: str, more: str = "") -> Ended[str]:
        folders = " ".join(f"--{one}-dir {self.folder}/{one}" for one in ("config", "work", "logs"))
        options = f"{folders} --server {self.pebble.url} --agree-tos -m you@example.com -n {more}"
        return self.pebble.run(
            line.replace("certbot certonly", f"{find('certbot')} certonly {options}"), self.folder
        )

    def names(self) -> set[str]:
        """Return the names in the certificate."""
        of_lego = self.folder / "certificates" / f"{self.parent}.crt"
        of_certbot = self.folder / "config" / "live" / self.parent / "cert.pem"
        return names_in(of_lego if of_lego.exists() else of_certbot)

    def texts(self) -> list[str]:
        return self.pebble.hetzner.resolve(f"_acme-challenge.{self.parent}", "TXT")

    def expect_no_texts(self, seconds: float = 40) -> None:
        end = time.monotonic() + seconds
        while self.texts():
            assert time.monotonic() < end, self.backend.output
            time.sleep(0.2)


@pytest.fixture
def machine(tmp_path: Path, backend: Backend, pebble: Pebble, host: str) -> Machine:
    return Machine(tmp_path, backend, pebble, host)


def expect_success(machine: Machine, ended: Ended[str], *names: str) -> None:
    output = f"{ended.stdout}\n{ended.stderr}\n{machine.backend.output}"
    assert ended.returncode == 0, output
    assert machine.names() == set(names)
    assert machine.key not in machine.backend.output


def test_lego_by_httpreq_leaves_nothing(machine: Machine) -> None:
    expect_success(machine, machine.lego(), machine.host)
    machine.expect_no_texts()
    rows = machine.backend.query("select event, protocol from history where type = 'TXT'")
    assert {("challenge", "httpreq"), ("challenge_removed", "httpreq")} <= set(rows)


def test_lego_by_httpreq_for_host_and_wildcard(machine: Machine) -> None:
    ended = machine.lego(f"--domains '*.{machine.host}'")
    expect_success(machine, ended, machine.host, f"*.{machine.host}")
    machine.expect_no_texts()


def test_the_key_of_a_wildcard(tmp_path: Path, backend: Backend, pebble: Pebble) -> None:
    machine = Machine(tmp_path, backend, pebble, WILDCARD)
    ended = machine.lego(f"--domains '{WILDCARD}'")
    expect_success(machine, ended, "wild.example.com", WILDCARD)


def test_two_hosts_at_once(tmp_path: Path, backend: Backend, pebble: Pebble) -> None:
    machines = [Machine(tmp_path / name, backend, pebble, name) for name in NAMES[-2:]]
    ended: dict[str, Ended[str]] = {}
    threads = []
    for machine in machines:
        machine.folder.mkdir()
        threads.append(
            threading.Thread(target=lambda one=machine: ended.update({one.host: one.lego()}))
        )
        threads[-1].start()
    for thread in threads:
        thread.join()
    for machine in machines:
        expect_success(machine, ended[machine.host], machine.host)
        machine.expect_no_texts()


def test_certbot_with_hooks(machine: Machine) -> None:
    script, command = machine.snippet("certbot").split("\n\nThen, as root:\n")
    hook = machine.folder / "hetzner-dyndns"
    hook.write_text(script)
    hook.chmod(0o700)
    command = command.split("\n\n", maxsplit=1)[0]
    line = command.replace("/etc/letsencrypt/hetzner-dyndns", str(hook))
    ended = machine.certbot(line, f"-d '*.{machine.host}'")
    expect_success(machine, ended, machine.host, f"*.{machine.host}")
    machine.expect_no_texts()


def test_certbot_with_its_plugin_for_acme_dns(machine: Machine) -> None:
    if machine.pebble.run(f"{find('certbot')} plugins", machine.folder).stdout.count("acmedns") < 1:
        miss("certbot-dns-acmedns")
    storage, settings = machine.folder / "accounts.json", machine.folder / "acmedns.ini"
    storage.write_text(json.dumps(account(machine.host, machine.host, machine.key)))
    settings.write_text(
        f"dns_acmedns_api_url = {machine.backend.url}/acme-dns\n"
        f"dns_acmedns_registration_file = {storage}\n"
    )
    for file in (storage, settings):
        file.chmod(0o600)
    line = f"certbot certonly -a dns-acmedns --dns-acmedns-credentials {settings}"
    line += f" --dns-acmedns-propagation-seconds 0 -d {machine.host} -d '*.{machine.host}'"
    expect_success(machine, machine.certbot(line), machine.host, f"*.{machine.host}")
    assert len(machine.texts()) == 2  # acme-dns has no clean-up: they stay for an hour


def test_lego_by_acme_dns(machine: Machine) -> None:
    """Run lego's code inside a plugin of certbot: Debian's lego lacks this protocol."""
    if "dns-multi" not in machine.pebble.run(f"{find('certbot')} plugins", machine.folder).stdout:
        miss("certbot-dns-multi")
    storage, settings = machine.folder / "accounts.json", machine.folder / "lego.ini"
    storage.write_text(json.dumps(account(machine.host, machine.host, machine.key)))
    settings.write_text(
        "dns_multi_provider = acme-dns\n"
        f"ACME_DNS_API_BASE = {machine.backend.url}/acme-dns\n"
        f"ACME_DNS_STORAGE_PATH = {storage}\n"
    )
    for file in (storage, settings):
        file.chmod(0o600)
    line = f"certbot certonly -a dns-multi --dns-multi-credentials {settings}"
    line += f" --dns-multi-propagation-seconds 0 -d {machine.host} -d '*.{machine.host}'"
    expect_success(machine, machine.certbot(line), machine.host, f"*.{machine.host}")
    rows = machine.backend.query("select event, protocol from history where type = 'TXT'")
    assert ("challenge", "acme-dns") in rows


def test_a_wrong_key_is_told(machine: Machine) -> None:
    machine.key = "not-the-key-of-this-host"
    ended = machine.lego()
    assert ended.returncode != 0
    assert "401" in ended.stdout + ended.stderr
    assert machine.texts() == []


def test_the_name_of_another_host_is_told(machine: Machine) -> None:
    text = machine.snippet("lego").split("\n\n", maxsplit=1)[0]
    other = next(_hosts)
    ended = machine.lego(settings=text.replace(f"'{machine.host}' run", f"'{other}' run"))
    assert ended.returncode != 0
    assert "401" in ended.stdout + ended.stderr
    assert machine.pebble.hetzner.resolve(f"_acme-challenge.{other}", "TXT") == []


def test_an_outage_of_hetzner_is_told_and_leaves_nothing(machine: Machine) -> None:
    machine.pebble.hetzner.control("POST", "fail", status=503, count=None)
    try:
        ended = machine.lego()
    finally:
        machine.pebble.hetzner.control("DELETE", "fail")
    assert ended.returncode != 0
    assert "503" in ended.stdout + ended.stderr
    machine.expect_no_texts()
    expect_success(machine, machine.lego(), machine.host)


@pytest.fixture
def slow_hetzner(tmp_path: Path) -> Iterator[Hetzner]:
    with Hetzner(tmp_path / "hetzner", action_seconds=17) as hetzner:
        yield hetzner


@pytest.fixture
def slow_machine(tmp_path: Path, slow_hetzner: Hetzner, host: str) -> Iterator[Machine]:
    """A machine that waits for each of its challenges for 17 seconds."""
    pebble = Pebble(tmp_path / "pebble", slow_hetzner)
    with backend_of(slow_hetzner, tmp_path / "backend") as backend, pebble:
        yield Machine(tmp_path, backend, pebble, host)


def has_added(machine: Machine) -> bool:
    calls = machine.pebble.hetzner.control("GET", "calls")
    return any(call["path"].endswith("/TXT/actions/add_records") for call in calls)


def test_an_address_update_passes_a_slow_challenge(slow_machine: Machine) -> None:
    found: list[Ended[str]] = []
    client = threading.Thread(target=lambda: found.append(slow_machine.lego()))
    client.start()
    until(lambda: has_added(slow_machine), "a challenge", lambda: slow_machine.backend.output)
    assert slow_machine.backend.update(slow_machine.host, "198.51.100.7")["status"] == "created"
    assert slow_machine.texts() == []
    client.join()
    expect_success(slow_machine, found[0], slow_machine.host)
    slow_machine.expect_no_texts()


def test_a_killed_service_leaves_nothing(slow_machine: Machine) -> None:
    found: list[Ended[str]] = []
    client = threading.Thread(target=lambda: found.append(slow_machine.lego()))
    client.start()
    until(lambda: has_added(slow_machine), "a challenge", lambda: slow_machine.backend.output)
    slow_machine.backend.kill()
    client.join()
    assert found[0].returncode != 0
    slow_machine.backend.start()
    until(slow_machine.texts, "the challenge in DNS", lambda: slow_machine.backend.output)
    slow_machine.expect_no_texts(seconds=180)
    assert slow_machine.backend.query("select * from challenges") == []
