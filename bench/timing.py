"""Checks whether response times reveal which hosts exist: `python -m bench.timing`.

Sends wrong logins of several kinds in random order over one connection. For each pair of kinds, it
prints how often an answer of the second kind is slower than one of the first. 0.5 means that the
time reveals nothing. For comparison: the same kind twice (the effect of chance), and a request that
takes longer (the sensitivity of the method).
"""

from __future__ import annotations

import argparse
import base64
import http.client
import json
import math
import random
import statistics
import sys
import tempfile
import time
from bisect import bisect_left, bisect_right
from pathlib import Path
from typing import NamedTuple, Sequence

from sandbox import Sandbox
from tests.e2e.processes import Program, free_port, until

HOSTS = [f"host{number}.example.com" for number in range(200)]
_SURE = 4.0  # standard errors; by chance once in 16,000 comparisons


class Kind(NamedTuple):
    """A kind of request: dyndns2 with a login, or JSON with a key."""

    name: str
    user: str | None
    host: str
    secret: str = "not the key of any host at all"  # noqa: S105


def kinds() -> list[Kind]:
    """Return all kinds; `{}` is another number in each request, so that no cache has the name."""
    return [
        Kind("json: wrong key", None, "host{}.example.com"),
        Kind("json: wrong key again", None, "host{}.example.com"),
        Kind("json: unknown host", None, "none{}.example.com"),
        Kind("login: wrong key", "host{}", "host{}.example.com"),
        Kind("login: wrong key again", "host{}", "host{}.example.com"),
        Kind("login: unknown user", "none{}", "host{}.example.com"),
        Kind("login: unknown user and host", "none{}", "none{}.example.com"),
        Kind("login: wrong key, unknown host", "host{}", "none{}.example.com"),
        Kind("login: right key", "host{}", "host{}.example.com", "key-of-host{}"),
    ]


PAIRS = [
    ("json: wrong key", "json: wrong key again"),
    ("json: wrong key", "json: unknown host"),
    ("login: wrong key", "login: wrong key again"),
    ("login: wrong key", "login: unknown user"),
    ("login: wrong key", "login: unknown user and host"),
    ("login: wrong key", "login: wrong key, unknown host"),
    ("login: wrong key", "login: right key"),
]


class Backend(Program):
    """The service with one worker, since a second one would add noise."""

    def __init__(self, folder: Path, sandbox: Sandbox, limit: int) -> None:
        self.port = free_port()
        folder.mkdir(parents=True)
        keys = "".join(f"{host} key-of-{host.partition('.')[0]}\n" for host in HOSTS)
        (folder / "pre-shared-key").write_text(keys, encoding="utf-8")
        settings = {
            "HETZNER_TOKEN": sandbox.token,
            "HETZNER_API_URL": sandbox.http_url,
            "REGISTERED_FQDNS": ",".join(HOSTS),
            "LISTEN_ADDRESS": "127.0.0.1",
            "LISTEN_PORT": str(self.port),
            "ALLOW_PRIVATE_ADDRESSES": "1",
            "AUTH_FAILURE_LIMIT": str(limit),
            "WEB_CONCURRENCY": "1",
        }
        super().__init__("backend", ["-m", "backend"], folder, **settings)


