from __future__ import annotations

import pytest

from backend.errors import HetznerBusy
from backend.hetzner.client import Quotas
from tests.unit.fakes import Clock


@pytest.fixture
def quotas(clock: Clock) -> Quotas:
    return Quotas(clock)


def headers(limit: int, remaining: int) -> dict:
    return {"ratelimit-limit": str(limit), "ratelimit-remaining": str(remaining)}


def pause(quotas: Quotas, kind: str) -> float:
    """Return the seconds until the next possible call."""
    try:
        quotas.require(kind)
    except HetznerBusy as error:
        return error.retry_after
    return 0


def test_before_the_first_answer_all_calls_pass(quotas: Quotas) -> None:
    assert pause(quotas, "GET") == 0
    assert not quotas.is_below(1)


def test_a_call_waits_until_the_bucket_has_enough_calls(quotas: Quotas, clock: Clock) -> None:
    quotas.note("GET", headers(3600, 0))
    assert pause(quotas, "GET") == 3
    clock.advance(2)
    assert pause(quotas, "GET") == 1
    clock.advance(1)
    assert pause(quotas, "GET") == 0


def test_each_kind_of_call_waits_for_its_own_bucket(quotas: Quotas) -> None:
    quotas.note("GET", headers(3600, 0))
    quotas.note("POST actions", headers(7200, 7000))
    assert pause(quotas, "POST actions") == 0
    assert pause(quotas, "POST") == 0, "the bucket is still unknown"
    quotas.note("POST", headers(3600, 0))
    assert pause(quotas, "POST") > 0


def test_a_low_bucket_fills_up_again_by_the_hour(quotas: Quotas, clock: Clock) -> None:
    quotas.note("GET", headers(3600, 0))
    assert quotas.is_below(0.1)
    clock.advance(359)
    assert quotas.is_below(0.1)
    clock.advance(2)
    assert not quotas.is_below(0.1)


@pytest.mark.parametrize(
    "received",
    [{}, {"ratelimit-limit": "3600"}, headers(0, 0), {**headers(1, 1), "ratelimit-limit": "x"}],
)
def test_missing_and_invalid_headers_are_ignored(quotas: Quotas, received: dict) -> None:
    quotas.note("GET", received)
    assert pause(quotas, "GET") == 0
    assert not quotas.is_below(1)


@pytest.mark.parametrize("limit", [1, 2, 5, 3600, 10**12, 10**400], ids=lambda _: "")
@pytest.mark.parametrize("remaining", [-(10**400), -(10**12), -1, 0], ids=lambda _: "")
def test_no_header_stops_the_calls_for_longer_than_an_hour(
    quotas: Quotas, clock: Clock, limit: int, remaining: int
) -> None:
    quotas.note("GET", headers(limit, remaining))
    assert pause(quotas, "GET") < 3600
    clock.advance(3600)
    assert pause(quotas, "GET") == 0
    assert not quotas.is_below(0.5)
