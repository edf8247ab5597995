from __future__ import annotations

from hypothesis import given, strategies as st

from backend.admin.timeline import draw
from backend.model import Address, RecordType
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


def test_a_bar_lasts_from_one_change_to_the_next() -> None:
    entries = [
        entry(1, "deleted", "198.51.100.2", None),
        entry(3, "replaced", "198.51.100.1", "198.51.100.2"),
        entry(6, "created", None, "198.51.100.1"),
    ]
    (lane, contact) = draw(entries, {}, None, NOW, days=10).lanes
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
    lane = draw(entries, {}, None, NOW, days=10).lanes[0]
    assert [(bar.start, bar.width) for bar in lane.bars] == [(0.0, 50.0), (50.0, 50.0)]


def test_an_address_without_history_fills_the_picture() -> None:
    published = {A: Address.parse("198.51.100.1")}
    (bar,) = draw([], published, None, NOW, days=10).lanes[0].bars
    assert (bar.start, bar.width, bar.label) == (0.0, 100.0, "198.51.100.1")


def test_a_failure_is_a_mark_with_its_reason() -> None:
    (mark,) = draw([entry(5, "refused")], {}, None, NOW, days=10).lanes[0].marks
    assert (mark.at, mark.kind) == (50.0, "refused")
    assert mark.title.endswith(": why")


def test_a_host_is_lost_until_it_returns_or_until_now() -> None:
    entries = [entry(1, "lost", kind=""), entry(5, "back", kind=""), entry(8, "lost", kind="")]
    (lane,) = draw(entries, {}, NOW - 2 * DAY, NOW, days=10).lanes
    assert [(bar.start, bar.width) for bar in lane.bars] == [(20.0, 30.0), (90.0, 10.0)]


def test_the_summary_counts_the_events_in_the_picture() -> None:
    entries = [entry(1, "refused"), entry(2, "created", None, "x"), entry(20, "refused")]
    assert (
        "1 address change, 1 failure, 0 losses of contact"
        in draw(entries, {}, None, NOW, days=10).summary
    )


EVENTS = ["created", "replaced", "deleted", "postponed", "refused", "lost", "back", "new one"]


@given(
    st.lists(st.tuples(st.floats(-5, 200), st.sampled_from(EVENTS), st.sampled_from(["A", ""]))),
    st.sampled_from([1, 7, 30, 90]),
)
def test_everything_stays_inside_the_picture(
    events: list[tuple[float, str, str]], days: int
) -> None:
    entries = [entry(ago, event, "x", "y", kind=kind) for ago, event, kind in events]
    picture = draw(entries, {}, None, NOW, days)
    assert 1 <= len(picture.ticks) <= 7
    for lane in picture.lanes:
        assert all(0 <= bar.start <= 100 and bar.width <= 100 for bar in lane.bars)
        assert all(0 <= mark.at <= 100 for mark in lane.marks)


def test_the_number_of_bars_and_marks_is_bounded() -> None:
    entries = [entry(number / 1000, "replaced", "x", "y") for number in range(2000)]
    entries += [entry(number / 1000, "refused") for number in range(2000)]
    lane = draw(entries, {}, None, NOW, days=7).lanes[0]
    assert len(lane.bars) <= 251
    assert len(lane.marks) <= 251
