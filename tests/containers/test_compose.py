"""Both shipped compose files work, from the client's address to DNS, and after crashes."""

from __future__ import annotations

import os
import signal
import stat
import time
from pathlib import Path
from typing import Iterator

import pytest

from tests.containers.conftest import Images
from tests.containers.deployment import BACKEND, CLIENT, CLIENT_IP, HOST, OPERATOR, Deployment
from tests.containers.engine import Engine, until
from tests.meta.documents import blocks

pytestmark = [
    pytest.mark.real("nginx", "dig"),
    pytest.mark.skipif(os.getuid() != 0, reason="needs root: networks, and files of uid 1000"),
]
COMMANDS = [one.text for one in blocks() if one.document == "docs/operations.md"]
_MEGABYTES = {BACKEND: 256, CLIENT: 128}
each = pytest.mark.parametrize("name", [BACKEND, CLIENT])


@pytest.fixture(scope="module")
def deployment(
    engine: Engine, images: Images, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployment]:
    deployment = Deployment(engine, images, tmp_path_factory.mktemp("deployment"))
    try:
        deployment.start()
        yield deployment
    finally:
        deployment.stop()


def status(engine: Engine, name: str) -> dict[str, str]:
    """Return /proc/PID/status of the container's first process."""
    lines = Path(f"/proc/{engine.pid(name)}/status").read_text(encoding="utf-8").splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


def test_a_proxied_clients_own_address_is_published(
    deployment: Deployment,
) -> None:
    deployment.until_dns(CLIENT_IP)
    assert f"{HOST} A: {CLIENT_IP} (created)" in deployment.engine.logs(CLIENT)


def test_the_next_poll_reverts_a_foreign_change(
    deployment: Deployment,
) -> None:
    answer = deployment.session.post(
        f"{deployment.url}/update",
        json={"fqdn": HOST, "ip": "198.51.100.200"},
        auth=OPERATOR,
        timeout=20,
    )
    assert answer.json()["status"] in ("updated", "created")
    deployment.until_dns(CLIENT_IP)


def test_the_images_that_run_are_those_just_built(deployment: Deployment, images: Images) -> None:
    for name, tag in ((BACKEND, images.backend), (CLIENT, images.client)):
        running = deployment.engine.inspect(name)["Image"].rpartition(":")[2]
        assert running == deployment.engine.inspect(tag)["Id"].rpartition(":")[2]


@each
def test_the_container_has_no_capabilities(deployment: Deployment, name: str) -> None:
    fields = status(deployment.engine, name)
    assert {fields[key] for key in ("CapEff", "CapPrm", "CapBnd", "CapAmb")} == {"0" * 16}
    assert fields["NoNewPrivs"] == "1"
    assert fields["Uid"].split() == ["1000"] * 4
    assert fields["Gid"].split() == ["1000"] * 4


