"""Runs the demo: updates, a wrong key, an outage of Hetzner, and a host that falls silent."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import time
from typing import Iterator, NoReturn, TextIO

import requests

from backend import __version__
from demo.invitation import invitation
from demo.keeper import Keeper
from demo.ports import NAMES, Ports, checked
from demo.processes import ENDINGS, DemoFailed, say
from demo.stage import HOST, LAPTOP, NAS, OPERATOR, Stage

_CLIENT_SECONDS = 30
_PUSH_SECONDS = 30
_SILENCE_SECONDS = 8
_KNOWN_SECONDS = 5  # until every process of the service knows a new host


def play(stage: Stage) -> None:
    """Show each step, and check answers, DNS and pushes."""
    say("\n1. The client sends an address for the first time")
    client = stage.client(HOST, "198.51.100.10", interval=0)
    if client.wait(_CLIENT_SECONDS) != 0:
        raise DemoFailed("The client reported an error; see its lines above.")
    stage.expect_in_dns(HOST, "198.51.100.10")

    say("\n2. The operator adds a host while the service runs")
    stage.command("hosts", "add", NAS)
    known_at = time.monotonic() + _KNOWN_SECONDS
    stage.command("hosts", "set", NAS, "--lost-after", str(_SILENCE_SECONDS))

    say("\n3. A router sends a new address with dyndns2")
    _expect(_router(stage, HOST, "198.51.100.11"), "good 198.51.100.11")
    stage.expect_in_dns(HOST, "198.51.100.11")

    say("\n4. The router sends the same address again: answered from the cache")
    before = stage.calls()
    _expect(_router(stage, HOST, "198.51.100.11"), "nochg 198.51.100.11")
    calls = f"{stage.calls() - before} calls to Hetzner"
    say(f"   {calls}")
    _expect(calls, "0 calls to Hetzner")

    say("\n5. A request with a wrong key")
    _expect(_router(stage, HOST, "203.0.113.66", "not-the-key"), "badauth")
    stage.expect_in_dns(HOST, "198.51.100.11")

    say("\n6. The new host sends its only update")
    time.sleep(max(0.0, known_at - time.monotonic()))
    _expect(_router(stage, NAS, "198.51.100.40"), "good 198.51.100.40")

    say("\n7. Hetzner has an outage: the service stores the update and publishes it by itself")
    stage.fail_hetzner()
    _expect(_router(stage, HOST, "198.51.100.12"), "911")
    stage.repair_hetzner()
    say("   The outage has ended, and nobody sends the update again.")
    stage.expect_in_dns(HOST, "198.51.100.12")

    say(f"\n8. {NAS} sends no update for {_SILENCE_SECONDS} seconds: a push reports it")
    stage.pushes.expect(f"{NAS} is lost", _PUSH_SECONDS)


def _router(stage: Stage, host: str, address: str, key: str = "") -> str:
    path = f"/nic/update?hostname={host}&myip={address}"
    say(f"   GET {path}")
    login = (host, key or stage.key(host))
    answer = stage.web.get(stage.url + path, auth=login, timeout=20).text.strip()
    say(f"   answer: {answer}")
    return answer


def _expect(seen: str, expected: str) -> None:
    if seen != expected:
        raise DemoFailed(f"Expected {expected!r}, but got {seen!r}.")


@contextlib.contextmanager
def _staged(ports: Ports) -> Iterator[Stage]:
    keeper = Keeper()
    stage = Stage(ports, keeper)
    try:
        stage.start()
        yield stage
    finally:
        stage.end()
        keeper.finish()


def _run(ports: Ports, *, once: bool) -> None:
    say("Starting the sandbox (instead of Hetzner) and the backend …")
    with _staged(ports) as stage:
        play(stage)
        if once:
            say("\nEverything works.")
            return
        stage.client(LAPTOP, "198.51.100.30", interval=10)
        stage.expect_in_dns(LAPTOP, "198.51.100.30")
        invite(stage)
        while not any(program.has_ended for program in stage.programs[:2]):
            time.sleep(0.5)
        raise DemoFailed("A server has stopped; see its lines above.")


def invite(stage: Stage) -> None:
    """Print the URL of the dashboard, and commands to try."""
    say(f"\nSee all of this on the dashboard: {stage.url}/")
    say("User name {}, password {}".format(*OPERATOR))
    say(f"  {HOST}: its page shows the outage and the request with a wrong key")
    say(f"  {NAS}: silent, until it sends an update")
    say(f"  {LAPTOP}: the client keeps it up to date")
    say("\nTry these commands in another terminal.")
    say(invitation(HOST, NAS, stage.key, stage.ports, stage.folder))
    say("Press Ctrl-C to stop the demo.\n")


def _interrupt(_signal: int, _frame: object) -> NoReturn:
    # Ignore further signals, so that they don't interrupt the cleanup.
    for number in ENDINGS:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def _handle_signals() -> None:
    for number in ENDINGS:
        # nohup ignores SIGHUP, so that the program survives the terminal.
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _interrupt)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    add = parser.add_argument
    add("--http-port", metavar="PORT", default="8080", help="port of the backend (8080)")
    add("--hetzner-port", metavar="PORT", default="8090", help="port of the sandbox's API (8090)")
    add("--dns-port", metavar="PORT", default="5354", help="port of the sandbox's DNS (5354)")
    add("--once", action="store_true", help="run the steps once, then exit")
    add("--version", action="version", version=f"hetzner-dyndns demo {__version__}")
    return parser.parse_args()


def main() -> None:
    """Run the demo; exit with status 1 and one line if a step fails."""
    options = _options()
    try:
        ports = checked([getattr(options, name.lower()) for name in NAMES])
    except DemoFailed as error:
        sys.exit(str(error))
    try:
        _handle_signals()
        _run(ports, once=options.once)
    except KeyboardInterrupt:
        _print_last(sys.stdout, "\nEnded; nothing is left behind.")
    except (DemoFailed, requests.RequestException, OSError) as error:
        _print_last(sys.stdout, "")
        _print_last(sys.stderr, f"The demonstration failed: {error}")
        sys.exit(1)


def _print_last(stream: TextIO, line: str) -> None:
    """Print a last line, unless the terminal or the reader of the pipe has gone."""
    try:
        print(line, file=stream, flush=True)
    except OSError:
        # Otherwise Python would report at exit that it can't flush the stream.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


if __name__ == "__main__":
    main()
