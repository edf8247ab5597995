"""The JSON protocol: ``/update``."""

from __future__ import annotations

import json
from typing import Any, Mapping, Sequence

from flask import Blueprint, Request, Response, request
from werkzeug.exceptions import HTTPException

from backend import errors
from backend.auth.authorizer import Authorizer
from backend.model import ANSWER_SECONDS, Change, Deadline, UpdateRequest
from backend.web.request import (
    CHALLENGE,
    TOO_LARGE,
    Apply,
    Network,
    answer_for,
    check_number,
    client_address,
    credentials,
    remember_answer,
    whole_seconds,
)

# The status and the code of each error; a class that isn't listed has those of its parent.
ANSWERS: Mapping[type[errors.DyndnsError], tuple[int, str]] = {
    errors.DyndnsError: (500, "internal"),
    errors.CallerError: (400, "bad_request"),
    errors.RequestTooLarge: (413, "too_large"),
    errors.MissingHostname: (400, "missing_fqdn"),
    errors.BadHostname: (400, "invalid_fqdn"),
    errors.BadRecordType: (400, "invalid_type"),
    errors.AddressMismatch: (400, "ip_version_mismatch"),
    errors.PrivateAddress: (400, "private_address"),
    errors.BadAddress: (400, "invalid_ip"),
    errors.CrossSite: (403, "cross_site"),
    errors.Unauthorized: (401, "unauthorized"),
    errors.ForeignHost: (401, "unauthorized"),
    errors.HostNotAllowed: (403, "fqdn_not_allowed"),
    errors.TooManyFailures: (429, "too_many_failures"),
    errors.ZoneNotFound: (404, "zone_not_found"),
    errors.OperatorError: (502, "hetzner_refused"),
    errors.TransientError: (503, "unavailable"),
}
_STATUSES = {
    Change.CREATED: "created",
    Change.REPLACED: "updated",
    Change.UNCHANGED: "unchanged",
    Change.CACHED: "unchanged",
    Change.DELETED: "deleted",
}
_FORM_TYPES = ("application/x-www-form-urlencoded", "multipart/form-data")
_AS_IN = 'as in {"fqdn": "host.example.com"}.'
# Errors of the web framework.
_HTTP_FAILURES = {
    413: ("too_large", TOO_LARGE),
    404: ("not_found", "This path doesn't exist: send updates to /update or /nic/update."),
    405: ("method_not_allowed", "This method isn't allowed: use one from the header Allow."),
}


def blueprint(authorizer: Authorizer, apply: Apply, proxies: Sequence[Network]) -> Blueprint:
    """Return the views of this protocol."""
    api = Blueprint("json_api", __name__)

    @api.route("/update", methods=["POST", "DELETE"], provide_automatic_options=False)
    def update() -> Response:
        removes = request.method == "DELETE"
        authorized = authorizer.authorize(_update_request(request, proxies, removes=removes))
        outcome = apply(authorized, Deadline(ANSWER_SECONDS))
        remember_answer(request.environ, authorized, outcome)
        details: dict[str, object]
        if removes:
            status = "deleted" if outcome.changed else "unchanged"
            details = {"types": [one.desired.type.value for one in outcome.records]}
        else:
            (record,) = outcome.records
            status = _STATUSES[record.change]
            details = {"type": record.desired.type.value, "ip": str(record.desired.address)}
        return _json(200, {"status": status, "fqdn": str(outcome.host), **details})

    return api


def _update_request(
    request: Request, proxies: Sequence[Network], *, removes: bool
) -> UpdateRequest:
    """Read JSON or a form, which PowerShell and curl send by default."""
    body = request.get_data(parse_form_data=False, cache=True)
    fields: Mapping[str, Any] = {}
    if request.mimetype in _FORM_TYPES and not body.lstrip().startswith(b"{"):
        fields = request.form
    elif body.strip():
        try:
            fields = json.loads(body.decode("utf-8"))
        except (ValueError, RecursionError):
            raise errors.BadRequest(f"The body isn't JSON: send an object, {_AS_IN}") from None
        if not isinstance(fields, dict):
            raise errors.BadRequest(f"The body isn't a JSON object: send one, {_AS_IN}")
    check_number(len(fields))
    texts = {}
    for name in ("fqdn", "url", "ip", "type"):
        text = fields.get(name, "")
        if not isinstance(text, str):
            raise errors.BadRequest(f"{name} must be a string; leave it out if you have none.")
        texts[name] = text.strip()
    return UpdateRequest(
        protocol="json",
        source=client_address(request, proxies),
        credentials=credentials(request),
        name=texts["fqdn"] or texts["url"],
        addresses=(texts["ip"],) if texts["ip"] else (),
        type=texts["type"],
        removes=removes,
    )


def refusal(error: errors.DyndnsError) -> Response:
    """Return the answer for an error of this service."""
    status, code = answer_for(ANSWERS, error)
    headers = {}
    if status == 401:  # noqa: PLR2004
        headers["WWW-Authenticate"] = CHALLENGE
    retry_after = getattr(error, "retry_after", None)
    if retry_after is not None:
        headers["Retry-After"] = whole_seconds(retry_after)
    return _json(status, {"error": str(error), "code": code}, headers)


def http_failure(error: HTTPException) -> Response:
    """Return the answer for an error of the web framework."""
    status = error.code or 500
    default = "bad_request" if status < 500 else "internal"  # noqa: PLR2004
    code, sentence = _HTTP_FAILURES.get(status, (default, "The request can't be read."))
    allow = dict(error.get_headers()).get("Allow")
    return _json(status, {"error": sentence, "code": code}, {"Allow": allow} if allow else None)


def _json(
    status: int, body: Mapping[str, object], headers: Mapping[str, str] | None = None
) -> Response:
    return Response(
        json.dumps(body, ensure_ascii=False) + "\n",
        status,
        {"Cache-Control": "no-store", **(headers or {})},
        mimetype="application/json",
    )
