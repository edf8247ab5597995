"""Whatever bytes a caller sends: as many answers as requests, and honest callers get their own."""

from __future__ import annotations

from typing import Iterator

import pytest

from tests.e2e.framings import KINDS
from tests.e2e.neighbours import Neighbourhood, forged_writes
from tests.e2e.processes import HOSTS, Backend, Hetzner


@pytest.fixture(scope="module")
def direct(backend: Backend, hetzner: Hetzner) -> Iterator[Neighbourhood]:
    neighbourhood = Neighbourhood(backend, hetzner, backend.port, (HOSTS[0], HOSTS[1]), 10)
    assert neighbourhood.flaws() == []
    yield neighbourhood
    neighbourhood.close()
    assert forged_writes(hetzner) == []


def test_there_are_hundreds_of_framings() -> None:
    names = [framing.name for kind in KINDS.values() for framing in kind]
    assert len(set(names)) == len(names) >= 250


@pytest.mark.parametrize("kind", KINDS)
def test_framings_are_answered_once_a_request(direct: Neighbourhood, kind: str) -> None:
    flaws = direct.endure(KINDS[kind])
    assert not flaws, "\n".join(flaws)
