from __future__ import annotations

import logging
from pathlib import Path

import pytest

from backend.events import CameBack, FellSilent, Refused
from backend.model import RecordType
from backend.monitor.watcher import Mutes
from backend.notify.ntfy import Push
from backend.notify.outbox import Reporter
from backend.store import Store
from backend.store.schema import Entry
from tests.unit.fakes import Clock, host

HOME, NAS = host("home.example.com"), host("nas.example.com")
ENTRY = Entry(0, HOME.text, "", "muted", "", "", None, None, "")


class Phone:
    """Records pushes."""

    def __init__(self) -> None:
        self.titles: list[str] = []

    def __call__(self, push: Push) -> None:
        self.titles.append(push.title)


@pytest.fixture
def phone() -> Phone:
    return Phone()


@pytest.fixture
def mutes(store: Store, clock: Clock, phone: Phone) -> Mutes:
    store.hosts.register([HOME, NAS], clock.now)
    return Mutes(store, Reporter(phone), clock)


def test_a_muted_host_is_logged_but_not_pushed(
    store: Store, clock: Clock, phone: Phone, mutes: Mutes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    store.hosts.mute(HOME, clock.now + 60, ENTRY)
    mutes.report(FellSilent(HOME, None, 9))
    mutes.report(CameBack(HOME, 9))
    assert phone.titles == []
    assert [one.getMessage().split(" ")[0] for one in caplog.records] == [HOME.text] * 2


def test_other_hosts_and_other_errors_are_pushed(
    store: Store, clock: Clock, phone: Phone, mutes: Mutes
) -> None:
    store.hosts.mute(HOME, clock.now + 60, ENTRY)
    mutes.report(FellSilent(NAS, None, 9))
    mutes.report(Refused(HOME, RecordType.A, "no"))
    assert phone.titles == [f"{NAS} is lost", f"{HOME} can't be updated"]


def test_pushes_resume_after_the_mute(
    store: Store, clock: Clock, phone: Phone, mutes: Mutes
) -> None:
    store.hosts.mute(HOME, clock.now + 60, ENTRY)
    clock.advance(61)
    mutes.report(FellSilent(HOME, None, 9))
    assert len(phone.titles) == 1


def test_a_host_still_lost_after_its_mute_is_reported_once(
    store: Store, clock: Clock, phone: Phone, mutes: Mutes
) -> None:
    store.hosts.mute(HOME, clock.now + 60, ENTRY)
    store.hosts.mute(NAS, clock.now + 60, ENTRY)
    (lost,) = (one for one in store.hosts.registered(clock.now) if one.host == HOME)
    store.hosts.fall_silent(lost, clock.now)
    mutes.tick()
    assert phone.titles == []
    clock.advance(61)
    other = Mutes(store, Reporter(phone), clock)
    for one in (mutes, other, mutes):
        one.tick()
    assert phone.titles == [f"{HOME} is lost"]
    assert store.hosts.mutes() == {}


def test_without_the_store_a_muted_host_is_pushed(phone: Phone, tmp_path: Path) -> None:
    gone = Store(f"sqlite:///{tmp_path / 'no' / 'store.db'}")
    Mutes(gone, Reporter(phone)).report(FellSilent(HOME, None, 9))
    gone.close()
    assert len(phone.titles) == 1
