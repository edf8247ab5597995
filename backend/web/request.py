"""Whose address is it, and which credentials were sent: what a request says besides its words."""

from __future__ import annotations

import base64
import binascii
import contextlib
import ipaddress
import logging
import math
import re
from collections import defaultdict
from typing import (
    Any,
    Callable,
    Dict,
    List,
    Mapping,
    Optional,
    Sequence,
    Tuple,
    Type,
    TypeVar,
    Union,
)

from flask import Request, Response, request

from backend.auth.keys import SHORTEST
from backend.errors import BadHostname, BadRequest, CrossSite, DyndnsError, RequestTooLarge
from backend.model import Change, Credentials, Deadline, Hostname, Outcome, Update
from backend.rate import LineLimit

logger = logging.getLogger(__name__)

Network = Union[ipaddress.IPv4Network, ipaddress.IPv6Network]
T = TypeVar("T")
IP = Union[ipaddress.IPv4Address, ipaddress.IPv6Address]

# What makes an update, as `Updater.apply` does.
Apply = Callable[[Update, Deadline], Outcome]
# In the environment of a WSGI request: the update that it asked for, and that changed nothing.
UNCHANGED = "dyndns.unchanged"
MAX_BODY = 16 * 1024  # bytes; an update takes a few hundred
_MOST_DROPPED = 1024 * 1024
_TOO_LARGE = "The body is too large: an update takes a few hundred bytes."
MOST_PARAMETERS = 100  # the most that any router sends are a dozen
UNREADABLE = Credentials("", "")  # a login, but none that can be right
_MOST_HOPS = 20  # proxies behind one another; there are two or three
# RFC 6454 §6.2 (an origin) and RFC 9110 §7.2 (the header Host).
_HOST = r"(\[[0-9a-f:.]+\]|[^]\[:/?#@,\s]+)(?::([0-9]{0,5}))?"
_AUTHORITY = re.compile(_HOST, re.IGNORECASE)
_ORIGIN = re.compile(rf"(https?)://{_HOST}", re.IGNORECASE)
_DEFAULT_PORTS = {"http": "80", "https": "443"}
CHALLENGE = 'Basic realm="dyndns", charset="UTF-8"'


class BoundedRequest(Request):
    """A request whose form is bounded in parts, and whose query is text whatever was sent."""

    max_form_parts = MOST_PARAMETERS  # not every Flask has a setting for it

    def __init__(self, environ: Dict[str, Any], *arguments: Any, **named: Any) -> None:  # noqa: ANN401
        super().__init__(environ, *arguments, **named)
        # Devices send raw bytes of any encoding, and Flask stumbles over them.
        self.query_string = self.query_string.decode("utf-8", "replace").encode("utf-8")


def check_number(parameters: int) -> None:
    """Refuse a request with more parameters or fields than any honest one has."""
    if parameters > MOST_PARAMETERS:
        raise BadRequest(f"A request may have up to {MOST_PARAMETERS} parameters.")


def read_parameters(request: Request) -> Dict[str, List[str]]:
    """Return the parameters of query and form, with names in lower case."""
    # Count those of the query before it is parsed; the size of a form is limited.
    check_number(request.query_string.count(b"&"))
    found: Dict[str, List[str]] = defaultdict(list)
    for source in (request.args, request.form):
        for name, value in source.items(multi=True):
            found[name.lower()].append(value)
    check_number(sum(map(len, found.values())))
    return found


def client_address(request: Request, trusted: Sequence[Network]) -> str:
    """Return the address a request comes from, as far as the proxies in between are trusted.

    Behind a trusted peer: X-Real-Ip, else the rightmost entry of X-Forwarded-For that isn't
    itself a trusted proxy, for everything left of it can be made up by the caller.
    """
    peer = _ip(request.environ.get("REMOTE_ADDR", ""))
    if peer is None:
        return ""
    if not _is_trusted(peer, trusted):
        return str(peer)
    real = _ip(request.headers.get("X-Real-Ip", ""))
    if real is not None:
        return str(real)
    return str(_forwarded(request, trusted) or peer)


def _forwarded(request: Request, trusted: Sequence[Network]) -> Optional[IP]:
    """Return the rightmost untrusted hop; the last one looked at when all are trusted."""
    hop = None
    entries = ",".join(request.headers.getlist("X-Forwarded-For")).rsplit(",", _MOST_HOPS)
    for entry in entries[: -_MOST_HOPS - 1 : -1]:
        ip = _ip(entry)
        if ip is None:
            return hop
        hop = ip
        if not _is_trusted(ip, trusted):
            return hop
    return hop


def _has_trusted_peer(request: Request, trusted: Sequence[Network]) -> bool:
    peer = _ip(request.environ.get("REMOTE_ADDR", ""))
    return peer is not None and _is_trusted(peer, trusted)


