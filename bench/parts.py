"""Parts of the benchmarks: a filled sandbox, a backend with a filled store, and wrk."""

from __future__ import annotations

import base64
import contextlib
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import (
    Any,
    Iterator,
    Mapping,
    NamedTuple,
    Sequence,
    TypeVar,
)

import sqlalchemy as sa

from backend.store import prepare_store
from backend.store.database import connect
from backend.store.schema import hosts, records
from tests.e2e.processes import OPERATOR, TOKEN, Program, free_port, new_session

P = TypeVar("P", bound=Program)

PLENTY = (10_000_000, 10_000_000)
DOCUMENTED = (3600, 7200)  # https://docs.hetzner.cloud/cloud.spec.json, and recorded answers
_ZONE = "zone{}.example"
_FILLED_AT_ONCE = 500


class Fleet:
    """Hosts spread over zones, each with an A record and a key."""

    def __init__(self, number: int, zones: int = 1) -> None:
        self.zones = [_ZONE.format(zone) for zone in range(zones)]
        self.hosts = [f"host{index}.{self.zones[index % zones]}" for index in range(number)]

    def address(self, index: int, version: int = 0) -> str:
        """Return the address of a host, a different one for each version."""
        return f"{11 + version}.{index // 65536 % 256}.{index // 256 % 256}.{index % 256}"

    def key(self, index: int) -> str:
        return f"the-key-of-host-number-{index:06}-for-benchmarks"


class Hetzner(Program):
    """The sandbox with the zones and records of a fleet."""

    def __init__(
        self,
        folder: Path,
        fleet: Fleet,
        *,
        limits: tuple[int, int] = PLENTY,
        hour: float = 3600.0,
        action: float = 2.0,
    ) -> None:
        arguments = ["-m", "sandbox", "--http-port", "0", "--dns-port", "0", "--token", TOKEN]
        arguments += ["--limits", *map(str, limits), "--hour-seconds", str(hour)]
        arguments += ["--action-seconds", str(action), "--zone", "unused.example"]
        super().__init__("hetzner", arguments, folder)
        self._fleet = fleet
        self.session = new_session()
        self.session.headers["Authorization"] = f"Bearer {TOKEN}"
        self.api_url = ""

    def start(self) -> None:
        super().start()
        self.wait_until(lambda: "sandbox ready" in self.output, "to be ready")
        self.api_url = re.findall(r"^http (\S+)", self.output, re.MULTILINE)[0]
        for number, zone in enumerate(self._fleet.zones):
            self._fill(zone, number)
        self.clear_calls()

    def _fill(self, zone: str, number: int) -> None:
        rrsets = [
            {
                "name": host.split(".", 1)[0],
                "type": "A",
                "ttl": 21600,
                "records": [{"value": self._fleet.address(index)}],
            }
            for index, host in enumerate(self._fleet.hosts)
            if index % len(self._fleet.zones) == number
        ]
        made = self.session.post(
            f"{self.api_url}/zones",
            json={"name": zone, "mode": "primary", "rrsets": rrsets},
            timeout=60,
        )
        assert made.status_code == 201, made.text

    def control(self, method: str, name: str, **order: object) -> Any:  # noqa: ANN401
        url = self.api_url.replace("/v1", f"/_sandbox/{name}")
        answer = self.session.request(method, url, json=order, timeout=60)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def calls(self) -> list[Mapping[str, Any]]:
        """Return the calls since the start or the last `clear_calls`."""
        found: list[Mapping[str, Any]] = self.control("GET", "calls")
        return found

    def clear_calls(self) -> None:
        self.control("DELETE", "calls")

    def use_up(self) -> None:
        """Use up the quota, like another program with the same token."""
        for path in (f"/zones/{self._fleet.zones[0]}", "/actions?id=1"):
            while self.session.get(self.api_url + path, timeout=60).status_code != 429:
                continue

    def addresses(self) -> dict[str, str]:
        """Return the first address of every name in the API."""
        found = {}
        for zone in self._fleet.zones:
            page: int | None = 1
            while page is not None:
                answer = self.session.get(
                    f"{self.api_url}/zones/{zone}/rrsets",
                    params={"type": "A", "page": str(page), "per_page": "100"},
                    timeout=60,
                ).json()
                for rrset in answer["rrsets"]:
                    found[f"{rrset['name']}.{zone}"] = rrset["records"][0]["value"]
                page = answer["meta"]["pagination"]["next_page"]
        return found


class Served(Program):
    """A program with an HTTP server."""

    url = ""


