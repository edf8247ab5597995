"""What the figures are made of: a filled sandbox, a backend that has served for months, and wrk."""

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
    Dict,
    Iterator,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
    TypeVar,
)

import sqlalchemy as sa

from backend.store import prepare_store
from backend.store.database import connect
from backend.store.schema import hosts, records
from tests.e2e.processes import OPERATOR, TOKEN, Program, free_port, new_session

P = TypeVar("P", bound=Program)

PLENTY = (10_000_000, 10_000_000)
DOCUMENTED = (3600, 7200)  # https://docs.hetzner.cloud/cloud.spec.json, as recorded answers show it
_ZONE = "zone{}.example"
_FILLED_AT_ONCE = 500


class Town:
    """Hosts spread over zones, each with an A record and a key."""

    def __init__(self, number: int, zones: int = 1) -> None:
        self.zones = [_ZONE.format(zone) for zone in range(zones)]
        self.hosts = [f"host{index}.{self.zones[index % zones]}" for index in range(number)]

    def address(self, index: int, version: int = 0) -> str:
        """The address of a host: another one for each version."""
        return f"{11 + version}.{index // 65536 % 256}.{index // 256 % 256}.{index % 256}"

    def key(self, index: int) -> str:
        return f"the-key-of-host-number-{index:06}-and-nobodys"


