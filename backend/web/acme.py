"""The protocols for certificate challenges (DNS-01): lego's httpreq, and acme-dns.

https://go-acme.github.io/lego/dns/httpreq/ and https://github.com/joohoi/acme-dns#api. Errors are
answered as `/update` does.
"""

from __future__ import annotations

from typing import Callable, Sequence

from flask import Blueprint, Response, request

from backend.errors import BadHostname, BadRequest
from backend.model import Credentials, Network, UpdateRequest
from backend.store.challenges import CHALLENGE_LABEL, Challenge
from backend.web.caller import client_address
from backend.web.json_api import answer
from backend.web.request import header_logins, header_text, read_parameters

_NO_CHALLENGE = (
    "Not the name of a certificate challenge: write it as in _acme-challenge.host.example.com."
)


def blueprint(
    authorize: Callable[[UpdateRequest, str], Challenge],
    present: Callable[[Challenge], None],
    clean_up: Callable[[Challenge], bool],
    proxies: Sequence[Network],
) -> Blueprint:
    """Return the views of both protocols.

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
        problem = BadRequest(f"Send a JSON object with {fields[0]} and {fields[1]}, once.{hint}")
    name = names[0] if names else ""
    if protocol == "httpreq":
        label, host = name[: len(CHALLENGE_LABEL)], name[len(CHALLENGE_LABEL) :]
        if label.lower() == CHALLENGE_LABEL and not host.startswith("*"):
            name = host
        else:
            name = name.lstrip("*.")
            problem = problem or BadHostname(_NO_CHALLENGE)
    return UpdateRequest(
        protocol=protocol,
        source=client_address(request.environ, proxies),
        logins=tuple(logins),
        name=name,
        unknown=tuple(one for one in given if one.name not in fields),
        problem=problem,
    ), (values[0] if values else "")
