from __future__ import annotations

from typing import Any, Dict, List

import pytest

from backend.errors import DyndnsError, HetznerUnreachable, TokenRejected
from backend.hetzner.dns import Hetzner
from backend.hetzner.zones import Zones
from backend.model import Deadline, RecordType, Requester
from backend.store import Record, State, Store
from backend.sync import verifier
from backend.sync.publisher import Publisher
from backend.sync.verifier import Verifier
from tests.unit.fakes import Clock, FakeCloudApi, RecordingSink, host, removal, update

CACHE_TTL = 300
A = RecordType.A
NAMES = [f"host{number}.example.com" for number in range(6)]
READ_ZONE, READ = "GET /zones/example.com/rrsets", "GET /zones/example.com/rrsets"
CREATE = "POST /zones/example.com/rrsets"


class Round:
    """Some published hosts, and the verifier that looks after them."""

    def __init__(
        self,
        store: Store,
        cloud: FakeCloudApi,
        clock: Clock,
        sink: RecordingSink,
        *others: FakeCloudApi,
    ) -> None:
        self.store, self.cloud, self.clock = store, cloud, clock
        projects = [Hetzner(one, 60) for one in (cloud, *others)]
        self.zones = zones = Zones(projects, 86400, clock)
        self.publisher = Publisher(
            *(store, zones, sink),
            cache_ttl=CACHE_TTL,
            is_checked_elsewhere=True,
            clock=clock,
        )
        self.verifier = Verifier(
            store, self.publisher, zones, projects, cache_ttl=CACHE_TTL, clock=clock
        )
        store.hosts.register([host(name) for name in NAMES], clock())
        for number, name in enumerate(NAMES):
            self.publish(name, f"198.51.100.{number}")
        self.are_heard()
        cloud.take_calls()

    def publish(self, name: str, address: str) -> None:
        self.store.records.set_desired(update(address, name=name), self.clock(), 10)
        self.publisher.publish(host(name), [A], Deadline(5))
        self.store.records.finish(self.record(name))

    def are_heard(self) -> None:
        now = self.clock.now + 1
        self.store.hosts.see({host(name): now for name in NAMES}, now)

    def record(self, name: str = NAMES[0]) -> Record:
        return self.store.records.of(host(name))[A]

    def after(self, seconds: float) -> List[str]:
        self.clock.advance(seconds)
        self.verifier.tick()
        return self.cloud.take_calls()


@pytest.fixture
def round_(store: Store, cloud: FakeCloudApi, clock: Clock, sink: RecordingSink) -> Round:
    return Round(store, cloud, clock, sink)


def test_a_zone_is_read_once_for_all_its_hosts_when_their_time_is_over(round_: Round) -> None:
    assert round_.after(CACHE_TTL - 1) == []
    assert round_.after(1) == [READ_ZONE]
    assert {round_.record(name).checked_at for name in NAMES} == {round_.clock()}


def test_a_host_that_is_not_heard_of_any_more_costs_no_call(round_: Round) -> None:
    assert round_.after(CACHE_TTL) == [READ_ZONE]
    assert round_.after(CACHE_TTL) == []
    round_.are_heard()
    assert round_.after(0) == [READ_ZONE]


def test_hosts_that_changed_at_different_times_share_one_read(round_: Round) -> None:
    round_.clock.advance(CACHE_TTL / 2)
    round_.publish(NAMES[3], "198.51.100.33")
    round_.are_heard()
    round_.cloud.take_calls()
    assert round_.after(CACHE_TTL / 2) == [READ_ZONE]
    round_.are_heard()
    assert round_.after(CACHE_TTL / 2) == []
    assert round_.after(CACHE_TTL / 2) == [READ_ZONE]


def test_a_host_that_is_silent_is_confirmed_with_the_others_but_not_put_right(
    round_: Round, cloud: FakeCloudApi, clock: Clock
) -> None:
    assert round_.after(CACHE_TTL) == [READ_ZONE]
    cloud.publish(NAMES[5], "A", "198.51.100.66")
    now = clock() + 1
    round_.store.hosts.see({host(NAMES[0]): now}, now)
    assert round_.after(CACHE_TTL) == [READ_ZONE]
    assert {round_.record(name).checked_at for name in NAMES[:5]} == {clock()}
    assert cloud.values("host5", "A") == ["198.51.100.66"]
    round_.are_heard()
    round_.after(0)
    assert cloud.values("host5", "A") == ["198.51.100.5"]


def test_a_pause_holds_for_all_processes(
    round_: Round, other_store: Store, cloud: FakeCloudApi, clock: Clock
) -> None:
    projects = [Hetzner(cloud, 60)]
    zones = Zones(projects, 86400, clock)
    other = Verifier(
        other_store, round_.publisher, zones, projects, cache_ttl=CACHE_TTL, clock=clock
    )
    cloud.failures["GET"] = HetznerUnreachable("away")
    round_.after(CACHE_TTL)
    for _ in range(11):
        assert round_.after(5) == []
        other.tick()
    assert cloud.take_calls() == []


