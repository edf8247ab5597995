from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Iterable, Mapping

import pytest

from backend.errors import (
    ChangeRefused,
    HetznerBusy,
    HetznerUnreachable,
    TokenRejected,
    TransientError,
    ZoneNotFound,
)
from backend.hetzner.dns import Hetzner, Location
from backend.hetzner.zones import Zones
from backend.model import Deadline
from tests.unit.fakes import Clock, FakeCloudApi, host

TTL = 86400
LISTED = ["GET /zones"]


def zones_of(clock: Clock, *clouds: FakeCloudApi, ttl: float = TTL) -> Zones:
    return Zones([Hetzner(cloud, 60) for cloud in clouds], ttl, clock)


def find(zones: Zones, name: str) -> Location:
    return zones.find(host(name), Deadline(5))


def place(zones: Zones, name: str) -> tuple[str, str]:
    location = find(zones, name)
    return location.zone.name, location.name


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("host.example.com", ("example.com", "host")),
        ("example.com", ("example.com", "@")),
        ("a.b.c.example.com", ("example.com", "a.b.c")),
        ("*.home.example.com", ("example.com", "*.home")),
        ("*.example.com", ("example.com", "*")),
        ("host.lab.example.com", ("lab.example.com", "host")),
        ("lab.example.com", ("lab.example.com", "@")),
        ("host.example.co.uk", ("example.co.uk", "host")),
    ],
)
def test_the_longest_matching_zone_wins(clock: Clock, name: str, expected: tuple[str, str]) -> None:
    cloud = FakeCloudApi("example.com", "lab.example.com", "example.co.uk")
    assert place(zones_of(clock, cloud), name) == expected


@pytest.mark.parametrize("name", ["notexample.com", "example.com.evil.org", "host.example.org"])
def test_a_similar_name_is_not_in_the_zone(clock: Clock, cloud: FakeCloudApi, name: str) -> None:
    with pytest.raises(ZoneNotFound, match=f"No zone for {name} .*create the zone"):
        find(zones_of(clock, cloud), name)


def test_each_zone_has_the_token_of_its_project(clock: Clock) -> None:
    clouds = [FakeCloudApi("example.com"), FakeCloudApi("example.org")]
    zones = zones_of(clock, *clouds)
    assert find(zones, "host.example.com").zone.project.api is clouds[0]
    assert find(zones, "host.example.org").zone.project.api is clouds[1]
    assert [cloud.calls for cloud in clouds] == [LISTED, LISTED]


def test_the_first_of_two_tokens_for_a_zone_wins(clock: Clock) -> None:
    clouds = [FakeCloudApi("example.com"), FakeCloudApi("example.com")]
    assert find(zones_of(clock, *clouds), "host.example.com").zone.project.api is clouds[0]


def test_a_secondary_zone_is_refused(clock: Clock, cloud: FakeCloudApi) -> None:
    cloud.zones["example.com"] = "secondary"
    with pytest.raises(ChangeRefused, match="secondary zone"):
        find(zones_of(clock, cloud), "host.example.com")


def test_a_zone_recreated_as_primary_is_found_within_seconds(
    clock: Clock, cloud: FakeCloudApi
) -> None:
    cloud.zones["example.com"] = "secondary"
    zones = zones_of(clock, cloud)
    for seconds in (0, 1, 1, 1):
        clock.advance(seconds)
        with pytest.raises(ChangeRefused, match="secondary zone"):
            find(zones, "host.example.com")
    assert cloud.take_calls() == LISTED, "requests must not cause one list each"
    cloud.zones["example.com"] = "primary"
    clock.advance(5)
    assert place(zones, "host.example.com") == ("example.com", "host")
    assert cloud.take_calls() == LISTED


def test_an_old_list_refuses_nothing_while_hetzner_is_away(
    clock: Clock, cloud: FakeCloudApi
) -> None:
    cloud.zones["example.com"] = "secondary"
    zones = zones_of(clock, cloud)
    with pytest.raises(ChangeRefused):
        find(zones, "host.example.com")
    cloud.failures["GET"] = HetznerUnreachable("away")
    for seconds in (60, 1):
        clock.advance(seconds)
        with pytest.raises(HetznerUnreachable):
            find(zones, "host.example.com")