def _is_trusted(ip: IP, trusted: Sequence[Network]) -> bool:
    return any(ip in network for network in trusted if network.version == ip.version)


def _ip(text: str) -> Optional[IP]:
    """Read an address as proxies write it: perhaps with a port, a zone index or brackets."""
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


def read_body() -> None:
    """Read the body of the current request to its end, even if no view uses it.

    Views thus see only complete bodies, and no rest of a body stays on the connection, where it
    could become the next request. Of a body that is too large, up to a megabyte is read and
    dropped: a client that is still sending when the connection closes may not get the answer.

    Raises:
        RequestTooLarge: it is longer than any honest request.
        BadRequest: it breaks off, or is none in chunks (RFC 9112 §7.1).

    """
    length = request.content_length
    if length is not None and length > MAX_BODY:
        stream, left = request.environ["wsgi.input"], min(length, _MOST_DROPPED)
        with contextlib.suppress(OSError):  # the client has gone
            while left > 0 and stream.read(min(left, MAX_BODY)):
                left -= MAX_BODY
        raise RequestTooLarge(_TOO_LARGE)
    try:
        body = request.get_data(cache=True, parse_form_data=False)
    except OSError:
        raise BadRequest("The body breaks off: send the request again.") from None
    # A body in chunks has no length to refuse it by: Werkzeug cuts it off at the limit.
    if length is None and len(body) >= MAX_BODY:
        raise RequestTooLarge(_TOO_LARGE)


def base_url(request: Request, trusted: Sequence[Network]) -> str:
    """Return the address of this service as its caller has it, as far as proxies tell."""
    scheme, host = request.scheme, request.host
    if _has_trusted_peer(request, trusted):
        told = request.headers.get("X-Forwarded-Proto", "").strip().lower()
        scheme = told if told in ("http", "https") else scheme
        host = request.headers.get("X-Forwarded-Host", "").strip() or host
    return f"{scheme}://{host}"


def hosts(request: Request, trusted: Sequence[Network]) -> List[str]:
    """Return the names of this service: ``Host``, and ``X-Forwarded-Host`` from a trusted proxy."""
    found = [request.headers.get("Host", "")]
    if _has_trusted_peer(request, trusted):
        found += request.headers.get("X-Forwarded-Host", "").split(",")
    return [host.strip() for host in found if host.strip()]


def answer_for(table: Mapping[Type[DyndnsError], T], error: DyndnsError) -> T:
    """Return what a face's table says of an error: of its class, else of the nearest parent."""
    return next(table[family] for family in type(error).__mro__ if family in table)


def whole_seconds(seconds: float) -> str:
    """Return a pause as ``Retry-After`` has it: whole seconds, one at least."""
    return str(max(1, math.ceil(seconds)))


def spelled(name: str) -> str:
    """Return the canonical spelling of a host name, so that a request serves each host once."""
    try:
        return Hostname.parse(name).text
    except BadHostname:
        return name


def credentials(request: Request) -> Optional[Credentials]:
    """Return the key or the login of a request; `None` when it has neither.

    A login that can't be read counts as a wrong one.
    """
    key = _as_sent(request.headers.get("X-Pre-Shared-Key", "").strip())
    if key:
        return Credentials(None, key)
    header = request.headers.get("Authorization", "").strip()
    if not header:
        return None
    return _basic(header) or UNREADABLE


def _as_sent(text: str) -> str:
    """Undo what WSGI does to a header: it makes a character of each byte, whatever was meant."""
    try:
        return text.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return text


def _basic(header: str) -> Optional[Credentials]:
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        decoded = base64.b64decode(encoded.strip(), validate=True)
    except (binascii.Error, ValueError):
        return None
    try:
        login = decoded.decode("utf-8")
    except UnicodeDecodeError:
        login = decoded.decode("latin-1")  # RFC 7617 leaves the encoding open
    user, colon, secret = login.partition(":")
    return Credentials(user, secret) if colon else None


def remember_answer(environ: Dict[str, Any], update: Update, outcome: Outcome) -> None:
    """Note that this update is all a request asks for, and that it was answered from memory.

    A prefix isn't known to become the same address the next time.
    """
    if update.prefix is None and all(one.change is Change.CACHED for one in outcome.records):
        environ[UNCHANGED] = update


def log_request(response: Response) -> Response:
    """Log the current request: never its query, which may hold a key."""
    rule = request.url_rule
    path = rule.rule if rule is not None else _shown(request.path)
    logger.debug("%s %s %s -> %s", request.remote_addr, request.method, path, response.status_code)
    return response


def _shown(path: str) -> str:
    """Return an unknown path without parts that may be a key, and without control characters."""
    parts = ["…" if len(part) >= SHORTEST else part for part in path.split("/")]
    return "".join(c if c.isprintable() else "?" for c in "/".join(parts))


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
