"""The JSON face: ``/update``."""

from __future__ import annotations

import json
import logging
from typing import Any, Dict, Mapping, Optional, Sequence, Tuple, Type

from flask import Blueprint, Request, Response, request
from werkzeug.exceptions import HTTPException

from backend import errors
from backend.auth.authorizer import Authorizer
from backend.model import ANSWER_SECONDS, Change, Deadline, Outcome, UpdateRequest
from backend.web.request import (
    CHALLENGE,
    Apply,
    Network,
    SiteCheck,
    answer_for,
    check_number,
    client_address,
    credentials,
    remember_answer,
    whole_seconds,
)

logger = logging.getLogger(__name__)

# Which status and code an error has here; a class that isn't listed has its parent's.
ANSWERS: Mapping[Type[errors.DyndnsError], Tuple[int, str]] = {
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


def blueprint(
    authorizer: Authorizer, apply: Apply, proxies: Sequence[Network], sites: SiteCheck
) -> Blueprint:
    """Return the face, ready to be registered."""
    api = Blueprint("json_api", __name__)
    api.before_request(sites.refuse)

    @api.route("/update", methods=["POST", "DELETE"], provide_automatic_options=False)
    def update() -> Response:
        removes = request.method == "DELETE"
        authorized = authorizer.authorize(_update_request(request, proxies, removes=removes))
        outcome = apply(authorized, Deadline(ANSWER_SECONDS))
        remember_answer(request.environ, authorized, outcome)
        return _json(200, _removal(outcome) if removes else _result(outcome))

    api.register_error_handler(errors.DyndnsError, refusal)

    @api.errorhandler(Exception)
    def crash(error: Exception) -> Response:
        if isinstance(error, HTTPException):
            return http_failure(error)
        logger.error("A request to /update failed", exc_info=error)
        return failure(500, "internal", "Something went wrong here; the log says what.")

    return api


def _update_request(
    request: Request, proxies: Sequence[Network], *, removes: bool
) -> UpdateRequest:
    fields = _fields(request)
    check_number(len(fields))
    address = _text(fields, "ip")
    return UpdateRequest(
        protocol="json",
        source=client_address(request, proxies),
        credentials=credentials(request),
        name=_text(fields, "fqdn") or _text(fields, "url"),
        addresses=(address,) if address else (),
        type=_text(fields, "type"),
        removes=removes,
    )


def _fields(request: Request) -> Mapping[str, Any]:
    """Read the body: JSON, or form fields, which PowerShell and curl send unasked."""
    body = request.get_data(parse_form_data=False, cache=True)
    if request.mimetype in _FORM_TYPES and not body.lstrip().startswith(b"{"):
        return request.form
    if not body.strip():
        return {}
    try:
        fields = json.loads(body.decode("utf-8"))
    except (ValueError, RecursionError):
        raise errors.BadRequest(
            'The body is no JSON: send an object, as in {"fqdn": "host.example.com"}.'
        ) from None
    if not isinstance(fields, dict):
        raise errors.BadRequest(
            'The body is no JSON object: send one, as in {"fqdn": "host.example.com"}.'
        )
    return fields


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name, "")
    if not isinstance(value, str):
        raise errors.BadRequest(f"{name} must be a string; leave it out if there is none.")
    return value.strip()


def _result(outcome: Outcome) -> Dict[str, object]:
    (only,) = outcome.records
    return {
        "status": _STATUSES[only.change],
        "fqdn": str(outcome.host),
        "type": only.desired.type.value,
        "ip": str(only.desired.address),
    }


def _removal(outcome: Outcome) -> Dict[str, object]:
    return {
        "status": "deleted" if outcome.changed else "unchanged",
        "fqdn": str(outcome.host),
        "types": [one.desired.type.value for one in outcome.records],
    }


def refusal(error: errors.DyndnsError) -> Response:
    """Return an error of ours in this face's form."""
    status, code = answer_for(ANSWERS, error)
    headers = {}
    if status == 401:  # noqa: PLR2004
        headers["WWW-Authenticate"] = CHALLENGE
    retry_after = getattr(error, "retry_after", None)
    if retry_after is not None:
        headers["Retry-After"] = whole_seconds(retry_after)
    return failure(status, code, str(error), headers)


def failure(
    status: int, code: str, sentence: str, headers: Optional[Mapping[str, str]] = None
) -> Response:
    """Return an error in this face's form."""
    return _json(status, {"error": sentence, "code": code}, headers)


def http_failure(error: HTTPException) -> Response:
    """Return an error of the web framework's in this face's form."""
    status = error.code or 500
    codes = {413: "too_large", 404: "not_found", 405: "method_not_allowed"}
    sentences = {
        413: "The body is too large: an update takes a few hundred bytes.",
        404: "There is nothing here: updates go to /update or /nic/update.",
        405: "This method is not allowed here: the header Allow says which are.",
    }
    code = codes.get(status, "bad_request" if status < 500 else "internal")  # noqa: PLR2004
    sentence = sentences.get(status, "The request can't be read.")
    allow = dict(error.get_headers()).get("Allow")
    return failure(status, code, sentence, {"Allow": allow} if allow else None)


def _json(
    status: int, body: Mapping[str, object], headers: Optional[Mapping[str, str]] = None
) -> Response:
    return Response(
        json.dumps(body, ensure_ascii=False) + "\n",
        status,
        {"Cache-Control": "no-store", **(headers or {})},
        mimetype="application/json",
    )
