"""The service works with any content of /dev/shm, which every user can write."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
from pathlib import Path
from typing import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from sandbox import Sandbox
from tests.e2e.cluster import Replica
from tests.e2e.processes import until

HOST = "host.example.com"
UPDATES = 30
# Mounts a private /dev/shm and then runs the given program.
_PRIVATE = '{ mount -t tmpfs -o size=1m%s tmpfs /dev/shm && %s; } && exec "$@"'
_BIND = 'mount --bind "$0" /dev/shm && exec "$@"'
_BLOCK = b"\0" * 4096

pytestmark = pytest.mark.real("mount", "unshare")


def private(options: str = "", then: str = "true") -> list[str]:
    """Return the command prefix that gives a program its own small /dev/shm."""
    return ["unshare", "-m", "sh", "-c", _PRIVATE % (options, then), "sh"]


@pytest.fixture(autouse=True)
def _mounting_is_allowed() -> None:
    tried = subprocess.run([*private(), "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"mounting isn't allowed here: {tried.stderr.strip()}")


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(zones=["example.com"], action_seconds=0.1) as sandbox:
        yield sandbox


@pytest.fixture
def replica(tmp_path: Path, sandbox: Sandbox) -> Iterator[Replica]:
    replica = Replica(tmp_path, sandbox, [HOST])
    yield replica
    code = replica.stop()
    assert code == 0, replica.output()
    assert "Traceback" not in replica.output()


def shm(replica: Replica) -> Path:
    """Return the path of the service's private /dev/shm."""
    return Path(f"/proc/{replica.process.pid}/root/dev/shm")


def fill(folder: Path) -> None:
    """Fill /dev/shm completely."""
    with (folder / "filler").open("ab", buffering=0) as filler:
        for block in (_BLOCK, b"\0"):
            try:
                while True:
                    filler.write(block)
            except OSError:
                continue
    free = os.statvfs(str(folder))
    assert free.f_bfree == 0


def counted(replica: Replica) -> dict[str, float]:
    """Return the number of updates by outcome, from the metrics."""
    answer = replica.session.get(f"http://127.0.0.1:{replica.port}/metrics", timeout=20)
    assert answer.status_code == 200, answer.text
    return {
        sample.labels["outcome"]: sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
        if sample.name == "dyndns_updates_total" and sample.labels["protocol"] == "dyndns2"
    }


def expect_service(replica: Replica) -> None:
    """Expect that all updates are answered and counted, and that no worker ends."""
    workers = replica.all_workers()
    for number in range(UPDATES):
        address = f"198.51.100.{number // 2 + 1}"
        assert replica.update(HOST, address)[0] == 200, replica.output()
    assert replica.is_well()
    assert replica.workers() == workers, replica.output()
    outcomes = counted(replica)
    assert outcomes["created"] == 1
    assert outcomes["replaced"] == UPDATES / 2 - 1
    assert outcomes["cached"] == UPDATES / 2


def test_a_full_shm_under_a_running_service_ends_no_worker(replica: Replica) -> None:
    replica.start(private())
    replica.all_workers()
    fill(shm(replica))
    expect_service(replica)


def test_a_worker_that_dies_while_shm_is_full_is_replaced(replica: Replica) -> None:
    replica.start(private())
    killed = replica.all_workers()
    fill(shm(replica))
    replica.kill_workers()
    until(lambda: not set(killed) & set(replica.workers()), "the killed workers to end")
    replica.wait_until_well()
    expect_service(replica)


@pytest.mark.parametrize(
    "prefix",
    [
        pytest.param(private(then="head -c 1m /dev/zero >/dev/shm/filler"), id="full"),
        pytest.param(private(options=",nr_inodes=1"), id="without room for a name"),
        pytest.param(private(options=",ro"), id="read-only"),
    ],
)
def test_the_service_starts_with_an_unusable_shm(replica: Replica, prefix: list[str]) -> None:
    replica.start(prefix)
    expect_service(replica)


def test_a_worker_is_replaced_with_a_full_shm(replica: Replica) -> None:
    replica.start(private(options=",nr_inodes=8"))
    for number in range(8):
        try:
            (shm(replica) / f"file{number}").touch()
        except OSError:
            break
    replica.all_workers()
    replica.kill_workers()
    replica.wait_until_well()
    expect_service(replica)


def plant(folder: Path, foreign: Path) -> None:
    """Create files as another user, with the names that earlier versions used."""

    def owned(name: str) -> Path:
        place = folder / f"hetzner-dyndns-{name}"
        place.mkdir()
        return place / "owned"

    os.mkfifo(str(owned("fifo")))
    owned("folder").mkdir()
    owned("link to a FIFO").symlink_to(folder / "hetzner-dyndns-fifo" / "owned")
    owned("link to itself").symlink_to("owned")
    owned("link to a device").symlink_to("/dev/zero")
    place = owned("socket")
    with socket.socket(socket.AF_UNIX) as sink:
        # By the descriptor of its folder, since the path of a socket must be short.
        descriptor = os.open(str(place.parent), os.O_RDONLY)
        sink.bind(f"/proc/self/fd/{descriptor}/{place.name}")
        os.close(descriptor)
    unreadable = owned("unreadable")
    unreadable.touch(mode=0)
    os.chown(str(unreadable), 12345, 12345)
    with owned("gigantic").open("wb") as file:
        file.truncate(1 << 40)
    foreign.mkdir()
    (foreign / "owned").touch()
    (folder / "hetzner-dyndns-elsewhere").symlink_to(foreign)
    (folder / "hetzner-dyndns-file").touch()


def listing(folder: Path) -> dict[str, int]:
    return {
        str(path.relative_to(folder)): stat.S_IFMT(path.lstat().st_mode)
        for path in folder.rglob("*")
    }


def test_foreign_files_in_shm_stay_untouched(replica: Replica, tmp_path: Path) -> None:
    planted, foreign = tmp_path / "planted", tmp_path / "foreign"
    planted.mkdir()
    plant(planted, foreign)
    before = listing(planted)
    replica.start(["unshare", "-m", "sh", "-c", _BIND, str(planted)])
    expect_service(replica)
    assert listing(shm(replica)) == before
    assert (foreign / "owned").exists()
