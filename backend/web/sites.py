"""Refuses updates that another web site makes a browser send with the operator's login."""

from __future__ import annotations

import logging
import re
from typing import Optional, Sequence, Tuple

from flask import Request, request

from backend.errors import CrossSite
from backend.rate import LineLimit
from backend.web.request import Network, client_address, hosts

logger = logging.getLogger(__name__)

# RFC 6454 §6.2 (an origin) and RFC 9110 §7.2 (the header Host).
_HOST = r"(\[[0-9a-f:.]+\]|[^]\[:/?#@,\s]+)(?::([0-9]{0,5}))?"
_AUTHORITY = re.compile(_HOST, re.IGNORECASE)
_ORIGIN = re.compile(rf"(https?)://{_HOST}", re.IGNORECASE)
_DEFAULT_PORTS = {"http": "80", "https": "443"}


class SiteCheck:
    """Checks each request to the update endpoints. Safe to share between threads."""

    def __init__(self, trusted: Sequence[Network]) -> None:
        self._trusted = trusted
        self._lines = LineLimit()

    def refuse(self) -> None:
        """Raise `CrossSite` if another site has sent the current request."""
        if not is_cross_site(request, self._trusted):
            return
        if self._lines.take() is not None:
            logger.warning(
                "Refused an update from a browser at %s: another web site has caused the request.",
                client_address(request, self._trusted),
            )
        raise CrossSite("Another web site has sent this request: only devices may send updates.")


def is_cross_site(sent: Request, trusted: Sequence[Network]) -> bool:
    """Return whether a browser marks a request as coming from another origin.

    Browsers add ``Sec-Fetch-Site`` over HTTPS and to localhost, and otherwise ``Origin`` to forms
    and scripts. Devices send neither. Any value that a browser doesn't send for our own pages
    counts as another site.
    """
    site = sent.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site not in ("same-origin", "none")
    origin = sent.headers.get("Origin")
    if origin is None:
        return False
    found = _ORIGIN.fullmatch(origin)
    if found is None:
        return True
    scheme = found[1].lower()
    ours = (_AUTHORITY.fullmatch(host) for host in hosts(sent, trusted))
    theirs = _host_and_port(found[2], found[3], scheme)
    return theirs not in [_host_and_port(one[1], one[2], scheme) for one in ours if one]


def _host_and_port(host: str, port: Optional[str], scheme: str) -> Tuple[str, str]:
    """Return host and port; without a port, the default port of the origin's scheme.

    A proxy may not pass on the scheme that the browser used, so the scheme of the request doesn't
    count.
    """
    return host.lower(), port or _DEFAULT_PORTS[scheme]
