"""Who has sent a request: the client behind proxies, or a browser on another site."""

from __future__ import annotations

import ipaddress
import logging
import re
from typing import Any, Collection, Mapping, Sequence

from flask import Request, Response, request

from backend.auth.keys import SHORTEST
from backend.errors import CrossSite
from backend.model import IP, Network
from backend.rate import DAY, LineLimit

logger = logging.getLogger(__name__)

SOURCE = "dyndns.source"  # in the environment of an update: the address of its client
_UNREAD = (400, 405, 413)  # of requests that are refused before their login is read
_MAX_HOPS = 20  # usual chains have two or three proxies
# The headers in which proxies and CDNs name their client.
_NAMING = ("CF-Connecting-IP", "True-Client-IP", "X-Real-Ip", "X-Forwarded-For")
# RFC 6454 §6.2 (an origin) and RFC 9110 §7.2 (the header Host).
_HOST = r"(\[[0-9a-f:.]+\]|[^]\[:/?#@,\s]+)(?::([0-9]{0,5}))?"
_AUTHORITY = re.compile(_HOST, re.IGNORECASE)
_ORIGIN = re.compile(rf"(https?)://{_HOST}", re.IGNORECASE)
_PREFIX = re.compile(r"(/[\w~-][\w.~-]*)+", re.ASCII)
_DEFAULT_PORTS = {"http": "80", "https": "443"}


def client_address(environ: Mapping[str, Any], trusted: Sequence[Network]) -> str:
    """Return the address of the client behind the trusted proxies that a request came through.

    It is empty if the peer has no address, as on a Unix socket. If the peer is a trusted proxy,
    X-Real-Ip is the next hop. If that is a trusted proxy, too, or isn't given, the client is the
    rightmost entry of X-Forwarded-For that isn't a trusted proxy. A client can invent all entries
    to the left of it. An entry that isn't an address ends the search: a proxy that writes
    ``unknown`` hides its client.
    """
    hop = read_ip(environ.get("REMOTE_ADDR", ""))
    if hop is None:
        return ""
    if _is_in(hop, trusted):
        hop = read_ip(environ.get("HTTP_X_REAL_IP", "")) or hop
    if _is_in(hop, trusted):
        hop = _last_client(environ.get("HTTP_X_FORWARDED_FOR", ""), trusted) or hop
    return str(hop)


def _last_client(forwarded_for: str, trusted: Sequence[Network]) -> IP | None:
    """Return the rightmost untrusted entry; without one, the last one that can be read."""
    hop = None
    for entry in forwarded_for.rsplit(",", _MAX_HOPS)[: -_MAX_HOPS - 1 : -1]:
        ip = read_ip(entry)
        if ip is None:
            break
        hop = ip
        if not _is_in(ip, trusted):
            break
    return hop


def _has_trusted_peer(environ: Mapping[str, Any], trusted: Sequence[Network]) -> bool:
    peer = read_ip(environ.get("REMOTE_ADDR", ""))
    return peer is not None and _is_in(peer, trusted)


def _is_in(ip: IP, networks: Sequence[Network]) -> bool:
    return any(ip in network for network in networks)


