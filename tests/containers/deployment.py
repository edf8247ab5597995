"""A complete deployment: the compose files of two hosts, a proxy, and the sandbox."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import dnslib
import requests

from tests.containers.conftest import Images
from tests.containers.engine import ROOT, Engine, read_lines, until
from tests.ports import free_port

HOST = "host.example.com"
TOKEN = "c0de" * 16
OPERATOR = ("operator", "the-operators-password")
BACKEND, CLIENT, HETZNER = (
    "hetzner-dyndns-backend",
    "hetzner-dyndns-client",
    "hetzner-dyndns-hetzner",
)
FAR, NEAR = "hetzner-dyndns-far", "hetzner-dyndns-near"
# Two networks: the sandbox's, and the one between the client's host and the proxy.
SUBNET, GATEWAY, CLIENT_IP = "198.51.100.0/24", "198.51.100.1", "198.51.100.77"

FOR_BACKEND = """\
services:
  backend:
    environment:
      HETZNER_API_URL: http://{hetzner}:8090/v1
    ports: !override
      - "127.0.0.1:{port}:80"
    networks: [default, far]
networks:
  far: {{external: true, name: {far}}}
"""
FOR_CLIENT = """\
services:
  client:
    networks:
      near: {{ipv4_address: {address}}}
networks:
  near: {{external: true, name: {near}}}
"""
NGINX = """\
pid {folder}/nginx.pid;
error_log {folder}/nginx.log;
events {{}}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  server {{
    listen {gateway}:{proxy};
    location / {{
      proxy_pass http://127.0.0.1:{backend};
      proxy_set_header X-Real-Ip $remote_addr;
    }}
  }}
}}
"""


def start_hetzner(engine: Engine, image: str, name: str, network: str, *options: str) -> None:
    """Start the sandbox in a container, with the Python and Flask of the backend's image."""
    mounts = {ROOT / "sandbox": "sandbox", Path(dnslib.__file__).parent: "dnslib"}
    volumes = [f"--volume={path}:/app/{at}:ro" for path, at in mounts.items()]
    engine.run(
        *("run", "--detach", "--name", name, "--network", network, *volumes, *options),
        *("--entrypoint", "python", image, "-m", "sandbox"),
        *("--host", "0.0.0.0", "--http-port", "8090", "--dns-port", "5354"),
        *("--token", TOKEN, "--zone", "example.com", "--action-seconds", "0.1"),
    )
    until_logged(engine, name, "sandbox ready")


def until_logged(engine: Engine, name: str, words: str) -> None:
    until(lambda: words in engine.logs(name), words, lambda: engine.logs(name))


