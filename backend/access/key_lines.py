"""What the lines of the key file mean: ``<fqdn> <key>``, comments, and how one is changed."""

from __future__ import annotations

import logging
import re
from typing import Dict, List, Tuple

from backend.errors import BadHostname
from backend.model import Hostname

BOM = "\ufeff"
_COMMENT = re.compile(r"(?:^|\s)#.*")  # a key may hold a #
_LINE = re.compile(r"(\s*\S+\s+)\S+")
_MEND = "write a host name, a blank and its key, without quotes"

logger = logging.getLogger(__name__)


class BadText(Exception):
    """What the file holds is no keys. Its flaw and its mend hold nothing of the text."""

    def __init__(self, flaw: str, mend: str) -> None:
        """Take both as parts of a sentence."""
        super().__init__(flaw)
        self.mend = mend


def parse(text: str) -> Dict[Hostname, str]:
    """Return the keys; raise `BadText` for a line that is none."""
    keys, flaws = sound_lines(text)
    if flaws:
        raise flaws[0]
    return keys


def sound_lines(text: str) -> Tuple[Dict[Hostname, str], List[BadText]]:
    """Return the keys of the lines that have one, and what is wrong with the others."""
    keys: Dict[Hostname, str] = {}
    flaws: List[BadText] = []
    for number, line in enumerate(text.lstrip(BOM).splitlines(), 1):
        fields = _COMMENT.sub("", line).split()
        if not fields:
            continue
        try:
            name, key = fields
            host = Hostname.parse(name)
        except (ValueError, BadHostname):
            # Never the line itself: it may hold a key.
            flaws.append(BadText(f"line {number} isn't `<fqdn> <key>`", _MEND))
            continue
        if host in keys:
            logger.warning("The key file has %s twice: line %d counts.", host, number)
        keys[host] = key
    return keys, flaws


def replaced(text: str, host: Hostname, key: str) -> str:
    """Return the text with another key for a host: in its last line, for that one counts."""
    known = parse(text)
    if host not in known:
        return text + ("" if text.endswith("\n") or not text else "\n") + f"{host} {key}\n"
    lines = text.splitlines(keepends=True)
    place = max(number for number, line in enumerate(lines) if _is_of(host, line))
    lines[place] = _LINE.sub(lambda found: found[1] + key, lines[place], count=1)
    return "".join(lines)


def _is_of(host: Hostname, line: str) -> bool:
    fields = _COMMENT.sub("", line).lstrip(BOM).split()
    return bool(fields) and Hostname.parse(fields[0]) == host