def read_ip(text: str) -> IP | None:
    """Read an address as proxies write it, with or without port, zone index and brackets."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].split("]", 1)[0]
    elif text.count(":") == 1:
        text = text.split(":", 1)[0]
    try:
        ip = ipaddress.ip_address(text.split("%", 1)[0])
    except ValueError:
        return None
    return getattr(ip, "ipv4_mapped", None) or ip


def base_url(request: Request, trusted: Sequence[Network]) -> str:
    """Return the URL of this service that the client uses; trusted proxies may report it."""
    scheme, host = request.scheme, request.host
    if _has_trusted_peer(request.environ, trusted):
        # The first entry of a list is that of the proxy which the client has called.
        forwarded = request.headers.get("X-Forwarded-Proto", "").split(",")[0].strip().lower()
        scheme = forwarded if forwarded in _DEFAULT_PORTS else scheme
        host = request.headers.get("X-Forwarded-Host", "").split(",")[0].strip() or host
    return f"{scheme}://{host}"


def strip_prefix(environ: dict[str, Any], trusted: Sequence[Network]) -> None:
    """Make the links of the pages begin with the path that a trusted proxy has removed.

    The proxy names it in ``X-Forwarded-Prefix``, as Traefik does. The path of the request stays as
    it is: the proxy may pass on a caller's header, and has rules for paths.
    """
    prefix = environ.get("HTTP_X_FORWARDED_PREFIX", "").split(",")[0].strip().rstrip("/")
    if _PREFIX.fullmatch(prefix) and _has_trusted_peer(environ, trusted):
        environ["SCRIPT_NAME"] = prefix


class CallerCheck:
    """Refuses updates that other web sites send, and logs requests. Safe to share between threads.

    Warns of requests that devices send in vain, and of proxies that aren't set up correctly.
    """

    def __init__(self, trusted: Sequence[Network], device_paths: Collection[str]) -> None:
        self._trusted = trusted
        self._device_paths = device_paths
        self._sites, self._unread, self._sources = LineLimit(), LineLimit(), LineLimit(1, 1 / DAY)

    def refuse_other_sites(self) -> None:
        """Raise `CrossSite` if another web site has sent the current request."""
        if not is_cross_site(request, self._trusted):
            return
        if self._sites.take() is not None:
            logger.warning(
                "Refused an update from a browser at %s: another web site has sent it.",
                client_address(request.environ, self._trusted),
            )
        raise CrossSite("Another web site has sent this request: only devices may send updates.")

    def log(self, response: Response) -> Response:
        """Log the current request, and warn of what it shows."""
        status = response.status_code
        if logger.isEnabledFor(logging.DEBUG):
            path = request.url_rule.rule if request.url_rule is not None else request.path
            if request.url_rule is None:  # any part of an unknown path may be a key
                parts = ["…" if len(part) >= SHORTEST else part for part in path.split("/")]
                path = "".join(c if c.isprintable() else "?" for c in "/".join(parts))
            client = client_address(request.environ, self._trusted)
            logger.debug("%s %s %s -> %s", client, request.method, path, status)
        if SOURCE in request.environ:
            if status == 200:  # noqa: PLR2004
                self._warn_of_proxies(request.environ[SOURCE])
        elif status in _UNREAD and request.path in self._device_paths:
            left_out = self._unread.take()
            if left_out is not None:
                client = client_address(request.environ, self._trusted)
                more = f" {left_out} earlier ones were not logged." if left_out else ""
                logger.warning(
                    "Refused a %s request to %s from %s (%s).%s",
                    *(request.method, request.path, client, response.status, more),
                )
        return response

    def _warn_of_proxies(self, seen: str) -> None:
        """Warn if a header of an accepted update names another client than the one that was seen.

        In this case, a proxy or a CDN isn't set up correctly, and its address may be published.
        """
        # Each names one client, except for X-Forwarded-For.
        named = [(name, request.headers[name]) for name in _NAMING if name in request.headers]
        for name, value in named:
            ip = _last_client(value, self._trusted)
            is_other = ip is not None and not _is_in(ip, self._trusted) and str(ip) != seen
            if is_other and self._sources.take() is not None:
                logger.warning(
                    "An update seems to come from %s, but its header %s names %s. If %s is a proxy "
                    "or a CDN, set it up as in docs/proxies.md, or add it to TRUSTED_PROXIES: "
                    "otherwise its address is published.",
                    *(seen, name, ip, seen),
                )


def is_cross_site(sent: Request, trusted: Sequence[Network]) -> bool:
    """Return whether a browser marks a request as coming from another origin.

    Browsers send ``Sec-Fetch-Site`` over HTTPS and to localhost; otherwise, forms and scripts send
    ``Origin``. Devices send neither. All values that browsers don't send for this service's own
    pages count as another origin.
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
    hosts = [sent.headers.get("Host", "")]
    if _has_trusted_peer(sent.environ, trusted):
        hosts += sent.headers.get("X-Forwarded-Host", "").split(",")
    ours = (_AUTHORITY.fullmatch(host.strip()) for host in hosts)
    theirs = _host_and_port(found[2], found[3], scheme)
    return theirs not in [_host_and_port(one[1], one[2], scheme) for one in ours if one]


def _host_and_port(host: str, port: str | None, scheme: str) -> tuple[str, str]:
    """Return host and port; without a port, the default port of the origin's scheme.

    The scheme of the request doesn't count, because a proxy may have changed it.
    """
    return host.lower(), port or _DEFAULT_PORTS[scheme]
