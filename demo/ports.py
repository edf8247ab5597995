"""Checks the ports of the demo before anything starts."""

from __future__ import annotations

import re
import socket
from typing import NamedTuple, Sequence

from demo.processes import DemoFailed

NAMES = ("HTTP_PORT", "HETZNER_PORT", "DNS_PORT")
_MOST = 65535


class Ports(NamedTuple):
    """The ports of the three servers."""

    http: int
    hetzner: int
    dns: int


def checked(texts: Sequence[str]) -> Ports:
    """Return the ports, in the order of `NAMES`; raise `DemoFailed` if a port can't be used."""
    ports = Ports(*map(_port, NAMES, texts))
    for name, port in zip(NAMES, ports):
        others = [other for other, its in zip(NAMES, ports) if its == port and other != name]
        if others:
            raise DemoFailed(
                f"{name} and {others[0]} are both {port}: choose different ones,"
                f" as in `make demo {others[0]}={_other(port)}`."
            )
        _probe(name, port, socket.SOCK_STREAM)
    _probe(NAMES[2], ports.dns, socket.SOCK_DGRAM)
    return ports


def _port(name: str, text: str) -> int:
    if not re.fullmatch("[0-9]{1,5}", text) or not 1 <= int(text) <= _MOST:
        raise DemoFailed(f"{name} can't be '{text}': choose a number from 1 to {_MOST}.")
    return int(text)


def _probe(name: str, port: int, kind: socket.SocketKind) -> None:
    with socket.socket(type=kind) as probe:
        if kind == socket.SOCK_STREAM:
            # Connections of an earlier demo may linger. With UDP, this would hide a server.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            over = "UDP" if kind == socket.SOCK_DGRAM else "TCP"
            raise DemoFailed(
                f"Port {port} can't be used over {over} ({error.strerror}):"
                f" choose another, as in `make demo {name}={_other(port)}`."
            ) from None


def _other(port: int) -> int:
    return port + 1000 if port + 1000 <= _MOST else port - 1000
