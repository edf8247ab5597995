from __future__ import annotations

import pytest

from backend.text import after, before

NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("30min", NOW - 1800),
        ("12h", NOW - 43200),
        (" 3 d ", NOW - 3 * 86400),
        ("2w", NOW - 14 * 86400),
        ("2026-11-24", 1795478400.0),
        ("2026-11-24T12:30", 1795523400.0),
        ("2026-11-24 12:30:00", 1795523400.0),
        ("2026-11-24T12:30:00Z", 1795523400.0),
        ("2026-11-24T13:30:00+01:00", 1795523400.0),
    ],
)
def test_a_moment_may_be_a_date_or_a_duration(text: str, moment: float) -> None:
    assert before(text, NOW) == moment


def test_a_duration_counts_forward_where_the_future_is_meant() -> None:
    assert after("3d", NOW) == NOW + 3 * 86400


@pytest.mark.parametrize("text", ["2020-01-01", "0d"])
def test_a_past_moment_is_refused_where_the_future_is_meant(text: str) -> None:
    with pytest.raises(ValueError, match="in the future"):
        after(text, NOW)


@pytest.mark.parametrize("text", ["", "soon", "3", "3 years", "2026-13-01", "-3d", "99999d"])
def test_an_invalid_moment_is_refused_with_an_explanation(text: str) -> None:
    with pytest.raises(ValueError, match="2026-12-01"):
        before(text, NOW)
