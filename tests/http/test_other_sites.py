"""Requests that other web sites cause in a browser change nothing, with any login."""

from __future__ import annotations

import logging
from typing import Any, Iterator, Mapping

import pytest

from tests.http.service import (
    HOME,
    OPERATOR,
    PEER,
    Service,
    basic,
    key_of,
    record,
    refused,
    said,
    told,
)

HERE = "http://localhost"  # as Werkzeug's client calls the service
FOREIGN: Mapping[str, Mapping[str, str]] = {
    "another site": {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"},
    "another port": {"Sec-Fetch-Site": "same-site", "Origin": HERE},
    "an odd mark": {"Sec-Fetch-Site": "same-origin, cross-site"},
    "an older browser": {"Origin": "https://evil.example.net"},
    "a sandboxed frame": {"Origin": "null"},
    "a proxy made up": {"Origin": "https://evil.net", "X-Forwarded-Host": "evil.net"},
}
OWN: Mapping[str, Mapping[str, str]] = {
    "a device": {},
    "the address bar": {"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate"},
    "our own page": {"Sec-Fetch-Site": "same-origin", "Origin": HERE},
    "our own page in an older browser": {"Origin": HERE},
}
LOGINS: Mapping[str, Mapping[str, str] | None] = {
    "operator": {"Authorization": basic(*OPERATOR)},
    "host": {"Authorization": basic("home", key_of(HOME))},
    "key": {"X-Pre-Shared-Key": key_of(HOME)},
    "wrong": {"Authorization": basic("home", "wrong")},
    "none": {},
}
SET = {"hostname": HOME, "myip": "198.51.100.9"}
REQUESTS: Mapping[str, dict[str, Any]] = {
    "GET": {"method": "GET", "path": "/nic/update", "query_string": SET},
    "HEAD": {"method": "HEAD", "path": "/nic/update", "query_string": SET},
    "offline": {
        "method": "GET",
        "path": "/nic/update",
        "query_string": {"hostname": HOME, "offline": "YES"},
    },
    "POST": {"method": "POST", "path": "/nic/update", "data": SET},
    "slash": {"method": "GET", "path": "/nic/update/", "query_string": SET},
    "slashes": {"method": "GET", "path": "//nic//update", "query_string": SET},
    "v3": {"method": "GET", "path": "/v3/update", "query_string": SET},
    "v3 POST": {"method": "POST", "path": "/v3/update/", "query_string": SET},
    "form": {"method": "POST", "path": "/update", "data": {"fqdn": HOME, "ip": "198.51.100.9"}},
    "text": {
        "method": "POST",
        "path": "/update",
        "data": f'{{"fqdn": "{HOME}", "ip": "198.51.100.9"}}',
        "content_type": "text/plain",
    },
    "DELETE": {"method": "DELETE", "path": "/update", "json": {"fqdn": HOME}},
}


@pytest.fixture(params=REQUESTS)
def sent(request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    return dict(REQUESTS[request.param])


@pytest.mark.parametrize("login", LOGINS)
@pytest.mark.parametrize("marks", FOREIGN)
def test_a_request_of_another_site_is_refused_and_changes_nothing(
    untouched: Service, sent: dict[str, Any], marks: str, login: str
) -> None:
    headers = {**FOREIGN[marks], **(LOGINS[login] or {})}
    answer = untouched.asks(headers=headers, **sent)
    if sent["path"] == "/update":
        assert refused(answer) == (403, "cross_site")
    else:
        assert said(answer) == (403, b"" if sent["method"] == "HEAD" else b"dnserr\n")


@pytest.mark.parametrize("marks", OWN)
def test_same_site_requests_pass(service: Service, marks: str) -> None:
    headers = {**OWN[marks], **(LOGINS["operator"] or {})}
    answer = service.asks("GET", "/nic/update", query_string=SET, headers=headers)
    assert said(answer) == (200, b"good 198.51.100.9\n")
    form = {"fqdn": HOME, "ip": "198.51.100.9"}
    answer = service.asks("POST", "/update", data=form, headers=headers)
    assert told(answer) == (200, record("unchanged", "198.51.100.9"))


@pytest.mark.parametrize("marks", FOREIGN)
def test_memory_does_not_answer_another_site(service: Service, marks: str) -> None:
    def asks(**headers: str) -> Any:  # noqa: ANN401
        login = {"Authorization": basic(*OPERATOR)}
        return service.asks("GET", "/nic/update", query_string=SET, headers={**login, **headers})

    assert said(asks()) == (200, b"good 198.51.100.9\n")
    for _ in range(2):
        assert said(asks()) == (200, b"nochg 198.51.100.9\n")
        assert said(asks(**FOREIGN[marks])) == (403, b"dnserr\n")
        assert said(asks(**OWN["the address bar"])) == (200, b"nochg 198.51.100.9\n")


def test_a_refusal_of_another_site_is_no_failed_login(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    headers = {**FOREIGN["another site"], "Authorization": basic("home", "wrong")}
    with caplog.at_level(logging.INFO):
        for _ in range(50):
            service.asks("GET", "/nic/update", query_string=SET, headers=headers)
    lines = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert 1 <= len(lines) <= 6
    assert all("another web site" in line and PEER in line for line in lines)
    assert service.rows("failed_logins") == []


def test_other_sites_may_link_to_the_description_of_the_api(service: Service) -> None:
    answer = service.asks("GET", "/openapi.json", headers=FOREIGN["another site"])
    assert answer.status_code == 200
