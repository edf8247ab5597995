"""Runs a local substitute for Hetzner: the Cloud DNS API, and the same zones as real DNS."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path
from queue import SimpleQueue

from backend import __version__

try:
    from sandbox.controls import DEMO_TOKEN
    from sandbox.running import PortUnusableError, Sandbox
except ModuleNotFoundError as error:
    if str(error.name).startswith("sandbox"):
        raise
    needs = Path(__file__).with_name("requirements.txt")
    sys.exit(
        f"sandbox: {error.name} isn't installed: run {sys.executable} -m pip install -r {needs}"
    )


def main(arguments: list[str] | None = None) -> int:
    """Serve until SIGTERM or Ctrl-C; return 1 if a port can't be used, exit 2 for bad options."""
    # Not an Event: a signal that arrives while `wait` holds the event's lock would block in `set`.
    # https://docs.python.org/3/library/queue.html, SimpleQueue.put
    stopping: SimpleQueue[None] = SimpleQueue()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.put(None))
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        sandbox = Sandbox(
            options.zone or ["example.com"],
            options.token or [DEMO_TOKEN],
            read_only_tokens=options.read_only_token,
            action_seconds=options.action_seconds,
            limits=tuple(options.limits),
            hour_seconds=options.hour_seconds,
        )
    except ValueError as error:
        parser.error(str(error))
    try:
        sandbox.start(options.host, options.http_port, options.dns_port)
    except PortUnusableError as error:
        print(f"sandbox: {error}", file=sys.stderr)
        return 1
    _announce(sandbox, show_token=not options.token)
    stopping.get()
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
    zones = "initial zones, visible to all tokens or to one (example.com)"
    add("--zone", nargs="+", action="extend", metavar="NAME[=TOKEN]", help=zones)
    add("--token", nargs="+", action="extend", help="tokens with read and write permission")
    readers = "tokens with read permission only"
    add("--read-only-token", nargs="+", action="extend", default=[], metavar="TOKEN", help=readers)
    _add_speeds(parser)
    add("--version", action="version", version=f"hetzner-dyndns sandbox {__version__}")
    return parser


def _add_speeds(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    action = "how long a change takes to reach the DNS (%(default)s)"
    add("--action-seconds", type=float, default=0.5, metavar="SECONDS", help=action)
    limits = "calls an hour for each token: most calls, and calls for actions (3600 7200)"
    names = ("CALLS", "ACTIONS")
    add("--limits", nargs=2, type=int, default=(3600, 7200), metavar=names, help=limits)
    hour = "length of the hour in which these limits are refilled (%(default)s)"
    add("--hour-seconds", type=float, default=3600, metavar="SECONDS", help=hour)


def port_number(text: str) -> int:
    """Return a port or raise ValueError; argparse shows the name of this function."""
    port = int(text)
    if not 0 <= port <= 65535:  # noqa: PLR2004
        raise ValueError
    return port


if __name__ == "__main__":
    sys.exit(main())