class Backend(Served):
    """`python -m backend` with default settings; every host of a fleet is published."""

    def __init__(  # noqa: PLR0913
        self,
        folder: Path,
        fleet: Fleet,
        api_url: str,
        *,
        filled: bool = True,
        checked_before: float = 0,
        checked_over: float = 0,
        **variables: str,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.fleet = fleet
        names = folder / "hosts"
        names.write_text(",".join(fleet.hosts), encoding="ascii")
        lines = (f"{host} {fleet.key(index)}\n" for index, host in enumerate(fleet.hosts))
        keys = folder / "pre-shared-key"
        keys.write_text("".join(lines), encoding="ascii")
        keys.chmod(0o600)
        os.utime(keys, (0, 0))  # an old time skips the wait for the end of an edit
        settings = {
            "HETZNER_TOKEN": TOKEN,
            "HETZNER_API_URL": api_url,
            "REGISTERED_FQDNS_FILE": str(names),
            "BASIC_AUTH_USERNAME": OPERATOR[0],
            "BASIC_AUTH_PASSWORD": OPERATOR[1],
            "LISTEN_ADDRESS": "127.0.0.1",
            "LISTEN_PORT": str(self.port),
            "STATE_URL": f"sqlite:///{folder / 'hetzner-dyndns.db'}",
            **variables,
        }
        if filled:
            fill(settings["STATE_URL"], fleet, checked_before, checked_over)
        super().__init__("backend", ["-m", "backend"], folder, **settings)
        self.session = new_session()

    def start(self) -> None:
        super().start()
        self.wait_until(self._is_well, "to be well")

    def stop(self) -> None:
        self.session.close()
        super().stop()

    def runs(self, source: str) -> None:
        """Start the backend with Python code instead of `-m backend`."""
        self._command = self.command(["-c", source])

    def count(self, condition: str) -> int:
        """Return the number of records in the store that match an SQL condition."""
        with contextlib.closing(sqlite3.connect(self.folder / "hetzner-dyndns.db")) as store:
            (found,) = store.execute(f"SELECT count(*) FROM records WHERE {condition}").fetchone()  # noqa: S608
            return int(found)

    def verify(self) -> None:
        """Send an update from every host, and wait until every zone is verified."""
        started = time.time()
        requests = [nic_update(self.fleet, index) for index in range(len(self.fleet.hosts))]
        self.wait_until(lambda: self._poll(requests, started), "all zones to be verified")

    def _poll(self, requests: Sequence[Request], started: float) -> bool:
        wrk([self], requests, seconds=2 + len(requests) // 1000)
        return self.count(f"checked_at < {started}") == 0

    def _is_well(self) -> bool:
        try:
            return self.session.get(f"{self.url}/healthz", timeout=5).status_code == 200
        except OSError:
            return False


class Plain(Served):
    """A small program to compare with: the module of this name in `bench`."""

    def __init__(self, folder: Path, name: str = "plain", *arguments: str) -> None:
        port = str(free_port())
        self.url = f"http://127.0.0.1:{port}"
        super().__init__(name, ["-m", f"bench.{name}", port, *arguments], folder)

    def start(self) -> None:
        super().start()
        session = new_session()

        def answers() -> bool:
            try:
                return session.get(f"{self.url}/nic/update", timeout=5).status_code > 0
            except OSError:
                return False

        self.wait_until(answers, "to answer")


@contextlib.contextmanager
def running(program: P) -> Iterator[P]:
    """Run a program for the duration of the block."""
    program.start()
    try:
        yield program
    finally:
        program.stop()


def fill(url: str, fleet: Fleet, checked_before: float, checked_over: float) -> None:
    """Fill a store with published records.

    The first record was verified `checked_before` seconds ago, and the others one after the other
    in the `checked_over` seconds before.
    """
    prepare_store(url)
    engine = connect(url, 1)
    now = time.time()
    seen = [{"host": host, "registered_at": now, "seen_at": now} for host in fleet.hosts]
    times = {"retry_at": now}
    times.update(dict.fromkeys(("desired_at", "accepted_at", "changed_at"), now))
    asked = {"type": "A", "generation": 1, "source": "192.0.2.1", "protocol": "dyndns2"}
    common = {**times, **asked, "state": "published", "attempts": 0, "error": ""}
    published = [
        {
            **common,
            "host": host,
            "desired": fleet.address(index),
            "published": fleet.address(index),
            "checked_at": now - checked_before - checked_over * index / len(fleet.hosts),
        }
        for index, host in enumerate(fleet.hosts)
    ]
    with engine.begin() as connection:
        connection.exec_driver_sql("BEGIN")
        for start in range(0, len(seen), _FILLED_AT_ONCE):
            some = slice(start, start + _FILLED_AT_ONCE)
            connection.execute(sa.insert(hosts), seen[some])
            connection.execute(sa.insert(records), published[some])
    engine.dispose()


class Request(NamedTuple):
    """A request that wrk sends."""

    method: str
    path: str
    headers: Mapping[str, str] = {}
    body: str = ""


def nic_update(fleet: Fleet, index: int, version: int = 0) -> Request:
    """Return an update like that of a router, with a login."""
    host = fleet.hosts[index]
    login = base64.b64encode(f"{host}:{fleet.key(index)}".encode()).decode("ascii")
    query = f"hostname={host}&myip={fleet.address(index, version)}"
    return Request("GET", f"/nic/update?{query}", {"Authorization": f"Basic {login}"})


def update(fleet: Fleet, index: int, version: int = 0) -> Request:
    """Return an update like that of our client, with JSON and a key."""
    body = f'{{"fqdn": "{fleet.hosts[index]}", "ip": "{fleet.address(index, version)}"}}'
    headers = {"Content-Type": "application/json", "X-Pre-Shared-Key": fleet.key(index)}
    return Request("POST", "/update", headers, body)


class Load(NamedTuple):
    """The results of wrk: times in milliseconds, `work` in microseconds of CPU for each request."""

    rate: float
    p50: float
    p99: float
    most: float
    failed: int
    work: float


_SCRIPT = """
local requests, at = {}, 0
init = function(args)
  for line in io.lines(args[1]) do
    local method, path, headers, body = line:match("^(.-)\\t(.-)\\t(.-)\\t(.*)$")
    local sent = {}
    for name, value in headers:gmatch("(.-)=(.-);") do sent[name] = value end
    if body == "" then body = nil end
    requests[#requests + 1] = wrk.format(method, path, sent, body)
  end
end
request = function()
  at = at % #requests + 1
  return requests[at]
end
done = function(summary, latency)
  local failed = summary.errors.status + summary.errors.connect + summary.errors.read
    + summary.errors.write + summary.errors.timeout
  io.write(string.format("said %f %f %f %f %d %d\\n", summary.requests / summary.duration * 1e6,
    latency:percentile(50), latency:percentile(99), latency.max, failed, summary.requests))
end
"""
_SAID = re.compile(r"^said (.*)$", re.MULTILINE)
_PACED = "delay = function() return math.random({low}, {high}) end\n"


def wrk(  # noqa: PLR0913
    programs: Sequence[Served],
    requests: Sequence[Request],
    *,
    seconds: float,
    connections: int = 16,
    fresh: bool = False,
    pause: int = 0,
) -> Load:
    """Send the requests in turn for some seconds; with `fresh`, each over a new connection.

    `pause` is the average pause of a connection between two requests, in milliseconds. Several
    programs share the connections, and their results are added.
    """
    folder = programs[0].folder
    lines = folder / "requests"
    lines.write_text("".join(_line(request, fresh) for request in requests), encoding="ascii")
    script = folder / "script.lua"
    paced = _PACED.format(low=pause // 2, high=pause * 3 // 2) if pause else ""
    script.write_text(_SCRIPT + paced, encoding="ascii")
    options = ["-t1", f"-c{connections // len(programs)}", f"-d{seconds:.0f}s", "--timeout", "10s"]
    before = sum(used(program.pid) for program in programs)
    all_of_them = [
        subprocess.Popen(
            ["wrk", *options, "-s", str(script), program.url, "--", str(lines)],
            stdout=subprocess.PIPE,
            text=True,
        )
        for program in programs
    ]
    said = [_SAID.findall(one.communicate()[0])[0].split() for one in all_of_them]
    rate, p50, p99, most, failed, number = zip(*(map(float, words) for words in said))
    work = (sum(used(program.pid) for program in programs) - before) * 1e6 / max(1.0, sum(number))
    return Load(
        *(sum(rate), max(p50) / 1e3, max(p99) / 1e3, max(most) / 1e3, int(sum(failed)), work)
    )


def _line(request: Request, fresh: bool) -> str:
    headers = {**request.headers, **({"Connection": "close"} if fresh else {})}
    joined = "".join(f"{name}={value};" for name, value in headers.items())
    return f"{request.method}\t{request.path}\t{joined}\t{request.body}\n"


def used(pid: int) -> float:
    """Return the seconds of CPU that a process and its children have used."""
    ticks = 0
    for one in (pid, *children(pid)):
        stat = Path(f"/proc/{one}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        ticks += int(stat[11]) + int(stat[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def children(pid: int) -> list[int]:
    known = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
    return [int(child) for child in known.split()]


def memory(pid: int) -> float:
    """Return the proportional set size of a process in MB."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    return int(re.findall(r"^Pss: +(\d+)", text, re.MULTILINE)[0]) / 1024


def require_wrk() -> None:
    if shutil.which("wrk") is None:
        sys.exit("bench: wrk is missing: `apt install wrk` on Debian and Ubuntu.")
