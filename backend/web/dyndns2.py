"""The dyndns2 face: ``/nic/update``, as routers speak it.

Protocol: https://help.dyn.com/remote-access-api/perform-update/ and what devices make of it.
"""

from __future__ import annotations

import logging
import re
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple, Type, Union

from flask import Blueprint, Request, Response, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from backend import errors
from backend.auth.authorizer import Authorizer
from backend.model import (
    ANSWER_SECONDS,
    Change,
    Credentials,
    Deadline,
    Outcome,
    Update,
    UpdateRequest,
)
from backend.web.request import (
    CHALLENGE,
    UNREADABLE,
    Apply,
    Network,
    SiteCheck,
    answer_for,
    client_address,
    credentials,
    read_parameters,
    remember_answer,
    spelled,
    whole_seconds,
)

logger = logging.getLogger(__name__)

PATHS = ("/nic/update", "/v3/update")
_METHODS = ("GET", "POST")
_ROUTING: Mapping[str, Any] = {"strict_slashes": False, "provide_automatic_options": False}
_MOST_HOSTS = 20  # as at dyn.com
_MOST_ADDRESSES = 20

# Which status and word an error has here; a class that isn't listed has its parent's. Many
# clients look at the status alone, so 2xx is for wishes that Hetzner has accepted.
ANSWERS: Mapping[Type[errors.DyndnsError], Tuple[int, str]] = {
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
# These are about the request as a whole: one line, however many hosts it names.
_WHOLE = (errors.Unauthorized, errors.TooManyFailures, errors.TooManyHosts)

_ADDRESSES = ("myip", "myipv4", "ip", "ipv4", "ip4", "myipv6", "ipv6", "ip6", "myip6", "myip2")
# The network behind the router, as a Fritz!Box sends it.
_PREFIXES = ("ip6lanprefix", "ipv6prefix", "ip6prefix")
# What devices send when they have no address: <ipaddr>, %IP%, __MYIP__, [IP], @IP, …
_PLACEHOLDER = re.compile(
    r"<.*>|%ip%|%i|__myip__|\[ip\]|@ip|auto|dhcp|none|no|preserve|-|(0\.0\.0\.0|::)(/\d+)?",
    re.IGNORECASE,
)
Parameters = Mapping[str, List[str]]


class Line(NamedTuple):
    """The answer for one host."""

    status: int
    text: str
    retry_after: Optional[float] = None


def blueprint(
    authorizer: Authorizer, apply: Apply, proxies: Sequence[Network], sites: SiteCheck
) -> Blueprint:
    """Return the face, ready to be registered."""
    api = Blueprint("dyndns2", __name__)
    api.before_request(sites.refuse)

    def update() -> Response:
        if request.method == "HEAD":  # Flask maps it to GET, which writes
            return http_failure(MethodNotAllowed(_METHODS))
        names, requests = _update_requests(request, proxies)
        # All logins first: after an answer of 401 nothing was changed.
        authorized = _authorize_all(requests, authorizer)
        deadline = Deadline(ANSWER_SECONDS)
        lines: Dict[str, Line] = {}
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
            lines[name] = _success(outcome)
        return _respond([lines[name] for name in names])

    for path in PATHS:
        api.add_url_rule(path, view_func=update, methods=_METHODS, **_ROUTING)

    api.register_error_handler(errors.DyndnsError, refusal)

    @api.errorhandler(Exception)
    def crash(error: Exception) -> Response:
        if isinstance(error, HTTPException):
            return http_failure(error)
        logger.error("A request to /nic/update failed", exc_info=error)
        return _respond([Line(500, "911")])

    return api


def refusal(error: errors.DyndnsError) -> Response:
    """Return an error of ours in this face's form."""
    return _respond([_failure(error)])


def http_failure(error: HTTPException) -> Response:
    """Return an error of the web framework's in this face's form."""
    status = error.code or 500
    if isinstance(error, MethodNotAllowed):
        # Flask adds HEAD to what it lists.
        return _respond([Line(status, "badagent")], {"Allow": ", ".join(_METHODS)})
    return _respond([Line(status, "911" if status >= 500 else "dnserr")])  # noqa: PLR2004


def _authorize_all(
    requests: Mapping[str, UpdateRequest], authorizer: Authorizer
) -> Dict[str, Union[Update, errors.DyndnsError]]:
    authorized: Dict[str, Union[Update, errors.DyndnsError]] = {}
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


def _success(outcome: Outcome) -> Line:
    addresses = [one.desired.address for one in outcome.records]
    if not any(addresses):  # a removal
        return Line(200, "good")
    is_same = all(one.change in (Change.UNCHANGED, Change.CACHED) for one in outcome.records)
    shown = ",".join(str(address) for address in addresses)
    return Line(200, f"{'nochg' if is_same else 'good'} {shown}")


def _failure(error: errors.DyndnsError) -> Line:
    return Line(*answer_for(ANSWERS, error), getattr(error, "retry_after", None))


def _respond(lines: Sequence[Line], headers: Optional[Mapping[str, str]] = None) -> Response:
    """Answer one line a host: success if any host had success, else as the first one fared."""
    leading = next((line for line in lines if line.status == 200), lines[0])  # noqa: PLR2004
    response = Response(
        "".join(f"{line.text}\n" for line in lines), leading.status, mimetype="text/plain"
    )
    response.headers["Cache-Control"] = "no-store"
    response.headers.extend(headers or {})
    if leading.status == 401:  # noqa: PLR2004
        response.headers["WWW-Authenticate"] = CHALLENGE
    if leading.retry_after is not None:
        response.headers["Retry-After"] = whole_seconds(leading.retry_after)
    return response


def _update_requests(
    request: Request, proxies: Sequence[Network]
) -> Tuple[List[str], Mapping[str, UpdateRequest]]:
    """Return the names in order, with duplicates, and the request for each; `""` for none."""
    parameters = read_parameters(request)
    # `/nic/update?host.example.com`, as some cameras send it.
    bare = (name for name, values in parameters.items() if values == [""] and "." in name)
    names = _listed(parameters, "hostname") or list(bare) or [""]
    if len(names) > _MOST_HOSTS:
        raise errors.TooManyHosts(f"A request may name up to {_MOST_HOSTS} hosts.")
    source = client_address(request, proxies)
    credentials = _credentials(request, parameters)
    addresses, prefixes = _given(parameters)
    removes = any(value.strip().lower() == "yes" for value in parameters.get("offline", ()))
    announces_prefix = any(name in parameters for name in _PREFIXES)
    spelled_names = [spelled(name) for name in names]
    update_requests = {
        spelled_name: UpdateRequest(
            "dyndns2",
            source,
            credentials,
            name,
            addresses,
            removes=removes,
            prefixes=prefixes,
            announces_prefix=announces_prefix,
            name_follows_login=True,
        )
        for spelled_name, name in zip(spelled_names, names)
    }
    return spelled_names, update_requests


def _listed(parameters: Parameters, *names: str) -> List[str]:
    """Return all values of some parameters, which may be lists themselves."""
    values = [value for name in names for value in parameters.get(name, ())]
    return [item for value in values for item in re.split(r"[,\s]+", value) if item]


def _given(parameters: Parameters) -> Tuple[Tuple[str, ...], ...]:
    """Return addresses and prefixes without placeholders; limit their number before parsing."""
    listed = [_listed(parameters, *names) for names in (_ADDRESSES, _PREFIXES)]
    if sum(map(len, listed)) > _MOST_ADDRESSES:
        raise errors.BadAddress(f"A request may contain up to {_MOST_ADDRESSES} addresses.")
    return tuple(
        tuple(text for text in texts if not _PLACEHOLDER.fullmatch(text)) for texts in listed
    )


def _credentials(request: Request, parameters: Parameters) -> Optional[Credentials]:
    """Return the login of the header, else the one some routers put into the query."""
    sent = credentials(request)
    if sent is not None and sent != UNREADABLE:
        return sent
    user = _first(parameters, "user", "username")
    secret = _first(parameters, "pass", "password")
    return Credentials(user, secret) if user and secret else sent


def _first(parameters: Parameters, *names: str) -> str:
    values = (value for name in names for value in parameters.get(name, ()))
    return next(filter(None, values), "")
