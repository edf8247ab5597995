"""One `docker run` with a volume is enough: no host, no key file, no owner to change."""

from __future__ import annotations

import os
import re
import shutil
import time
from typing import Iterator, NamedTuple

import pytest
import requests

from tests.containers.conftest import Images
from tests.containers.deployment import HOST, OPERATOR, TOKEN, start_hetzner, until_logged
from tests.containers.engine import ROOT, Engine, until
from tests.meta.documents import blocks
from tests.ports import free_port

NAME, HETZNER, NETWORK, VOLUME = (
    f"hetzner-dyndns-first-{what}" for what in ("start", "hetzner", "network", "volume")
)

# Only the network and the port differ from the example.
BESIDE = """\
services:
  backend:
    environment: {{HETZNER_API_URL: "http://{hetzner}:8090/v1"}}
    ports: !override
      - "127.0.0.1:{port}:80"
    networks: [default, first]
networks:
  first: {{external: true, name: {network}}}
"""

pytestmark = [
    pytest.mark.real("dig"),
    pytest.mark.skipif(os.getuid() != 0, reason="needs root: networks"),
]


class First(NamedTuple):
    engine: Engine
    image: str
    port: int

    def run(self, token: str = TOKEN) -> None:
        """Start the container as the README does, but with the sandbox instead of Hetzner."""
        own = ["--network", NETWORK, "--env", f"HETZNER_API_URL=http://{HETZNER}:8090/v1"]
        if self.engine.name == "podman":  # Docker's default
            own += ["--sysctl", "net.ipv4.ip_unprivileged_port_start=0"]
        self.engine.run(
            *("run", "-d", "-p", f"127.0.0.1:{self.port}:80", "-v", f"{VOLUME}:/data"),
            *("-e", f"HETZNER_TOKEN={token}", "-e", f"BASIC_AUTH_USERNAME={OPERATOR[0]}"),
            *("-e", f"BASIC_AUTH_PASSWORD={OPERATOR[1]}", "--name", NAME, *own, self.image),
        )

    def command(self, *words: str) -> str:
        return self.engine.run("exec", NAME, "python", "-m", "backend", *words)

    def update(self, key: str, address: str) -> requests.Response:
        """Send an update as a router does."""
        return requests.get(
            f"http://127.0.0.1:{self.port}/nic/update?hostname={HOST}&myip={address}",
            auth=("host", key),
            timeout=20,
        )

    def is_well(self) -> bool:
        try:
            return requests.get(f"http://127.0.0.1:{self.port}/healthz", timeout=5).ok
        except requests.RequestException:
            return False


@pytest.fixture
def first(engine: Engine, images: Images) -> Iterator[First]:
    try:
        engine.run("network", "create", NETWORK)
        start_hetzner(engine, images.backend, HETZNER, NETWORK)
        yield First(engine, images.backend, free_port())
    finally:
        for name in (NAME, HETZNER):  # podman removes none if one is missing
            engine.attempt("rm", "--force", name)
        engine.attempt("volume", "rm", "--force", VOLUME)
        engine.attempt("network", "rm", NETWORK)


def test_a_router_succeeds_after_run_and_hosts_add(
    first: First, capsys: pytest.CaptureFixture[str]
) -> None:
    began = time.monotonic()
    first.run()
    until(first.is_well, "the service", lambda: first.engine.logs(NAME))
    lines = first.engine.logs(NAME).strip().splitlines()
    assert "starts on port 80. Registered hosts: 0." in lines[0]
    assert f"port 80, user name {OPERATOR[0]}." in lines[1]
    # The command in the log works as it stands, but for the name of the host.
    found = re.search(r"Next, add a host: (\w+) exec (\S+) (hetzner-dyndns .* NAME)$", lines[2])
    assert found is not None, lines
    assert len(lines) == 3, lines
    program, container, command = found.groups()
    assert program == first.engine.name
    added = first.engine.run("exec", container, *command.replace("NAME", HOST).split())
    assert f"hetzner-dyndns setup {HOST}" in added
    set_up = first.command("setup", HOST, "--for", "fritzbox")
    key = re.findall(r"^ *Password +(\S+)$", set_up, re.MULTILINE)[0]

    def is_known() -> bool:
        return first.update(key, "198.51.100.9").status_code == 200

    until(is_known, "the host to be known", lambda: first.engine.logs(NAME))
    assert first.update(key, "198.51.100.9").text == "nochg 198.51.100.9\n"
    with capsys.disabled():
        print(f"\nthe first update succeeded {time.monotonic() - began:.1f} s after `run`")

    # A new container with the same volume keeps hosts and keys.
    first.engine.run("rm", "--force", NAME)
    first.run()
    until(first.is_well, "the service", lambda: first.engine.logs(NAME))
    assert "Registered hosts: 1." in first.engine.logs(NAME)
    assert first.update(key, "198.51.100.9").text == "nochg 198.51.100.9\n"
    assert key not in first.engine.logs(NAME)


def test_a_refused_token_is_logged_without_an_update(first: First) -> None:
    first.run(token="wr0n" * 16)
    until_logged(first.engine, NAME, "ERROR Hetzner refuses token 1.")
    until_logged(first.engine, NAME, "check HETZNER_TOKEN.")


def test_the_example_needs_only_a_file_with_settings(
    first: First, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Start all but Caddy, whose image isn't here."""
    folder = tmp_path_factory.mktemp("first") / "example"
    folder.mkdir()
    shutil.copy(ROOT / "docs/examples/caddy/docker-compose.yml", folder)
    (block,) = (one.text for one in blocks() if one.text.startswith("DOMAIN="))
    (folder / ".env").write_text(block.replace("the-token", TOKEN), encoding="utf-8")
    beside = BESIDE.format(hetzner=HETZNER, port=first.port, network=NETWORK)
    (folder / "test.yml").write_text(beside, encoding="utf-8")
    engine = first.engine
    try:
        engine.compose(folder, "up", "--detach", "--no-build", "--pull", "never", "backend")
        until(first.is_well, "the service", lambda: engine.logs("hetzner-dyndns-backend"))
        run = ("exec", "-T", "backend", "python", "-m", "backend")
        engine.compose(folder, *run, "hosts", "add", HOST)
        set_up = engine.compose(folder, *run, "setup", HOST, "--for", "any")
        key = re.findall(r"^Password +(\S+)$", set_up, re.MULTILINE)[0]

        def is_known() -> bool:
            return first.update(key, "198.51.100.9").status_code == 200

        until(is_known, "the host to be known", lambda: engine.logs("hetzner-dyndns-backend"))
    finally:
        engine.compose(folder, "down", "--volumes", "--timeout", "20")
