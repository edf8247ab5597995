"""Reads what both protocols need from a request: body, parameters, address and credentials."""

from __future__ import annotations

import base64
import contextlib
import ipaddress
import json
import logging
import math
import re
from collections import defaultdict
from typing import (
    Any,
    Callable,
    Iterable,
    List,
    Mapping,
    Sequence,
    Tuple,
    TypeVar,
    Union,
)
from urllib.parse import parse_qsl

from flask import Request, Response, request

from backend.errors import (
    BadAddress,
    BadHostname,
    BadRequest,
    CallerError,
    CrossSite,
    DyndnsError,
    RequestTooLarge,
)
from backend.model import (
    Change,
    Credentials,
    Deadline,
    Hostname,
    Outcome,
    Parameter,
    Update,
    UpdateRequest,
)
from backend.rate import LineLimit

logger = logging.getLogger(__name__)

Network = Union[ipaddress.IPv4Network, ipaddress.IPv6Network]
T = TypeVar("T")
IP = Union[ipaddress.IPv4Address, ipaddress.IPv6Address]

# Carries out an update, as `Updater.apply` does.
Apply = Callable[[Update, Deadline], Outcome]
# In the environment of a WSGI request: its update, if the update changed nothing.
UNCHANGED = "dyndns.unchanged"
CHALLENGE = 'Basic realm="dyndns", charset="UTF-8"'
UNREADABLE = Credentials("", "")  # a login that is always wrong
MAX_BODY = 16 * 1024  # bytes; an update has a few hundred
TOO_LARGE = "The body is too large: an update has a few hundred bytes."
_MAX_DROPPED = 1024 * 1024
_MAX_PARAMETERS = 100  # routers send up to a dozen
_MAX_ADDRESSES = 20
_AS_IN = 'as in {"fqdn": "host.example.com"}.'
_HOSTS = ("hostname", "fqdn", "host", "domain", "hostnames", "host_id", "url")
# All names of the address that devices and programs use: myip, ipaddr, ip6addr, my_ipv4, …
_ADDRESS = re.compile(r"(my_?)?(ips?(_?v?[46])?_?(addr(ess)?)?|ip2|addr(ess)?)|content")
# url and the next four are parameters of dyndns2 that have no effect here.
_ROLES: Mapping[str, str] = {
    **dict.fromkeys(_HOSTS, "host"),
    **dict.fromkeys(("wildcard", "mx", "backmx", "system", "url"), "no effect"),
    # The network behind a router, as a Fritz!Box sends it.
    **dict.fromkeys(("ip6lanprefix", "ipv6prefix", "ip6prefix"), "prefix"),
    **dict.fromkeys(("user", "username"), "user"),
    **dict.fromkeys(("pass", "password"), "secret"),
    "type": "type",
    "offline": "removal",
}
_REMOVES = dict.fromkeys(("yes", "1", "true", "on"), True)
_REMOVES.update(dict.fromkeys(("", "no", "nochg", "0", "false", "off"), False))
# Sent by devices without an address: <ipaddr>, %IP%, __MYIP__, [IP], @IP, …
_PLACEHOLDER = re.compile(
    r"<[^.:]*>|%ip%|%i|__myip__|\[ip\]|@ip|auto|dhcp|none|no|preserve|-|(0\.0\.0\.0|::)(/\d+)?",
    re.IGNORECASE,
)
_FIELD = re.compile(r"[\w.;-]*")  # the name of a field of a form
_MAX_HOPS = 20  # usual chains have two or three proxies
# The headers in which proxies and CDNs name their client.
_NAMING = ("CF-Connecting-IP", "True-Client-IP", "X-Real-Ip", "X-Forwarded-For")
_DAY = 24 * 3600
# RFC 6454 §6.2 (an origin) and RFC 9110 §7.2 (the header Host).
_HOST = r"(\[[0-9a-f:.]+\]|[^]\[:/?#@,\s]+)(?::([0-9]{0,5}))?"
_AUTHORITY = re.compile(_HOST, re.IGNORECASE)
_ORIGIN = re.compile(rf"(https?)://{_HOST}", re.IGNORECASE)
_DEFAULT_PORTS = {"http": "80", "https": "443"}


class BoundedRequest(Request):
    """A request with a limited number of form fields, and with a query that is valid UTF-8."""

    max_form_parts = _MAX_PARAMETERS  # older versions of Flask have no setting for this

    def __init__(self, environ: dict[str, Any], *arguments: Any, **named: Any) -> None:  # noqa: ANN401
        super().__init__(environ, *arguments, **named)
        # Devices send raw bytes of any encoding, which Flask can't decode.
        self.query_string = self.query_string.decode("utf-8", "replace").encode("utf-8")


