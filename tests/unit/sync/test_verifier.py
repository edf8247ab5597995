from __future__ import annotations

from typing import Any

import pytest

from backend.errors import DyndnsError, HetznerUnreachable, TokenRejected
from backend.hetzner.dns import Hetzner
from backend.hetzner.zones import Zones
from backend.model import Deadline, RecordType, Requester
from backend.store import Store
from backend.store.hosts import Record, State
from backend.sync import verifier
from backend.sync.publisher import Publisher
from backend.sync.verifier import Verifier
from tests.unit.fakes import Clock, FakeCloudApi, RecordingSink, host, removal, update

CACHE_TTL = 300
A = RecordType.A
NAMES = [f"host{number}.example.com" for number in range(6)]
READ_ZONE, READ = "GET /zones/example.com/rrsets", "GET /zones/example.com/rrsets"
CREATE = "POST /zones/example.com/rrsets"


class VerifierEnv:
    """Some published hosts and their verifier."""

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
            is_checked_elsewhere=lambda: True,
            clock=clock,
        )
        self.is_needed = True
        self.verifier = Verifier(
            *(store, self.publisher, zones, projects),
            cache_ttl=CACHE_TTL,
            is_needed=lambda: self.is_needed,
            clock=clock,
        )
        store.hosts.register([host(name) for name in NAMES], clock())
        for number, name in enumerate(NAMES):
            self.publish(name, f"198.51.100.{number}")
        self.mark_seen()
        cloud.take_calls()

    def publish(self, name: str, address: str) -> None:
        self.store.records.set_desired(update(address, name=name), self.clock(), 10)
        self.publisher.publish(host(name), [A], Deadline(5))
        self.store.records.note_actions([(self.record(name), None)])

    def mark_seen(self) -> None:
        now = self.clock.now + 1
        self.store.hosts.see({host(name): now for name in NAMES}, now)

    def record(self, name: str = NAMES[0]) -> Record:
        return self.store.records.of(host(name))[A]

    def tick_after(self, seconds: float) -> list[str]:
        self.clock.advance(seconds)
        self.verifier.tick()
        return self.cloud.take_calls()


@pytest.fixture
def env(store: Store, cloud: FakeCloudApi, clock: Clock, sink: RecordingSink) -> VerifierEnv:
    return VerifierEnv(store, cloud, clock, sink)


def test_a_zone_is_read_once_for_all_due_hosts(env: VerifierEnv) -> None:
    assert env.tick_after(CACHE_TTL - 1) == []
    assert env.tick_after(1) == [READ_ZONE]
    assert {env.record(name).checked_at for name in NAMES} == {env.clock()}


def test_with_few_hosts_nothing_is_read_and_no_lease_is_kept(env: VerifierEnv) -> None:
    assert env.tick_after(CACHE_TTL) == [READ_ZONE]
    assert env.store.leases.find(["verifier"])
    env.is_needed = False
    env.mark_seen()
    assert env.tick_after(CACHE_TTL) == []
    assert env.store.leases.find(["verifier"]) == []


def test_a_host_without_activity_is_not_checked(env: VerifierEnv) -> None:
    assert env.tick_after(CACHE_TTL) == [READ_ZONE]
    assert env.tick_after(CACHE_TTL) == []
    env.mark_seen()
    assert env.tick_after(0) == [READ_ZONE]


def test_hosts_that_changed_at_different_times_share_one_read(env: VerifierEnv) -> None:
    env.clock.advance(CACHE_TTL / 2)
    env.publish(NAMES[3], "198.51.100.33")
    env.mark_seen()
    env.cloud.take_calls()
    assert env.tick_after(CACHE_TTL / 2) == [READ_ZONE]
    env.mark_seen()
    assert env.tick_after(CACHE_TTL / 2) == []
    assert env.tick_after(CACHE_TTL / 2) == [READ_ZONE]


def test_a_silent_host_is_confirmed_but_not_corrected(
    env: VerifierEnv, cloud: FakeCloudApi, clock: Clock
) -> None:
    assert env.tick_after(CACHE_TTL) == [READ_ZONE]
    cloud.publish(NAMES[5], "A", "198.51.100.66")
    now = clock() + 1
    env.store.hosts.see({host(NAMES[0]): now}, now)
    assert env.tick_after(CACHE_TTL) == [READ_ZONE]
    assert {env.record(name).checked_at for name in NAMES[:5]} == {clock()}
    assert cloud.values("host5", "A") == ["198.51.100.66"]
    env.mark_seen()
    env.tick_after(0)
    assert cloud.values("host5", "A") == ["198.51.100.5"]


def test_a_pause_holds_for_all_processes(
    env: VerifierEnv, other_store: Store, cloud: FakeCloudApi, clock: Clock
) -> None:
    projects = [Hetzner(cloud, 60)]
    zones = Zones(projects, 86400, clock)
    other = Verifier(other_store, env.publisher, zones, projects, cache_ttl=CACHE_TTL, clock=clock)
    cloud.failures["GET"] = HetznerUnreachable("unreachable")
    env.tick_after(CACHE_TTL)
    for _ in range(11):
        assert env.tick_after(5) == []
        other.tick()
    assert cloud.take_calls() == []


