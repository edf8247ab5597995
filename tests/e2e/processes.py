"""Real processes, each in its own folder, that are always stopped after a test."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any, Callable, Mapping, Sequence, TypeVar

import dnslib
import pytest
import requests

from tests.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
TOKEN = "e2e0" * 16
OPERATOR = ("operator", "the-operators-password")
HOSTS = tuple(f"host{number}.example.com" for number in range(60))
_SECONDS = 40.0
_POLL_SECONDS = 0.05
_PACKET_SECONDS = 20.0

Started = TypeVar("Started", bound="Program")


def until(condition: Callable[[], object], what: str, details: Callable[[], str] = str) -> None:
    """Wait until a condition holds, with a timeout; `details` adds to the failure message."""
    end = time.monotonic() + _SECONDS
    while not condition():
        if time.monotonic() > end:
            pytest.fail(f"timed out waiting for {what}\n{details()}")
        time.sleep(_POLL_SECONDS)


def environment(folder: Path, **variables: str) -> dict[str, str]:
    """Return an environment with PATH only: no proxy, no certificates."""
    return {
        "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin",
        "HOME": str(folder),
        "LANG": "C.UTF-8",
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "1",
        **variables,
    }


def run(command: Sequence[str], folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a program and return its result."""
    return subprocess.run(
        command,
        cwd=folder,
        env=environment(folder, **variables),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )


class Program:
    """A process that runs until it is stopped, with its output in a file."""

    def __init__(self, name: str, arguments: Sequence[str], folder: Path, **variables: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.name = name
        self.folder = folder
        self._command = self.command(arguments)
        self._environ = environment(folder, **variables)
        self._log = folder / f"{name}.log"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self: Started) -> Started:  # noqa: PYI019  # Python 3.8 lacks Self
        try:
            self.start()
        except BaseException:  # includes pytest's failures
            if self.is_running:
                self.kill()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def command(self, arguments: Sequence[str]) -> list[str]:
        return [sys.executable, *arguments]

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def output(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self, stdin: int = subprocess.DEVNULL) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=self.folder,
                env=self._environ,
                stdin=stdin,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def wait_until(self, condition: Callable[[], object], what: str) -> None:
        """Wait until a condition holds; fail at once if the process has ended."""

        def holds() -> object:
            if not self.is_running:
                pytest.fail(f"{self.name} ended unexpectedly\n{self.output}")
            return condition()

        until(holds, f"{self.name}: {what}", lambda: self.output)

    def kill(self) -> None:
        """Kill the process and all its children with SIGKILL."""
        assert self._process is not None
        os.killpg(self.pid, signal.SIGKILL)
        self._process.wait(_SECONDS)

    def stop(self) -> None:
        """Stop the process; fail if it had ended, doesn't stop, or returns an error."""
        if self._process is None:
            return
        if not self.is_running:
            pytest.fail(f"{self.name} had ended before it was stopped\n{self.output}")
        self._process.terminate()
        try:
            code = self._process.wait(15)
        except subprocess.TimeoutExpired:
            self.kill()
            pytest.fail(f"{self.name} didn't stop after SIGTERM\n{self.output}")
        self._process = None
        if code != 0 or "Traceback" in self.output:
            pytest.fail(f"{self.name} ended with exit code {code}\n{self.output}")