@each
def test_its_root_is_read_only_and_its_memory_is_bounded(
    deployment: Deployment, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = deployment.engine
    for path in ("/x", "/app/x", "/etc/x", "/home/x"):
        ended = engine.attempt("exec", "--user", "0", name, "touch", path)
        assert "Read-only file system" in ended.stderr, path
    assert engine.inspect(name)["HostConfig"]["Memory"] == _MEGABYTES[name] << 20
    used = engine.run("stats", "--no-stream", "--format", "{{.MemUsage}}", name)
    with capsys.disabled():
        print(f"\n{name} uses {used}")


def test_there_is_room_for_commands_beside_the_service(deployment: Deployment) -> None:
    engine = deployment.engine
    first = engine.pid(BACKEND)
    for _ in range(5):
        assert deployment.session.get(f"{deployment.url}/", auth=OPERATOR, timeout=20).ok
    for command in (["hosts", "list"], ["check"]):
        ended = engine.attempt("exec", BACKEND, "python", "-m", "backend", *command)
        assert ended.returncode in (0, 1), ended.stderr
    assert engine.pid(BACKEND) == first


@pytest.mark.skipif(not Path("/proc/net/if_inet6").exists(), reason="no IPv6 here")
def test_the_backend_listens_on_both_ip_versions_by_one_socket(deployment: Deployment) -> None:
    table = Path(f"/proc/{deployment.engine.pid(BACKEND)}/net")
    any_address, port, listening = "0" * 32, "0050", "0A"
    sockets = [line.split() for line in (table / "tcp6").read_text(encoding="ascii").splitlines()]
    assert [f"{any_address}:{port}", listening] in [[words[1], words[3]] for words in sockets[1:]]
    # All other tests use the same socket over IPv4.
    assert f":{port} 00000000:0000 {listening}" not in (table / "tcp").read_text(encoding="ascii")


@each
def test_it_is_healthy(deployment: Deployment, name: str) -> None:
    until(
        lambda: deployment.engine.is_healthy(name),
        f"{name} to be healthy",
        lambda: deployment.engine.logs(name),
    )


def test_the_backend_is_unhealthy_without_its_data(
    deployment: Deployment,
) -> None:
    engine = deployment.engine
    assert engine.is_healthy(BACKEND)
    engine.run("exec", BACKEND, "sh", "-c", "mv /data/hetzner-dyndns.db* /tmp/")
    assert not engine.is_healthy(BACKEND)
    assert engine.run("exec", BACKEND, "ls", "/data") == ""
    engine.run("exec", BACKEND, "sh", "-c", "mv /tmp/hetzner-dyndns.db* /data/")
    until(  # each worker checks its store every few seconds
        lambda: engine.is_healthy(BACKEND),
        f"{BACKEND} to be healthy again",
        lambda: engine.logs(BACKEND),
    )


def test_a_killed_backend_restarts_with_its_keys_and_records(deployment: Deployment) -> None:
    deployment.until_dns(CLIENT_IP)
    key, changes = deployment.key(), deployment.changes()
    deployment.kill(BACKEND)
    deployment.until_well()
    answer = deployment.session.post(
        f"{deployment.url}/update",
        json={"fqdn": HOST, "ip": CLIENT_IP},
        headers={"X-Pre-Shared-Key": key},
        timeout=20,
    )
    assert answer.json()["status"] == "unchanged"
    assert deployment.changes() == changes
    assert deployment.key() == key
    assert deployment.dig() == CLIENT_IP


def test_a_killed_client_restarts_and_continues(deployment: Deployment) -> None:
    lines = deployment.engine.logs(CLIENT).count("INFO updating")
    deployment.kill(CLIENT)
    until(
        lambda: deployment.engine.logs(CLIENT).count("INFO updating") > lines,
        "the client to begin again",
        lambda: deployment.engine.logs(CLIENT),
    )
    answer = deployment.session.post(
        f"{deployment.url}/update",
        json={"fqdn": HOST, "ip": "198.51.100.201"},
        auth=OPERATOR,
        timeout=20,
    )
    assert answer.json()["status"] == "updated"
    deployment.until_dns(CLIENT_IP)


@each
def test_sigterm_ends_its_first_process_in_order(
    deployment: Deployment, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The duration is printed but not checked, because machines differ."""
    engine = deployment.engine
    pid = engine.pid(name)
    begun = time.monotonic()
    os.kill(pid, signal.SIGTERM)
    until(lambda: not Path(f"/proc/{pid}").exists(), f"{name} to end")
    took = time.monotonic() - begun
    with capsys.disabled():
        print(f"\n{name} ended {took * 1000:.0f} ms after SIGTERM")
    until(lambda: engine.pid(name) not in (0, pid), f"{name} to be started again")
    deployment.until_well()
    assert "Traceback" not in engine.logs(name)


def test_a_backup_is_restored_as_documented(deployment: Deployment) -> None:
    engine = deployment.engine
    (made,) = (one for one in COMMANDS if "cp backend:/data/copy.db" in one)
    (restored,) = (one for one in COMMANDS if "< copy.db" in one)
    note = ("exec", BACKEND, "hetzner-dyndns", "hosts", "set", HOST, "--note")
    engine.run(*note, "before the backup")
    copy = deployment.typed(made) / "copy.db"
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    engine.run(*note, "after the backup")
    deployment.typed(restored)
    deployment.until_well()
    shown = engine.run("exec", BACKEND, "hetzner-dyndns", "hosts", HOST)
    assert "before the backup" in shown
    of_store = ("exec", BACKEND, "stat", "--format", "%a %u", "/data/hetzner-dyndns.db")
    assert engine.run(*of_store) == "600 1000"


def test_the_logs_contain_no_secret_and_no_traceback(deployment: Deployment) -> None:
    for name in (BACKEND, CLIENT):
        output = deployment.engine.logs(name)
        assert deployment.key() not in output
        assert OPERATOR[1] not in output
        assert "Traceback" not in output
