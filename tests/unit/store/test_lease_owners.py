from __future__ import annotations

import os
import subprocess
import sys

import pytest

from backend.store.leases import is_dead, new_owner


def test_each_lease_owner_is_unique() -> None:
    assert len({new_owner() for _ in range(100)}) == 100


def test_an_owner_is_dead_when_its_process_has_ended() -> None:
    script = "from backend.store.leases import new_owner; print(new_owner(), flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        owner = process.stdout.readline().strip()
        assert not is_dead(owner)
    assert is_dead(owner)
    assert not is_dead(new_owner())


def test_an_owner_on_another_machine_is_not_dead() -> None:
    _, pid, rest = new_owner().split(" ", 2)
    assert not is_dead(f"other-boot/4026531836 {pid} {rest}")
    assert not is_dead(f"other-boot/4026531836 99999999 {rest}")


OWN = pytest.param(str(os.getpid()), id="this process")


@pytest.mark.parametrize("pid", ["", "x", "-1", "0", "1.5", "9" * 30, OWN])
def test_an_owner_with_an_invalid_process_id_is_not_dead(pid: str) -> None:
    place = new_owner().split(" ", 1)[0]
    assert not is_dead(f"{place} {pid} rest")


@pytest.mark.parametrize("owner", ["", "one", "one two", "one two three"])
def test_an_owner_in_another_format_is_not_dead(owner: str) -> None:
    assert not is_dead(owner)
