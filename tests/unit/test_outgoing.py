from __future__ import annotations

import pytest
from requests.structures import CaseInsensitiveDict

from backend.outgoing import retry_after


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        *(("7", 7.0), ("1.5", 1.5), ("0", 1.0), ("-5", 1.0), ("1e9", 300.0)),
        *(("inf", 300.0), ("nan", 1.0), ("", None), ("soon", None)),
        ("Wed, 21 Oct 2026 07:28:00 GMT", None),
    ],
)
def test_retry_after_stays_within_its_bounds(header: str, seconds: float | None) -> None:
    assert retry_after(CaseInsensitiveDict({"Retry-After": header}), 1.0, 300.0) == seconds


def test_an_answer_may_omit_retry_after() -> None:
    assert retry_after({}, 1.0, 300.0) is None
