"""The running programs of the demo."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

import dnslib
import requests

from demo.keeper import ROOT, Keeper
from demo.ports import Ports
from demo.processes import DemoFailed, Program, say, undisturbed
from demo.pushes import Pushes

TOKEN = "demo" * 16
OPERATOR = ("operator", "operatorofthedemo")
HOST, LAPTOP, NAS = "host.example.com", "laptop.example.com", "nas.example.com"
_START_SECONDS = 30
_DNS_SECONDS = 30  # includes the pause until a failed update is tried again
_COMMAND_SECONDS = 30


class Stage:
    """Starts the programs, and sends requests to them."""

    def __init__(self, ports: Ports, keeper: Keeper) -> None:
        self.ports = ports
        self.url = f"http://127.0.0.1:{ports.http}"
        self._keeper = keeper
        self.pushes = Pushes()
        self._settings = {
            "HETZNER_TOKEN": TOKEN,
            "HETZNER_API_URL": f"http://127.0.0.1:{ports.hetzner}/v1",
            "REGISTERED_FQDNS": f"{HOST},{LAPTOP}",
            "BASIC_AUTH_USERNAME": OPERATOR[0],
            "BASIC_AUTH_PASSWORD": OPERATOR[1],
            "LISTEN_ADDRESS": "127.0.0.1",
            "LISTEN_PORT": str(ports.http),
            "RECORD_TTL": "60",
            "NTFY_URL": self.pushes.url,
            "NTFY_TOPIC": "demo",
            "CONNECTION_CHECK_INTERVAL": "1",
        }
        self.programs: list[Program] = []
        self.web = requests.Session()
        self.web.trust_env = False  # a proxy of the user can't reach this machine's loopback

    def start(self) -> None:
        """Start the sandbox and the backend."""
        sandbox = self.run(
            "sandbox",
            *("-m", "sandbox", "--http-port", str(self.ports.hetzner)),
            *("--dns-port", str(self.ports.dns), "--token", TOKEN),
        )
        sandbox.expect("sandbox ready", _START_SECONDS)
        self._wait_for(self.run("backend", "-m", "backend", **self._settings))

    def run(self, name: str, *command: str, **variables: str) -> Program:
        """Start a program; `end` stops it."""
        with undisturbed():
            program = Program(name, command, self._keeper, **variables)
            self.programs.append(program)
        return program

    def client(self, host: str, address: str, interval: int) -> Program:
        """Start the client for a host; `interval` is in seconds."""
        return self.run(
            "client",
            str(ROOT / "client" / "update_dns.py"),
            *(self.url, host, address),
            PRE_SHARED_KEY=self.key(host),
            INTERVAL=str(interval),
        )

    def command(self, *words: str) -> None:
        """Run a command of the backend."""
        say(f"   python -m backend {' '.join(words)}")
        if self.run("command", "-m", "backend", *words, **self._settings).wait(_COMMAND_SECONDS):
            raise DemoFailed("The command failed; see its lines above.")

    def fail_hetzner(self) -> None:
        """Make the sandbox answer every call 503, as in an outage of Hetzner."""
        url = f"http://127.0.0.1:{self.ports.hetzner}/_sandbox/fail"
        self.web.post(url, json={"status": 503, "count": None}, timeout=5).raise_for_status()

    def repair_hetzner(self) -> None:
        """End the outage."""
        url = f"http://127.0.0.1:{self.ports.hetzner}/_sandbox/fail"
        self.web.delete(url, timeout=5).raise_for_status()

    @property
    def folder(self) -> Path:
        """The temporary folder of the demo."""
        return self._keeper.folder

    def key(self, host: str) -> str:
        """Return the key that the backend has generated for a host."""
        lines = (self.folder / "pre-shared-key").read_text(encoding="utf-8").splitlines()
        return dict(line.split() for line in lines)[host]

    def calls(self) -> int:
        """Return the number of calls to Hetzner's API, without polls of actions."""
        answer = self.web.get(f"http://127.0.0.1:{self.ports.hetzner}/_sandbox/calls", timeout=5)
        return sum(not call["path"].startswith("/actions") for call in answer.json())

    def look_up(self, host: str) -> str:
        """Return the IPv4 address of a host in DNS; empty if there is none."""
        question = dnslib.DNSRecord.question(host, "A")
        answer = dnslib.DNSRecord.parse(question.send("127.0.0.1", self.ports.dns, timeout=5))
        return ", ".join(str(record.rdata) for record in answer.rr)

    def expect_in_dns(self, host: str, address: str) -> None:
        """Wait until DNS has this address; raise `DemoFailed` if it hasn't in time."""
        deadline = time.monotonic() + _DNS_SECONDS
        found = self.look_up(host)
        while found != address and time.monotonic() < deadline:
            time.sleep(0.1)
            found = self.look_up(host)
        say(f"   DNS answers: {host} A {found or '(nothing)'}")
        if found != address:
            raise DemoFailed(f"DNS has {found or 'no address'} for {host} instead of {address}.")

    def end(self) -> None:
        """Stop every program."""
        for program in reversed(self.programs):
            program.end()
        self.pushes.stop()

    def _wait_for(self, backend: Program) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline and not backend.has_ended:
            with contextlib.suppress(requests.ConnectionError):
                if self.web.get(f"{self.url}/healthz", timeout=5).ok:
                    return
            time.sleep(0.1)
        raise DemoFailed("The backend didn't start; see its lines above.")
