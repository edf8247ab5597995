"""The settings for each router and program, with a host, its key and the URL of the service.

The templates are in ``setup_guides.txt``: each begins with a line ``== <device>: <name>``.
"""

from __future__ import annotations

import re
from pathlib import Path
from string import Template
from typing import Mapping, NamedTuple
from urllib.parse import quote, urlsplit

from backend.model import Hostname

EXAMPLE_URL = "https://your-backend.example.com"

# Characters that every firmware accepts: a Fritz!Box, for example, escapes none.
_HARMLESS = re.compile(r"[A-Za-z0-9_-]+")
# The same for a URL: in a shell it must not be able to end the quotes around it.
_ADDRESS = re.compile(r"https?://([\w.-]+|\[[0-9a-fA-F:.]+\])(:[0-9]{1,5})?(/[\w.~/-]*)?")
_HEAD = re.compile(r"^== (\w+): (.+)\n", re.MULTILINE)

_FILE = Path(__file__).with_suffix(".txt")
_, *_PARTS = _HEAD.split(_FILE.read_text(encoding="utf-8"))
# By device: its name; its template.
DEVICES: Mapping[str, str] = dict(zip(_PARTS[0::3], _PARTS[1::3]))
_TEMPLATES: Mapping[str, str] = dict(zip(_PARTS[0::3], _PARTS[2::3]))


class Snippet(NamedTuple):
    """The settings for one device. They contain the host's key."""

    device: str  # a key of DEVICES
    name: str
    text: str


def snippets(host: Hostname, key: str, url: str) -> list[Snippet]:
    """Return the settings for every device, in the order of `DEVICES`."""
    return [snippet(device, host, key, url) for device in DEVICES]


def snippet(device: str, host: Hostname, key: str, url: str) -> Snippet:
    """Return the settings for one device of `DEVICES`.

    `url` is where devices reach this service: http or https, without a final slash.
    """
    parts = urlsplit(url)
    is_secure = parts.scheme == "https"
    text = Template(_TEMPLATES[device].strip("\n")).substitute(
        host=host.text,
        key=key,
        quoted_key=quote(key, safe=""),  # in a URL
        url=url,
        scheme=parts.scheme,
        server=parts.netloc,
        path=parts.path,
        place=f"{parts.netloc}{parts.path}",
        yes="yes" if is_secure else "no",
        true="true" if is_secure else "false",
        one="1" if is_secure else "0",
    )
    return Snippet(device, DEVICES[device], text)


def is_harmless(key: str) -> bool:
    """Whether every device accepts the characters of this key."""
    return _HARMLESS.fullmatch(key) is not None


def is_address(url: str) -> bool:
    """Whether a text is a URL at which devices may reach this service, and nothing else."""
    try:
        urlsplit(url)
    except ValueError:  # the brackets contain no IPv6 address
        return False
    return _ADDRESS.fullmatch(url) is not None