def client_address(request: Request, trusted: Sequence[Network]) -> str:
    """Return the client's address; empty without one, as on a Unix socket."""
    real, forwarded = (request.headers.get(name, "") for name in ("X-Real-Ip", "X-Forwarded-For"))
    return client_of(request.environ.get("REMOTE_ADDR", ""), real, forwarded, trusted)


def client_of(peer: str, real_ip: str, forwarded_for: str, trusted: Sequence[Network]) -> str:
    """Return the address of the client behind the trusted proxies that a request came through.

    If the peer is a trusted proxy, X-Real-Ip is the next hop. If that is a trusted proxy, too, or
    isn't given, the client is the rightmost entry of X-Forwarded-For that isn't a trusted proxy. A
    client can invent all entries to the left of it.
    """
    hop = _ip(peer)
    if hop is None:
        return ""
    if _is_in(hop, trusted):
        hop = _ip(real_ip) or hop
    if _is_in(hop, trusted):
        hop = _last_client(forwarded_for, trusted) or hop
    return str(hop)


def _last_client(forwarded_for: str, trusted: Sequence[Network]) -> IP | None:
    """Return the rightmost untrusted entry; without one, the last one that can be read."""
    hop = None
    for entry in forwarded_for.rsplit(",", _MAX_HOPS)[: -_MAX_HOPS - 1 : -1]:
        ip = _ip(entry)
        if ip is None:
            break
        hop = ip
        if not _is_in(ip, trusted):
            break
    return hop


def _has_trusted_peer(request: Request, trusted: Sequence[Network]) -> bool:
    peer = _ip(request.environ.get("REMOTE_ADDR", ""))
    return peer is not None and _is_in(peer, trusted)


def _is_in(ip: IP, networks: Sequence[Network]) -> bool:
    return any(ip in network for network in networks)


def _ip(text: str) -> IP | None:
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


def read_body() -> None:
    """Read the body of the current request to its end, even if no view uses it.

    Views get only complete bodies, and the server can't take the rest of a body for the next
    request. Up to a megabyte of a larger body is read and dropped, because a client that is still
    sending when the connection closes may not get the answer.

    Raises:
        RequestTooLarge: the body has more than `MAX_BODY` bytes.
        BadRequest: the body is incomplete, or its chunks are invalid (RFC 9112 §7.1).

    """
    length = request.content_length
    if length is not None and length > MAX_BODY:
        stream, left = request.environ["wsgi.input"], min(length, _MAX_DROPPED)
        with contextlib.suppress(OSError):  # the client has gone
            while left > 0 and stream.read(min(left, MAX_BODY)):
                left -= MAX_BODY
        raise RequestTooLarge(TOO_LARGE)
    try:
        body = request.get_data(cache=True, parse_form_data=False)
    except OSError:
        raise BadRequest("The body is incomplete: send the request again.") from None
    # Werkzeug cuts off a body in chunks, which has no length, at the limit.
    if length is None and len(body) >= MAX_BODY:
        raise RequestTooLarge(TOO_LARGE)


def base_url(request: Request, trusted: Sequence[Network]) -> str:
    """Return the URL of this service that the client uses; trusted proxies may report it."""
    scheme, host = request.scheme, request.host
    if _has_trusted_peer(request, trusted):
        # The first entry of a list is that of the proxy which the client has called.
        forwarded = request.headers.get("X-Forwarded-Proto", "").split(",")[0].strip().lower()
        scheme = forwarded if forwarded in _DEFAULT_PORTS else scheme
        host = request.headers.get("X-Forwarded-Host", "").split(",")[0].strip() or host
    return f"{scheme}://{host}"


def answer_for(table: Mapping[type[DyndnsError], T], error: DyndnsError) -> T:
    """Return the row of a protocol's table for an error's class, or for its nearest parent."""
    return next(table[family] for family in type(error).__mro__ if family in table)


def whole_seconds(seconds: float) -> str:
    """Return a pause for ``Retry-After``: whole seconds, at least one."""
    return str(max(1, math.ceil(seconds)))


def header_login(request: Request) -> Credentials | None:
    """Return the key or the login in the headers; `None` without either.

    A login that can't be read counts as a wrong one.
    """
    key = request.headers.get("X-Pre-Shared-Key", "").strip()
    if key:
        with contextlib.suppress(UnicodeError):  # WSGI decodes headers as Latin-1
            key = key.encode("latin-1").decode("utf-8")
        return Credentials(None, key)
    header = request.headers.get("Authorization", "").strip()
    if not header:
        return None
    scheme, _, text = header.partition(" ")
    text = text.strip()
    if scheme.lower() == "bearer":
        return Credentials(None, text)
    text = text.rstrip("=")
    try:
        login = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except ValueError:
        return UNREADABLE
    user, colon, secret = _decoded(login).partition(":")
    if not colon or scheme.lower() != "basic":
        return UNREADABLE
    return Credentials(user.strip(), secret.strip())


