"""The command `healthcheck`, which imports little, because containers call it often."""

from __future__ import annotations

import argparse
import http.client
from typing import Mapping

from backend.readers import Reader
from backend.settings import ServerSettings

_SECONDS = 4.0
# By address to listen on: the address to connect to.
_REACHABLE = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104


def healthcheck(parser: argparse.ArgumentParser) -> None:
    """Asks the running service whether it is healthy, for the HEALTHCHECK of a container."""
    parser.set_defaults(run=run_healthcheck)


def run_healthcheck(_arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Request ``/healthz`` and print the answer; return 0 if the service is healthy, else 1."""
    server = Reader(environ).section(ServerSettings)
    address = _REACHABLE.get(server.address, server.address)
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
