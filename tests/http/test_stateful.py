"""Whatever happens in whatever order, the last accepted update of each host ends up in DNS."""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.http.machine import machine


def test_dns_holds_the_last_accepted_updates() -> None:
    few = settings(
        max_examples=10,
        stateful_step_count=60,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    with machine() as new_machine:
        run_state_machine_as_test(new_machine, settings=few)
