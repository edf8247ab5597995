"""A real ntfy server receives the expected pushes, and no update waits for it."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Callable, Iterator, Mapping, Sequence

import pytest
import requests
import trustme

from tests.e2e.ntfy_server import TOPIC, WRITER, Line, NtfyServer
from tests.e2e.postgres import PARTS, PostgreSQL, postgresql
from tests.e2e.processes import OPERATOR, Backend, Hetzner, run, until

__all__ = ["postgresql"]

NAS, ROUTER, CAM, BOX = (f"{name}.example.com" for name in ("nas", "router", "cam", "box"))
LOGIN = {"NTFY_USERNAME": WRITER[0], "NTFY_PASSWORD": WRITER[1]}

pytestmark = pytest.mark.real("ntfy")


@pytest.fixture
def ntfy(folder: Path) -> Iterator[NtfyServer]:
    server = NtfyServer(folder / "ntfy-server")
    server.start()
    yield server
    server.close()


@pytest.fixture
def backends(hetzner: Hetzner, folder: Path) -> Iterator[Backends]:
    backends = Backends(hetzner, folder)
    yield backends
    hetzner.control("POST", "reset")
    backends.stop()


class Backends:
    """Backends with one store and one key file, as replicas on one machine."""

    def __init__(self, hetzner: Hetzner, folder: Path) -> None:
        self._hetzner = hetzner
        self._folder = folder
        self._running: list[Backend] = []
        self.ask: Callable[[str], list[tuple[Any, ...]]] = self._query

    def start(self, **variables: str) -> Backend:
        backend = Backend(
            self._folder / "backend",
            self._hetzner,
            **{"REGISTERED_FQDNS": f"{NAS},{ROUTER},{CAM},{BOX}", **variables},
        )
        backend.name = f"backend-{len(self._running)}"
        backend._log = self._folder / f"{backend.name}.log"  # noqa: SLF001
        backend.start()
        self._running.append(backend)
        return backend

    def use(self, server: PostgreSQL) -> str:
        """Let `ask` use a new database; return its STATE_URL."""
        url = server.new_database()
        self.ask = lambda query: server.ask(query, database=url.rpartition("/")[2])
        return url

    def stop(self) -> None:
        """Stop the backends with SIGTERM, which sends the queued pushes."""
        for backend in self._running:
            if backend.is_running:
                backend.stop()

    def wait_for_checks(self) -> None:
        """Wait for two checks of all hosts, because the first one may have begun earlier."""
        for _ in range(2):
            before = self._next_check()
            until(
                lambda before=before: self._next_check() > before,
                "another check of the hosts",
                lambda: "".join(backend.output for backend in self._running),
            )

    def _next_check(self) -> float:
        rows = self.ask("select until from reports where subject = 'watcher'")
        return float(rows[0][0]) if rows else 0.0

    def _query(self, query: str) -> list[tuple[Any, ...]]:
        return self._running[0].query(query)


def activities(backend: Backend) -> list[tuple[object, ...]]:
    return backend.query("select host from hosts where seen_at is not null")


def fail_login(backend: Backend, host: str, times: int) -> list[int]:
    return [
        backend.session.get(
            f"{backend.url}/nic/update", params={"hostname": host}, auth=(host, "wrong"), timeout=20
        ).status_code
        for _ in range(times)
    ]


def refused(backend: Backend, host: str, ip: str) -> int:
    """Send an update that Hetzner refuses; return the status."""
    return update(backend, host, {"ip": ip}).status_code


def update(
    backend: Backend, host: str, fields: Mapping[str, str], headers: Mapping[str, str] = {}
) -> requests.Response:
    return backend.session.post(
        f"{backend.url}/update",
        json={"fqdn": host, **fields},
        headers={"X-Pre-Shared-Key": backend.key_of(host), **headers},
        timeout=20,
    )


def summary(message: dict[str, object]) -> tuple[object, ...]:
    """Return title, priority and tags; ntfy omits the default priority."""
    return message["title"], message.get("priority", 3), message.get("tags")


@pytest.mark.parametrize("by", ["token", "password"])
def test_pushes_for_changes_failures_and_failed_logins_arrive(
    ntfy: NtfyServer, backends: Backends, hetzner: Hetzner, by: str
) -> None:
    login = LOGIN if by == "password" else {}
    settings = {"NOTIFY_ON_CHANGE": "1", "AUTH_FAILURE_LIMIT": "3", "WEB_CONCURRENCY": "1"}
    backend = backends.start(**settings, **ntfy.settings(**login))

    backend.update(NAS, "198.51.100.1")
    change = ntfy.expect(f"{NAS} has a new address")
    assert summary(change) == (f"{NAS} has a new address", 3, ["arrows_counterclockwise"])
    assert change["message"].startswith(f"{NAS} A: none -> 198.51.100.1 (requested by ")

    hetzner.control("POST", "fail", status=503, path="/zones/*/rrsets", method="GET", count=1)
    assert refused(backend, ROUTER, "198.51.100.2") == 503
    outage = ntfy.expect(f"{ROUTER} can't be updated now")
    assert summary(outage) == (f"{ROUTER} can't be updated now", 3, ["hourglass"])
    assert "will be retried. " in outage["message"]
    cleared = ntfy.expect(f"{ROUTER} is up to date again")
    assert summary(cleared) == (f"{ROUTER} is up to date again", 3, ["white_check_mark"])
    assert f"{ROUTER} A is published after all" in cleared["message"]

    hetzner.control("POST", "fail", status=423, code="protected", method="POST", count=1)
    assert refused(backend, CAM, "198.51.100.3") == 502
    refusal = ntfy.expect(f"{CAM} can't be updated")
    assert summary(refusal) == (f"{CAM} can't be updated", 3, ["no_entry"])
    assert "lift the change protection" in refusal["message"]
    assert backend.update(CAM, "198.51.100.4")["status"] == "created"
    ntfy.expect(f"{CAM} is up to date again")

    assert fail_login(backend, NAS, 6) == [401] * 3 + [429] * 3
    logins = ntfy.expect(f"Failed logins for {NAS}")
    assert summary(logins) == (f"Failed logins for {NAS}", 3, ["lock"])
    assert "the correct key still works" in logins["message"]
    backends.stop()
    # The later changes came from the same network, so they may have shared a push.
    assert len(ntfy.messages()) - len(ntfy.titles("new address")) == 5, ntfy.titles()
    assert changes(ntfy) == 3
    assert "ntfy" not in backend.output


def test_a_silent_host_is_reported_once_over_two_restarts(
    ntfy: NtfyServer, backends: Backends
) -> None:
    settings = {
        "REGISTERED_FQDNS": NAS,
        "LOST_CONNECTION_TIMEOUT": "6",
        "CONNECTION_CHECK_INTERVAL": "1",
        **ntfy.settings(),
    }
    backend = backends.start(**settings)
    backend.update(NAS, "198.51.100.1")
    backend.wait_until(lambda: activities(backend), "to have written when it was heard of")
    lost = ntfy.expect(f"{NAS} is lost")
    assert summary(lost) == (f"{NAS} is lost", 4, ["rotating_light"])
    assert f"{NAS} is lost: no update for " in lost["message"]
    assert "(last seen 20" in lost["message"]
    for is_killed in (True, False):
        backends.wait_for_checks()
        if is_killed:
            backend.kill()
        else:
            backend.stop()
        backend = backends.start(**settings)
    backends.wait_for_checks()
    assert ntfy.titles() == [f"{NAS} is lost"]
    # The host must be active at a check; there is one per second.
    until(lambda: backend.update(NAS, "198.51.100.1") and ntfy.messages("is back"), "its return")
    (back,) = ntfy.messages("is back")
    assert summary(back) == (f"{NAS} is back", 3, ["white_check_mark"])
    assert back["message"].startswith(f"{NAS} is back again after ")
    backend.stop()
    assert ntfy.titles()[:2] == [f"{NAS} is lost", f"{NAS} is back"]


def test_a_host_that_never_updated_is_reported(ntfy: NtfyServer, backends: Backends) -> None:
    backends.start(
        REGISTERED_FQDNS=NAS,
        LOST_CONNECTION_TIMEOUT="1",
        CONNECTION_CHECK_INTERVAL="1",
        **ntfy.settings(),
    )
    assert "none since its registration" in ntfy.expect(f"{NAS} is lost")["message"]


@pytest.mark.parametrize(
    "store", ["sqlite", pytest.param("postgresql", marks=pytest.mark.real(*PARTS))]
)
def test_two_replicas_report_each_event_once(
    ntfy: NtfyServer,
    backends: Backends,
    hetzner: Hetzner,
    request: pytest.FixtureRequest,
    store: str,
) -> None:
    shared = {}
    if store == "postgresql":
        shared["STATE_URL"] = backends.use(request.getfixturevalue("postgresql"))
    settings = {
        **shared,
        "REGISTERED_FQDNS": f"{NAS},{ROUTER}",
        "LOST_CONNECTION_TIMEOUT": "6",
        "CONNECTION_CHECK_INTERVAL": "1",
        "AUTH_FAILURE_LIMIT": "3",
        **ntfy.settings(),
    }
    replicas = [backends.start(**settings), backends.start(**settings)]
    hetzner.control("POST", "fail", status=423, code="protected", method="POST", count=100)
    for number in range(12):
        assert refused(replicas[number % 2], ROUTER, f"198.51.100.{number}") == 502
    hetzner.control("POST", "reset")
    assert replicas[0].update(ROUTER, "198.51.100.99")["status"] == "created"
    for replica in replicas:
        fail_login(replica, ROUTER, 20)
    until(lambda: all(host in lost_hosts(ntfy) for host in (NAS, ROUTER)), "lost hosts")
    backends.wait_for_checks()
    for replica in replicas:
        until(
            lambda replica=replica: (
                replica.update(NAS, "198.51.100.1") and ntfy.messages(f"{NAS} is back")
            ),
            "its return",
        )
    backends.stop()
    assert sorted(lost_hosts(ntfy)) == [NAS, ROUTER]
    assert sorted(title for title in ntfy.titles() if "lost" not in title) == [
        f"Failed logins for {ROUTER}",
        f"{NAS} is back",
        f"{ROUTER} can't be updated",
        f"{ROUTER} is up to date again",
    ]


def lost_hosts(ntfy: NtfyServer) -> list[str]:
    """Return the hosts that pushes report as lost, alone or together."""
    pushed = [one["message"] for one in ntfy.messages() if "lost" in one["title"]]
    return [host for text in pushed for host in (NAS, ROUTER) if host in text]


DOZEN = [f"dozen{number}.example.com" for number in range(12)]


def expect_all(ntfy: NtfyServer, title: str, priority: int) -> None:
    """Wait for the push with this title; it names all hosts."""
    push = ntfy.expect(title)
    assert push.get("priority", 3) == priority
    assert [host for host in DOZEN if host not in push["message"]] == []


def update_dozen(
    replicas: list[Backend], number: int, status: int = 200, some: Sequence[int] = range(12)
) -> None:
    """Update all hosts, or some of them, at the same time, by all replicas."""

    def update_one(index: int) -> int:
        ip = f"198.51.{number}.{index}"
        return update(replicas[index % len(replicas)], DOZEN[index], {"ip": ip}).status_code

    with ThreadPoolExecutor(4) as callers:
        assert set(callers.map(update_one, some)) == {status}


@pytest.mark.parametrize(
    "store", ["sqlite", pytest.param("postgresql", marks=pytest.mark.real(*PARTS))]
)
def test_a_cut_line_is_one_push_even_if_a_replica_is_killed(
    ntfy: NtfyServer, backends: Backends, request: pytest.FixtureRequest, store: str
) -> None:
    settings = {
        "REGISTERED_FQDNS": ",".join(DOZEN),
        "LOST_CONNECTION_TIMEOUT": "10",
        "CONNECTION_CHECK_INTERVAL": "1",
        **ntfy.settings(),
    }
    if store == "postgresql":
        settings["STATE_URL"] = backends.use(request.getfixturevalue("postgresql"))
    replicas = [backends.start(**settings), backends.start(**settings)]

    update_dozen(replicas, 1)
    until(lambda: backends.ask("select count(*) from pushes") == [(12,)], "lost hosts")
    replicas.pop(0).kill()
    expect_all(ntfy, "12 hosts are lost", 4)
    update_dozen(replicas, 1)
    expect_all(ntfy, "12 hosts are back", 3)
    assert ntfy.titles()[:2] == ["12 hosts are lost", "12 hosts are back"]


def test_an_outage_of_hetzner_is_one_push_over_a_restart(
    ntfy: NtfyServer, backends: Backends, hetzner: Hetzner
) -> None:
    settings = {"REGISTERED_FQDNS": ",".join(DOZEN), **ntfy.settings()}
    replicas = [backends.start(**settings), backends.start(**settings)]
    hetzner.control("POST", "fail", status=503, path="/zones*", count=1000)
    update_dozen(replicas, 1, 503, range(6))
    backends.stop()
    assert ntfy.messages() == []  # they wait for more hosts
    replicas = [backends.start(**settings), backends.start(**settings)]
    update_dozen(replicas, 1, 503, range(6, 12))
    hetzner.control("POST", "reset")
    update_dozen(replicas, 2)
    expect_all(ntfy, "12 hosts can't be updated now", 3)
    expect_all(ntfy, "12 hosts are up to date again", 3)
    backends.stop()
    assert len(ntfy.messages()) == 2, ntfy.titles()


def test_a_new_prefix_is_one_push(ntfy: NtfyServer, backends: Backends) -> None:
    parts = ",".join(f"{host}=::{number + 1}" for number, host in enumerate(DOZEN))
    settings = {"REGISTERED_FQDNS": ",".join(DOZEN), "NOTIFY_ON_CHANGE": "1"}
    backend = backends.start(IPV6_INTERFACE_IDS=parts, **settings, **ntfy.settings())
    answer = backend.session.get(
        f"{backend.url}/nic/update",
        params={"hostname": ",".join(DOZEN), "ip6lanprefix": "2001:db8:1:2::/64"},
        auth=OPERATOR,
        timeout=60,
    )
    assert answer.status_code == 200, answer.text
    expect_all(ntfy, "12 hosts have new addresses", 3)
    assert f"{DOZEN[11]} AAAA: none -> 2001:db8:1:2::12" in texts(ntfy)[0]
    backends.stop()
    assert len(ntfy.messages()) == 1


def test_a_flood_of_failed_logins_is_one_push(ntfy: NtfyServer, backends: Backends) -> None:
    backend = backends.start(AUTH_FAILURE_LIMIT="10", NOTIFY_ON_CHANGE="1", **ntfy.settings())

    def flood(number: int) -> int:
        name = (NAS, "unknown.example.com")[number % 5 == 0]
        login = None if number % 7 == 0 else (name, f"guess-{number}")
        forged = {"X-Real-Ip": f"203.0.113.{number % 250}"}
        return requests.get(
            f"{backend.url}/nic/update",
            params={"hostname": name, "myip": "203.0.113.1"},
            auth=login,
            headers=forged,
            timeout=40,
        ).status_code

    with ThreadPoolExecutor(8) as callers:
        answers = list(callers.map(flood, range(1000)))
    assert set(answers) == {401, 429}
    backends.stop()
    assert ntfy.titles() == [f"Failed logins for {NAS}"]


def update_all(backend: Backend, hetzner: Hetzner, rounds: int) -> int:
    """Update every host several times; each update must succeed and be published in DNS."""
    for number in range(1, rounds + 1):
        for host in (NAS, ROUTER, CAM, BOX):
            assert backend.update(host, f"198.51.100.{number}")["ip"] == f"198.51.100.{number}"
    for host in (NAS, ROUTER, CAM, BOX):
        hetzner.expect(host, f"198.51.100.{rounds}")
    return rounds * 4


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"NTFY_USERNAME": WRITER[0], "NTFY_PASSWORD": "a-bad-password"}, "wrong login (401)"),
        ({"NTFY_TOKEN": "tk_of_nobody"}, "wrong login (401)"),
        ({"NTFY_TOPIC": "other", **LOGIN}, "not allowed (403)"),
        ({"NTFY_PATH": "/nothing/here", **LOGIN}, "check that NTFY_URL is its base URL"),
        ({"NTFY_PATH": f"/{TOPIC}", **LOGIN}, "check that NTFY_URL is its base URL"),
    ],
    ids=["password", "token", "topic", "path", "url-of-the-topic"],
)
def test_a_wrong_ntfy_setting_is_reported_once(
    ntfy: NtfyServer, backends: Backends, hetzner: Hetzner, wrong: dict[str, str], words: str
) -> None:
    url = ntfy.url + wrong.get("NTFY_PATH", "")
    settings = {"NTFY_URL": url, "NTFY_TOPIC": TOPIC, **wrong}
    backend = backends.start(NOTIFY_ON_CHANGE="1", **settings)
    update_all(backend, hetzner, 5)
    until(lambda: "ntfy refuses" in backend.output, "a word of it", lambda: backend.output)
    backends.stop()
    lines = [line for line in backend.output.splitlines() if "ntfy" in line]
    assert len(lines) == 1, lines
    assert " ERROR ntfy refuses pushes: " in lines[0]
    assert words in lines[0]
    for secret in ("a-bad-password", "tk_of_nobody", WRITER[1]):
        assert secret not in backend.output


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def tls_ntfy(folder: Path, authority: trustme.CA) -> Iterator[NtfyServer]:
    certificate = folder / "server.pem"
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(certificate))
    server = NtfyServer(folder / "tls-ntfy", certificate=certificate)
    server.start()
    yield server
    server.close()


def over_tls(server: NtfyServer, authority: trustme.CA, bundle: Path) -> dict[str, str]:
    authority.cert_pem.write_to_path(str(bundle))
    url = f"https://127.0.0.1:{server.tls_port}"
    return {**server.settings(), "NTFY_URL": url, "NTFY_CA_BUNDLE": str(bundle)}


def test_ntfy_with_a_private_ca_gets_pushes(
    tls_ntfy: NtfyServer, authority: trustme.CA, backends: Backends, folder: Path
) -> None:
    bundle = folder / "ca.pem"
    settings = over_tls(tls_ntfy, authority, bundle)
    backend = backends.start(NOTIFY_ON_CHANGE="1", **settings)
    backend.update(NAS, "198.51.100.1")
    tls_ntfy.expect(f"{NAS} has a new address")
    bundle.unlink()
    backends.stop()
    backend = backends.start(NOTIFY_ON_CHANGE="1", **{**settings, "NTFY_CA_BUNDLE": ""})
    backend.update(ROUTER, "198.51.100.2")
    until(lambda: "No push gets through" in backend.output, "its log", lambda: backend.output)
    assert (
        "(127.0.0.1 can't be reached: TLS failed, check the clock and the CA certificates "
        "(NTFY_CA_BUNDLE))"
    ) in backend.output
    assert tls_ntfy.token not in backend.output
    # The push waits for the right setting.
    backends.stop()
    authority.cert_pem.write_to_path(str(bundle))
    backends.start(**settings)
    tls_ntfy.expect(f"{ROUTER} has a new address")


def test_a_file_with_another_ca_is_named(tls_ntfy: NtfyServer, folder: Path) -> None:
    settings = over_tls(tls_ntfy, trustme.CA(), folder / "ca.pem")
    variables = {"HETZNER_TOKEN": "t" * 64, "REGISTERED_FQDNS": NAS, **settings}
    done = run([sys.executable, "-m", "backend", "notify", "test"], folder, **variables)
    assert done.returncode == 1
    assert "TLS failed, check the clock and the CA certificates (NTFY_CA_BUNDLE)" in done.stdout
    assert tls_ntfy.token not in done.stdout + done.stderr


def test_a_late_ntfy_server_costs_no_update_or_push(
    ntfy: NtfyServer, backends: Backends, hetzner: Hetzner
) -> None:
    ntfy.stop()
    backend = backends.start(NOTIFY_ON_CHANGE="1", **ntfy.settings())
    count = update_all(backend, hetzner, 3)
    until(lambda: "No push gets through" in backend.output, "a word of it", lambda: backend.output)
    ntfy.start()
    until(lambda: changes(ntfy) == count, "all changes to arrive", lambda: str(texts(ntfy)))
    backends.stop()
    assert changes(ntfy) == count
    assert backend.output.count("No push gets through") == 1
    assert backend.output.count("ntfy accepts pushes again") == 1


def test_a_hanging_ntfy_server_costs_no_update_or_push(
    ntfy: NtfyServer, backends: Backends, hetzner: Hetzner
) -> None:
    line = Line(ntfy.port)
    settings = {**ntfy.settings(), "NTFY_URL": line.url, "NOTIFY_ON_CHANGE": "1"}
    backend = backends.start(**settings)
    count = update_all(backend, hetzner, 5)
    until(lambda: line.connections, "a push to be under way", lambda: backend.output)
    assert ntfy.messages() == [], "all updates must succeed before the first push"
    line.open()
    until(lambda: changes(ntfy) >= count, "all changes to arrive", lambda: str(texts(ntfy)))
    backends.stop()
    line.close()


def texts(ntfy: NtfyServer) -> list[str]:
    return [one["message"] for one in ntfy.messages()]


def changes(ntfy: NtfyServer) -> int:
    """Return the number of address changes in all pushes; a push may contain several."""
    return len({line for text in texts(ntfy) for line in text.splitlines() if " -> " in line})


def test_a_rate_limited_ntfy_server_costs_no_update_or_push(
    ntfy: NtfyServer, backends: Backends
) -> None:
    ntfy.stop()
    ntfy.set_limit(5)
    ntfy.start()
    backend = backends.start(NOTIFY_ON_CHANGE="1", WEB_CONCURRENCY="1", **ntfy.settings())
    count = 12
    for number in range(1, count + 1):
        forged = {"X-Real-Ip": f"203.0.113.{number}"}  # changes from one network share a push
        answer = update(
            backend, (NAS, ROUTER, CAM, BOX)[number % 4], {"ip": f"198.51.100.{number}"}, forged
        )
        assert answer.status_code == 200, answer.text
    until(lambda: "answers 429" in backend.output, "the limit", lambda: backend.output)
    until(
        lambda: "ntfy accepts pushes again" in backend.output,
        "all pushes to be through",
        lambda: backend.output,
    )
    backends.stop()
    ntfy.stop()
    ntfy.set_limit(0)
    ntfy.start()
    assert len(ntfy.messages()) == count
    assert "Not pushed" not in backend.output


def test_queued_pushes_are_sent_before_the_service_stops(
    ntfy: NtfyServer, backends: Backends, hetzner: Hetzner
) -> None:
    line = Line(ntfy.port)
    settings = {**ntfy.settings(), "NTFY_URL": line.url, "NOTIFY_ON_CHANGE": "1"}
    backend = backends.start(**settings)
    count = update_all(backend, hetzner, 2)
    until(lambda: line.connections, "a push to be under way", lambda: backend.output)
    line.open()
    backends.stop()
    assert changes(ntfy) == count, backend.output
    line.close()
