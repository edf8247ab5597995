"""Plays the demonstration: an address is sent, answered, and looked up in the DNS."""

from __future__ import annotations

import argparse
import contextlib
import signal
import socket
import sys
import tempfile
import time
from pathlib import Path
from typing import Iterator, List, NamedTuple, NoReturn

import dnslib
import requests

from demo.processes import ROOT, DemoFailed, Program, say

TOKEN = "demo" * 16
HOST, LAPTOP = "host.example.com", "laptop.example.com"
_START_SECONDS = 30
_DNS_SECONDS = 10


class Ports(NamedTuple):
    """Where the three servers listen."""

    http: int
    hetzner: int
    dns: int


class Stage:
    """The running programs, and what one can ask of them."""

    def __init__(self, ports: Ports, folder: Path) -> None:
        self.ports = ports
        self.url = f"http://127.0.0.1:{ports.http}"
        self._folder = folder
        self.programs: List[Program] = []
        self.web = requests.Session()
        self.web.trust_env = False  # a proxy of the person's can't reach this machine's loopback

    def start(self) -> None:
        """Start the sandbox and the backend."""
        sandbox = self.run(
            "sandbox",
            *("-m", "sandbox", "--http-port", str(self.ports.hetzner)),
            *("--dns-port", str(self.ports.dns), "--token", TOKEN),
        )
        sandbox.expect("sandbox ready", _START_SECONDS)
        backend = self.run(
            "backend",
            *("-m", "backend"),
            HETZNER_TOKEN=TOKEN,
            HETZNER_API_URL=f"http://127.0.0.1:{self.ports.hetzner}/v1",
            REGISTERED_FQDNS=f"{HOST},{LAPTOP}",
            LISTEN_ADDRESS="127.0.0.1",
            LISTEN_PORT=str(self.ports.http),
            RECORD_TTL="60",
        )
        self._wait_for(backend)

    def run(self, name: str, *command: str, **variables: str) -> Program:
        """Start a program, to be ended with the stage."""
        program = Program(name, command, self._folder, **variables)
        self.programs.append(program)
        return program

    def client(self, host: str, address: str, interval: int) -> Program:
        """Start the polling client for a host."""
        return self.run(
            "client",
            str(ROOT / "client" / "update_dns.py"),
            *(self.url, host, address),
            PRE_SHARED_KEY=self.key(host),
            INTERVAL=str(interval),
        )

    def key(self, host: str) -> str:
        """Return the key that the backend has made for a host."""
        lines = (self._folder / "pre-shared-key").read_text(encoding="utf-8").splitlines()
        return dict(line.split() for line in lines)[host]

    def calls(self) -> int:
        """Return how often the backend has called Hetzner's API."""
        answer = self.web.get(f"http://127.0.0.1:{self.ports.hetzner}/_sandbox/calls", timeout=5)
        calls = answer.json()
        return len(calls["calls"] if isinstance(calls, dict) else calls)

    def look_up(self, host: str) -> str:
        """Ask the DNS for a host's IPv4 address; empty when there is none."""
        question = dnslib.DNSRecord.question(host, "A")
        answer = dnslib.DNSRecord.parse(question.send("127.0.0.1", self.ports.dns, timeout=5))
        return ", ".join(str(record.rdata) for record in answer.rr)

    def expect_in_dns(self, host: str, address: str) -> None:
        """Look a host up until the DNS has an address; raise `DemoFailed` when it never comes."""
        deadline = time.monotonic() + _DNS_SECONDS
        found = self.look_up(host)
        while found != address and time.monotonic() < deadline:
            time.sleep(0.1)
            found = self.look_up(host)
        print(f"   DNS says: {host} A {found or '(nothing)'}")
        if found != address:
            raise DemoFailed(f"The DNS says {found or 'nothing'} of {host}, not {address}.")

    def end(self) -> None:
        """End every program."""
        for program in reversed(self.programs):
            program.end()

    def _wait_for(self, backend: Program) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline and not backend.has_ended:
            with contextlib.suppress(requests.ConnectionError):
                if self.web.get(f"{self.url}/healthz", timeout=5).ok:
                    return
            time.sleep(0.1)
        raise DemoFailed("The backend didn't start; see its lines above.")


