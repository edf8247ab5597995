"""The JSON protocol: ``/update``."""

from __future__ import annotations

import json
from typing import Mapping, Sequence

from flask import Blueprint, Response, request
from werkzeug.exceptions import HTTPException

from backend import errors
from backend.model import ANSWER_SECONDS, Change, Deadline, Network
from backend.web.request import (
    APPLIED,
    TOO_LARGE,
    Apply,
    Authorize,
    answer_for,
    read_updates,
)

# The status and the code of each error; a class that isn't listed has those of its parent.
ANSWERS: Mapping[type[errors.DyndnsError], tuple[int, str]] = {
    errors.DyndnsError: (500, "internal"),
    errors.CallerError: (400, "bad_request"),
    errors.RequestTooLarge: (413, "too_large"),
    errors.MissingHostname: (400, "missing_fqdn"),
    errors.BadHostname: (400, "invalid_fqdn"),
    errors.TooManyHosts: (400, "invalid_fqdn"),
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
# Errors of the web framework.
_HTTP_FAILURES = {
    413: ("too_large", TOO_LARGE),
    404: ("not_found", "This path doesn't exist: send updates to /update or /nic/update."),
    405: ("method_not_allowed", "This method isn't allowed: use one from the header Allow."),
}


def blueprint(authorize: Authorize, apply: Apply, proxies: Sequence[Network]) -> Blueprint:
    """Return the views of this protocol."""
    api = Blueprint("json_api", __name__)

    @api.route("/update", methods=["POST", "DELETE"], provide_automatic_options=False)
    def update() -> Response:
        (update_request,) = read_updates(request, proxies, "json")
        authorized = authorize(update_request)
        outcome = apply(authorized, Deadline(ANSWER_SECONDS))
        request.environ[APPLIED] = authorized, outcome
        if update_request.removes:
            status = "deleted" if outcome.changed else "unchanged"
            types = [one.desired.type.value for one in outcome.records]
            return answer(200, {"status": status, "fqdn": str(outcome.host), "types": types})
        records = [
            {
                "status": _STATUSES[one.change],
                "type": one.desired.type.value,
                "ip": str(one.desired.address),
            }
            for one in outcome.records
        ]
        first = {"status": records[0]["status"], "fqdn": str(outcome.host), **records[0]}
        return answer(200, {**first, "records": records} if len(records) > 1 else first)

    return api


def refusal(error: errors.DyndnsError) -> Response:
    """Return the answer for an error of this service."""
    status, code, headers = answer_for(ANSWERS, error)
    return answer(status, {"error": str(error), "code": code}, headers)


def http_failure(error: HTTPException) -> Response:
    """Return the answer for an error of the web framework."""
    status = error.code or 500
    default = "bad_request" if status < 500 else "internal"  # noqa: PLR2004
    code, sentence = _HTTP_FAILURES.get(status, (default, "The request can't be read."))
    allow = dict(error.get_headers()).get("Allow")
    return answer(status, {"error": sentence, "code": code}, {"Allow": allow} if allow else None)


def answer(
    status: int, body: Mapping[str, object], headers: Mapping[str, str] | None = None
) -> Response:
    """Return a JSON answer."""
    text = json.dumps(body, ensure_ascii=False).replace("<", "\\u003c")  # never taken for HTML
    return Response(
        f"{text}\n",
        status,
        {"Cache-Control": "no-store", **(headers or {})},
        mimetype="application/json",
    )