def test_the_list_is_cached_until_it_expires(clock: Clock, cloud: FakeCloudApi) -> None:
    zones = zones_of(clock, cloud)
    for seconds, calls in ((0, LISTED), (TTL - 1, []), (2, LISTED), (1, [])):
        clock.advance(seconds)
        find(zones, "host.example.com")
        assert cloud.take_calls() == calls


def test_a_miss_refreshes_the_list(clock: Clock, cloud: FakeCloudApi) -> None:
    zones = zones_of(clock, cloud)
    find(zones, "host.example.com")
    clock.advance(60)
    cloud.zones["example.org"] = "primary"
    assert place(zones, "host.example.org") == ("example.org", "host")
    assert cloud.calls == LISTED * 2


def test_names_without_a_zone_share_one_list(clock: Clock, cloud: FakeCloudApi) -> None:
    zones = zones_of(clock, cloud)
    for name in ("a.example.org", "b.example.org", "a.example.org"):
        clock.advance(1)
        with pytest.raises(ZoneNotFound):
            find(zones, name)
    assert cloud.calls == LISTED


def test_an_invalidated_list_is_replaced(clock: Clock, cloud: FakeCloudApi) -> None:
    zones = zones_of(clock, cloud)
    find(zones, "host.example.com")
    zones.invalidate()
    assert zones.known == frozenset()
    find(zones, "host.example.com")
    assert cloud.calls == LISTED * 2
    assert {zone.name for zone in zones.known} == {"example.com"}


@pytest.mark.parametrize("error", [HetznerUnreachable("away"), HetznerBusy("busy")])
def test_without_a_list_hetzners_error_is_raised(
    clock: Clock, cloud: FakeCloudApi, error: TransientError
) -> None:
    cloud.failures["GET"] = error
    with pytest.raises(type(error)):
        find(zones_of(clock, cloud), "host.example.com")


def test_an_old_list_is_used_while_hetzner_is_unavailable(
    clock: Clock, cloud: FakeCloudApi
) -> None:
    zones = zones_of(clock, cloud)
    find(zones, "host.example.com")
    cloud.failures["GET"] = HetznerUnreachable("away")
    cloud.take_calls()
    clock.advance(TTL)
    for _ in range(3):
        assert place(zones, "host.example.com") == ("example.com", "host")
    assert cloud.take_calls() == LISTED
    clock.advance(60)
    del cloud.failures["GET"]
    find(zones, "host.example.com")
    find(zones, "host.example.com")
    assert cloud.take_calls() == LISTED


def test_a_failed_refresh_does_not_renew_the_list(clock: Clock, cloud: FakeCloudApi) -> None:
    zones = zones_of(clock, cloud)
    find(zones, "host.example.com")
    clock.advance(TTL - 100)
    cloud.failures["GET"] = HetznerUnreachable("away")
    with pytest.raises(HetznerUnreachable):
        find(zones, "host.example.org")
    del cloud.failures["GET"]
    cloud.take_calls()
    clock.advance(200)
    find(zones, "host.example.com")
    assert cloud.take_calls() == LISTED


def test_a_bad_token_does_not_affect_other_zones(clock: Clock) -> None:
    bad, good = FakeCloudApi(), FakeCloudApi("example.com")
    bad.failures["GET"] = TokenRejected("check HETZNER_TOKEN")
    assert find(zones_of(clock, bad, good), "host.example.com").zone.project.api is good


def test_a_miss_reports_the_rejected_token(
    clock: Clock,
) -> None:
    bad, good = FakeCloudApi(), FakeCloudApi("example.com")
    bad.failures["GET"] = TokenRejected("check HETZNER_TOKEN")
    with pytest.raises(TokenRejected):
        find(zones_of(clock, bad, good), "host.example.org")


