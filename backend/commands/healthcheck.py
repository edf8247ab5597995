"""Asks the running service whether it is well: the container's HEALTHCHECK."""

from __future__ import annotations

import argparse
import http.client
from typing import Mapping

from backend.settings import read_server

_SECONDS = 4.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Take none: the service is where the settings say."""


def run(_arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Ask ``/healthz``; return 0 when all is well, else 1 with what is wrong on standard output."""
    server = read_server(environ)
    address = _reachable(server.address)
    connection = http.client.HTTPConnection(address, server.port, timeout=_SECONDS)
    try:
        connection.request("GET", "/healthz")
        answer = connection.getresponse()
        print(answer.read().decode("utf-8", "replace").strip())
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        print(f"no answer from {address} port {server.port}: {reason}")
        return 1
    finally:
        connection.close()
    return 0 if answer.status == http.client.OK else 1


def _reachable(address: str) -> str:
    """Return where a listener answers on its own machine."""
    # Compared with, not listened on.
    every = "0.0.0.0"  # noqa: S104
    return {"": "127.0.0.1", every: "127.0.0.1", "::": "::1"}.get(address, address)
