"""The state machine of tests/http/test_stateful.py, with more and longer random runs."""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.http.machine import machine


def test_dns_holds_the_last_accepted_updates() -> None:
    many = settings(
        max_examples=100,
        stateful_step_count=40,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    with machine() as new_machine:
        run_state_machine_as_test(new_machine, settings=many)