class Deployment:
    """The steps of the README; `test.yml` beside each compose file has the differences."""

    def __init__(self, engine: Engine, images: Images, folder: Path) -> None:
        self.engine = engine
        self._images = images
        self._folder = folder
        self._server = folder / "backend"
        self._home = folder / "client"
        self.port, self.proxy_port, self._hetzner_port = free_port(), free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._proxy: subprocess.Popen[bytes] | None = None
        self.session = requests.Session()
        self.session.trust_env = False

    # -- start and stop

    def start(self) -> None:
        self.engine.run("network", "create", FAR)
        self.engine.run("network", "create", "--subnet", SUBNET, "--gateway", GATEWAY, NEAR)
        published = f"127.0.0.1:{self._hetzner_port}:8090"
        start_hetzner(self.engine, self._images.backend, HETZNER, FAR, "--publish", published)
        self._start_backend()
        self._start_client()
        self._start_proxy()  # listens at the client's gateway, which exists from here on

    def stop(self) -> None:
        self.session.close()
        if self._proxy is not None:
            self._proxy.terminate()
            self._proxy.wait(30)
        for folder in (self._home, self._server):
            if (folder / "test.yml").exists():
                self.engine.compose(folder, "down", "--volumes", "--timeout", "20")
        self.engine.attempt("rm", "--force", HETZNER)
        for network in (FAR, NEAR):
            self.engine.attempt("network", "rm", network)

    def _start_backend(self) -> None:
        shutil.copytree(
            ROOT / "backend", self._server, ignore=shutil.ignore_patterns("__pycache__")
        )
        secrets = (self._server / ".secrets.example").read_text(encoding="utf-8")
        secrets = secrets.replace("HETZNER_TOKEN=", f"HETZNER_TOKEN={TOKEN}")
        secrets = secrets.replace("REGISTERED_FQDNS=", f"REGISTERED_FQDNS={HOST}")
        secrets += "\nLISTEN_ADDRESS=127.0.0.1\nLISTEN_PORT=8080\n"  # for a manual start
        secrets += f"BASIC_AUTH_USERNAME={OPERATOR[0]}\nBASIC_AUTH_PASSWORD={OPERATOR[1]}\n"
        (self._server / ".secrets").write_text(secrets, encoding="utf-8")
        self.key_file.touch(mode=0o600)
        os.chown(self.key_file, 1000, 1000)
        beside = FOR_BACKEND.format(hetzner=HETZNER, port=self.port, far=FAR)
        (self._server / "test.yml").write_text(beside, encoding="utf-8")
        self.engine.compose(self._server, "up", "--detach", "--no-build", "--pull", "never")
        self.until_well()

    def _start_proxy(self) -> None:
        config = self._folder / "nginx.conf"
        names = {"gateway": GATEWAY, "proxy": self.proxy_port, "backend": self.port}
        config.write_text(NGINX.format(folder=self._folder, **names), encoding="utf-8")
        program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin") or "nginx"
        self._proxy = subprocess.Popen([program, "-c", str(config), "-g", "daemon off;"])
        until((self._folder / "nginx.pid").exists, "nginx")

    def _start_client(self) -> None:
        self._home.mkdir()
        text = (ROOT / "client" / "docker-compose.yml").read_text(encoding="utf-8")
        for name, value in {
            "BACKEND_URL": f"http://{GATEWAY}:{self.proxy_port}",
            "FQDN": HOST,
            "PRE_SHARED_KEY": self.key(),
            "INTERVAL": '"1"',
        }.items():
            text, count = re.subn(rf"^( +{name}: ).*$", rf"\g<1>{value}", text, flags=re.MULTILINE)
            assert count == 1, name
        (self._home / "docker-compose.yml").write_text(text, encoding="utf-8")
        beside = FOR_CLIENT.format(address=CLIENT_IP, near=NEAR)
        (self._home / "test.yml").write_text(beside, encoding="utf-8")
        self.engine.compose(self._home, "up", "--detach", "--no-build", "--pull", "never")

    def typed(self, commands: str) -> Path:
        """Run documented commands in the folder above `backend`, and return this folder."""
        self.engine.typed(commands, self._server)
        return self._folder

    # -- state

    @property
    def key_file(self) -> Path:
        return self._server / "pre-shared-key"

    def key(self) -> str:
        return read_lines(self.key_file.read_text(encoding="utf-8"))[HOST]

    def is_well(self) -> bool:
        try:
            return self.session.get(f"{self.url}/healthz", timeout=5).status_code == 200
        except requests.RequestException:
            return False

    def until_well(self) -> None:
        until(self.is_well, "the backend to be well", lambda: self.engine.logs(BACKEND))

    def dig(self, name: str = HOST, kind: str = "A") -> str:
        server = self.engine.address(HETZNER, FAR)
        command = ["dig", "+short", "+time=2", f"@{server}", "-p", "5354", name, kind]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()

    def until_dns(self, address: str) -> None:
        until(
            lambda: self.dig() == address,
            f"{HOST} to be {address}",
            lambda: f"{self.dig()}\n{self.engine.logs(BACKEND)}\n{self.engine.logs(CLIENT)}",
        )

    def changes(self) -> list[Any]:
        """Return the calls that change records at Hetzner."""
        url = f"http://127.0.0.1:{self._hetzner_port}/_sandbox/calls"
        calls = self.session.get(url, timeout=10).json()
        return [call for call in calls if call["method"] != "GET"]

    def kill(self, name: str) -> None:
        """Kill the first process of a container, and wait until the engine restarts it."""
        before = self.engine.pid(name)
        os.kill(before, signal.SIGKILL)
        until(
            lambda: self.engine.pid(name) not in (0, before),
            f"{name} to be started again",
            lambda: self.engine.logs(name),
        )
