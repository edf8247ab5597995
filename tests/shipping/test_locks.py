"""The locks of the images satisfy the requirements, with hashes and without an index."""

from __future__ import annotations

import itertools
import re
from typing import Iterator

import pytest
from packaging.requirements import Requirement

from tests.shipping.tools import ROOT

LOCKS = {
    "backend/requirements.lock": (
        "backend/requirements-postgresql.txt",
        "backend/requirements-apprise.txt",
    ),
    "client/requirements.lock": ("client/requirements.txt",),
}
each_lock = pytest.mark.parametrize("lock", LOCKS)


def requirements_of(file: str) -> Iterator[Requirement]:
    """Return the requirements of a file and of the files that it includes."""
    for line in (ROOT / file).read_text(encoding="utf-8").splitlines():
        text = line.partition("#")[0].strip()
        if text.startswith("-r"):
            yield from requirements_of(f"{file.rpartition('/')[0]}/{text[2:].strip()}")
        elif text:
            yield Requirement(text)


def locked(file: str) -> dict[str, str]:
    found = re.findall(
        r"^([a-z0-9-]+)==(\S+)", (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE
    )
    assert len(found) == len(dict(found)), "each package must have one version for every platform"
    return dict(found)


@each_lock
def test_a_lock_satisfies_its_requirements(lock: str) -> None:
    versions = locked(lock)
    for requirement in itertools.chain(*map(requirements_of, LOCKS[lock])):
        name = re.sub("[-_.]+", "-", requirement.name).lower()
        assert name in versions, f"{name} is missing: make lock"
        assert requirement.specifier.contains(versions[name]), f"{name}: make lock"


@each_lock
def test_every_version_has_hashes(lock: str) -> None:
    text = (ROOT / lock).read_text(encoding="utf-8")
    blocks = re.split(r"^(?=[a-z0-9-]+==)", text, flags=re.MULTILINE)[1:]
    assert [block.splitlines()[0] for block in blocks if "--hash=sha256:" not in block] == []
    assert len(blocks) == len(locked(lock))


@each_lock
def test_no_index_is_named(lock: str) -> None:
    text = (ROOT / lock).read_text(encoding="utf-8")
    assert "://" not in text
    assert "-index" not in text