def _decoded(text: bytes) -> str:
    """Decode what a client sent in an encoding of its own: UTF-8, UTF-16 or Latin-1."""
    try:
        return text.decode(json.detect_encoding(text))
    except UnicodeDecodeError:
        return text.decode("latin-1")


class _Object(List[Tuple[str, Any]]):
    """A JSON object with all of its pairs, duplicates included."""


def _parameters(request: Request) -> tuple[list[Parameter], CallerError | None]:
    """Return the parameters of query and body, and why the body can't be read, if it can't."""
    problem: CallerError | None = None
    # Check the query before Flask parses it. The size of a body is limited.
    check_number(request.query_string.count(b"&"))
    pairs = list(request.args.items(multi=True))
    try:
        pairs += _body(request)
    except BadRequest as error:
        problem = error
    check_number(len(pairs))
    # Some programs send `&amp;` between two parameters.
    return [
        Parameter(re.sub("^(amp;)+", "", name.strip().lower()), value.strip())
        for name, value in pairs
    ], problem


def check_number(parameters: int) -> None:
    """Raise `BadRequest` if a request has too many parameters or fields."""
    if parameters > _MAX_PARAMETERS:
        raise BadRequest(f"A request may have up to {_MAX_PARAMETERS} parameters.")


def _body(request: Request) -> list[tuple[str, str]]:
    """Return the fields of a JSON object or a form, whatever type the headers name.

    Raises:
        BadRequest: the body is something else.

    """
    text = _decoded(request.get_data(cache=True, parse_form_data=False)).strip("\ufeff \t\r\n")
    if not text:
        return []
    if request.mimetype == "multipart/form-data" and text.startswith("--"):
        fields = list(request.form.items(multi=True))
        if request.files or not fields:
            raise BadRequest(f"The form can't be read: send its fields as text, {_AS_IN}")
        return fields
    if text[0] not in '{["':
        fields = parse_qsl(text, keep_blank_values=True)
        if "=" not in text or not all(_FIELD.fullmatch(name) for name, _ in fields):
            raise BadRequest(f"The body is neither JSON nor a form: send an object, {_AS_IN}")
        return fields
    try:
        found = json.loads(text, object_pairs_hook=_Object)
    except (ValueError, RecursionError):
        raise BadRequest(f"The body isn't JSON: send an object, {_AS_IN}") from None
    if not isinstance(found, _Object):
        raise BadRequest(f"The body isn't a JSON object: send one, {_AS_IN}")
    fields = []
    for name, value in found:
        role = _role(name.strip().lower(), "json")
        if not isinstance(value, str) and role not in ("removal", "unknown"):
            raise BadRequest(f"{name} must be a string; leave it out if you have none.")
        fields.append((name, value if isinstance(value, str) else json.dumps(value)))
    return fields


def _role(name: str, protocol: str) -> str:
    """Return what a parameter means."""
    if name == "url" and protocol == "json":
        return "host"
    return "address" if _ADDRESS.fullmatch(name) else _ROLES.get(name, "unknown")


def _canonical(name: str) -> str | None:
    """Return the canonical spelling of a host name; `None` for any other text."""
    try:
        return Hostname.parse(name).text
    except BadHostname:
        return None


def _items(parameters: Iterable[Parameter]) -> list[Parameter]:
    """Split each value that is a list."""
    return [
        Parameter(one.name, item)
        for one in parameters
        for item in re.split(r"[,\s]+", one.value)
        if item
    ]


def _without_placeholders(parameters: Iterable[Parameter]) -> list[Parameter]:
    return [one for one in parameters if not _PLACEHOLDER.fullmatch(one.value)]


