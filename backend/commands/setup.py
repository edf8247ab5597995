"""Prints the settings for a router or a program that updates a host, key included."""

from __future__ import annotations

import argparse
import sys
from typing import Mapping

from backend.commands.context import service_context
from backend.errors import KeyFileUnusable, not_registered
from backend.setup_guides import DEVICES, EXAMPLE_URL, is_address, is_harmless, snippet

_ANY = "any"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the host, the device and the URL of the service."""
    parser.add_argument("host", metavar="HOST", help="a registered host, or its first label")
    parser.add_argument(
        "--for",
        dest="device",
        choices=list(DEVICES),
        default=_ANY,
        help="the device or program; default: settings for any device, and the list of devices",
    )
    parser.add_argument(
        "--url",
        type=_url,
        default=EXAMPLE_URL,
        help="the URL at which devices reach this service (default: %(default)s)",
    )


def _url(text: str) -> str:
    if not is_address(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a URL: write it as in {EXAMPLE_URL}")
    return text.rstrip("/")


def run(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Print the settings on standard output, and notes without the key on standard error.

    Raises:
        HostNotAllowed: the host isn't registered.
        KeyFileUnusable: the host has no key yet.

    """
    url = arguments.url
    with service_context(environ) as context:
        host = context.host(arguments.host)
        if host not in context.registry:
            raise not_registered(host)
        key = context.keys.read().get(host)
        has_certificates = context.settings.access.acme_dns
    if key is None:
        raise KeyFileUnusable(f"{host} has no key yet", hint="start the service once.")
    guide = snippet(arguments.device, host, key, url)
    print(f"{guide.name}, for {host}:\n", file=sys.stderr, flush=True)
    print(guide.text)
    if arguments.device == _ANY:
        print("\nSettings for one device, with --for:")
        print("\n".join(f"  {device:<12} {name}" for device, name in DEVICES.items()))
    if url == EXAMPLE_URL:
        print("\nReplace the example URL, or pass your own: --url https://…", file=sys.stderr)
    elif url.startswith("http:"):
        print("\nWithout TLS (https), others on the network can read the key.", file=sys.stderr)
    if "/acme" in guide.text and not has_certificates:
        print("\nFor certificates, the service needs ACME_DNS=1.", file=sys.stderr)
    if not is_harmless(key):
        note = "Some devices don't accept this key: use only letters, digits, - and _."
        print(f"\n{note}", file=sys.stderr)
    return 0
