"""Plays the demonstration: an address is sent, answered, and looked up in the DNS."""

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
from demo.ports import NAMES, Ports, chosen
from demo.processes import ENDINGS, DemoFailed, say
from demo.stage import HOST, LAPTOP, OPERATOR, Stage

_CLIENT_SECONDS = 30


def play(stage: Stage) -> None:
    """Do the main job once by each way in, and check what the DNS says."""
    say("\n1. The client sends an address for the first time")
    client = stage.client(HOST, "198.51.100.10", interval=0)
    if client.wait(_CLIENT_SECONDS) != 0:
        raise DemoFailed("The client reports a failure; see its lines above.")
    stage.expect_in_dns(HOST, "198.51.100.10")

    say("\n2. A router sends a new address by dyndns2")
    _expect(_router(stage, "198.51.100.11", stage.key(HOST)), "good 198.51.100.11")
    stage.expect_in_dns(HOST, "198.51.100.11")

    say("\n3. It sends the same address again: answered from memory")
    before = stage.calls()
    _expect(_router(stage, "198.51.100.11", stage.key(HOST)), "nochg 198.51.100.11")
    asked = f"Hetzner was asked {stage.calls() - before} times"
    say(f"   {asked}")
    _expect(asked, "Hetzner was asked 0 times")

    say("\n4. Somebody without the key tries the same")
    _expect(_router(stage, "203.0.113.66", "not-the-key"), "badauth")
    stage.expect_in_dns(HOST, "198.51.100.11")


def _router(stage: Stage, address: str, key: str) -> str:
    path = f"/nic/update?hostname={HOST}&myip={address}"
    say(f"   GET {path}")
    answer = stage.web.get(stage.url + path, auth=("host", key), timeout=10).text.strip()
    say(f"   answer: {answer}")
    return answer


def _expect(seen: str, expected: str) -> None:
    if seen != expected:
        raise DemoFailed(f"Expected {expected!r}, but saw {seen!r}.")


@contextlib.contextmanager
def _staged(ports: Ports) -> Iterator[Stage]:
    keeper = Keeper()
    stage = Stage(ports, keeper)
    try:
        stage.start()
        yield stage
    finally:
        stage.end()
        keeper.dismiss()


def _run(ports: Ports, *, once: bool) -> None:
    say("Starting the sandbox (in Hetzner's place) and the backend …")
    with _staged(ports) as stage:
        play(stage)
        if once:
            say("\nAll as it should be.")
            return
        stage.client(LAPTOP, "198.51.100.30", interval=10)
        stage.expect_in_dns(LAPTOP, "198.51.100.30")
        invite(stage)
        while not any(program.has_ended for program in stage.programs[:2]):
            time.sleep(0.5)
        raise DemoFailed("A server has ended; see its lines above.")


def invite(stage: Stage) -> None:
    """Say what to type to see it work."""
    say("\nNow you. In another terminal:")
    say(invitation(HOST, stage.key(HOST), stage.ports, stage.folder))
    say(f"Meanwhile the client keeps {LAPTOP} up to date. The status page is at {stage.url}/,")
    say("user {}, password {}. Ctrl-C ends everything.\n".format(*OPERATOR))


def _interrupt(_signal: int, _frame: object) -> NoReturn:
    # Once is enough: a second one must not disturb the cleaning up.
    for number in ENDINGS:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def _heed_signals() -> None:
    for number in ENDINGS:
        # Whoever has started this by nohup doesn't want it to end with the terminal.
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _interrupt)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    add = parser.add_argument
    add("--http-port", metavar="PORT", default="8080", help="the backend (8080)")
    add("--hetzner-port", metavar="PORT", default="8090", help="the sandbox's API (8090)")
    add("--dns-port", metavar="PORT", default="5354", help="the sandbox's DNS (5354)")
    add("--once", action="store_true", help="check the job once, then end")
    add("--version", action="version", version=f"hetzner-dyndns demo {__version__}")
    return parser.parse_args()


def main() -> None:
    """Play the demonstration; exit 1 with one line when it doesn't go as it should."""
    options = _options()
    try:
        ports = chosen([getattr(options, name.lower()) for name in NAMES])
    except DemoFailed as error:
        sys.exit(str(error))
    try:
        _heed_signals()
        _run(ports, once=options.once)
    except KeyboardInterrupt:
        _part(sys.stdout, "\nEnded; nothing is left behind.")
    except (DemoFailed, requests.RequestException, OSError) as error:
        _part(sys.stdout, "")
        _part(sys.stderr, f"The demonstration failed: {error}")
        sys.exit(1)


def _part(stream: TextIO, word: str) -> None:
    """Say a last word, if there is still somebody to hear it, a terminal or a pipe's reader."""
    try:
        print(word, file=stream, flush=True)
    except OSError:
        # Or Python would complain of what it can't flush.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


if __name__ == "__main__":
    main()
