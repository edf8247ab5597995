"""A push ends in time with a reason, whatever the server answers."""

from __future__ import annotations

from functools import partial

import pytest

from backend.notify.channels import PushFailed, PushRefused
from backend.notify.reporter import Push
from tests.hostile import ANSWERS, LATE, Hostile, Servers, together
from tests.unit.fakes import ntfy_at


def outcome(url: str, seconds: float) -> str:
    """Return the result of a push."""
    try:
        ntfy_at(url, token="tk_secret").publish(Push("title", "message"), seconds)
    except (PushFailed, PushRefused) as error:
        return str(error)
    except Exception as error:  # noqa: BLE001
        return f"a bug: {error!r}"
    return "success"


@pytest.fixture(scope="module")
def outcomes() -> dict[str, str]:
    with pytest.MonkeyPatch.context() as patch, Servers() as servers:
        patch.setenv("NO_PROXY", "*")
        at = {one.name: f"http://127.0.0.1:{servers.give(one)}" for one in ANSWERS}
        late = [one.name for one in ANSWERS if one.outcome == LATE]
        said = together({name: partial(outcome, at[name], 1) for name in late})
        said.update({name: outcome(url, 10) for name, url in at.items() if name not in said})
    return said


@pytest.mark.parametrize("one", ANSWERS, ids=lambda one: one.name)
def test_a_push_that_meets_a_hostile_answer_ends(outcomes: dict[str, str], one: Hostile) -> None:
    said = outcomes[one.name]
    assert said.startswith("127.0.0.1 ")
    assert "a bug" not in said
    if one.outcome == LATE:
        assert said == "127.0.0.1 can't be reached: no complete answer in time"
