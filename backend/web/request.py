"""Reads the parts of a request that both protocols need: body, parameters, address, login."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import json
import math
import re
import unicodedata
from collections import defaultdict
from typing import (
    TYPE_CHECKING,
    Any,
    Callable,
    Iterable,
    List,
    Mapping,
    NamedTuple,
    Sequence,
    Tuple,
)
from urllib.parse import parse_qsl, unquote

from flask import Request, request

from backend.errors import (
    BadAddress,
    BadHostname,
    BadRequest,
    CallerError,
    DyndnsError,
    RequestTooLarge,
    TooManyHosts,
)
from backend.model import (
    Credentials,
    Deadline,
    Hostname,
    Network,
    Outcome,
    Parameter,
    Update,
    UpdateRequest,
)
from backend.web.caller import SOURCE, client_address

# These authorize and carry out an update, as `Authorizer.authorize` and `Updater.apply` do.
Authorize = Callable[..., Update]
Apply = Callable[[Update, Deadline], Outcome]
# In the environment of a WSGI request: its update and the outcome, if it makes only one; its bytes,
# if the server knows them.
APPLIED, SENT_BYTES = "dyndns.applied", "dyndns.bytes"
CHALLENGE = 'Basic realm="dyndns", charset="UTF-8"'
UNREADABLE = Credentials("", "")  # a login that is always wrong
MAX_BODY = 16 * 1024  # bytes; an update has a few hundred
TOO_LARGE = "The body is too large: an update has a few hundred bytes."
_MAX_LIST = 64 * 1024  # bytes of the form that adds hosts, about 1,500 names
_TOO_LONG = "The list is too long: add fewer hosts at a time, or use the command `hosts add -`."
_INCOMPLETE = "The body is incomplete: send the request again."
_MAX_DROPPED = 1024 * 1024
_MAX_PARAMETERS = 100  # routers send up to a dozen
_MAX_ADDRESSES = 20
_MAX_HOSTS = 20  # as at dyn.com
_AS_IN = 'as in {"fqdn": "host.example.com"}.'
_HOSTS = ("hostname", "fqdn", "host", "domain", "hostnames", "host_id", "url")
# All names of the address that devices and programs use: myip, ipaddr, ip6addr, my_ipv4, …
_ADDRESS = re.compile(r"(my_?)?(ips?(_?v?[46])?_?(addr(ess)?)?|ip2|addr(ess)?)|content")
# Parameters without effect here belong to dyndns2, where url also has another meaning.
_ROLES: Mapping[str, str] = {
    **dict.fromkeys(_HOSTS, "host"),
    **dict.fromkeys(("wildcard", "mx", "backmx", "system"), "no effect"),
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


class SentBytes(NamedTuple):
    """The bytes of one complete request, as the server has received them."""

    key: bytes  # a digest, also of the address of the peer
    closes: bool  # whether the client wants the connection to be closed after the answer


class BoundedRequest(Request):
    """A request with a limited body and number of form fields."""

    # Older versions of Flask have no settings for these.
    max_form_parts = _MAX_PARAMETERS
    if not TYPE_CHECKING:  # the versions of Flask declare it differently
        max_content_length = _MAX_LIST  # `read_body` has a lower limit, too


def read_body() -> None:
    """Read the body of the current request to its end, even if no view uses it.

    Views get only complete bodies, and the server can't take the rest of a body for the next
    request. Up to a megabyte of a larger body is read and dropped, because a client that is still
    sending when the connection closes may not get the answer.

    Raises:
        RequestTooLarge: the body has too many bytes.
        BadRequest: the body is incomplete, or its chunks are invalid (RFC 9112 §7.1).

    """
    # Devices send raw bytes of any encoding in the query, which Flask can't decode.
    request.query_string = request.query_string.decode("utf-8", "replace").encode("utf-8")
    length, longest = request.content_length, _MAX_LIST if request.path == "/add" else MAX_BODY
    if length is not None and length > longest:
        stream, left = request.environ["wsgi.input"], min(length, _MAX_DROPPED)
        with contextlib.suppress(OSError):  # the client has gone
            while left > 0 and stream.read(min(left, MAX_BODY)):
                left -= MAX_BODY
        raise RequestTooLarge(TOO_LARGE if longest == MAX_BODY else _TOO_LONG)
    try:
        body = request.get_data(cache=True, parse_form_data=False)
    except OSError:
        raise BadRequest(_INCOMPLETE) from None
    if length is not None and len(body) < length:
        raise BadRequest(_INCOMPLETE)
    # Werkzeug cuts off a body in chunks, which has no length, at the limit.
    if length is None and len(body) >= longest:
        raise RequestTooLarge(TOO_LARGE if longest == MAX_BODY else _TOO_LONG)


def answer_for(
    table: Mapping[type[DyndnsError], tuple[int, str]], error: DyndnsError
) -> tuple[int, str, dict[str, str]]:
    """Return the status and the word of a protocol's table for an error, and the headers.

    A class that isn't in the table has the row of its nearest parent.
    """
    status, word = next(table[family] for family in type(error).__mro__ if family in table)
    headers = {}
    if status == 401:  # noqa: PLR2004
        headers["WWW-Authenticate"] = CHALLENGE
    pause = getattr(error, "retry_after", None)
    if pause is not None:
        headers["Retry-After"] = str(max(1, math.ceil(pause)))
    return status, word, headers


def header_text(request: Request, name: str) -> str:
    """Return a header, which may be UTF-8 or Latin-1."""
    text = request.headers.get(name, "").strip()
    with contextlib.suppress(UnicodeError):  # WSGI decodes headers as Latin-1
        return text.encode("latin-1").decode("utf-8")
    return text


def header_logins(request: Request) -> list[Credentials]:
    """Return the key and the login in the headers, if any.

    A login that can't be read counts as a wrong one.
    """
    logins = []
    key = header_text(request, "X-Pre-Shared-Key")
    if key:
        logins.append(Credentials(None, key))
    scheme, _, text = request.headers.get("Authorization", "").strip().partition(" ")
    text = text.strip()
    if scheme.lower() == "bearer":
        logins.append(Credentials(None, text))
    elif scheme:
        text = text.rstrip("=")
        try:
            login = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
        except ValueError:
            login = b""
        user, colon, secret = (part.strip() for part in _decoded(login).partition(":"))
        if not colon or scheme.lower() != "basic":
            logins.append(UNREADABLE)
        # Some devices send empty fields, or have no field for the user.
        elif user or secret:
            logins.append(Credentials(user or None, secret))
    return logins


def _decoded(text: bytes) -> str:
    """Decode bytes of a client, which may be UTF-8, UTF-16 or Latin-1."""
    try:
        return text.decode(json.detect_encoding(text))
    except UnicodeDecodeError:
        return text.decode("latin-1")


class _Object(List[Tuple[str, Any]]):
    """A JSON object with all of its pairs, duplicates included."""


def read_parameters(request: Request) -> tuple[list[Parameter], CallerError | None]:
    """Return the parameters of query and body, and why the body can't be read, if it can't."""
    problem: CallerError | None = None
    pairs: list[tuple[str, str]] = []
    # Check the query before Flask parses it. The size of a body is limited.
    number = request.query_string.count(b"&")
    if number <= _MAX_PARAMETERS:
        pairs += request.args.items(multi=True)
        body = request.get_data(cache=True, parse_form_data=False)
        text = _decoded(body).strip("\ufeff \t\r\n") if body else ""
        try:
            pairs += _fields(request, text) if text else []
        except BadRequest as error:
            problem = error
    if max(number, len(pairs)) > _MAX_PARAMETERS:
        problem = BadRequest(f"A request may have up to {_MAX_PARAMETERS} parameters.")
    # Some programs send `&amp;` between two parameters.
    return [
        Parameter(re.sub("^(amp;)+", "", name.strip().lower()), value.strip())
        for name, value in pairs[:_MAX_PARAMETERS]
    ], problem


def _fields(request: Request, text: str) -> list[tuple[str, str]]:
    """Return the fields of a body: a JSON object or a form, whatever type the headers name.

    Raises:
        BadRequest: the body is something else.

    """
    if request.mimetype == "multipart/form-data" and text.startswith("--"):
        fields = list(request.form.items(multi=True))
        is_whole = text.endswith("--") and all(name is not None for name, _ in fields)
        if request.files or not fields or not is_whole:
            raise BadRequest(f"The form can't be read: send its fields as text, {_AS_IN}")
        return fields
    if text[0] not in '{["':
        fields = parse_qsl(text, keep_blank_values=True)
        if "=" not in text or not all(_FIELD.fullmatch(name) for name, _ in fields):
            raise BadRequest(f"The body is neither JSON nor a form: send an object, {_AS_IN}")
        return fields
    try:
        found = json.loads(text, object_pairs_hook=_Object)
        if not isinstance(found, _Object):
            raise BadRequest(f"The body isn't a JSON object: send one, {_AS_IN}")
        fields = []
        for name, value in found:
            role = _role(name.strip().lower(), "json")
            if not isinstance(value, str) and role not in ("removal", "unknown"):
                raise BadRequest(f"{name} must be a string; leave it out if you have none.")
            written = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            fields.append((name, written))
    except (ValueError, RecursionError):
        raise BadRequest(f"The body isn't JSON: send an object, {_AS_IN}") from None
    return fields


def _role(name: str, protocol: str) -> str:
    """Return what a parameter means."""
    if name == "url" and protocol == "dyndns2":
        return "unknown"
    return "address" if _ADDRESS.fullmatch(name) else _ROLES.get(name, "unknown")


def _canonical(name: str) -> str | None:
    """Return the canonical spelling of a host name; `None` for any other text."""
    try:
        return Hostname.parse(name).text
    except BadHostname:
        return None


def _names(
    hosts: Iterable[Parameter],
) -> tuple[list[str], list[Parameter], list[Parameter]]:
    """Return the names in the first of several parameters.

    Return also the other parameters that contradict them, and those that aren't host names.
    """
    items = sorted(_items(hosts), key=lambda one: _HOSTS.index(one.name))
    names: list[str] = []
    other_names, invalid_names = [], []
    for one in items:
        name = _canonical(one.value)
        if name is None:
            invalid_names.append(one)
            name = one.value
        if one.name == items[0].name:
            names.append(name)
            continue
        # Other parameters may have a part of one of the names, or a number of the host.
        part = name.lower().strip(".")
        is_part = any(f".{known}".endswith(f".{part}") for known in names)
        is_label = any(known.split(".", 1)[0] == part for known in names)
        if not (is_part or is_label or part.isdigit()):
            other_names.append(one)
    return names, other_names, invalid_names


def _items(parameters: Iterable[Parameter], *, is_lenient: bool = False) -> list[Parameter]:
    """Split each value that is a list; if it is lenient, drop placeholders."""
    return [
        Parameter(one.name, item)
        for one in parameters
        for item in re.split(r"[,\s]+", one.value)
        if item and not (is_lenient and _PLACEHOLDER.fullmatch(item))
    ]


def _decoded_again(parameters: Iterable[Parameter]) -> tuple[Parameter, ...]:
    """Return parameters without the encodings that may hide an address or a host in them."""
    return tuple(
        Parameter(*(unicodedata.normalize("NFKC", unquote(unquote(text))) for text in one))
        for one in parameters
    )


def read_updates(
    request: Request, proxies: Sequence[Network], protocol: str
) -> list[UpdateRequest]:
    """Return the updates that a request asks for: one for each host name, or one without a name.

    Query and body have the same parameters, in upper or lower case. Only callers with a valid login
    see the problem of a request: see `UpdateRequest.problem`.
    """
    is_lenient = protocol == "dyndns2"
    by_role: dict[str, list[Parameter]] = defaultdict(list)
    given, problem = read_parameters(request)
    for one in given:
        by_role[_role(one.name, protocol)].append(one)
    unknown = by_role["unknown"]
    hosts = [one for one in by_role["host"] if one.value]
    if not hosts and is_lenient:  # some cameras send `/nic/update?host.example.com`
        bare = [one for one in unknown if not one.value and "." in one.name]
        hosts = [Parameter(_HOSTS[0], one.name) for one in bare]
        unknown = [one for one in unknown if one not in bare]
    names, other_names, invalid_names = _names(hosts)
    if len(names) > (_MAX_HOSTS if is_lenient else 1):
        problem = TooManyHosts(
            f"A request may name up to {_MAX_HOSTS} hosts."
            if is_lenient
            else "A request updates one host: send its full name as fqdn."
        )
    types = {one.value.upper() for one in by_role["type"]} - {""}
    if is_lenient and not types <= {"A", "AAAA"}:
        unknown += by_role["type"]
        types = set()
    addresses, prefixes = (
        _items(by_role[role], is_lenient=is_lenient) for role in ("address", "prefix")
    )
    if len(addresses) + len(prefixes) > _MAX_ADDRESSES:
        problem = BadAddress(f"A request may contain up to {_MAX_ADDRESSES} addresses.")
    removals = {_REMOVES.get(one.value.lower()) for one in by_role["removal"]}
    if None in removals:
        problem = problem or BadRequest("The parameter offline must be yes or no.")
    user, secret = (
        next((one.value for one in by_role[role] if one.value), None) for role in ("user", "secret")
    )
    logins = header_logins(request)
    in_login = by_role["user"] + by_role["secret"]
    if secret:
        # A device may have appended an address or a host to them: `pass=KEY?myip=198.51.100.1`.
        other_texts = (one for one in in_login if _canonical(one.value) is None)
        logins.append(Credentials(user, secret, _decoded_again(other_texts)))
    # None of these parameters may contain an address or a host that would be ignored.
    unknown += [
        one for one in by_role["no effect"] if one.name != "mx" or not _canonical(one.value)
    ]
    unknown += [one for one in in_login if not secret or one.value not in (user, secret)]
    source = request.environ[SOURCE] = client_address(request.environ, proxies)
    update_request = UpdateRequest(
        protocol=protocol,
        source=source,
        logins=tuple(logins),
        addresses=tuple(addresses),
        type="".join(sorted(types)),
        removes=request.method == "DELETE" or True in removals,
        is_lenient=is_lenient,
        prefixes=tuple(prefixes),
        announces_prefix=bool(by_role["prefix"]),
        unknown=_decoded_again(unknown),
        other_names=tuple(other_names),
        invalid_names=_decoded_again(invalid_names),
        problem=problem,
    )
    names = (names[:1] if problem else names) or [""]
    return [dataclasses.replace(update_request, name=name) for name in names]