def test_a_deleted_zone_does_not_affect_other_zones(env: VerifierEnv, cloud: FakeCloudApi) -> None:
    other_host = "nas.example.net"
    env.store.hosts.register([host(name) for name in (*NAMES, other_host)], env.clock())
    cloud.zones["example.net"] = "primary"
    env.clock.advance(60)  # unknown names list the zones at most once a minute
    env.publish(other_host, "198.51.100.9")
    del cloud.zones["example.net"]
    env.store.hosts.see({host(other_host): env.clock() + 1}, env.clock() + 1)
    env.tick_after(CACHE_TTL)
    env.tick_after(60)
    assert env.record(other_host).state is State.REFUSED
    env.mark_seen()
    assert env.tick_after(CACHE_TTL) == [READ_ZONE]
    assert {env.record(name).checked_at for name in NAMES} == {env.clock()}


def test_an_unchanged_host_is_answered_from_the_cache(env: VerifierEnv) -> None:
    env.clock.advance(10 * CACHE_TTL)
    assert env.publisher.is_up_to_date(env.record())


def test_a_manual_change_is_reverted(env: VerifierEnv, cloud: FakeCloudApi) -> None:
    cloud.publish(NAMES[2], "A", "198.51.100.66")
    calls = env.tick_after(CACHE_TTL)
    assert calls[:2] == [READ_ZONE, READ]
    assert calls[2].endswith("host2/A/actions/set_records")
    assert cloud.values("host2", "A") == ["198.51.100.2"]
    newest = env.store.history.find(host(NAMES[2]))[0]
    assert (newest.old, newest.new) == ("198.51.100.66", "198.51.100.2")
    assert "restored" in newest.why


def test_a_manual_deletion_is_reverted(env: VerifierEnv, cloud: FakeCloudApi) -> None:
    del cloud.rrsets["example.com", "host1", "A"]
    env.tick_after(CACHE_TTL)
    assert cloud.values("host1", "A") == ["198.51.100.1"]


def test_a_record_recreated_after_its_removal_is_deleted(
    env: VerifierEnv, cloud: FakeCloudApi
) -> None:
    env.store.records.set_desired(removal(A, name=NAMES[1]), env.clock(), 10)
    env.publisher.publish(host(NAMES[1]), [A], Deadline(5))
    env.store.records.note_actions([(env.record(NAMES[1]), None)])
    cloud.publish(NAMES[1], "A", "198.51.100.66")
    env.tick_after(CACHE_TTL)
    assert ("example.com", "host1", "A") not in cloud.rrsets


def test_a_manual_record_is_kept_after_its_update_was_dropped(
    env: VerifierEnv, cloud: FakeCloudApi, store: Store, clock: Clock
) -> None:
    name = "nas.example.com"
    cloud.publish(name, "A", "198.51.100.66")
    store.hosts.register([host(name)], clock())
    cloud.failures["POST"] = TokenRejected("The token may only read.")
    store.records.set_desired(update("198.51.100.9", name=name), clock(), 10)
    with pytest.raises(TokenRejected):
        env.publisher.publish(host(name), [A], Deadline(5))
    cloud.failures.clear()
    store.records.drop_update(host(name), Requester("198.51.100.1", "page"), clock())
    store.hosts.see({host(name): clock() + 1}, clock() + 1)
    env.tick_after(CACHE_TTL)
    assert cloud.values("nas", "A") == ["198.51.100.66"]


def test_a_check_stores_the_comment_of_the_record(env: VerifierEnv, cloud: FakeCloudApi) -> None:
    cloud.rrsets["example.com", "host3", "A"]["records"][0]["comment"] = "basement"
    env.tick_after(CACHE_TTL)
    assert env.record(NAMES[3]).comment == "basement"


def test_checks_pause_for_a_minute_after_a_failure(env: VerifierEnv, cloud: FakeCloudApi) -> None:
    cloud.failures["GET"] = HetznerUnreachable("unreachable")
    assert env.tick_after(CACHE_TTL) == [READ_ZONE]
    assert env.tick_after(30) == []
    cloud.failures.clear()
    assert env.tick_after(30) == [READ_ZONE]


def test_setting_the_clock_back_ends_the_pause(env: VerifierEnv, cloud: FakeCloudApi) -> None:
    env.clock.advance(3600)
    cloud.failures["GET"] = HetznerUnreachable("unreachable")
    env.mark_seen()
    assert env.tick_after(CACHE_TTL) == [READ_ZONE]
    assert env.tick_after(CACHE_TTL - 3600) == [READ_ZONE]


@pytest.mark.parametrize(("seconds", "calls"), [(60, []), (61, [READ_ZONE])])
def test_records_confirmed_in_the_future_are_checked(
    env: VerifierEnv, seconds: float, calls: list[str]
) -> None:
    assert env.tick_after(-seconds) == calls
    checked_at = env.clock() if calls else env.clock() + seconds
    assert {env.record(name).checked_at for name in NAMES} == {checked_at}
    assert env.tick_after(0) == []


