"""The commands `keys` and `setup`: which host has which key, and what to enter into its device."""

from __future__ import annotations

import argparse
import sys
from typing import Mapping

from backend.commands.context import (
    OPERATOR,
    Context,
    print_json,
    print_table,
    service_context,
)
from backend.errors import KeyFileUnusable, not_registered
from backend.model import Hostname, shown
from backend.setup_guides import DEVICES, EXAMPLE_URL, is_address, is_harmless, snippet
from backend.text import counted

_TASKS = ("list", "rotate", "share")
_ANY = "any"


def keys(parser: argparse.ArgumentParser) -> None:
    """Lists the hosts that have a key; replaces a key, or shares it with another host."""
    parser.set_defaults(run=run_keys, tasks=_TASKS)
    tasks = parser.add_subparsers(dest="task", required=True, metavar="|".join(_TASKS))
    listing = tasks.add_parser("list", help="show which hosts have a key, without the keys")
    listing.add_argument("--json", action="store_true", help="print JSON; shows no key")
    rotate = tasks.add_parser("rotate", help="replace the key of a host, and show the new one once")
    rotate.add_argument("host")
    share = tasks.add_parser("share", help="give another host the key of a host")
    share.add_argument("host")
    share.add_argument("other", metavar="with")


def run_keys(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Carry out the task."""
    with service_context(environ) as context:
        if arguments.task == "list":
            _list(context, as_json=arguments.json)
            return 0
        host = context.host(arguments.host)
        if arguments.task == "rotate":
            key = context.actions.rotate(host, OPERATOR)
            print(f"{host} has a new key. The old key is no longer valid.\n{key}")
        else:
            other = context.host(arguments.other)
            has_replaced = context.actions.share(host, other, OPERATOR)
            old = " Its old key is no longer valid." if has_replaced else ""
            print(f"{other} now has the key of {host}.{old}")
    return 0


def _list(context: Context, *, as_json: bool) -> None:
    registered = context.registry
    stored = context.keys.read() if registered or context.keys.exist() else {}
    names = [*registered, *(other for other in stored if other not in registered)]
    sharing: dict[str, list[Hostname]] = {}
    for name, key in stored.items():
        sharing.setdefault(key, []).append(name)
    found = [
        {
            "host": name.text,
            "registered": name in registered,
            "characters": len(stored.get(name, "")),
            "shared_with": [
                other.text for other in sharing.get(stored.get(name, ""), ()) if other != name
            ],
        }
        for name in names
    ]
    if as_json:
        print_json(found)
        return
    rows = []
    for one in found:
        notes = [] if one["registered"] else ["not registered"]
        notes += [f"shared with {', '.join(one['shared_with'])}"] if one["shared_with"] else []
        key = counted(one["characters"], "character") if one["characters"] else "none yet"
        rows.append((shown(Hostname(one["host"])), key, "; ".join(notes)))
    print_table(("HOST", "KEY", ""), rows, f"{counted(len(stored), 'key')}.", in_pages=True)


def setup(parser: argparse.ArgumentParser) -> None:
    """Prints the settings for a router or a program that updates a host, key included."""
    parser.set_defaults(run=run_setup)
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


def run_setup(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
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
