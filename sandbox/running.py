"""A running sandbox: starts and stops the HTTP and DNS servers."""

from __future__ import annotations

import errno
import socket
from types import TracebackType
from typing import TYPE_CHECKING

from sandbox import dns
from sandbox.control_api import control_api
from sandbox.controls import Controls
from sandbox.dns_server import DnsServer
from sandbox.hetzner import create_app
from sandbox.serving import HttpServer

if TYPE_CHECKING:
    from typing_extensions import Self


class PortUnusableError(Exception):
    """A port can't be used; the text names the port, the reason and the option for another port."""


class Sandbox(Controls):
    """A local substitute for Hetzner: `with Sandbox(zones=["example.com"]) as sandbox: …`.

    After `stop`, it can be started again with the same ports, to simulate an outage.
    """

    host: str
    http_port: int
    dns_port: int

    def start(self, host: str = "127.0.0.1", http_port: int = 0, dns_port: int = 0) -> None:
        """Start both servers; port 0 selects a free port.

        Raises:
            PortUnusableError: a port is in use or not allowed.

        """
        listening = _listen_http(host, http_port)
        try:
            self._dns = DnsServer(host, dns_port, self._answer)
        except OSError as error:
            listening.close()
            raise _unusable(host, dns_port, "--dns-port", error) from error
        self._http = HttpServer(create_app(self.zones, self.guard, control_api(self)), listening)
        self.host, self.http_port, self.dns_port = host, self._http.port, self._dns.port

    def stop(self) -> None:
        """Stop both servers, close open connections, and drop waiting calls."""
        self._http.stop()
        self.guard.faults.let_go()
        self._dns.stop()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def http_url(self) -> str:
        """The base URL of the API, in place of https://api.hetzner.cloud/v1."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.http_port}/v1"

    def answer(self, name: str, kind: str) -> list[str]:
        """Return the current values in DNS for a full name, sorted."""
        return dns.strings(self.zones.published(), name, kind)

    def _answer(self, packet: bytes, udp: bool) -> bytes:
        return dns.answer_bytes(self.zones.published(), packet, udp=udp)


def _listen_http(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise _unusable(host, port, "--http-port", error) from error


def _unusable(host: str, port: int, option: str, error: OSError) -> PortUnusableError:
    why = "is in use" if error.errno == errno.EADDRINUSE else f"can't be used ({error.strerror})"
    return PortUnusableError(
        f"port {port} on {host} {why}: stop the program that uses it,"
        f" or choose another port with {option} (0 selects a free one)"
    )
