from __future__ import annotations

import pytest

from backend.auth.throttle import Alarm
from backend.events import LoginFailed, LoginsBlocked
from tests.unit.fakes import Clock, RecordingSink, host

NAS = host("nas.example.com")


@pytest.fixture
def alarm(sink: RecordingSink, clock: Clock) -> Alarm:
    return Alarm(sink, clock=clock)


def test_ever_more_sources_are_a_few_lines_and_the_next_line_says_how_many_were_left_out(
    alarm: Alarm, sink: RecordingSink, clock: Clock
) -> None:
    for number in range(100_000):
        alarm.failed(f"source {number}", None)
    assert sink.events == [LoginFailed(f"source {number}", None) for number in range(20)]
    clock.advance(10)
    alarm.failed("one more", NAS)
    alarm.failed("too soon", NAS)
    assert sink.events[20:] == [LoginFailed("one more", NAS, unsaid=99_980)]


def test_ten_thousand_hosts_under_attack_are_a_few_pushes(
    alarm: Alarm, sink: RecordingSink, clock: Clock
) -> None:
    for number in range(10_000):
        alarm.blocked("198.51.100.1", host(f"h{number}.example.com"))
        alarm.tell()
    first = [LoginsBlocked("198.51.100.1", host(f"h{number}.example.com")) for number in range(5)]
    assert sink.events == first
    clock.advance(60)
    alarm.blocked("198.51.100.1", NAS)
    alarm.tell()
    assert sink.events[5:] == [LoginsBlocked("198.51.100.1", NAS, unsaid=9995)]


def test_what_waits_to_be_told_is_bounded(alarm: Alarm, sink: RecordingSink) -> None:
    for number in range(5000):
        alarm.blocked("198.51.100.1", host(f"h{number}.example.com"))
    assert len(alarm._blocked) == 1000  # noqa: SLF001
    alarm.tell()
    assert len(sink.events) == 5


def test_a_blocked_host_is_not_told_by_a_process_that_is_not_the_first_to_see_it(
    sink: RecordingSink, clock: Clock
) -> None:
    asked = []
    alarm = Alarm(sink, lambda what: bool(asked.append(what)), clock)
    alarm.blocked("198.51.100.1", NAS)
    alarm.tell()
    assert sink.events == []
    assert asked == ["nas.example.com"]


def test_pushes_that_were_left_out_are_told_of_by_the_next_one_that_this_process_tells(
    sink: RecordingSink, clock: Clock
) -> None:
    alarm = Alarm(sink, lambda what: "nas" not in what, clock)
    for number in range(9):
        alarm.blocked("198.51.100.1", host(f"h{number}.example.com"))
    for blocked in (NAS, host("home.example.com")):
        alarm.tell()
        clock.advance(60)
        alarm.blocked("198.51.100.1", blocked)
    alarm.tell()
    assert sink.events[5:] == [LoginsBlocked("198.51.100.1", host("home.example.com"), unsaid=4)]


def test_a_clock_that_is_set_back_gives_no_more_lines(
    alarm: Alarm, sink: RecordingSink, clock: Clock
) -> None:
    for number in range(100):
        clock.advance(-1000 if number % 2 else 1)
        alarm.failed("source", None)
    assert len(sink.events) <= 30