@pytest.mark.parametrize("error", [TokenRejected("revoked"), HetznerUnreachable("unreachable")])
@pytest.mark.parametrize("call", ["GET /zones", "GET /zones/example.net/rrsets"])
def test_a_failing_project_does_not_stop_checks_of_others(
    store: Store, cloud: FakeCloudApi, clock: Clock, call: str, error: DyndnsError
) -> None:
    other = FakeCloudApi("example.net")
    env = VerifierEnv(store, cloud, clock, RecordingSink(), other)
    other_host = "nas.example.net"
    store.hosts.register([host(name) for name in (other_host, *NAMES)], clock())
    env.publish(other_host, "198.51.100.9")
    store.records.doubt(env.record(other_host))  # makes this record the first one due
    other.failures[call] = error
    env.zones.invalidate()
    for _ in range(3):
        now = clock() + 1
        store.hosts.see({host(name): now for name in (other_host, *NAMES)}, now)
        assert env.tick_after(CACHE_TTL).count(READ_ZONE) == 1
        assert {env.record(name).checked_at for name in NAMES} == {clock()}


def test_the_reserve_of_the_quota_is_not_used_for_checks(
    store: Store, cloud: FakeCloudApi, clock: Clock, sink: RecordingSink
) -> None:
    other = FakeCloudApi("example.net")
    env = VerifierEnv(store, cloud, clock, sink, other)
    other.is_low = True
    assert env.tick_after(CACHE_TTL) == [READ_ZONE], "each project has its own quota"
    cloud.is_low = True
    env.mark_seen()
    assert env.tick_after(CACHE_TTL) == []


class Draining(FakeCloudApi):
    """A fake API that has only the reserve left after some calls."""

    calls_left = 10**6

    def _answer(self, *asked: Any) -> dict[str, Any]:  # noqa: ANN401
        self.calls_left -= 1
        self.is_low = self.calls_left <= 0
        return super()._answer(*asked)


def test_corrections_stop_at_the_reserve_of_the_quota(
    store: Store, clock: Clock, sink: RecordingSink
) -> None:
    draining = Draining("example.com")
    env = VerifierEnv(store, draining, clock, sink)
    draining.rrsets.clear()
    draining.calls_left = 5
    assert env.tick_after(CACHE_TTL) == [READ_ZONE, *[READ, CREATE] * 2]
    draining.calls_left, draining.is_low = 100, False
    assert env.tick_after(5) == [READ_ZONE, *[READ, CREATE] * 4]


def test_a_tick_has_a_time_limit(
    env: VerifierEnv, cloud: FakeCloudApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud.rrsets.clear()
    monkeypatch.setattr(verifier, "_LONGEST_TICK", 0)
    assert env.tick_after(CACHE_TTL) == []
    monkeypatch.undo()
    assert env.tick_after(5) == [READ_ZONE, *[READ, CREATE] * 6]


def test_a_failed_list_of_zones_is_not_requested_again(
    env: VerifierEnv, cloud: FakeCloudApi
) -> None:
    cloud.failures["GET"] = HetznerUnreachable("unreachable")
    env.zones.invalidate()
    assert env.tick_after(CACHE_TTL) == ["GET /zones"]
    assert {env.record(name).checked_at > 0 for name in NAMES} == {True}
    assert env.tick_after(30) == []


def test_a_check_does_not_confirm_a_newer_update(env: VerifierEnv) -> None:
    before = env.record()
    env.store.records.set_desired(update("198.51.100.99", name=NAMES[0]), env.clock(), 10)
    env.store.records.confirm([(before, "")], env.clock())
    assert env.record().state is State.PENDING
    assert not env.publisher.is_up_to_date(env.record())


def test_only_one_of_two_processes_reads_zones(
    env: VerifierEnv, other_store: Store, cloud: FakeCloudApi, clock: Clock
) -> None:
    env.tick_after(0)
    projects = [Hetzner(cloud, 60)]
    other = Verifier(
        other_store,
        env.publisher,
        Zones(projects, 86400, clock),
        projects,
        cache_ttl=CACHE_TTL,
        clock=clock,
    )
    clock.advance(10)
    env.verifier.tick()
    other.tick()
    env.clock.advance(CACHE_TTL)
    env.verifier.tick()
    other.tick()
    assert cloud.take_calls() == [READ_ZONE]


def test_a_few_hosts_of_a_large_zone_are_read_individually(
    env: VerifierEnv, cloud: FakeCloudApi, clock: Clock
) -> None:
    cloud.pages = 4
    assert env.tick_after(CACHE_TTL) == [READ_ZONE] * 4
    now = clock() + 1
    env.store.hosts.see({host(name): now for name in NAMES[:2]}, now)
    assert env.tick_after(CACHE_TTL) == [READ, READ]
    assert env.record(NAMES[1]).checked_at == clock()


def test_unregistered_hosts_are_not_checked(env: VerifierEnv) -> None:
    env.store.hosts.register([host(NAMES[0])], env.clock())
    env.tick_after(CACHE_TTL)
    checked = [name for name in NAMES if env.record(name).checked_at == env.clock()]
    assert checked == NAMES[:1]
