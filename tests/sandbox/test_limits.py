"""Each token has two buckets that refill in whole calls."""

from __future__ import annotations

import pytest

from sandbox import Sandbox
from sandbox.limits import Limits
from tests.sandbox.conftest import Caller, Clock

RRSET = "/v1/zones/example.com/rrsets/home/A"


@pytest.mark.parametrize(
    ("method", "path", "limit"),
    [
        ("GET", "/v1/zones", 3600),
        ("GET", "/v1/zones/example.com/rrsets", 3600),
        ("POST", "/v1/zones/example.com/rrsets", 3600),
        ("GET", RRSET, 3600),
        ("DELETE", RRSET, 3600),
        ("POST", f"{RRSET}/actions/set_records", 7200),
        ("POST", "/v1/zones/example.com/actions/change_ttl", 7200),
        ("GET", "/v1/zones/actions/7", 7200),
        ("GET", "/v1/actions/7", 7200),
        ("GET", "/v1/actions", 7200),
    ],
)
def test_each_call_counts_against_its_bucket(
    clock: Clock, method: str, path: str, limit: int
) -> None:
    allowance = Limits(clock).take("token", method, path)
    assert (allowance.limit, allowance.remaining) == (limit, limit - 1)


def test_the_bucket_refills_and_reports_its_reset(clock: Clock) -> None:
    limits = Limits(clock, limit=3600)
    for _ in range(10):
        allowance = limits.take("token", "GET", "/v1/zones")
    assert (allowance.remaining, allowance.reset) == (3590, clock() + 10)
    clock.advance(5)
    assert limits.take("token", "GET", "/v1/zones").remaining == 3594
    clock.advance(3600)
    assert limits.take("token", "GET", "/v1/zones").remaining == 3599


def test_an_empty_bucket_grants_a_request_after_its_refill(clock: Clock) -> None:
    limits = Limits(clock, limit=2)
    granted = [limits.take("token", "GET", "/v1/zones").granted for _ in range(3)]
    assert granted == [True, True, False]
    clock.advance(1800)
    assert limits.take("token", "GET", "/v1/zones").granted


def test_each_call_discards_the_refilled_fraction(clock: Clock) -> None:
    limits = Limits(clock, limit=3600)
    remaining = []
    for seconds in (0, 0.75, 0.75, 1.75, 2.75):
        clock.advance(seconds)
        remaining.append(limits.take("token", "GET", "/v1/zones").remaining)
    assert remaining == [3599, 3598, 3597, 3597, 3598]


def test_an_hour_may_be_shorter(clock: Clock) -> None:
    limits = Limits(clock, limit=60, hour_seconds=60)
    for _ in range(60):
        allowance = limits.take("token", "GET", "/v1/zones")
    assert (allowance.limit, allowance.remaining, allowance.reset) == (60, 0, clock() + 60)
    clock.advance(5)
    assert limits.take("token", "GET", "/v1/zones").remaining == 4


def test_tokens_and_buckets_do_not_share(clock: Clock) -> None:
    limits = Limits(clock, limit=1, actions=1)
    assert limits.take("one", "GET", "/v1/zones").granted
    assert limits.take("two", "GET", "/v1/zones").granted
    assert limits.take("one", "GET", "/v1/actions").granted
    assert not limits.take("one", "GET", "/v1/zones").granted


def test_the_api_refuses_calls_over_the_limit(clock: Clock) -> None:
    with Sandbox(limits=(2, 7200), clock=clock) as sandbox:
        caller = Caller(sandbox)
        caller.get("/zones")
        caller.get("/zones")
        answer = caller.request("DELETE", "/zones/example.com")
        assert answer.status_code == 429
        assert answer.json()["error"] == {
            "code": "rate_limit_exceeded",
            "message": "limit of 2 requests per hour reached",
            "details": None,
        }
        assert answer.headers["ratelimit-remaining"] == "0"
        sandbox.reset()
        assert caller.get("/zones/example.com")
        caller.session.close()
