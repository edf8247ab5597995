from __future__ import annotations

import pytest

from backend.errors import HetznerBusy
from backend.model import Hostname, Requester
from backend.store import Store
from backend.store.challenges import Challenge
from backend.store.hosts import HostActivity, State
from backend.store.records import Failed, Notice
from tests.unit.fakes import host, update

NOW = 1000.0
NAS, ROUTER = host("nas.example.com"), host("router.example.com")


def by_name(store: Store) -> dict[str, HostActivity]:
    return {activity.host.first_label: activity for activity in store.hosts.registered(NOW)}


def seen_at(store: Store) -> float | None:
    return by_name(store)["nas"].seen_at


def test_a_registered_host_without_activity_is_listed(store: Store) -> None:
    store.hosts.register([NAS], 100)
    assert store.hosts.registered(NOW) == [HostActivity(NAS, 100, None, 0, None)]


def test_registering_again_keeps_the_first_registration_time(store: Store) -> None:
    store.hosts.register([NAS], 100)
    store.hosts.register([NAS, ROUTER], 200)
    assert {name: found.registered_at for name, found in by_name(store).items()} == {
        "nas": 100,
        "router": 200,
    }


@pytest.mark.parametrize("left", [[], [ROUTER]])
def test_an_unregistered_host_is_not_listed_until_registered_again(
    store: Store, left: list
) -> None:
    store.hosts.register([NAS, *left], 100)
    store.hosts.see({NAS: 150}, 150)
    store.hosts.register(left, 200)
    assert "nas" not in by_name(store)
    store.hosts.register([NAS, *left], 300)
    assert (by_name(store)["nas"].registered_at, seen_at(store)) == (300, 150)


def desired(store: Store, name: Hostname = NAS) -> list[str]:
    records = store.records.of(name).values()
    return [str(record.desired.address) for record in records]


def test_registering_again_drops_the_old_pending_update(store: Store) -> None:
    store.hosts.register([NAS, ROUTER], 100)
    for name in ("nas.example.com", "router.example.com"):
        store.records.set_desired(update("198.51.100.1", name=name), 150, 0)
        (record,) = store.records.of(host(name)).values()
        store.records.note(Failed(record, State.PENDING, HetznerBusy("busy"), 170), 160)
    assert store.hosts.register([ROUTER], 200) == []
    assert desired(store) == ["198.51.100.1"], "another process may still serve the host"
    assert store.hosts.register([NAS, ROUTER], 201) == [NAS]
    assert (desired(store), desired(store, ROUTER)) == ([], ["198.51.100.1"])
    assert [record.host for record in store.records.due_retries(9000, 9)] == [ROUTER]
    assert [entry.event for entry in store.history.find(NAS)] == ["postponed"]
    store.records.set_desired(update("198.51.100.2", name="nas.example.com"), 300, 0)
    (record,) = store.records.of(NAS).values()
    assert (
        store.records.note(Failed(record, State.PENDING, HetznerBusy("busy"), 320), 310)
        is Notice.HOST
    )


def test_a_host_that_one_process_still_serves_keeps_its_update(
    store: Store, other_store: Store
) -> None:
    store.hosts.register([NAS, ROUTER], 100)
    store.records.set_desired(update("198.51.100.1", name="nas.example.com"), 150, 0)
    store.hosts.see({NAS: 150}, 150)
    store.hosts.fall_silent(by_name(store)["nas"], 160)
    for at in (200, 300):  # another process starts twice without the host
        other_store.hosts.register([ROUTER], at)
        for later in range(at, at + 100, 5):
            store.hosts.extend_registrations([NAS, ROUTER], later)
            assert [record.host for record in other_store.records.due_retries(later, 9)] == [NAS]
            found = {one.host: one for one in other_store.hosts.registered(later)}
            assert (found[NAS].registered_at, found[NAS].silent_since) == (100, 150)
    assert store.hosts.register([NAS, ROUTER], 420) == []
    assert desired(store) == ["198.51.100.1"]
    assert other_store.hosts.register([NAS, ROUTER], 2000) == []


def test_a_host_is_unregistered_when_no_process_serves_it(store: Store, other_store: Store) -> None:
    store.hosts.register([NAS], 100)
    store.records.set_desired(update("198.51.100.1", name="nas.example.com"), 150, 0)
    other_store.hosts.register([], 200)
    store.hosts.extend_registrations([NAS], 205)
    assert other_store.records.due_retries(205 + 600, 9) == []
    assert other_store.hosts.registered(205 + 600) == []
    assert other_store.hosts.register([NAS], 205 + 600) == [NAS]
    assert desired(other_store) == []


def test_setting_the_clock_back_does_not_register_removed_hosts(store: Store) -> None:
    store.hosts.register([NAS], 100)
    store.hosts.register([], 1_000_000)
    assert store.hosts.registered(200) == []
    assert store.hosts.register([NAS], 200) == [NAS]
    assert len(store.hosts.registered(200)) == 1


