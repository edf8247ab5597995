"""Refuses what another web site makes a browser send, along with the login that it remembers."""

from __future__ import annotations

import logging
import re
import threading
import time
from typing import Callable, Optional, Sequence, Tuple

from flask import Request, request

from backend.access.token_bucket import TokenBucket
from backend.errors import CrossSite
from backend.web import wire

# RFC 6454 §6.2 (an origin) and RFC 9110 §7.2 (the header Host).
_HOST = r"(\[[0-9a-f:.]+\]|[^]\[:/?#@,\s]+)(?::([0-9]{0,5}))?"
_AUTHORITY = re.compile(_HOST, re.IGNORECASE)
_ORIGIN = re.compile(rf"(https?)://{_HOST}", re.IGNORECASE)
_DEFAULT_PORTS = {"http": "80", "https": "443"}
_LINES_AT_ONCE, _LINES_A_SECOND = 5.0, 1 / 60

logger = logging.getLogger(__name__)


class SiteCheck:
    """Checks each request to the update endpoints. Safe to share between threads."""

    def __init__(
        self, trusted: Sequence[wire.Network], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._trusted = trusted
        self._clock = clock
        self._lock = threading.Lock()
        self._lines = TokenBucket(_LINES_AT_ONCE, _LINES_A_SECOND, clock())

    def refuse(self) -> None:
        """Check the current request.

        Raises:
            CrossSite: another site has sent it. Its login doesn't matter and isn't looked at.

        """
        if not is_cross_site(request, self._trusted):
            return
        with self._lock:
            is_logged = self._lines.take(self._clock())
        if is_logged:
            logger.warning(
                "Refused an update that another web site made a browser at %s send.",
                wire.client_address(request, self._trusted),
            )
        raise CrossSite("Another web site has sent this request: updates are for devices.")


def is_cross_site(sent: Request, trusted: Sequence[wire.Network]) -> bool:
    """Return whether a browser marks a request as coming from another origin.

    Browsers add ``Sec-Fetch-Site`` over HTTPS and to localhost; elsewhere the ``Origin`` of forms
    and scripts has to do. Devices send neither. Whatever isn't exactly what a browser sends for our
    own pages counts as another site.
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
    theirs = _place(found[2], found[3], scheme)
    return theirs not in [_read(host, scheme) for host in wire.hosts(sent, trusted)]


def _read(host: str, scheme: str) -> Optional[Tuple[str, str]]:
    found = _AUTHORITY.fullmatch(host)
    return _place(found[1], found[2], scheme) if found else None


def _place(host: str, port: Optional[str], scheme: str) -> Tuple[str, str]:
    """Return host and port. A host without a port has the default port of the origin's scheme.

    The scheme that the browser used isn't known behind a proxy that doesn't tell it.
    """
    return host.lower(), port or _DEFAULT_PORTS[scheme]
