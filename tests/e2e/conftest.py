from __future__ import annotations

import itertools
from pathlib import Path
from typing import Iterator

import pytest

from tests.e2e.processes import HOSTS, Backend, Hetzner

_names = itertools.cycle(HOSTS)


@pytest.fixture(scope="module")
def hetzner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hetzner]:
    hetzner = Hetzner(tmp_path_factory.mktemp("hetzner"))
    try:
        hetzner.start()
        yield hetzner
    finally:
        hetzner.stop()


@pytest.fixture(scope="module")
def backend(hetzner: Hetzner, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    backend = Backend(tmp_path_factory.mktemp("backend"), hetzner)
    try:
        backend.start()
        yield backend
    finally:
        backend.stop()


@pytest.fixture
def host() -> str:
    """A registered host that no other test of the module uses."""
    return next(_names)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where a client of one test is at home."""
    return tmp_path
