from __future__ import annotations

from typing import Mapping, Sequence

from hypothesis import given, strategies as st

from backend.admin.timeline import PERIODS, Period, Timeline, draw, summary, window
from backend.model import Address, Hostname, RecordType
from backend.store import Store
from backend.store.history import Sample
from backend.store.schema import Entry

NOW = 1_800_000_000.0
DAY = 86400.0
A = RecordType.A


def entry(
    days_ago: float,
    event: str,
    old: str | None = None,
    new: str | None = None,
    kind: str = "A",
) -> Entry:
    why = "" if event in {"lost", "back"} else "why"
    return Entry(NOW - days_ago * DAY, "h.example.com", kind, event, "", "", old, new, why)


def drawn(
    entries: Sequence[Entry],
    published: Mapping[RecordType, Address] | None = None,
    silent_since: float | None = None,
    days: float = 10,
) -> Timeline:
    """Draw the days before NOW; `entries` has the newest entry first."""
    samples = [Sample(one) for one in reversed(entries)]
    return draw(samples, published or {}, silent_since, 0.0, Period(NOW - days * DAY, NOW))


def test_a_bar_lasts_from_one_change_to_the_next() -> None:
    entries = [
        entry(1, "deleted", "198.51.100.2", None),
        entry(3, "replaced", "198.51.100.1", "198.51.100.2"),
        entry(6, "created", None, "198.51.100.1"),
    ]
    (lane, contact) = drawn(entries).lanes
    assert [(bar.start, bar.width, bar.label) for bar in lane.bars] == [
        (40.0, 30.0, "198.51.100.1"),
        (70.0, 20.0, "198.51.100.2"),
    ]
    assert lane.bars[0].kind != lane.bars[1].kind
    assert (contact.bars, contact.marks) == ([], [])


def test_an_earlier_address_begins_at_the_edge() -> None:
    entries = [
        entry(5, "replaced", "198.51.100.1", "198.51.100.2"),
        entry(50, "created", None, "x"),
    ]
    lane = drawn(entries).lanes[0]
    assert [(bar.start, bar.width) for bar in lane.bars] == [(0.0, 50.0), (50.0, 50.0)]


def test_an_address_without_history_fills_the_picture() -> None:
    published = {A: Address.parse("198.51.100.1")}
    (bar,) = drawn([], published).lanes[0].bars
    assert (bar.start, bar.width, bar.label) == (0.0, 100.0, "198.51.100.1")


def test_a_failure_is_a_mark_with_its_reason() -> None:
    (mark,) = drawn([entry(5, "refused")]).lanes[0].marks
    assert (mark.at, mark.kind) == (50.0, "refused")
    assert mark.title.endswith(": why")


def test_certificate_challenges_have_their_own_lane() -> None:
    entries = [
        entry(1, "challenge_removed", kind="TXT"),
        entry(2, "challenge", kind="TXT"),
        entry(3, "challenge_failed", kind="TXT"),
    ]
    (lane, _) = drawn(entries).lanes
    assert lane.name == "TXT"
    kinds = [(mark.at, mark.kind) for mark in lane.marks]
    assert kinds == [(70.0, "challenge_failed"), (80.0, "challenge"), (90.0, "challenge_removed")]


def test_a_host_is_lost_until_it_returns_or_until_now() -> None:
    entries = [entry(1, "lost", kind=""), entry(5, "back", kind=""), entry(8, "lost", kind="")]
    (lane,) = drawn(entries, None, NOW - 2 * DAY).lanes
    assert [(bar.start, bar.width) for bar in lane.bars] == [(20.0, 30.0), (80.0, 20.0)]


def test_a_silence_begins_when_the_host_was_last_heard() -> None:
    entries = [entry(4, "back", kind=""), entry(5, "lost", kind="")]
    samples = [Sample(one) for one in reversed(entries)]
    (lane,) = draw(samples, {}, None, 2 * DAY, Period(NOW - 10 * DAY, NOW)).lanes
    assert [(bar.start, bar.width) for bar in lane.bars] == [(30.0, 30.0)]


def test_a_label_is_shown_only_where_all_of_it_fits() -> None:
    entries = [entry(1, "replaced", "198.51.100.1", "198.51.100.2")]
    entries += [entry(1.2, "replaced", None, "198.51.100.1")]
    entries += [entry(2.5, "replaced", None, "198.51.100.3")]
    assert [bar.fits for bar in drawn(entries, days=10).lanes[0].bars] == ["desktop", "", ""]
    assert [bar.fits for bar in drawn(entries, days=3).lanes[0].bars] == ["phone", "", "phone"]


def test_a_mark_tells_the_desired_address() -> None:
    (mark,) = drawn([entry(5, "refused", None, "198.51.100.7")]).lanes[0].marks
    assert "desired 198.51.100.7" in mark.title


def test_the_summary_counts_every_event() -> None:
    numbers = {"refused": 1, "created": 1, "replaced": 2000, "lost": 2, "dropped": 1}
    text = "The last 10 days: 2001 address changes, 1 failure, 2 losses of contact."
    assert summary(numbers, 10) == text
    assert summary({}, 1).startswith("The last day: 0 address changes, ")


def test_the_period_is_the_same_for_a_while_and_contains_now() -> None:
    ends = {window(NOW + seconds, 7)[1] for seconds in range(0, 600, 10)}
    assert len(ends) <= 2
    for days in (1, 90):
        start, end = window(NOW, days)
        assert start < NOW < end <= NOW + days * DAY / PERIODS
        assert end - start == days * DAY


EVENTS = ["created", "replaced", "deleted", "postponed", "refused", "lost", "back", "new one"]


@given(
    st.lists(st.tuples(st.floats(-5, 200), st.sampled_from(EVENTS), st.sampled_from(["A", ""]))),
    st.sampled_from([1, 7, 30, 90]),
)
def test_everything_stays_inside_the_picture(
    events: list[tuple[float, str, str]], days: int
) -> None:
    entries = [entry(ago, event, "x", "y", kind=kind) for ago, event, kind in events]
    picture = drawn(entries, days=days)
    assert 1 <= len(picture.ticks) <= 7
    for lane in picture.lanes:
        assert all(0 <= bar.start < bar.start + bar.width < 100.001 for bar in lane.bars)
        assert all(0 <= mark.at <= 100 for mark in lane.marks)


def test_a_picture_is_complete_and_bounded_at_any_length(store: Store) -> None:
    host = Hostname("h.example.com")
    rows = [entry(60, "created", None, "first")]
    rows += [entry(6 - n / 1000, "replaced", f"a{n - 1}", f"a{n}") for n in range(6000)]
    rows += [entry(6 - n / 1000, "refused") for n in range(3000)]
    for row in rows:
        store.history.add(row)
    start, end = NOW - 10 * DAY, NOW
    samples = store.history.sample(host, start, end, PERIODS, ("created", "replaced"))
    lane = draw(samples, {}, None, 0.0, Period(start, end)).lanes[0]
    assert (lane.bars[0].label, lane.bars[0].start) == ("first", 0.0)
    assert (lane.bars[-1].label, lane.bars[-1].start) == ("a5999", 99.4)
    assert len(lane.bars) <= PERIODS + 1
    assert len(lane.marks) <= PERIODS + 1
    assert sum(one.number for one in samples) == len(rows)
    assert store.history.numbers(host, start) == {"replaced": 6000, "refused": 3000}