def play(stage: Stage) -> None:
    """Do the main job once by each way in, and check what the DNS says."""
    say("1. The client sends an address for the first time")
    client = stage.client(HOST, "198.51.100.10", interval=0)
    if client.wait(_START_SECONDS) != 0:
        raise DemoFailed("The client reports a failure; see its lines above.")
    stage.expect_in_dns(HOST, "198.51.100.10")

    say("2. A router sends a new address by dyndns2")
    _expect(_router(stage, "198.51.100.11", stage.key(HOST)), "good 198.51.100.11")
    stage.expect_in_dns(HOST, "198.51.100.11")

    say("3. It sends the same address again: answered from memory")
    before = stage.calls()
    _expect(_router(stage, "198.51.100.11", stage.key(HOST)), "nochg 198.51.100.11")
    asked = f"Hetzner was asked {stage.calls() - before} times"
    print(f"   {asked}")
    _expect(asked, "Hetzner was asked 0 times")

    say("4. Somebody without the key tries the same")
    _expect(_router(stage, "203.0.113.66", "not-the-key"), "badauth")
    stage.expect_in_dns(HOST, "198.51.100.11")


def _router(stage: Stage, address: str, key: str) -> str:
    path = f"/nic/update?hostname={HOST}&myip={address}"
    print(f"   GET {path}")
    answer = stage.web.get(stage.url + path, auth=("host", key), timeout=10).text.strip()
    print(f"   answer: {answer}")
    return answer


def _expect(seen: str, expected: str) -> None:
    if seen != expected:
        raise DemoFailed(f"Expected {expected!r}, but saw {seen!r}.")


def invite(stage: Stage) -> None:
    """Say what to type to see it work."""
    key, port = stage.key(HOST), stage.ports.http
    say("Now you. In another terminal:")
    print(f"""
   dig @127.0.0.1 -p {stage.ports.dns} +short {HOST} A

   curl -H 'X-Pre-Shared-Key: {key}' -H 'Content-Type: application/json' \\
     -d '{{"fqdn":"{HOST}","ip":"198.51.100.20"}}' {stage.url}/update

   ddclient -daemon=0 -noquiet -verbose -file /dev/null -cache /tmp/ddclient-demo.cache \\
     -protocol=dyndns2 -server=127.0.0.1:{port} -ssl=no -login=host -password='{key}' \\
     -use=cmd -cmd='echo 198.51.100.21' {HOST}

   A router's update URL:
   http://host:{key}@127.0.0.1:{port}/nic/update?hostname={HOST}&myip=198.51.100.22

   See what Hetzner was asked:
   curl http://127.0.0.1:{stage.ports.hetzner}/_sandbox/calls

Meanwhile the client keeps {LAPTOP} up to date. Ctrl-C ends everything.
""")


def _check(ports: Ports) -> None:
    """Find out whether the ports are free, and say how to name others."""
    names = ("HTTP_PORT", "HETZNER_PORT", "DNS_PORT")
    for name, port in zip(names, ports):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as error:
                raise DemoFailed(
                    f"Port {port} can't be used ({error.strerror}): "
                    f"choose another, as in `make demo {name}={port + 1000}`."
                ) from None


@contextlib.contextmanager
def _staged(ports: Ports) -> Iterator[Stage]:
    with tempfile.TemporaryDirectory(prefix="hetzner-dyndns-demo-") as folder:
        stage = Stage(ports, Path(folder))
        try:
            stage.start()
            yield stage
        finally:
            stage.end()


def _run(ports: Ports, *, once: bool) -> None:
    _check(ports)
    print("Starting the sandbox (in Hetzner's place) and the backend …", flush=True)
    with _staged(ports) as stage:
        play(stage)
        if once:
            say("All as it should be.")
            return
        stage.client(LAPTOP, "198.51.100.30", interval=10)
        stage.expect_in_dns(LAPTOP, "198.51.100.30")
        invite(stage)
        while not any(program.has_ended for program in stage.programs[:2]):
            time.sleep(0.5)
        raise DemoFailed("A server has ended; see its lines above.")


def _interrupt(_signal: int, _frame: object) -> NoReturn:
    raise KeyboardInterrupt


def main() -> None:
    """Play the demonstration; exit 1 with one line when it doesn't go as it should."""
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    parser.add_argument("--http-port", type=int, default=8080, help="the backend (8080)")
    parser.add_argument("--hetzner-port", type=int, default=8090, help="the sandbox's API (8090)")
    parser.add_argument("--dns-port", type=int, default=5354, help="the sandbox's DNS (5354)")
    parser.add_argument("--once", action="store_true", help="check the job once, then end")
    options = parser.parse_args()
    ports = Ports(options.http_port, options.hetzner_port, options.dns_port)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        _run(ports, once=options.once)
    except KeyboardInterrupt:
        print("\nEnded; nothing is left behind.")
    except (DemoFailed, requests.RequestException, OSError) as error:
        sys.exit(f"\nThe demonstration failed: {error}")


if __name__ == "__main__":
    main()
