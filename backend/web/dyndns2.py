"""The dyndns2 protocol of routers: ``/nic/update``.

https://help.dyn.com/remote-access-api/perform-update/, with the deviations of real devices.
"""

from __future__ import annotations

import dataclasses
import re
from typing import Any, List, Mapping, NamedTuple, Sequence

from flask import Blueprint, Request, Response, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from backend import errors
from backend.auth.authorizer import Authorizer
from backend.model import (
    ANSWER_SECONDS,
    Credentials,
    Deadline,
    Hostname,
    Update,
    UpdateRequest,
)
from backend.web.request import (
    CHALLENGE,
    UNREADABLE,
    Apply,
    Network,
    answer_for,
    client_address,
    credentials,
    read_parameters,
    remember_answer,
    whole_seconds,
)

Parameters = Mapping[str, List[str]]

PATHS = ("/nic/update", "/v3/update")
_METHODS = ("GET", "POST")
_ROUTING: Mapping[str, Any] = {"strict_slashes": False, "provide_automatic_options": False}
_MAX_HOSTS = 20  # as at dyn.com
_MAX_ADDRESSES = 20

# The status and the word of each error; a class that isn't listed has those of its parent. Many
# clients read only the status, so 2xx means that Hetzner has accepted the update.
ANSWERS: Mapping[type[errors.DyndnsError], tuple[int, str]] = {
    errors.DyndnsError: (500, "911"),
    errors.CallerError: (400, "dnserr"),
    errors.RequestTooLarge: (413, "dnserr"),
    errors.BadHostname: (400, "notfqdn"),
    errors.TooManyHosts: (400, "numhost"),
    errors.CrossSite: (403, "dnserr"),
    errors.Unauthorized: (401, "badauth"),
    errors.HostNotAllowed: (404, "nohost"),
    errors.TooManyFailures: (429, "abuse"),
    errors.OperatorError: (502, "dnserr"),
    errors.TransientError: (503, "911"),
}
# These apply to the whole request: one line, even for several hosts.
_WHOLE = (errors.Unauthorized, errors.TooManyFailures, errors.TooManyHosts)

_ADDRESSES = ("myip", "myipv4", "ip", "ipv4", "ip4", "myipv6", "ipv6", "ip6", "myip6", "myip2")
# The network behind a router, as a Fritz!Box sends it.
_PREFIXES = ("ip6lanprefix", "ipv6prefix", "ip6prefix")
# Sent by devices without an address: <ipaddr>, %IP%, __MYIP__, [IP], @IP, …
_PLACEHOLDER = re.compile(
    r"<.*>|%ip%|%i|__myip__|\[ip\]|@ip|auto|dhcp|none|no|preserve|-|(0\.0\.0\.0|::)(/\d+)?",
    re.IGNORECASE,
)


class Line(NamedTuple):
    """The answer for one host."""

    status: int
    text: str
    retry_after: float | None = None


def blueprint(authorizer: Authorizer, apply: Apply, proxies: Sequence[Network]) -> Blueprint:
    """Return the views of this protocol."""
    api = Blueprint("dyndns2", __name__)

    def update() -> Response:
        if request.method == "HEAD":  # Flask routes HEAD like GET, which would write
            return http_failure(MethodNotAllowed(_METHODS))
        names, requests = _update_requests(request, proxies)
        # Check all logins before any update, so that an answer of 401 means "nothing changed".
        authorized = _authorize_all(requests, authorizer)
        deadline = Deadline(ANSWER_SECONDS)
        lines: dict[str, Line] = {}
        for name, one in authorized.items():
            if isinstance(one, errors.DyndnsError):
                lines[name] = _failure(one)
                continue
            try:
                outcome = apply(one, deadline)
            except errors.DyndnsError as error:
                lines[name] = _failure(error)
                continue
            if len(authorized) == 1:
                remember_answer(request.environ, one, outcome)
            text = "good" if outcome.changed else "nochg"
            addresses = [str(one.desired.address) for one in outcome.records if one.desired.address]
            # A removal has no addresses.
            lines[name] = Line(200, f"{text} {','.join(addresses)}" if addresses else "good")
        return _respond([lines[name] for name in names])

    for path in PATHS:
        api.add_url_rule(path, view_func=update, methods=_METHODS, **_ROUTING)

    return api


def refusal(error: errors.DyndnsError) -> Response:
    """Return the answer for an error of this service."""
    return _respond([_failure(error)])


