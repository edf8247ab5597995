"""Prints what to paste into a router or a program so that it updates a host, key included."""

from __future__ import annotations

import argparse
import sys
from typing import Iterator, Mapping

from backend.auth.keys import KeyFile
from backend.errors import HostNotAllowed, KeyFileUnusable
from backend.model import Hostname
from backend.settings import read_access
from backend.setup_guides import DEVICES, EXAMPLE_URL, is_address, is_harmless, snippet

_ANY = "any"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Take a host, a device, and where the service is reached."""
    parser.add_argument("host", type=Hostname.parse, metavar="HOST", help="a registered host name")
    parser.add_argument(
        "--for",
        dest="device",
        choices=list(DEVICES),
        default=_ANY,
        help="the device or program; without it, what any needs, and the list of them",
    )
    parser.add_argument(
        "--url",
        type=_url,
        default=EXAMPLE_URL,
        help="where the world reaches this service (default: %(default)s)",
    )


def run(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Print it on standard output, what is said of it elsewhere: there is no key.

    Raises:
        HostNotAllowed: the host isn't registered.
        KeyFileUnusable: it has no key yet.

    """
    host = arguments.host
    key = _key_of(host, environ)
    told = snippet(arguments.device, host, key, arguments.url)
    print(f"{told.name}, for {host}:\n", file=sys.stderr, flush=True)
    print(told.text)
    if arguments.device == _ANY:
        print("\nMore exactly, with --for:")
        print("\n".join(f"  {device:<11} {name}" for device, name in DEVICES.items()))
    for note in _notes(key, arguments.url):
        print(f"\n{note}", file=sys.stderr)
    return 0


def _key_of(host: Hostname, environ: Mapping[str, str]) -> str:
    access = read_access(environ)
    if host not in access.hosts:
        raise HostNotAllowed(f"{host} isn't registered: add it to REGISTERED_FQDNS.")
    key = KeyFile(access.key_file).read().get(host)
    if key is None:
        raise KeyFileUnusable(
            f"PRE_SHARED_KEY_FILE: {access.key_file} has no key of {host} yet",
            hint="start the service once, and it makes one.",
        )
    return key


def _notes(key: str, url: str) -> Iterator[str]:
    if url == EXAMPLE_URL:
        yield "Put your own address in, or name it: --url https://…"
    elif url.startswith("http:"):
        yield "Without TLS (https) the key can be read on the way."
    if not is_harmless(key):
        yield "Some devices trip over characters of this key: take letters, digits, - and _."


def _url(text: str) -> str:
    if not is_address(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no URL, as in {EXAMPLE_URL}")
    return text.rstrip("/")