def test_a_zone_that_is_gone_costs_the_others_nothing(round_: Round, cloud: FakeCloudApi) -> None:
    lost = "nas.example.net"
    round_.store.hosts.register([host(name) for name in (*NAMES, lost)], round_.clock())
    cloud.zones["example.net"] = "primary"
    round_.clock.advance(60)  # a name without a zone lists the zones again only then
    round_.publish(lost, "198.51.100.9")
    del cloud.zones["example.net"]
    round_.store.hosts.see({host(lost): round_.clock() + 1}, round_.clock() + 1)
    round_.after(CACHE_TTL)
    round_.after(60)
    assert round_.record(lost).state is State.REFUSED
    round_.are_heard()
    assert round_.after(CACHE_TTL) == [READ_ZONE]
    assert {round_.record(name).checked_at for name in NAMES} == {round_.clock()}


def test_an_unchanged_host_is_answered_from_memory_however_old_it_is(round_: Round) -> None:
    round_.clock.advance(10 * CACHE_TTL)
    assert round_.publisher.is_up_to_date(round_.record())


def test_what_was_changed_by_hand_is_put_back(round_: Round, cloud: FakeCloudApi) -> None:
    cloud.publish(NAMES[2], "A", "198.51.100.66")
    calls = round_.after(CACHE_TTL)
    assert calls[:2] == [READ_ZONE, READ]
    assert calls[2].endswith("host2/A/actions/set_records")
    assert cloud.values("host2", "A") == ["198.51.100.2"]
    newest = round_.store.history.find(host(NAMES[2]))[0]
    assert (newest.old, newest.new) == ("198.51.100.66", "198.51.100.2")
    assert "restored" in newest.why


def test_what_was_deleted_by_hand_is_put_back(round_: Round, cloud: FakeCloudApi) -> None:
    del cloud.rrsets["example.com", "host1", "A"]
    round_.after(CACHE_TTL)
    assert cloud.values("host1", "A") == ["198.51.100.1"]


def test_what_was_made_again_by_hand_is_deleted_again(round_: Round, cloud: FakeCloudApi) -> None:
    round_.store.records.set_desired(removal(A, name=NAMES[1]), round_.clock(), 10)
    round_.publisher.publish(host(NAMES[1]), [A], Deadline(5))
    round_.store.records.finish(round_.record(NAMES[1]))
    cloud.publish(NAMES[1], "A", "198.51.100.66")
    round_.after(CACHE_TTL)
    assert ("example.com", "host1", "A") not in cloud.rrsets


def test_what_was_made_by_hand_outlives_an_error_that_was_forgotten(
    round_: Round, cloud: FakeCloudApi, store: Store, clock: Clock
) -> None:
    name = "nas.example.com"
    cloud.publish(name, "A", "198.51.100.66")
    store.hosts.register([host(name)], clock())
    cloud.failures["POST"] = TokenRejected("The token may only read.")
    store.records.set_desired(update("198.51.100.9", name=name), clock(), 10)
    with pytest.raises(TokenRejected):
        round_.publisher.publish(host(name), [A], Deadline(5))
    cloud.failures.clear()
    store.records.drop_update(host(name), Requester("198.51.100.1", "page"), clock())
    store.hosts.see({host(name): clock() + 1}, clock() + 1)
    round_.after(CACHE_TTL)
    assert cloud.values("nas", "A") == ["198.51.100.66"]


def test_a_comment_somebody_wrote_since_is_known_for_the_next_change(
    round_: Round, cloud: FakeCloudApi
) -> None:
    cloud.rrsets["example.com", "host3", "A"]["records"][0]["comment"] = "the cellar"
    round_.after(CACHE_TTL)
    assert round_.record(NAMES[3]).comment == "the cellar"


def test_while_hetzner_is_away_it_waits_a_minute(round_: Round, cloud: FakeCloudApi) -> None:
    cloud.failures["GET"] = HetznerUnreachable("away")
    assert round_.after(CACHE_TTL) == [READ_ZONE]
    assert round_.after(30) == []
    cloud.failures.clear()
    assert round_.after(30) == [READ_ZONE]


def test_it_does_not_wait_for_as_long_as_the_clock_was_set_back(
    round_: Round, cloud: FakeCloudApi
) -> None:
    round_.clock.advance(3600)
    cloud.failures["GET"] = HetznerUnreachable("away")
    round_.are_heard()
    assert round_.after(CACHE_TTL) == [READ_ZONE]
    assert round_.after(CACHE_TTL - 3600) == [READ_ZONE]


@pytest.mark.parametrize(("back", "calls"), [(60, []), (61, [READ_ZONE])])
def test_what_was_confirmed_before_the_clock_was_set_back_is_checked_at_once(
    round_: Round, back: float, calls: List[str]
) -> None:
    assert round_.after(-back) == calls
    checked_at = round_.clock() if calls else round_.clock() + back
    assert {round_.record(name).checked_at for name in NAMES} == {checked_at}
    assert round_.after(0) == []


