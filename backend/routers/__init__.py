"""What to paste into which router or program, so that it updates a host."""

from __future__ import annotations

import re
from string import Template
from typing import List, Mapping, NamedTuple
from urllib.parse import quote, urlsplit

from backend.model import Hostname
from backend.routers import devices, programs

# Characters that no firmware trips over: a Fritz!Box, for one, escapes nothing.
_HARMLESS = re.compile(r"[A-Za-z0-9_-]+")
# The same of an address: what is pasted into a shell must not be able to end its quotes.
_ADDRESS = re.compile(r"https?://([\w.-]+|\[[0-9a-fA-F:.]+\])(:[0-9]{1,5})?(/[\w.~/-]*)?")

EXAMPLE_URL = "https://your-backend.example.com"

_TEMPLATES = {**devices.TEMPLATES, **programs.TEMPLATES}
# By id: how people call it.
DEVICES: Mapping[str, str] = {device: name for device, (name, _) in _TEMPLATES.items()}


class Snippet(NamedTuple):
    """What to fill in for one device; it holds the host's key."""

    device: str  # a key of DEVICES
    name: str
    text: str


def snippets(host: Hostname, key: str, url: str) -> List[Snippet]:
    """Return what to paste for every device, in the order of `DEVICES`.

    `url` is where the world reaches this service: http or https, without a final slash.
    """
    return [snippet(device, host, key, url) for device in DEVICES]


def snippet(device: str, host: Hostname, key: str, url: str) -> Snippet:
    """Return what to paste for one device of `DEVICES`; a `KeyError` for any other."""
    name, text = _TEMPLATES[device]
    return Snippet(device, name, Template(text.strip("\n")).substitute(_fields(host, key, url)))


def is_harmless(key: str) -> bool:
    """Whether every device can be given this key as it stands."""
    return _HARMLESS.fullmatch(key) is not None


def is_address(url: str) -> bool:
    """Whether a text can be where the world reaches this service, and nothing else."""
    try:
        urlsplit(url)
    except ValueError:  # what is in brackets is no IPv6 address
        return False
    return _ADDRESS.fullmatch(url) is not None


def _fields(host: Hostname, key: str, url: str) -> Mapping[str, str]:
    parts = urlsplit(url)
    is_secure = parts.scheme == "https"
    return {
        "host": host.text,
        "key": key,
        "quoted_key": quote(key, safe=""),  # in a URL
        "url": url,
        "scheme": parts.scheme,
        "server": parts.netloc,
        "path": parts.path,
        "place": f"{parts.netloc}{parts.path}",
        "yes": "yes" if is_secure else "no",
        "true": "true" if is_secure else "false",
        "one": "1" if is_secure else "0",
    }