def read_update(
    request: Request, proxies: Sequence[Network], protocol: str
) -> tuple[list[str], UpdateRequest]:
    """Return the names of the hosts that a request wants to update, and the request without a name.

    Query and body have the same parameters, in any case.

    Raises:
        BadRequest: there are too many parameters.
        BadAddress: there are too many addresses.

    """
    is_lenient = protocol == "dyndns2"
    by_role: dict[str, list[Parameter]] = defaultdict(list)
    given, problem = _parameters(request)
    for one in given:
        by_role[_role(one.name, protocol)].append(one)
    unknown = by_role["unknown"]
    hosts = [one for one in by_role["host"] if one.value]
    if not hosts and is_lenient:  # some cameras send `/nic/update?host.example.com`
        bare = [one for one in unknown if not one.value and "." in one.name]
        hosts = [Parameter(_HOSTS[0], one.name) for one in bare]
        unknown = [one for one in unknown if one not in bare]
    first = min((one.name for one in hosts), key=_HOSTS.index, default="")
    named = _items(one for one in hosts if one.name == first)
    names = [_canonical(one.value) or one.value for one in named]
    # None of these may hide an address.
    unknown += [one for one in (*named, *by_role["no effect"]) if not _canonical(one.value)]
    others = _items(one for one in hosts if one.name != first)
    unknown += [one for one in others if _canonical(one.value) not in names]
    addresses, prefixes = _items(by_role["address"]), _items(by_role["prefix"])
    if len(addresses) + len(prefixes) > _MAX_ADDRESSES:
        raise BadAddress(f"A request may contain up to {_MAX_ADDRESSES} addresses.")
    if is_lenient:
        addresses, prefixes = map(_without_placeholders, (addresses, prefixes))
    removals = {_REMOVES.get(one.value.lower()) for one in by_role["removal"]}
    if None in removals:
        problem = problem or BadRequest("The parameter offline is neither yes nor no.")
    login = header_login(request)
    user, secret = (
        next((one.value for one in by_role[role] if one.value), None) for role in ("user", "secret")
    )
    return names, UpdateRequest(
        protocol=protocol,
        source=client_address(request, proxies),
        logins=(*([login] if login else []), *([Credentials(user, secret)] if secret else [])),
        addresses=tuple(addresses),
        type="" if is_lenient else "".join(sorted({one.value for one in by_role["type"]})),
        removes=request.method == "DELETE" or True in removals,
        is_lenient=is_lenient,
        prefixes=tuple(prefixes),
        announces_prefix=bool(by_role["prefix"]),
        unknown=tuple(unknown),
        problem=problem,
    )


def remember_answer(environ: dict[str, Any], update: Update, outcome: Outcome) -> None:
    """Let the fast path keep the answer if this update, the only one of its request, was cached.

    The same prefix may lead to another address the next time, so its answer isn't kept.
    """
    if update.prefix is None and all(one.change is Change.CACHED for one in outcome.records):
        environ[UNCHANGED] = update


class SourceCheck:
    """Warns if headers name other clients of updates than the one that counts.

    Then a proxy or a CDN isn't set up, and its address may be published. Only updates whose login
    was accepted count. Safe to share between threads.
    """

    def __init__(self, trusted: Sequence[Network]) -> None:
        self._trusted = trusted
        self._lines = LineLimit(1, 1 / _DAY)

    def warn(self, response: Response) -> Response:
        """Check the current request, and return its response."""
        if response.status_code == 200 and request.path.endswith("/update"):  # noqa: PLR2004
            seen = client_address(request, self._trusted)
            for name in _NAMING:  # each names one client, except for X-Forwarded-For
                ip = _last_client(request.headers.get(name, ""), self._trusted)
                is_other = ip is not None and not _is_in(ip, self._trusted) and str(ip) != seen
                if is_other and self._lines.take() is not None:
                    logger.warning(
                        "An update seems to come from %s, but its header %s names %s. If %s is a "
                        "proxy or a CDN, set it up as in docs/proxies.md, or add it to "
                        "TRUSTED_PROXIES: otherwise its address is published.",
                        *(seen, name, ip, seen),
                    )
        return response


class SiteCheck:
    """Refuses updates that other web sites send. Safe to share between threads."""

    def __init__(self, trusted: Sequence[Network]) -> None:
        self._trusted = trusted
        self._lines = LineLimit()

    def refuse(self) -> None:
        """Raise `CrossSite` if another web site has sent the current request."""
        if not is_cross_site(request, self._trusted):
            return
        if self._lines.take() is not None:
            logger.warning(
                "Refused an update from a browser at %s: another web site has sent it.",
                client_address(request, self._trusted),
            )
        raise CrossSite("Another web site has sent this request: only devices may send updates.")


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
    if _has_trusted_peer(sent, trusted):
        hosts += sent.headers.get("X-Forwarded-Host", "").split(",")
    ours = (_AUTHORITY.fullmatch(host.strip()) for host in hosts)
    theirs = _host_and_port(found[2], found[3], scheme)
    return theirs not in [_host_and_port(one[1], one[2], scheme) for one in ours if one]


def _host_and_port(host: str, port: str | None, scheme: str) -> tuple[str, str]:
    """Return host and port; without a port, the default port of the origin's scheme.

    The scheme of the request doesn't count, because a proxy may have changed it.
    """
    return host.lower(), port or _DEFAULT_PORTS[scheme]