@pytest.mark.parametrize("error", [TokenRejected("revoked"), HetznerUnreachable("away")])
@pytest.mark.parametrize("call", ["GET /zones", "GET /zones/example.net/rrsets"])
def test_one_project_that_fails_keeps_no_other_zone_from_being_checked(
    store: Store, cloud: FakeCloudApi, clock: Clock, call: str, error: DyndnsError
) -> None:
    other = FakeCloudApi("example.net")
    round_ = Round(store, cloud, clock, RecordingSink(), other)
    lost = "nas.example.net"
    store.hosts.register([host(name) for name in (lost, *NAMES)], clock())
    round_.publish(lost, "198.51.100.9")
    store.records.doubt(round_.record(lost))  # so that it comes first
    other.failures[call] = error
    round_.zones.invalidate()
    for _ in range(3):
        now = clock() + 1
        store.hosts.see({host(name): now for name in (lost, *NAMES)}, now)
        assert round_.after(CACHE_TTL).count(READ_ZONE) == 1
        assert {round_.record(name).checked_at for name in NAMES} == {clock()}


def test_what_is_left_of_the_quota_is_left_to_changes(
    store: Store, cloud: FakeCloudApi, clock: Clock, sink: RecordingSink
) -> None:
    other = FakeCloudApi("example.net")
    round_ = Round(store, cloud, clock, sink, other)
    other.is_low = True
    assert round_.after(CACHE_TTL) == [READ_ZONE], "each project has a quota of its own"
    cloud.is_low = True
    round_.are_heard()
    assert round_.after(CACHE_TTL) == []


class Draining(FakeCloudApi):
    """Has only the reserve left after some calls."""

    calls_left = 10**6

    def _answer(self, *asked: Any) -> Dict[str, Any]:  # noqa: ANN401
        self.calls_left -= 1
        self.is_low = self.calls_left <= 0
        return super()._answer(*asked)


def test_putting_right_ends_where_the_reserve_of_the_quota_begins(
    store: Store, clock: Clock, sink: RecordingSink
) -> None:
    draining = Draining("example.com")
    round_ = Round(store, draining, clock, sink)
    draining.rrsets.clear()
    draining.calls_left = 5
    assert round_.after(CACHE_TTL) == [READ_ZONE, *[READ, CREATE] * 2]
    draining.calls_left, draining.is_low = 100, False
    assert round_.after(5) == [READ_ZONE, *[READ, CREATE] * 4]


def test_a_tick_ends_after_a_while_and_the_next_one_goes_on(
    round_: Round, cloud: FakeCloudApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud.rrsets.clear()
    monkeypatch.setattr(verifier, "_LONGEST_TICK", 0)
    assert round_.after(CACHE_TTL) == []
    monkeypatch.undo()
    assert round_.after(5) == [READ_ZONE, *[READ, CREATE] * 6]


def test_while_no_zone_is_known_the_list_is_asked_for_once(
    round_: Round, cloud: FakeCloudApi
) -> None:
    cloud.failures["GET"] = HetznerUnreachable("away")
    round_.zones.invalidate()
    assert round_.after(CACHE_TTL) == ["GET /zones"]
    assert {round_.record(name).checked_at > 0 for name in NAMES} == {True}
    assert round_.after(30) == []


def test_a_update_that_comes_in_meanwhile_is_not_taken_for_checked(round_: Round) -> None:
    before = round_.record()
    round_.store.records.set_desired(update("198.51.100.99", name=NAMES[0]), round_.clock(), 10)
    round_.store.records.confirm([(before, "")], round_.clock())
    assert round_.record().state is State.PENDING
    assert not round_.publisher.is_up_to_date(round_.record())


def test_only_one_of_two_processes_reads_zones(
    round_: Round, other_store: Store, cloud: FakeCloudApi, clock: Clock
) -> None:
    round_.after(0)
    projects = [Hetzner(cloud, 60)]
    other = Verifier(
        other_store,
        round_.publisher,
        Zones(projects, 86400, clock),
        projects,
        cache_ttl=CACHE_TTL,
        clock=clock,
    )
    clock.advance(10)
    round_.verifier.tick()
    other.tick()
    round_.clock.advance(CACHE_TTL)
    round_.verifier.tick()
    other.tick()
    assert cloud.take_calls() == [READ_ZONE]


def test_a_few_hosts_in_a_large_zone_are_read_one_by_one(
    round_: Round, cloud: FakeCloudApi, clock: Clock
) -> None:
    cloud.pages = 4
    assert round_.after(CACHE_TTL) == [READ_ZONE] * 4
    now = clock() + 1
    round_.store.hosts.see({host(name): now for name in NAMES[:2]}, now)
    assert round_.after(CACHE_TTL) == [READ, READ]
    assert round_.record(NAMES[1]).checked_at == clock()


def test_hosts_that_were_taken_off_the_list_are_not_checked(round_: Round) -> None:
    round_.store.hosts.register([host(NAMES[0])], round_.clock())
    round_.after(CACHE_TTL)
    checked = [name for name in NAMES if round_.record(name).checked_at == round_.clock()]
    assert checked == NAMES[:1]
