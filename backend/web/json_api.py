"""The JSON protocols: ``/update``, and those for certificate challenges (DNS-01)."""

from __future__ import annotations

import json
from typing import Callable, Mapping, Sequence

from flask import Blueprint, Response, request
from werkzeug.exceptions import HTTPException

from backend import errors
from backend.model import ANSWER_SECONDS, Change, Credentials, Deadline, Network, UpdateRequest
from backend.store.challenges import CHALLENGE_LABEL, Challenge
from backend.web.caller import client_address
from backend.web.request import (
    APPLIED,
    TOO_LARGE,
    Apply,
    Authorize,
    answer_for,
    header_logins,
    header_text,
    read_parameters,
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
_NO_CHALLENGE = (
    "Not the name of a certificate challenge: write it as in _acme-challenge.host.example.com."
)
# Errors of the web framework.
_HTTP_FAILURES = {
    413: ("too_large", TOO_LARGE),
    404: ("not_found", "This path doesn't exist: send updates to /update or /nic/update."),
    405: ("method_not_allowed", "This method isn't allowed: use one from the header Allow."),
}


def blueprint(authorize: Authorize, apply: Apply, proxies: Sequence[Network]) -> Blueprint:
    """Return the view of `/update`."""
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


def challenges(
    authorize: Callable[[UpdateRequest, str], Challenge],
    present: Callable[[Challenge], None],
    clean_up: Callable[[Challenge], bool],
    proxies: Sequence[Network],
) -> Blueprint:
    """Return the views of the protocols for certificate challenges: lego's httpreq, and acme-dns.

    https://go-acme.github.io/lego/dns/httpreq/ and https://github.com/joohoi/acme-dns#api.
    `authorize` is `Authorizer.authorize_challenge`, and two arguments are methods of `Challenges`.
    """
    api = Blueprint("acme", __name__)

    def httpreq() -> Challenge:
        asked, value = read_challenge(proxies, "httpreq", ("fqdn", "value"), header_logins(request))
        return authorize(asked, value)

    @api.post("/acme/present")
    def httpreq_present() -> Response:
        challenge = httpreq()
        present(challenge)
        return answer(200, {"status": "published", "fqdn": f"{challenge.name}."})

    @api.post("/acme/cleanup")
    def httpreq_cleanup() -> Response:
        challenge = httpreq()
        status = "removed" if clean_up(challenge) else "unchanged"
        return answer(200, {"status": status, "fqdn": f"{challenge.name}."})

    @api.post("/acme-dns/update")
    def update() -> Response:
        logins = header_logins(request)
        key = header_text(request, "X-Api-Key")
        if key:
            logins.append(Credentials(header_text(request, "X-Api-User") or None, key))
        asked, value = read_challenge(proxies, "acme-dns", ("subdomain", "txt"), logins)
        present(authorize(asked, value))
        return answer(200, {"txt": value})  # acme.sh looks for the value

    return api


def read_challenge(
    proxies: Sequence[Network], protocol: str, fields: tuple[str, str], logins: list[Credentials]
) -> tuple[UpdateRequest, str]:
    """Return the request and the value of the challenge; only valid logins see its problems."""
    given, problem = read_parameters(request)
    names, values = ([one.value for one in given if one.name == field] for field in fields)
    if problem is None and (len(names) != 1 or len(values) != 1):
        hint = " Leave HTTPREQ_MODE empty." if protocol == "httpreq" else ""
        problem = errors.BadRequest(
            f"Send a JSON object with {fields[0]} and {fields[1]}, once.{hint}"
        )
    name = names[0] if names else ""
    if protocol == "httpreq":
        label, host = name[: len(CHALLENGE_LABEL)], name[len(CHALLENGE_LABEL) :]
        if label.lower() == CHALLENGE_LABEL and not host.startswith("*"):
            name = host
        else:
            name = name.lstrip("*.")
            problem = problem or errors.BadHostname(_NO_CHALLENGE)
    return UpdateRequest(
        protocol=protocol,
        source=client_address(request.environ, proxies),
        logins=tuple(logins),
        name=name,
        unknown=tuple(one for one in given if one.name not in fields),
        problem=problem,
    ), (values[0] if values else "")


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
    text = json.dumps(body, ensure_ascii=False).replace("<", "\\u003c")  # never taken for HTML
    return Response(
        f"{text}\n",
        status,
        {"Cache-Control": "no-store", **(headers or {})},
        mimetype="application/json",
    )