def test_a_busy_project_does_not_affect_other_zones(clock: Clock) -> None:
    busy, good = FakeCloudApi("example.org"), FakeCloudApi("example.com")
    busy.failures["GET"] = HetznerBusy("busy")
    zones = zones_of(clock, busy, good)
    assert find(zones, "host.example.com").zone.project.api is good
    assert (busy.take_calls(), good.take_calls()) == (LISTED, LISTED)
    with pytest.raises(HetznerBusy):
        find(zones, "host.example.org")
    assert (busy.take_calls(), good.take_calls()) == ([], []), "the last list is too new"
    busy.failures.clear()
    clock.advance(11)
    assert find(zones, "host.example.org").zone.project.api is busy


def test_a_project_that_becomes_busy_keeps_its_zones(clock: Clock) -> None:
    one, other = FakeCloudApi("example.org"), FakeCloudApi("example.com")
    zones = zones_of(clock, one, other)
    find(zones, "host.example.org")
    one.failures["GET"] = HetznerBusy("busy")
    other.zones["example.net"] = "primary"
    clock.advance(60)
    assert find(zones, "host.example.net").zone.project.api is other
    assert find(zones, "host.example.org").zone.project.api is one


def test_a_miss_reports_a_busy_project_before_a_bad_token(clock: Clock) -> None:
    bad, busy = FakeCloudApi(), FakeCloudApi()
    bad.failures["GET"] = TokenRejected("check HETZNER_TOKEN")
    busy.failures["GET"] = HetznerBusy("busy")
    with pytest.raises(HetznerBusy):
        find(zones_of(clock, bad, busy), "host.example.com")


class Slow(FakeCloudApi):
    """Answers when the test allows it."""

    def __init__(self, *zones: str) -> None:
        super().__init__(*zones)
        self.is_asked = threading.Event()
        self.may_answer = threading.Event()

    def call(self, *arguments: Any, **named: Any) -> dict[str, Any]:  # noqa: ANN401
        answer = super().call(*arguments, **named)
        self.is_asked.set()
        assert self.may_answer.wait(20)
        return answer


def test_a_thread_with_an_old_list_does_not_wait(clock: Clock) -> None:
    cloud = Slow("example.com")
    cloud.may_answer.set()
    zones = zones_of(clock, cloud)
    find(zones, "host.example.com")
    clock.advance(TTL)
    cloud.may_answer.clear()
    cloud.is_asked.clear()
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(find, zones, "host.example.com")
        assert cloud.is_asked.wait(20)
        assert place(zones, "host.example.com") == ("example.com", "host")
        assert not first.done()
        cloud.may_answer.set()
    assert cloud.calls == LISTED * 2


def test_a_thread_without_a_list_waits_until_its_deadline(
    clock: Clock,
) -> None:
    cloud = Slow("example.com")
    zones = zones_of(clock, cloud)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(find, zones, "host.example.com")
        assert cloud.is_asked.wait(20)
        with pytest.raises(HetznerBusy, match="slow"):
            zones.find(host(), Deadline(0.01))
        second = pool.submit(find, zones, "host.example.com")
        cloud.may_answer.set()
        assert first.result() == second.result()
    assert cloud.calls == LISTED


def test_a_refresh_takes_only_a_part_of_the_deadline(clock: Clock) -> None:
    class Hanging(FakeCloudApi):
        left = 0.0

        def call(
            self,
            method: str,
            path: str,
            deadline: Deadline,
            query: Iterable[tuple[str, str]] = (),
            body: Mapping[str, Any] | None = None,
        ) -> dict[str, Any]:
            self.left = deadline.remaining()
            return super().call(method, path, deadline, query, body)

    cloud = Hanging("example.com")
    zones = zones_of(clock, cloud)
    for seconds, most in ((0, 100), (TTL, 3)):
        clock.advance(seconds)
        zones.find(host(), Deadline(100))
        assert most - 1 < cloud.left <= most


def test_an_empty_project_is_reported_as_a_missing_zone(clock: Clock) -> None:
    with pytest.raises(ZoneNotFound):
        find(zones_of(clock, FakeCloudApi()), "host.example.com")


def test_a_passed_deadline_prevents_a_list(clock: Clock, cloud: FakeCloudApi) -> None:
    with pytest.raises(HetznerUnreachable):
        zones_of(clock, cloud).find(host(), Deadline(0))
    assert cloud.calls == []
