from __future__ import annotations

import os
import subprocess
import sys

import pytest

from backend.store.leases import is_dead, new_owner


def test_no_two_owners_are_alike() -> None:
    assert len({new_owner() for _ in range(100)}) == 100


def test_an_owner_lives_as_long_as_its_process() -> None:
    script = "from backend.store.leases import new_owner; print(new_owner(), flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        owner = process.stdout.readline().strip()
        assert not is_dead(owner)
    assert is_dead(owner)
    assert not is_dead(new_owner())


def test_an_owner_on_another_machine_is_never_found_dead() -> None:
    _, pid, rest = new_owner().split(" ", 2)
    assert not is_dead(f"other-boot/4026531836 {pid} {rest}")
    assert not is_dead(f"other-boot/4026531836 99999999 {rest}")


OWN = pytest.param(str(os.getpid()), id="our own")


@pytest.mark.parametrize("pid", ["", "x", "-1", "0", "1.5", "9" * 30, OWN])
def test_an_owner_whose_process_cannot_be_asked_for_is_not_found_dead(pid: str) -> None:
    place = new_owner().split(" ", 1)[0]
    assert not is_dead(f"{place} {pid} rest")


@pytest.mark.parametrize("owner", ["", "one", "one two", "one two three"])
def test_an_owner_of_another_shape_is_not_found_dead(owner: str) -> None:
    assert not is_dead(owner)