class Hetzner(Program):
    """The stand-in for Hetzner with the zones and records of a town."""

    def __init__(
        self,
        folder: Path,
        town: Town,
        *,
        limits: Tuple[int, int] = PLENTY,
        hour: float = 3600.0,
        action: float = 2.0,
    ) -> None:
        arguments = ["-m", "sandbox", "--http-port", "0", "--dns-port", "0", "--token", TOKEN]
        arguments += ["--limits", *map(str, limits), "--hour-seconds", str(hour)]
        arguments += ["--action-seconds", str(action), "--zone", "unused.example"]
        super().__init__("hetzner", arguments, folder)
        self._town = town
        self.session = new_session()
        self.session.headers["Authorization"] = f"Bearer {TOKEN}"
        self.api_url = ""

    def start(self) -> None:
        super().start()
        self.wait_until(lambda: "sandbox ready" in self.output, "to be ready")
        self.api_url = re.findall(r"^http (\S+)", self.output, re.MULTILINE)[0]
        for number, zone in enumerate(self._town.zones):
            self._fill(zone, number)
        self.forget_calls()

    def _fill(self, zone: str, number: int) -> None:
        rrsets = [
            {
                "name": host.split(".", 1)[0],
                "type": "A",
                "ttl": 21600,
                "records": [{"value": self._town.address(index)}],
            }
            for index, host in enumerate(self._town.hosts)
            if index % len(self._town.zones) == number
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

    def calls(self) -> List[Mapping[str, Any]]:
        """What was asked since the start, or since it was told to forget."""
        found: List[Mapping[str, Any]] = self.control("GET", "calls")
        return found

    def forget_calls(self) -> None:
        self.control("DELETE", "calls")

    def use_up(self) -> None:
        """Use up the quota, as another program with the token would."""
        for path in (f"/zones/{self._town.zones[0]}", "/actions?id=1"):
            while self.session.get(self.api_url + path, timeout=60).status_code != 429:
                continue

    def addresses(self) -> Dict[str, str]:
        """The first address of every name, as the API has them."""
        found = {}
        for zone in self._town.zones:
            page: Optional[int] = 1
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
    """A program that is reached by HTTP."""

    url = ""


class Backend(Served):
    """`python -m backend` with shipped defaults, and every host of a town published."""

    def __init__(  # noqa: PLR0913
        self,
        folder: Path,
        town: Town,
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
        self.town = town
        names = folder / "hosts"
        names.write_text(",".join(town.hosts), encoding="ascii")
        lines = (f"{host} {town.key(index)}\n" for index, host in enumerate(town.hosts))
        keys = folder / "pre-shared-key"
        keys.write_text("".join(lines), encoding="ascii")
        keys.chmod(0o600)
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
            fill(settings["STATE_URL"], town, checked_before, checked_over)
        super().__init__("backend", ["-m", "backend"], folder, **settings)
        self.session = new_session()

    def start(self) -> None:
        super().start()
        self.wait_until(self._is_well, "to be well")

    def stop(self) -> None:
        self.session.close()
        super().stop()

    def runs(self, source: str) -> None:
        """Let it be started by some lines of Python instead of `-m backend`."""
        self._command = self.command(["-c", source])

    def count(self, condition: str) -> int:
        """How many records in its store, a file, meet a condition."""
        with contextlib.closing(sqlite3.connect(self.folder / "hetzner-dyndns.db")) as store:
            (found,) = store.execute(f"SELECT count(*) FROM records WHERE {condition}").fetchone()  # noqa: S608
            return int(found)

    def verify(self) -> None:
        """Let every host be heard of and every zone be verified, as it is at any moment."""
        started = time.time()
        requests = [nic_update(self.town, index) for index in range(len(self.town.hosts))]
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
    """The yardstick: see `bench.plain`."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        super().__init__("plain", ["-m", "bench.plain", str(self.port)], folder)

    def start(self) -> None:
        super().start()
        session = new_session()

        def answers() -> bool:
            try:
                return session.get(f"{self.url}/nic/update", timeout=5).ok
            except OSError:
                return False

        self.wait_until(answers, "to answer")


@contextlib.contextmanager
def running(program: P) -> Iterator[P]:
    """Run a program for a while."""
    program.start()
    try:
        yield program
    finally:
        program.stop()


def fill(url: str, town: Town, checked_before: float, checked_over: float) -> None:
    """Fill a store as it is when every host was published, and verified so many seconds ago.

    One was verified after the other, over so many seconds before.
    """
    prepare_store(url)
    engine = connect(url, 1)
    now = time.time()
    seen = [{"host": host, "registered_at": now, "seen_at": now} for host in town.hosts]
    times = {"retry_at": now}
    times.update(dict.fromkeys(("desired_at", "accepted_at", "changed_at"), now))
    asked = {"type": "A", "generation": 1, "source": "192.0.2.1", "protocol": "dyndns2"}
    common = {**times, **asked, "state": "published", "attempts": 0, "error": ""}
    published = [
        {
            **common,
            "host": host,
            "desired": town.address(index),
            "published": town.address(index),
            "checked_at": now - checked_before - checked_over * index / len(town.hosts),
        }
        for index, host in enumerate(town.hosts)
    ]
    with engine.execution_options(write=True).begin() as connection:
        for start in range(0, len(seen), _FILLED_AT_ONCE):
            some = slice(start, start + _FILLED_AT_ONCE)
            connection.execute(sa.insert(hosts), seen[some])
            connection.execute(sa.insert(records), published[some])
    engine.dispose()


class Request(NamedTuple):
    """What wrk sends: both faces as their usual clients use them."""

    method: str
    path: str
    headers: Mapping[str, str] = {}
    body: str = ""


def nic_update(town: Town, index: int, version: int = 0) -> Request:
    """As a router asks: with a login."""
    host = town.hosts[index]
    login = base64.b64encode(f"{host}:{town.key(index)}".encode()).decode("ascii")
    query = f"hostname={host}&myip={town.address(index, version)}"
    return Request("GET", f"/nic/update?{query}", {"Authorization": f"Basic {login}"})


def update(town: Town, index: int, version: int = 0) -> Request:
    """As our client asks: JSON and a key."""
    body = f'{{"fqdn": "{town.hosts[index]}", "ip": "{town.address(index, version)}"}}'
    headers = {"Content-Type": "application/json", "X-Pre-Shared-Key": town.key(index)}
    return Request("POST", "/update", headers, body)


class Load(NamedTuple):
    """What wrk measured; milliseconds, and `work` is microseconds of CPU a request."""

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
    """Send requests in turn for some seconds; `fresh`: each by a connection of its own.

    With a `pause` (milliseconds) each connection waits about so long between two requests. Several
    programs share the connections, and what they did is added up.
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
    told = "".join(f"{name}={value};" for name, value in headers.items())
    return f"{request.method}\t{request.path}\t{told}\t{request.body}\n"


def used(pid: int) -> float:
    """Return the seconds of CPU that a process and its children have used."""
    ticks = 0
    for one in (pid, *children(pid)):
        stat = Path(f"/proc/{one}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        ticks += int(stat[11]) + int(stat[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def children(pid: int) -> List[int]:
    known = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
    return [int(child) for child in known.split()]


def memory(pid: int) -> float:
    """Return the MB a process keeps of its own: what it shares is counted by its share."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    return int(re.findall(r"^Pss: +(\d+)", text, re.MULTILINE)[0]) / 1024


def require_wrk() -> None:
    if shutil.which("wrk") is None:
        sys.exit("bench: wrk is missing: `apt install wrk` on Debian and Ubuntu.")