class Line:
    """A persistent connection that measures the time of answers."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        self.close = self._connection.close

    def ask(self, kind: Kind, number: int) -> tuple[float, tuple[int, bytes]]:
        """Return the duration of an answer in microseconds, and the answer."""
        # Each request has another source: a single source would soon exceed its limit.
        source = f"2001:db8:{random.getrandbits(16):x}:{random.getrandbits(16):x}::1"
        headers = {"X-Real-Ip": source}
        host, secret = kind.host.format(number), kind.secret.format(number)
        method, path, body = "GET", f"/nic/update?hostname={host}&myip=198.51.100.1", None
        if kind.user is None:
            method, path, body = "POST", "/update", json.dumps({"fqdn": host})
            headers["X-Pre-Shared-Key"] = secret
        else:
            login = f"{kind.user.format(number)}:{secret}".encode()
            headers["Authorization"] = "Basic " + base64.b64encode(login).decode()
        begun = time.perf_counter_ns()
        self._connection.request(method, path, body, headers)
        answer = self._connection.getresponse()
        text = answer.read()
        return (time.perf_counter_ns() - begun) / 1000, (answer.status, text)


def measure(port: int, number: int) -> tuple[dict[str, list[float]], dict[str, set]]:
    """Send `number` requests of each kind in random order; return times and answers."""
    line = Line(port)
    for host in range(len(HOSTS)):  # the updates with correct keys must be unchanged ones
        line.ask(kinds()[-1], host)
    times: dict[str, list[float]] = {kind.name: [] for kind in kinds()}
    answers: dict[str, set] = {kind.name: set() for kind in kinds()}
    order = [kind for kind in kinds() for _ in range(number)]
    random.shuffle(order)
    for kind in order:
        took, answer = line.ask(kind, random.randrange(len(HOSTS)))
        times[kind.name].append(took)
        answers[kind.name].add(answer)
    line.close()
    return times, answers


def slower(one: Sequence[float], other: Sequence[float]) -> tuple[float, float]:
    """Return how often `other` is slower (Mann-Whitney), and the standard errors from one half."""
    ranked = sorted(one)
    wins = sum(bisect_left(ranked, t) + bisect_right(ranked, t) for t in other) / 2
    share = wins / (len(one) * len(other))
    error = math.sqrt((len(one) + len(other) + 1) / (12 * len(one) * len(other)))
    return share, (share - 0.5) / error


def report(regime: str, times: dict[str, list[float]], answers: dict[str, set]) -> list[dict]:
    """Print a table of all pairs, and return it."""
    print(f"\n{regime}: {len(next(iter(times.values())))} answers of each kind")
    print(f"{'':28} {'':32} {'median µs':>17} {'slower':>7} {'errors':>7}  same answer")
    rows = []
    for one, other in PAIRS:
        share, errors = slower(times[one], times[other])
        medians = [statistics.median(times[name]) for name in (one, other)]
        same = answers[one] == answers[other]
        verdict = "distinguishable" if abs(errors) > _SURE or not same else ""
        print(
            f"{one:28} {other:32} {medians[0]:8.0f} {medians[1]:8.0f} {share:7.3f} {errors:+7.1f}"
            f"  {'yes' if same else 'no':11} {verdict}"
        )
        row = {"regime": regime, "one": one, "other": other, "medians_us": medians}
        rows.append({**row, "slower": share, "standard_errors": errors, "same_answer": same})
    return rows


def main() -> None:
    """Measure below and above the limit of failed logins."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--number", type=int, default=4000, help="answers of each kind")
    parser.add_argument("--json", type=Path, help="write the results to this file")
    arguments = parser.parse_args()
    rows: list[dict] = []
    with tempfile.TemporaryDirectory() as folder, Sandbox(["example.com"]) as sandbox:
        for regime, limit in (("below the limit", 10**9), ("over the limit", 1)):
            backend = Backend(Path(folder) / str(limit), sandbox, limit)
            backend.start()
            try:
                wait_for(backend)
                if limit == 1:
                    warm_up(backend.port)
                rows += report(regime, *measure(backend.port, arguments.number))
            finally:
                backend.stop()
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


def wait_for(backend: Backend) -> None:
    until(lambda: "starts on port" in backend.output, "the start", lambda: backend.output)


def warm_up(port: int) -> None:
    """Exceed the limit of every name, so that every answer is the same 429."""
    line = Line(port)
    for kind in kinds()[:-1]:
        for number in range(len(HOSTS)):
            for _ in range(3):
                line.ask(kind, number)
    line.close()


if __name__ == "__main__":
    sys.exit(main())