def test_keeping_an_unchanged_list_of_hosts_writes_nothing(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.hosts.register([NAS, ROUTER], 100)
    monkeypatch.setattr(store.hosts._database, "write", None)  # noqa: SLF001
    store.hosts.extend_registrations([NAS, ROUTER], 105)


def test_last_seen_does_not_go_back(store: Store) -> None:
    store.hosts.register([NAS, ROUTER], 100)
    for at, expected in ((200, 200), (150, 200), (200, 200), (201, 201)):
        store.hosts.see({NAS: at, ROUTER: at}, 300)
        assert seen_at(store) == expected


def test_last_seen_far_in_the_future_is_replaced(store: Store) -> None:
    store.hosts.register([NAS], 100)
    store.hosts.see({NAS: 9000}, 9000)
    store.hosts.see({NAS: 8990}, 8990)
    assert seen_at(store) == 9000, "clocks of different machines differ by seconds"
    store.hosts.see({NAS: 200}, 200)
    assert seen_at(store) == 200


def test_activity_seen_by_another_process_counts(store: Store, other_store: Store) -> None:
    store.hosts.register([NAS], 100)
    other_store.hosts.see({NAS: 250}, 250)
    store.hosts.see({NAS: 240}, 250)
    assert seen_at(store) == seen_at(other_store) == 250


def test_no_activity_writes_nothing(store: Store) -> None:
    store.hosts.register([NAS], 100)
    store.hosts.see({}, 100)
    assert store.hosts.registered(NOW) == [HostActivity(NAS, 100, None, 0, None)]


def test_a_host_may_be_seen_before_it_is_registered(store: Store) -> None:
    store.hosts.see({NAS: 50}, 50)
    assert store.hosts.registered(NOW) == []
    store.hosts.register([NAS], 100)
    assert seen_at(store) == 50


def test_silence_is_counted_until_the_next_activity(store: Store) -> None:
    store.hosts.register([NAS, ROUTER], 100)
    store.hosts.count([by_name(store)["nas"]._replace(silent_for=42)])
    assert {name: one.silent_for for name, one in by_name(store).items()} == {
        "nas": 42,
        "router": 0,
    }
    store.hosts.see({NAS: 200}, 200)
    assert (by_name(store)["nas"].silent_for, by_name(store)["nas"].heard) == (0, 1)


@pytest.mark.parametrize("at", [100, 199, 200])
def test_activity_ends_silence_whatever_the_clock_shows(store: Store, at: float) -> None:
    store.hosts.register([NAS], 100)
    store.hosts.see({NAS: 200}, 200)
    before = by_name(store)["nas"]
    store.hosts.count([before._replace(silent_for=42)])
    store.hosts.see({NAS: at}, at)
    assert (by_name(store)["nas"].silent_for, by_name(store)["nas"].heard) == (0, before.heard + 1)


def test_a_host_seen_in_the_meantime_is_not_silent(store: Store) -> None:
    store.hosts.register([NAS], 100)
    checked = by_name(store)["nas"]
    store.hosts.see({NAS: 200}, 200)
    store.hosts.count([checked._replace(silent_for=42)])
    assert by_name(store)["nas"].silent_for == 0
    assert not store.hosts.fall_silent(checked, 300)
    assert store.hosts.fall_silent(by_name(store)["nas"], 300)


def test_a_host_unregistered_in_the_meantime_is_not_silent(store: Store) -> None:
    store.hosts.register([NAS], 100)
    checked = by_name(store)["nas"]
    store.hosts.register([], 200)
    assert not store.hosts.fall_silent(checked, 300)


def test_registering_again_resets_the_silence_of_a_host(store: Store) -> None:
    store.hosts.register([NAS], 100)
    store.hosts.count([by_name(store)["nas"]._replace(silent_for=42)])
    store.hosts.fall_silent(by_name(store)["nas"], 150)
    store.hosts.register([], 200)
    store.hosts.register([NAS], 300)
    assert by_name(store)["nas"] == HostActivity(NAS, 300, None, 0, None)


def test_only_one_process_records_a_silence_and_its_end(store: Store, other_store: Store) -> None:
    store.hosts.register([NAS], 100)
    store.hosts.see({NAS: 150}, 150)
    activity = by_name(store)["nas"]
    assert not store.hosts.come_back(activity, 900)
    assert [one.hosts.fall_silent(activity, 1000) for one in (store, other_store)] == [True, False]
    assert by_name(other_store)["nas"].silent_since == 150
    assert [one.hosts.come_back(activity, 2000) for one in (other_store, store)] == [True, False]
    assert by_name(store)["nas"].silent_since is None
    recorded = [(entry.at, entry.event) for entry in store.history.find(NAS)]
    assert recorded == [(2000, "back"), (1000, "lost")]


def test_a_host_without_activity_is_silent_since_its_registration(store: Store) -> None:
    store.hosts.register([NAS], 100)
    store.hosts.fall_silent(by_name(store)["nas"], 1000)
    assert by_name(store)["nas"].silent_since == 100


def test_host_activity_survives_a_restart(store: Store, url: str) -> None:
    store.hosts.register([NAS], 100)
    store.hosts.see({NAS: 150}, 150)
    before = store.hosts.registered(NOW)
    store.close()
    reopened = Store(url)
    assert reopened.hosts.registered(NOW) == before
    reopened.close()


def test_the_challenge_texts_of_a_removed_host_are_due_at_once(store: Store) -> None:
    operator = Requester("", "operator")
    store.registrations.add([NAS, ROUTER], operator, NOW)
    for name in (NAS, ROUTER):
        challenge = Challenge(name, "-" * 43, operator)
        store.challenges.add(challenge, NOW, NOW + 3600)
    store.registrations.remove(NAS, delete_records=False, operator=operator, now=NOW)
    assert store.challenges.due_names(NOW, 10) == [Hostname("_acme-challenge.nas.example.com")]
