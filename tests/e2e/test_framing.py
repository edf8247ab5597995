"""Any bytes of a caller get one answer per request, and other callers get their own answers."""

from __future__ import annotations

import socket
import struct
from typing import Iterator

import pytest

from tests.e2e.framings import KINDS, head
from tests.e2e.neighbours import Neighbourhood, forged_writes
from tests.e2e.processes import HOSTS, Backend, Hetzner


@pytest.fixture(scope="module")
def direct(backend: Backend, hetzner: Hetzner) -> Iterator[Neighbourhood]:
    neighbourhood = Neighbourhood(backend, hetzner, backend.port, (HOSTS[0], HOSTS[1]), 10)
    assert neighbourhood.problems() == []
    yield neighbourhood
    neighbourhood.close()
    assert forged_writes(hetzner) == []


@pytest.mark.parametrize("kind", KINDS)
def test_framings_are_answered_once_a_request(direct: Neighbourhood, kind: str) -> None:
    problems = direct.attack(KINDS[kind])
    assert not problems, "\n".join(problems)


def test_a_caller_that_disconnects_within_a_body_leaves_no_traceback(
    direct: Neighbourhood, backend: Backend
) -> None:
    at_once = struct.pack("ii", 1, 0)  # a reset instead of a regular close
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", backend.port), timeout=20) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, at_once)
            connection.sendall(head(b"POST /healthz", b"Content-Length: 40000") + b"p" * 20000)
        assert direct.problems() == []
    assert "Traceback" not in backend.output
