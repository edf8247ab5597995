"""A DNS server over UDP and TCP; for 127.0.0.1 it also listens on ::1."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import struct
import threading
from typing import Callable, List, Union

_POLL_SECONDS = 0.02
_TRIES = 20
# From a packet, and whether it came over UDP, to the answer; b"" for none.
Answers = Callable[[bytes, bool], bytes]


class _Udp(socketserver.ThreadingUDPServer):
    daemon_threads = True
    max_packet_size = 65535

    def __init__(self, host: str, port: int, answers: Answers) -> None:
        self.address_family = _family(host)
        self.answers = answers
        super().__init__((host, port), _Packet)


class _Tcp(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, host: str, port: int, answers: Answers) -> None:
        self.address_family = _family(host)
        self.answers = answers
        super().__init__((host, port), _Stream)


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


class _Packet(socketserver.BaseRequestHandler):
    server: _Udp

    def handle(self) -> None:
        packet, listening = self.request
        answer = self.server.answers(packet, True)
        if answer:
            listening.sendto(answer, self.client_address)


class _Stream(socketserver.StreamRequestHandler):
    server: _Tcp
    timeout = 10

    def handle(self) -> None:
        try:
            while self._answer_next():
                pass
        except OSError:
            # The client has gone, or has sent nothing for too long.
            return

    def _answer_next(self) -> bool:
        length = self.rfile.read(2)
        if len(length) < 2:  # noqa: PLR2004
            return False
        answer = self.server.answers(self.rfile.read(*struct.unpack("!H", length)), False)
        if answer:
            self.wfile.write(struct.pack("!H", len(answer)) + answer)
        return bool(answer)


Servers = List[Union[_Udp, _Tcp]]


class DnsServer:
    """Listens on one port over UDP and TCP; port 0 selects a free one."""

    def __init__(self, host: str, port: int, answers: Answers) -> None:
        self._servers = _listen(host, port, answers, tries=1 if port else _TRIES)
        self.port: int = self._servers[0].server_address[1]
        if host == "127.0.0.1":
            # localhost may resolve to either family; a machine without IPv6 is no error.
            with contextlib.suppress(OSError):
                self._servers += _listen("::1", self.port, answers)
        self._threads = [
            threading.Thread(target=server.serve_forever, args=[_POLL_SECONDS], daemon=True)
            for server in self._servers
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stop listening."""
        for server in self._servers:
            server.shutdown()
            server.server_close()
        for thread in self._threads:
            thread.join()


def _listen(host: str, port: int, answers: Answers, tries: int = 1) -> Servers:
    tcp = _Tcp(host, port, answers)
    try:
        return [tcp, _Udp(host, tcp.server_address[1], answers)]
    except OSError:
        tcp.server_close()
        if tries == 1:
            raise
    # Port 0 was requested, and the selected port is free only for TCP: select another one.
    return _listen(host, port, answers, tries - 1)