def http_failure(error: HTTPException) -> Response:
    """Return the answer for an error of the web framework."""
    status = error.code or 500
    if isinstance(error, MethodNotAllowed):
        # Flask would list HEAD, too.
        return _respond([Line(status, "badagent")], {"Allow": ", ".join(_METHODS)})
    return _respond([Line(status, "911" if status >= 500 else "dnserr")])  # noqa: PLR2004


def _authorize_all(
    requests: Mapping[str, UpdateRequest], authorizer: Authorizer
) -> dict[str, Update | errors.DyndnsError]:
    authorized: dict[str, Update | errors.DyndnsError] = {}
    is_known = False
    for name, update_request in requests.items():
        try:
            authorized[name] = authorizer.authorize(update_request, is_known=is_known)
        except _WHOLE:
            raise
        except errors.DyndnsError as error:
            authorized[name] = error
        # A bad name is refused before the login is checked.
        is_known = is_known or not isinstance(authorized[name], errors.BadHostname)
    return authorized


def _failure(error: errors.DyndnsError) -> Line:
    return Line(*answer_for(ANSWERS, error), getattr(error, "retry_after", None))


def _respond(lines: Sequence[Line], headers: Mapping[str, str] | None = None) -> Response:
    """Answer a line for each host. The status is 200 if any host succeeded, else the first."""
    leading = next((line for line in lines if line.status == 200), lines[0])  # noqa: PLR2004
    sent = {"Cache-Control": "no-store", **(headers or {})}
    if leading.status == 401:  # noqa: PLR2004
        sent["WWW-Authenticate"] = CHALLENGE
    if leading.retry_after is not None:
        sent["Retry-After"] = whole_seconds(leading.retry_after)
    text = "".join(f"{line.text}\n" for line in lines)
    return Response(text, leading.status, sent, mimetype="text/plain")


def _update_requests(
    request: Request, proxies: Sequence[Network]
) -> tuple[list[str], Mapping[str, UpdateRequest]]:
    """Return the host names in order, with duplicates, and the request for each of them."""
    parameters = read_parameters(request)
    # Some cameras send `/nic/update?host.example.com`.
    bare = (name for name, values in parameters.items() if values == [""] and "." in name)
    names = _listed(parameters, "hostname") or list(bare) or [""]
    if len(names) > _MAX_HOSTS:
        raise errors.TooManyHosts(f"A request may name up to {_MAX_HOSTS} hosts.")
    addresses, prefixes = _listed(parameters, *_ADDRESSES), _listed(parameters, *_PREFIXES)
    if len(addresses) + len(prefixes) > _MAX_ADDRESSES:
        raise errors.BadAddress(f"A request may contain up to {_MAX_ADDRESSES} addresses.")
    update_request = UpdateRequest(
        "dyndns2",
        client_address(request, proxies),
        _credentials(request, parameters),
        names[0],
        tuple(text for text in addresses if not _PLACEHOLDER.fullmatch(text)),
        removes=any(value.strip().lower() == "yes" for value in parameters.get("offline", ())),
        prefixes=tuple(text for text in prefixes if not _PLACEHOLDER.fullmatch(text)),
        announces_prefix=any(name in parameters for name in _PREFIXES),
        name_follows_login=True,
    )
    keys, update_requests = [], {}
    for name in names:
        try:
            key = Hostname.parse(name).text  # so that a request updates each host once
        except errors.BadHostname:
            key = name
        keys.append(key)
        update_requests[key] = dataclasses.replace(update_request, name=name)
    return keys, update_requests


def _listed(parameters: Parameters, *names: str) -> list[str]:
    """Return all values of some parameters; a value may be a list."""
    values = [value for name in names for value in parameters.get(name, ())]
    return [item for value in values for item in re.split(r"[,\s]+", value) if item]


def _credentials(request: Request, parameters: Parameters) -> Credentials | None:
    """Return the login in the header, or in the query, where some routers send it."""
    sent = credentials(request)
    if sent is not None and sent != UNREADABLE:
        return sent
    user = _first(parameters, "user", "username")
    secret = _first(parameters, "pass", "password")
    return Credentials(user, secret) if user and secret else sent


def _first(parameters: Parameters, *names: str) -> str:
    values = (value for name in names for value in parameters.get(name, ()))
    return next(filter(None, values), "")
