"""Ports for the servers of tests: free, and no other test or outgoing connection gets them."""

from __future__ import annotations

import itertools
import os
import random
import socket

# Below Linux's range for outgoing connections. Each process of pytest-xdist has its own ports.
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]) % 16
_candidates = itertools.cycle(random.sample(range(20000 + _WORKER, 32000, 16), 750))


def free_port() -> int:
    """Return a port that is free on all addresses, over TCP and UDP."""
    return next(port for port in _candidates if _is_free(port))


def _is_free(port: int) -> bool:
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(type=kind) as probe:
            try:
                probe.bind(("", port))
            except OSError:
                return False
    return True
