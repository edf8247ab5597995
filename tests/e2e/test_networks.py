"""The caller's address is used, directly and through nginx, between separate machines."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Iterator

import pytest

from backend.model import Hostname
from backend.setup_guides import snippet
from tests.e2e import network
from tests.e2e.network import Inside, Plugged, Switch
from tests.e2e.processes import TOKEN, until
from tests.e2e.proxies import tls_nginx

HOST, KEY = "host.example.com", "the-key-of-the-host"
HTTP, TLS, API, DNS = 8080, 8443, 8090, 5354
BACKEND, PROXY = 1, 2

pytestmark = pytest.mark.real("ip", "curl", "dig", "nginx", "ddclient")


@pytest.fixture(scope="module")
def switch() -> Iterator[Switch]:
    if not network.can_be_made():
        if os.environ.get("REQUIRE_REAL_PARTS") == "1":
            pytest.fail("network namespaces can't be made, and REQUIRE_REAL_PARTS=1 is set")
        pytest.skip("needs network namespaces (root)")
    yield from network.plugged_in()


class Site:
    """A backend with the sandbox on one machine, and nginx on another."""

    def __init__(self, switch: Switch, folder: Path) -> None:
        self.folder = folder
        self.machine = switch.connect("backend", BACKEND)
        proxy = switch.connect("proxy", PROXY)
        for part in ("hetzner", "backend", "nginx"):
            (folder / part).mkdir()
        (folder / "backend" / "pre-shared-key").write_text(f"{HOST} {KEY}\n")
        hetzner = ["-m", "sandbox", "--http-port", str(API), "--dns-port", str(DNS)]
        hetzner += ["--token", TOKEN, "--zone", "example.com", "--action-seconds", "0.1"]
        addresses = ["198.51.100.2", "[2001:db8:5::2]"]
        nginx = tls_nginx(folder / "nginx", f"198.51.100.1:{HTTP}", addresses, TLS)
        self.authority = nginx.authority
        self._parts = [
            Inside(self.machine, "hetzner", hetzner, folder / "hetzner"),
            Inside(
                self.machine,
                "backend",
                ["-m", "backend"],
                folder / "backend",
                HETZNER_TOKEN=TOKEN,
                HETZNER_API_URL=f"http://127.0.0.1:{API}/v1",
                REGISTERED_FQDNS=HOST,
                LISTEN_PORT=str(HTTP),
                TRUSTED_PROXIES="198.51.100.2,2001:db8:5::2",
            ),
            Inside(proxy, "nginx", nginx.arguments, folder / "nginx"),
        ]

    def start(self) -> None:
        hetzner, backend, nginx = self._parts
        hetzner.start()
        hetzner.wait_until(lambda: "sandbox ready" in hetzner.output, "to be ready")
        backend.start()
        backend.wait_until(lambda: self._answers(f"http://127.0.0.1:{HTTP}/healthz"), "to be well")
        nginx.start()
        url = f"https://198.51.100.2:{TLS}/healthz"
        nginx.wait_until(lambda: self._answers(url), "to answer")

    def stop(self) -> None:
        for part in reversed(self._parts):
            part.stop()

    def _answers(self, url: str) -> bool:
        command = ("curl", "-sf", "--cacert", self.authority, url)
        return self.machine.run(*command, folder=self.folder).returncode == 0

    def dig(self, kind: str) -> list[str]:
        command = ("dig", "+short", "@127.0.0.1", "-p", str(DNS), HOST, kind)
        return sorted(self.machine.run(*command, folder=self.folder).stdout.split())

    def expect(self, kind: str, address: str) -> None:
        backend = self._parts[1]
        until(
            lambda: self.dig(kind) == [address], f"{kind} to be {address}", lambda: backend.output
        )


@pytest.fixture(scope="module")
def site(switch: Switch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    site = Site(switch, tmp_path_factory.mktemp("site"))
    try:
        site.start()
        yield site
    finally:
        site.stop()


@pytest.fixture(scope="module")
def client(switch: Switch) -> Plugged:
    return switch.connect("client", 10)


# The way of a request and its address family.
WAYS: dict[str, str] = {
    "directly, IPv4": f"http://198.51.100.1:{HTTP}",
    "directly, IPv6": f"http://[2001:db8:5::1]:{HTTP}",
    "nginx, IPv4": f"https://198.51.100.2:{TLS}",
    "nginx, IPv6": f"https://[2001:db8:5::2]:{TLS}",
}
each_way = pytest.mark.parametrize("url", WAYS.values(), ids=WAYS.keys())


def request(client: Plugged, site: Site, url: str, *options: str) -> str:
    command = ("curl", "-sS", "--cacert", site.authority, *options, url)
    return client.run(*command, folder=site.folder).stdout


@each_way
def test_without_an_address_the_record_follows_the_caller(
    client: Plugged, site: Site, url: str
) -> None:
    update = f"{url}/nic/update?hostname={HOST}"
    is_v6 = "[" in url
    for number in (10, 11, 12):
        own = client.set_addresses(number)[is_v6]
        assert request(client, site, f"{url}/ip") == f"{own}\n"
        answer = request(client, site, update, "-u", f"{HOST}:{KEY}")
        assert answer in (f"good {own}\n", f"nochg {own}\n")
        site.expect("AAAA" if is_v6 else "A", own)


@each_way
def test_no_header_of_a_caller_chooses_its_address(client: Plugged, site: Site, url: str) -> None:
    own = client.set_addresses(20)["[" in url]
    for header in ("X-Real-Ip", "X-Forwarded-For", "Forwarded", "X-Client-Ip", "CF-Connecting-IP"):
        for forged in ("198.51.100.99", "2001:db8:5::99", "127.0.0.1", "198.51.100.2"):
            assert request(client, site, f"{url}/ip", "-H", f"{header}: {forged}") == f"{own}\n"


@pytest.mark.parametrize(
    "url", [WAYS["directly, IPv4"], WAYS["nginx, IPv4"]], ids=["direct", "nginx"]
)
def test_ddclient_follows_the_address_that_the_backend_reports(
    client: Plugged, site: Site, url: str
) -> None:
    text = snippet("ddclient", Hostname.parse(HOST), KEY, url).text
    text = text.replace("daemon=300", f"ssl_ca_file={site.authority}\nmin-interval=0")
    configuration = site.folder / "ddclient.conf"
    configuration.write_text(f"{text}\n")
    configuration.chmod(0o600)
    cache = str(site.folder / f"cache-{'https' in url}")
    for number in (30, 31):
        own, _ = client.set_addresses(number)
        command = (
            "ddclient",
            "-daemon=0",
            "-noquiet",
            "-file",
            str(configuration),
            "-cache",
            cache,
        )
        ended = client.run(*command, folder=site.folder)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        site.expect("A", own)
