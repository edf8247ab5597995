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

# Characters that some firmware doesn't accept: a Fritz!Box, for example, escapes none.
_HARMFUL = re.compile(r"[^A-Za-z0-9_-]")
# The same for a URL, which must not end the quotes around it in a shell.
_ADDRESS = re.compile(r"https?://([\w.-]+|\[[0-9a-fA-F:.]+\])(:[0-9]{1,5})?(/[\w.~/-]*)?")
_HEAD = re.compile(r"^== ([\w.-]+): (.+)\n", re.MULTILINE)

# A field, as in ``  User name        host.example.com``.
_FIELD = re.compile(r" *(?P<name>[A-Z][\w/() -]*?(?: \[IPv[46]\])?) {2,}(?P<value>[^= ].*)")

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


def snippet(device: str, host: Hostname, key: str, url: str) -> Snippet:
    """Return the settings for one device of `DEVICES`.

    `url` is where devices reach this service: http or https, without a final slash.
    """
    parts = urlsplit(url)
    is_secure = parts.scheme == "https"
    shell_key = key.replace("'", r"'\''")  # for single quotes, in a shell and in OpenWrt's UCI
    json_key = _escaped(key, r'["\\]')
    template = Template(_TEMPLATES[device].strip("\n"))
    text = template.substitute(
        host=host.text,
        below=host.text.replace("*", "any", 1),  # a name that the wildcard matches
        parent=host.text[2:] if host.is_wildcard else host.text,
        key=key,
        url_key=quote(key, safe=""),
        shell_key=shell_key,
        # Some cron versions turn `%` into a line end, even in quotes. Others keep a `\` before it.
        cron_key=shell_key.replace("%", r"""'$(printf "\045")'"""),
        compose_key=key.replace("'", "''").replace("$", "$$"),
        json_key=json_key,
        yaml_json_key=json_key.replace("'", "''"),
        # In backticks, a Caddyfile has no escapes; in quotes, only those of quotes.
        caddy_key=f'"{_escaped(key, chr(34))}"' if "`" in key else f"`{key}`",
        inadyn_key=_escaped(key, r'["\\$]'),
        # A string in the text of a script, which is a string itself.
        routeros_key=_escaped(_escaped(key, r'["\\$]'), r'["\\$?]'),
        powershell_key=_HARMFUL.sub(_powershell, key),
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


class Part(NamedTuple):
    """A part of the settings: a field of the device's form with its value, or a line of text."""

    name: str  # empty: a line of text, or a value without a name
    value: str
    text: str = ""


def parts(text: str) -> list[Part]:
    """Split the settings for a device with a form into fields, in the order of the form.

    Returns nothing for a device that takes a file or a command: its settings are one piece.
    """
    found: list[Part] = []
    lines = text.splitlines()
    for before, line in zip(["", *lines], lines):
        field = _FIELD.fullmatch(line)
        if field is not None:
            found.append(Part(field["name"], field["value"]))
        elif line.startswith("  "):
            found.append(Part("", line.strip()))
        elif before.strip() and found and found[-1].text:
            found[-1] = Part("", "", f"{found[-1].text} {line}".strip())
        elif line.strip():
            found.append(Part("", "", line.strip()))
    return found if any(one.name for one in found) else []


def _escaped(text: str, characters: str) -> str:
    return re.sub(characters, r"\\\g<0>", text)


def _powershell(found: re.Match[str]) -> str:
    """Return a character as a number, which neither cmd.exe nor schtasks nor PowerShell changes."""
    units = found[0].encode("utf-16-le")
    pairs = zip(units[::2], units[1::2])
    return "".join(f"'+[char]{low + 256 * high}+'" for low, high in pairs)


def is_harmless(key: str) -> bool:
    """Whether every device accepts the characters of this key."""
    return bool(key) and not _HARMFUL.search(key)


def is_address(url: str) -> bool:
    """Whether a text is a URL at which devices may reach this service, and nothing else."""
    try:
        urlsplit(url)
    except ValueError:  # the brackets contain no IPv6 address
        return False
    return _ADDRESS.fullmatch(url) is not None