class Hetzner(Program):
    """The sandbox, with records served by real DNS."""

    def __init__(self, folder: Path, *, action_seconds: float = 0.1) -> None:
        arguments = ["-m", "sandbox", "--http-port", "0", "--dns-port", "0"]
        arguments += ["--token", TOKEN, "--zone", "example.com"]
        arguments += ["--action-seconds", str(action_seconds)]
        super().__init__("hetzner", arguments, folder)
        self._session = new_session()
        self.api_url = ""
        self.dns_port = 0

    def start(self) -> None:
        super().start()
        self.wait_until(lambda: "sandbox ready" in self.output, "to be ready")
        found = dict(line.split(" ", 1) for line in self.output.splitlines() if " " in line)
        self.api_url = found["http"]
        self.dns_port = int(found["dns"].rpartition(":")[2])

    def stop(self) -> None:
        self._session.close()
        super().stop()

    def resolve(self, host: str, kind: str = "A") -> list[str]:
        """Return the addresses that DNS has for a name."""
        question = dnslib.DNSRecord.question(host, kind)
        packet = question.send("127.0.0.1", self.dns_port, timeout=_PACKET_SECONDS)
        return sorted(str(answer.rdata) for answer in dnslib.DNSRecord.parse(packet).rr)

    def expect(self, host: str, *addresses: str, kind: str = "A") -> None:
        """Wait until DNS has exactly these addresses."""
        what = f"{host} {kind} to be {addresses}"
        self.wait_until(lambda: self.resolve(host, kind) == sorted(addresses), what)

    def control(self, method: str, name: str, /, **order: object) -> Any:  # noqa: ANN401
        """Call the control API of the sandbox."""
        url = self.api_url.replace("/v1", f"/_sandbox/{name}")
        answer = self._session.request(method, url, json=order, timeout=10)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def calls_about(self, host: str) -> list[Mapping[str, Any]]:
        """Return the calls about a host since the start, without polls of actions."""
        label = host.split(".", 1)[0]
        return [
            call
            for call in self.control("GET", "calls")
            if f"name={label}&" in call["query"]
            or f"/{label}/" in call["path"]
            or (isinstance(call["body"], dict) and call["body"].get("name") == label)
        ]


class Backend(Program):
    """`python -m backend` with two workers."""

    def __init__(
        self, folder: Path, hetzner: Hetzner, module: str = "backend", **variables: str
    ) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        settings = {
            "HETZNER_TOKEN": TOKEN,
            "HETZNER_API_URL": hetzner.api_url,
            "REGISTERED_FQDNS": ",".join(HOSTS),
            "BASIC_AUTH_USERNAME": OPERATOR[0],
            "BASIC_AUTH_PASSWORD": OPERATOR[1],
            "LISTEN_ADDRESS": "127.0.0.1",
            "LISTEN_PORT": str(self.port),
            # All callers of these tests use the loopback interface.
            "ALLOW_PRIVATE_ADDRESSES": "1",
            "AUTH_FAILURE_LIMIT": "1000",
            **variables,
        }
        super().__init__("backend", ["-m", module], folder, **settings)
        self.session = new_session()

    def start(self) -> None:
        keys = self.folder / "pre-shared-key"
        # A service with PostgreSQL imports the key file, and makes all other keys in the store.
        if self._environ.get("STATE_URL", "").startswith("postgresql") and not keys.exists():
            hosts = self._environ["REGISTERED_FQDNS"].split(",")
            keys.write_text("".join(f"{host} the-key-of-{host}\n" for host in hosts), "utf-8")
        super().start()
        self.wait_until(self._is_well, "to be well")

    def stop(self) -> None:
        self.session.close()
        super().stop()

    def key_of(self, host: str) -> str:
        """Return the key of a host in the key file."""
        lines = (self.folder / "pre-shared-key").read_text(encoding="utf-8").splitlines()
        return dict(line.split() for line in lines)[host]

    def update(self, host: str, ip: str) -> Mapping[str, Any]:
        """Send an update; return the JSON answer."""
        answer = self.session.post(
            f"{self.url}/update",
            json={"fqdn": host, "ip": ip},
            headers={"X-Pre-Shared-Key": self.key_of(host)},
            timeout=20,
        )
        assert answer.status_code == 200, f"{answer.status_code} {answer.text}\n{self.output}"
        found: Mapping[str, Any] = answer.json()
        return found

    def query(self, query: str) -> list[tuple[Any, ...]]:
        """Return the rows of a query on the store."""
        with closing(sqlite3.connect(str(self.folder / "hetzner-dyndns.db"))) as connection:
            return list(connection.execute(query))

    def workers(self) -> list[int]:
        """Return the process ids of the workers."""
        return sorted(
            int(status.parent.name)
            for status in Path("/proc").glob("[0-9]*/stat")
            if _parent(status) == self.pid
        )

    def _is_well(self) -> bool:
        # Another test's backend may have used the port before.
        if not self.workers():
            return False
        try:
            return self.session.get(f"{self.url}/healthz", timeout=5).status_code == 200
        except (requests.ConnectionError, requests.Timeout):
            return False


def new_session() -> requests.Session:
    session = requests.Session()
    session.trust_env = False
    return session


def _parent(status: Path) -> int:
    try:
        # The name in parentheses may contain any text: https://man7.org/linux/man-pages/man5/proc.5.html
        return int(status.read_text(encoding="utf-8").rpartition(")")[2].split()[1])
    except OSError:
        return 0  # the process has ended
