"""Runs the sandbox from the command line until it is told to stop."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from typing import List, Optional

from sandbox.controls import DEMO_TOKEN
from sandbox.running import PortUnusableError, Sandbox


def main(arguments: Optional[List[str]] = None) -> int:
    """Serve until SIGTERM or Ctrl-C; 1 if a port can't be used, 2 if an option makes no sense."""
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        sandbox = Sandbox(
            options.zone or ["example.com"],
            options.token or [DEMO_TOKEN],
            read_only_tokens=options.read_only_token,
            action_seconds=options.action_seconds,
        )
    except ValueError as error:
        parser.error(str(error))
    try:
        sandbox.start(options.host, options.http_port, options.dns_port)
    except PortUnusableError as error:
        print(f"sandbox: {error}", file=sys.stderr)
        return 1
    _announce(sandbox, show_token=not options.token)
    stopping.wait()
    sandbox.stop()
    return 0


def _announce(sandbox: Sandbox, *, show_token: bool) -> None:
    print(f"http {sandbox.http_url}")
    print(f"dns {sandbox.host}:{sandbox.dns_port}")
    if show_token:
        print(f"token {sandbox.token}")
    print("sandbox ready", flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m sandbox", description=__doc__)
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    add("--http-port", type=port_number, default=8090, help="port of the API (%(default)s; 0: any)")
    add("--dns-port", type=port_number, default=5354, help="port of the DNS (%(default)s; 0: any)")
    add(
        "--zone",
        nargs="+",
        action="extend",
        metavar="NAME[=TOKEN]",
        help="zones to begin with, seen by all tokens or by one (example.com)",
    )
    add("--token", nargs="+", action="extend", help="tokens that may read and write")
    add(
        "--read-only-token",
        nargs="+",
        action="extend",
        default=[],
        metavar="TOKEN",
        help="tokens that may only read",
    )
    add(
        "--action-seconds",
        type=float,
        default=0.5,
        metavar="SECONDS",
        help="how long a change takes to reach the DNS (%(default)s)",
    )
    return parser


def port_number(text: str) -> int:
    """A port, or ValueError; argparse shows this function's name."""
    port = int(text)
    if not 0 <= port <= 65535:  # noqa: PLR2004
        raise ValueError
    return port


if __name__ == "__main__":
    sys.exit(main())
