from __future__ import annotations

import pytest

from backend.auth.throttle import Alarm
from backend.events import LoginFailed, LoginsBlocked
from tests.unit.fakes import Clock, RecordingSink, host

NAS = host("nas.example.com")


@pytest.fixture
def alarm(sink: RecordingSink, clock: Clock) -> Alarm:
    return Alarm(sink, clock=clock)


def test_many_sources_cause_few_lines_and_the_rest_are_counted(
    alarm: Alarm, sink: RecordingSink, clock: Clock
) -> None:
    for number in range(100_000):
        alarm.failed(f"source {number}", None)
    assert sink.events == [LoginFailed(f"source {number}", None) for number in range(20)]
    clock.advance(10)
    alarm.failed("one more", NAS)
    alarm.failed("too soon", NAS)
    assert sink.events[20:] == [LoginFailed("one more", NAS, left_out=99_980)]


def test_attacks_on_many_hosts_cause_few_pushes(
    alarm: Alarm, sink: RecordingSink, clock: Clock
) -> None:
    for number in range(10_000):
        alarm.blocked("198.51.100.1", host(f"h{number}.example.com"))
        alarm.report()
    first = [LoginsBlocked("198.51.100.1", host(f"h{number}.example.com")) for number in range(5)]
    assert sink.events == first
    clock.advance(60)
    alarm.blocked("198.51.100.1", NAS)
    alarm.report()
    assert sink.events[5:] == [LoginsBlocked("198.51.100.1", NAS, left_out=9995)]


def test_the_queue_of_blocked_hosts_is_bounded(alarm: Alarm, sink: RecordingSink) -> None:
    for number in range(5000):
        alarm.blocked("198.51.100.1", host(f"h{number}.example.com"))
    assert len(alarm._blocked) == 1000  # noqa: SLF001
    alarm.report()
    assert len(sink.events) == 5


def test_only_the_first_process_reports_a_blocked_host(sink: RecordingSink, clock: Clock) -> None:
    asked = []
    alarm = Alarm(sink, lambda what: bool(asked.append(what)), clock)
    alarm.blocked("198.51.100.1", NAS)
    alarm.report()
    assert sink.events == []
    assert asked == ["nas.example.com"]


def test_the_next_push_of_this_process_counts_skipped_pushes(
    sink: RecordingSink, clock: Clock
) -> None:
    alarm = Alarm(sink, lambda what: "nas" not in what, clock)
    for number in range(9):
        alarm.blocked("198.51.100.1", host(f"h{number}.example.com"))
    for blocked in (NAS, host("home.example.com")):
        alarm.report()
        clock.advance(60)
        alarm.blocked("198.51.100.1", blocked)
    alarm.report()
    assert sink.events[5:] == [LoginsBlocked("198.51.100.1", host("home.example.com"), left_out=4)]


def test_a_clock_that_is_set_back_causes_no_more_lines(
    alarm: Alarm, sink: RecordingSink, clock: Clock
) -> None:
    for number in range(100):
        clock.advance(-1000 if number % 2 else 1)
        alarm.failed("source", None)
    assert len(sink.events) <= 30
