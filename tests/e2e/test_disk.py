"""A full or read-only disk under SQLite is reported, and the service recovers."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Callable, Iterator, Sequence

import pytest

from sandbox import Sandbox
from tests.e2e.cluster import Replica, in_dns, until

HOST, OTHER = "host.example.com", "other.example.com"
UNAVAILABLE = (503, "911\n")
MANY = 20
_SECONDS = 60.0
_BLOCK = b"\0" * 4096

pytestmark = pytest.mark.real("mount")

Mount = Callable[..., Path]


def run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Mount]:
    """Mount a small file system; skip the test if that isn't allowed."""
    mounted: list[Path] = []

    def mount(*what: str) -> Path:
        place = tmp_path / "disk"
        place.mkdir()
        try:
            run("mount", *what, str(place))
        except subprocess.CalledProcessError as error:
            pytest.skip(f"mounting isn't allowed here: {error.stderr.decode().strip()}")
        mounted.append(place)
        return place

    yield mount
    for place in mounted:
        run("umount", str(place))


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(zones=["example.com"], action_seconds=0.3) as sandbox:
        yield sandbox


class Disk:
    """A service whose store is on its own disk."""

    def __init__(self, place: Path, folder: Path, sandbox: Sandbox) -> None:
        self.place = place
        self._filler = place / "filler"
        url = f"sqlite:///{place / 'store.db'}"
        self.replica = Replica(folder, sandbox, [HOST, OTHER], STATE_URL=url)
        self._sandbox = sandbox
        self._last = 0

    def fill(self) -> None:
        """Fill the disk completely, if it is writable."""
        with contextlib.suppress(OSError), self._filler.open("ab", buffering=0) as filler:
            for block in (_BLOCK, b"\0"):
                try:
                    while True:
                        filler.write(block)
                except OSError:
                    continue

    def make_room(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._filler.unlink()

    def new_address(self) -> str:
        self._last += 1
        return f"198.51.{self._last >> 8}.{self._last & 255}"

    def expect_refusals(self, *words: str) -> None:
        """Expect that changes are answered with 503, and that a log line has the reason.

        Some may still be accepted: files have unused space, and SQLite frees
        more of it during a checkpoint.
        """
        refused = 0
        end = time.monotonic() + _SECONDS
        while refused < MANY:
            assert time.monotonic() < end, f"changes are accepted:\n{self.replica.output()}"
            self.fill()
            answer = self.replica.update(HOST, self.new_address())
            assert answer == UNAVAILABLE or answer[0] == 200, answer
            refused += answer == UNAVAILABLE
        lines = [line for line in self.replica.output().splitlines() if "can't be used" in line]
        assert any(word in line for line in lines for word in words), lines
        assert len(lines) < MANY, "a log line per update would fill the next disk"

    def expect_recovery(self) -> None:
        """Expect that the service recovers by itself."""
        address = self.new_address()
        until(
            lambda: self.replica.update(HOST, address)[0] == 200,
            lambda: f"changes aren't accepted again:\n{self.replica.output()}",
            _SECONDS,
        )
        until(
            lambda: in_dns(self._sandbox, [HOST])[HOST] == [address],
            lambda: f"not published:\n{self.replica.output()}",
            _SECONDS,
        )
        assert "The store can be used again" in self.replica.output()


def serving(disk: Disk) -> Iterator[Disk]:
    try:
        disk.replica.start()
        yield disk
    finally:
        code = disk.replica.stop()
    assert code == 0
    assert "Traceback" not in disk.replica.output()


@pytest.fixture
def small(mount: Mount, tmp_path: Path, sandbox: Sandbox) -> Iterator[Disk]:
    yield from serving(Disk(mount("-t", "tmpfs", "-o", "size=2m", "tmpfs"), tmp_path, sandbox))


@pytest.fixture
def failing(mount: Mount, tmp_path: Path, sandbox: Sandbox) -> Iterator[Disk]:
    image = tmp_path / "image"
    with image.open("wb") as file:
        file.truncate(16 * 1024 * 1024)
    run("mkfs.ext4", "-q", str(image))
    yield from serving(Disk(mount("-o", "loop", str(image)), tmp_path, sandbox))


def test_a_full_disk_is_reported_until_there_is_room(small: Disk) -> None:
    assert small.replica.update(OTHER, "198.51.100.200")[0] == 200
    workers = small.replica.all_workers()
    small.fill()
    small.expect_refusals("database or disk is full")
    assert small.replica.update(OTHER, "198.51.100.200") == (200, "nochg 198.51.100.200\n")
    small.make_room()
    small.expect_recovery()
    assert small.replica.workers() == workers, "no traceback must be logged"


def test_a_update_from_before_the_disk_was_full_is_kept(small: Disk, sandbox: Sandbox) -> None:
    sandbox.fail(503, count=None, path="/zones/*/rrsets")
    assert small.replica.update(OTHER, "198.51.100.201") == UNAVAILABLE
    small.fill()
    sandbox.reset()
    small.make_room()
    until(
        lambda: in_dns(sandbox, [OTHER])[OTHER] == ["198.51.100.201"],
        lambda: f"not published:\n{small.replica.output()}",
        _SECONDS,
    )


def test_a_read_only_disk_is_reported_until_it_is_writable(
    small: Disk,
) -> None:
    assert small.replica.update(OTHER, "198.51.100.200")[0] == 200
    # The kernel refuses to remount while a process writes: wait for the workers to start.
    first = small.replica.process.pid
    os.kill(first, signal.SIGSTOP)
    small.replica.kill_workers()
    remount(small.place, "ro")
    os.kill(first, signal.SIGCONT)
    small.replica.wait_until_well()
    small.expect_refusals("readonly database", "unable to open database file")
    remount(small.place, "rw")
    small.make_room()
    small.expect_recovery()


def remount(place: Path, *options: str) -> None:
    """Remount the disk once the kernel has closed the files of the killed processes."""

    def is_done() -> bool:
        command: Sequence[str] = ("mount", "-o", ",".join(("remount", *options)), str(place))
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    until(is_done, lambda: f"{place} can't be remounted", _SECONDS)


@pytest.mark.real("mkfs.ext4")
def test_a_disk_failure_under_a_running_service_is_reported(failing: Disk) -> None:
    assert failing.replica.update(OTHER, "198.51.100.200")[0] == 200
    workers = failing.replica.all_workers()
    # The kernel does the same after a write error.
    remount(failing.place, "abort")
    failing.expect_refusals("readonly database", "disk I/O error", "unable to open database file")
    assert failing.replica.workers() == workers, "no traceback must be logged"
