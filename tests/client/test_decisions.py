from __future__ import annotations

from datetime import datetime, timezone

import pytest

from client.update_dns import UpdateFailed, clean, next_pause, parse_retry_after, spell

NOON = datetime(2026, 6, 1, 12, 0, tzinfo=timezone.utc)


def pauses(interval: int, failure: UpdateFailed) -> list[float]:
    return [next_pause(n, interval, failure, lambda _, longest: longest) for n in range(1, 8)]


def test_pauses_double_up_to_a_quarter_of_an_hour() -> None:
    assert pauses(60, UpdateFailed("x")) == [30, 60, 120, 240, 480, 900, 900]
    assert pauses(5, UpdateFailed("x")) == [5, 10, 20, 40, 80, 160, 320]


def test_an_hourly_client_is_back_sooner_than_in_an_hour() -> None:
    assert pauses(3600, UpdateFailed("x"))[0] == 30


def test_errors_that_need_the_user_are_retried_slowly() -> None:
    assert pauses(60, UpdateFailed("x", slow=True))[:3] == [300, 600, 900]


def test_failures_are_counted_without_a_limit() -> None:
    assert next_pause(10**9, 60, UpdateFailed("x"), max) == 900


def test_jitter_takes_up_to_half_of_the_pause() -> None:
    assert next_pause(2, 60, UpdateFailed("x"), lambda *limits: sum(limits)) == 30 + 60


def test_the_backend_may_lengthen_the_pause_only() -> None:
    assert next_pause(1, 60, UpdateFailed("x", retry_after=70), max) == 70
    assert next_pause(3, 60, UpdateFailed("x", retry_after=5), max) == 120


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("", 0),
        ("17", 17),
        ("0", 0),
        ("-5", 0),
        ("99999999999999999999", 3600),
        ("soon", 0),
        ("1.5", 0),
        ("Mon, 01 Jun 2026 12:02:00 GMT", 120),
        ("Mon, 01 Jun 2026 12:02:00 -0000", 120),
        ("Mon, 01 Jun 2026 11:00:00 GMT", 0),
        ("Tue, 02 Jun 2026 12:00:00 GMT", 3600),
        ("Mon, 99 Jun 2026 12:00:00 GMT", 0),
    ],
)
def test_retry_after_counts_up_to_an_hour(value: str, seconds: float) -> None:
    assert parse_retry_after(value, NOON) == seconds


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0 s"), (45, "45 s"), (59.6, "1 min"), (185, "3 min"), (11520, "3 h 12 min")],
)
def test_durations_are_formatted_with_units(seconds: float, words: str) -> None:
    assert spell(seconds) == words


def test_foreign_text_stays_one_short_line_without_the_key() -> None:
    assert clean("a\r\n\x1b[31mb\u2028\u202ec\x00  d") == "a [31mb c d"
    assert clean("the key s3cret is wrong", "s3cret") == "the key *** is wrong"
    assert clean("x" * 999) == "x" * 300 + "…"
    assert clean(None) == "None"
