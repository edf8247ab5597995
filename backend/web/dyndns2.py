"""The dyndns2 protocol of routers: ``/nic/update``.

https://help.dyn.com/remote-access-api/perform-update/, with the deviations of real devices.
"""

from __future__ import annotations

from typing import Mapping, NamedTuple, Sequence

from flask import Blueprint, Response, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from backend import errors
from backend.model import ANSWER_SECONDS, Deadline, Network, Update
from backend.web.request import APPLIED, Apply, Authorize, answer_for, read_updates

PATHS = ("/nic/update", "/v3/update")
_METHODS = ("GET", "POST")

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


class Line(NamedTuple):
    """The answer for one host."""

    status: int
    text: str
    headers: Mapping[str, str]


def blueprint(authorize: Authorize, apply: Apply, proxies: Sequence[Network]) -> Blueprint:
    """Return the views of this protocol."""
    api = Blueprint("dyndns2", __name__)

    def update() -> Response:
        if request.method == "HEAD":  # Flask routes HEAD like GET, which would write
            return http_failure(MethodNotAllowed(_METHODS))
        asked = read_updates(request, proxies, "dyndns2")
        updates: dict[str, Update] = {}
        lines: dict[str, Line] = {}
        # Check all logins before any update, so that an answer of 401 means "nothing changed".
        for name, one in {one.name: one for one in asked}.items():
            try:
                updates[name] = authorize(one, is_known=bool(updates or lines))
            except _WHOLE:
                raise
            except errors.DyndnsError as error:
                lines[name] = Line(*answer_for(ANSWERS, error))
        deadline = Deadline(ANSWER_SECONDS)
        for name, authorized in updates.items():
            try:
                outcome = apply(authorized, deadline)
            except errors.DyndnsError as error:
                lines[name] = Line(*answer_for(ANSWERS, error))
                continue
            if len(asked) == 1:
                request.environ[APPLIED] = authorized, outcome
            text = "good" if outcome.changed else "nochg"
            addresses = [str(one.desired.address) for one in outcome.records if one.desired.address]
            # A removal has no addresses.
            lines[name] = Line(200, f"{text} {','.join(addresses)}" if addresses else "good", {})
        return _respond([lines[one.name] for one in asked])

    for path in PATHS:
        api.add_url_rule(path, view_func=update, methods=_METHODS, provide_automatic_options=False)

    return api


def refusal(error: errors.DyndnsError) -> Response:
    """Return the answer for an error of this service."""
    return _respond([Line(*answer_for(ANSWERS, error))])


def http_failure(error: HTTPException) -> Response:
    """Return the answer for an error of the web framework."""
    status = error.code or 500
    if isinstance(error, MethodNotAllowed):
        # Flask would list HEAD, too.
        return _respond([Line(status, "badagent", {"Allow": ", ".join(_METHODS)})])
    return _respond([Line(status, "911" if status >= 500 else "dnserr", {})])  # noqa: PLR2004


def _respond(lines: Sequence[Line]) -> Response:
    """Answer with a line for each host; the status is 200 if any succeeded, or the first one."""
    leading = next((line for line in lines if line.status == 200), lines[0])  # noqa: PLR2004
    text = "".join(f"{line.text}\n" for line in lines)
    headers = {"Cache-Control": "no-store", **leading.headers}
    return Response(text, leading.status, headers, mimetype="text/plain")
