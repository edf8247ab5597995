from __future__ import annotations

import pytest

from backend import errors


@pytest.mark.parametrize(
    "family",
    [
        errors.HetznerUnreachable,
        errors.HetznerBusy,
        errors.ShareUsedUp,
        errors.HostBusy,
        errors.Superseded,
        errors.StoreUnavailable,
    ],
)
def test_transient_errors_have_a_retry_time(family: type) -> None:
    assert family("away").retry_after > 0
    assert family("away", retry_after=7).retry_after == 7
    assert str(family("away", 7)) == "away"


def test_a_lockout_names_its_end() -> None:
    error = errors.TooManyFailures("wait", 120)
    assert (str(error), error.retry_after) == ("wait", 120)
