from __future__ import annotations

import itertools
from pathlib import Path
from typing import Iterator

import pytest

from tests.e2e.processes import HOSTS, Backend, Hetzner

_names = itertools.cycle(HOSTS)


@pytest.fixture(scope="module")
def hetzner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hetzner]:
    with Hetzner(tmp_path_factory.mktemp("hetzner")) as hetzner:
        yield hetzner


@pytest.fixture(scope="module")
def backend(hetzner: Hetzner, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    with Backend(tmp_path_factory.mktemp("backend"), hetzner) as backend:
        yield backend


@pytest.fixture
def host() -> str:
    """A registered host that no other test of the module uses."""
    return next(_names)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where a client of one test is at home."""
    return tmp_path
