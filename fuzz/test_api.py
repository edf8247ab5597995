"""Whatever schemathesis makes of our OpenAPI document is answered as the document says."""

from __future__ import annotations

from collections import Counter
from typing import Any, Dict, Iterator, Tuple

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings, strategies as st
from schemathesis.generation.feedback import FeedbackSources
from schemathesis.specs.openapi import checks as openapi

from sandbox import Sandbox
from tests.http.service import HOSTS, OPERATOR, Service, basic, key_of

# Left out: that what fits the schema is accepted. A schema can't say what a host name is.
CHECKS = [
    openapi.status_code_conformance,
    openapi.content_type_conformance,
    openapi.response_headers_conformance,
    openapi.response_schema_conformance,
]
STATUSES: Counter[Tuple[str, int]] = Counter()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    token = "a" * 64
    with Sandbox([f"example.com={token}"], [token], limits=(10**9, 10**9)) as sandbox:
        limits = {"AUTH_FAILURE_LIMIT": "1000000", "ALLOW_PRIVATE_ADDRESSES": "1"}
        service = Service(sandbox, tmp_path_factory.mktemp("fuzz"), **limits)
        yield service
        service.stop()


@pytest.fixture(scope="module")
def requests_(service: Service) -> Dict[str, Any]:
    """What to draw requests from; it may learn nothing on the way, for that can't be repeated."""
    document = schemathesis.openapi.from_wsgi("/openapi.json", service.app)
    update = document["/update"]
    return {
        method: update[method].as_strategy(feedback=FeedbackSources())
        for method in ("POST", "DELETE")
    }


def logins(name: str) -> Dict[str, Dict[str, str]]:
    return {
        "nobody": {},
        "a stranger": {"X-Pre-Shared-Key": "wrong"},
        "the host": {"X-Pre-Shared-Key": key_of(name)},
        "the host by name": {"Authorization": basic(name, key_of(name))},
        "the operator": {"Authorization": basic(*OPERATOR)},
    }


# By hand: the plugin of schemathesis doesn't know every pytest.
@pytest.mark.parametrize("method", ["POST", "DELETE"])
@given(data=st.data())
@settings(max_examples=500, deadline=None, suppress_health_check=list(HealthCheck))
def test_every_answer_is_one_of_the_documents(
    requests_: Dict[str, Any],
    method: str,
    data: st.DataObject,
) -> None:
    case = data.draw(requests_[method], "case")
    name = data.draw(st.sampled_from(HOSTS), "host")
    if isinstance(case.body, dict) and data.draw(st.booleans(), "names it"):
        # Or else hardly anything gets past the login, or to Hetzner.
        case.body["fqdn"] = name
        case.body["ip"] = data.draw(st.ip_addresses(v=4).map(str), "ip")
    for header in ("X-Pre-Shared-Key", "Authorization"):
        case.headers.pop(header, None)
    case.headers.update(data.draw(st.sampled_from(list(logins(name).values())), "login"))
    response = case.call()
    case.validate_response(response, checks=CHECKS)
    assert response.status_code != 500
    STATUSES[method, response.status_code] += 1


def test_the_cases_came_past_the_login() -> None:
    print(dict(STATUSES))
    assert {(method, status) for method in ("POST", "DELETE") for status in (200, 400, 401)} <= set(
        STATUSES
    )
