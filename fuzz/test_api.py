"""Requests that schemathesis generates from our OpenAPI document get the documented answers."""

from __future__ import annotations

from collections import Counter
from typing import Any, Iterator

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings, strategies as st
from schemathesis.generation.feedback import FeedbackSources
from schemathesis.specs.openapi import checks as openapi

from backend.sync import challenges
from sandbox import Sandbox
from tests.http.service import HOSTS, OPERATOR, Service, basic, key_of

# Without the check that valid requests are accepted: a schema can't describe host names.
CHECKS = [
    openapi.status_code_conformance,
    openapi.content_type_conformance,
    openapi.response_headers_conformance,
    openapi.response_schema_conformance,
]
OPERATIONS = (
    *(("POST", "/update"), ("DELETE", "/update")),
    *(("POST", "/acme/present"), ("POST", "/acme/cleanup"), ("POST", "/acme-dns/update")),
)
STATUSES: Counter[tuple[str, int]] = Counter()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    token = "a" * 64
    fast = {"limits": (10**9, 10**9), "action_seconds": 0}
    with Sandbox([f"example.com={token}"], [token], **fast) as sandbox:
        limits = {"AUTH_FAILURE_LIMIT": "1000000", "ALLOW_PRIVATE_ADDRESSES": "1"}
        service = Service(sandbox, tmp_path_factory.mktemp("fuzz"), **limits, ACME_DNS="1")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(challenges, "_FIRST_PAUSE", 0.0)  # before the first poll of an action
            yield service
        service.stop()


@pytest.fixture(scope="module")
def requests_(service: Service) -> dict[str, Any]:
    """Return the strategies for requests; without feedback, so that runs can be repeated."""
    document = schemathesis.openapi.from_wsgi("/openapi.json", service.app)
    return {
        f"{method} {path}": document[path][method].as_strategy(feedback=FeedbackSources())
        for method, path in OPERATIONS
    }


def logins(name: str) -> dict[str, dict[str, str]]:
    return {
        "no login": {},
        "wrong key": {"X-Pre-Shared-Key": "wrong"},
        "host key": {"X-Pre-Shared-Key": key_of(name)},
        "host login": {"Authorization": basic(name, key_of(name))},
        "operator": {"Authorization": basic(*OPERATOR)},
    }


# Without the pytest plugin of schemathesis, which doesn't support every version of pytest.
@pytest.mark.parametrize("operation", [" ".join(one) for one in OPERATIONS])
@given(data=st.data())
@settings(max_examples=500, deadline=None, suppress_health_check=list(HealthCheck))
def test_answers_match_the_openapi_document(
    requests_: dict[str, Any],
    operation: str,
    data: st.DataObject,
) -> None:
    case = data.draw(requests_[operation], "case")
    name = data.draw(st.sampled_from(HOSTS), "host")
    # Generated bodies hardly ever pass the login, and the rest of one is seldom valid.
    kind = data.draw(st.sampled_from(["generated", "of a known host", "valid"]), "kind")
    if isinstance(case.body, dict) and kind != "generated":
        if kind == "valid":
            case.body = {"value": "x" * 43, "txt": "x" * 43} if "acme" in operation else {}
        if "acme" in operation:
            case.body["fqdn"] = f"_acme-challenge.{name.replace('*.', '')}."
            case.body["subdomain"] = name
            case.body.pop("subdomain" if "/acme/" in operation else "fqdn")
        else:
            case.body["fqdn"] = name
            if operation.startswith("POST"):
                case.body["ip"] = data.draw(st.ip_addresses(v=4).map(str), "ip")
    for header in ("X-Pre-Shared-Key", "Authorization", "X-Api-User", "X-Api-Key"):
        case.headers.pop(header, None)
    case.headers.update(data.draw(st.sampled_from(list(logins(name).values())), "login"))
    response = case.call()
    case.validate_response(response, checks=CHECKS)
    assert response.status_code != 500
    STATUSES[operation, response.status_code] += 1


def test_requests_reached_every_kind_of_answer() -> None:
    print(dict(STATUSES))
    reached = {(" ".join(one), status) for one in OPERATIONS for status in (200, 400, 401)}
    assert reached <= set(STATUSES)
