from __future__ import annotations

import os
from typing import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from backend import errors
from backend.metrics import CHANNELS, FIGURES, METHODS, PROTOCOLS, Meters, Slots
from backend.model import Change


def families(error: type[errors.DyndnsError]) -> Iterator[type[errors.DyndnsError]]:
    yield error
    for below in error.__subclasses__():
        yield from families(below)


# `__new__` alone: the arguments of the classes are irrelevant here.
ERRORS = [error.__new__(error) for error in families(errors.DyndnsError)]


def count_everything(meters: Meters) -> None:
    """Count every combination of labels at least once."""
    for protocol in PROTOCOLS:
        for change in Change:
            meters.updated(protocol, change.value, 0.01)
        for error in ERRORS:
            meters.turned_away(protocol, error)
            with pytest.raises(errors.DyndnsError), meters.update(protocol):
                raise error
        with pytest.raises(ZeroDivisionError), meters.update(protocol):
            raise ZeroDivisionError
    for method in METHODS:
        for error in (None, *ERRORS):
            meters.called(method, error, 0.01)
    for channel in CHANNELS:
        for result in ("sent", "dropped"):
            meters.pushed(channel, result)
    meters.failed_login()


def samples(meters: Meters) -> dict[str, float]:
    found = {}
    for family in text_string_to_metric_families(meters.exposition(()).decode()):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            assert f"{sample.name}{{{labels}}}" not in found
            found[f"{sample.name}{{{labels}}}"] = sample.value
    return found


def test_every_combination_of_labels_has_its_place() -> None:
    meters = Meters()
    count_everything(meters)
    counters = {name: value for name, value in samples(meters).items() if "_bucket" not in name}
    assert [name for name, value in counters.items() if not value] == []


def test_the_figures_fit_exactly_into_a_slot() -> None:
    with pytest.raises(IndexError):
        count_everything(Meters(Slots(1, FIGURES - 1)))
    count_everything(Meters(Slots(1, FIGURES)))


def test_a_worker_changes_no_slot_but_its_own() -> None:
    slots = Slots(3, FIGURES)
    slots.take([0])
    count_everything(Meters(slots))
    for other in (0, 2):
        slots.take(set(range(3)) - {other})
        assert not any(slots.figures)


def test_a_duration_counts_in_every_bucket_above_it() -> None:
    meters = Meters()
    for seconds in (0.001, 0.005, 0.3, 10.0, 60.0):
        meters.updated("json", "created", seconds)
    found = samples(meters)

    def within(bound: str) -> float:
        return found[f"dyndns_update_seconds_bucket{{le={bound},protocol=json}}"]

    bounds = ("0.005", "0.01", "0.25", "0.5", "8.0", "10.0", "+Inf")
    assert [within(bound) for bound in bounds] == [2, 2, 2, 3, 3, 4, 5]
    assert found["dyndns_update_seconds_count{protocol=json}"] == 5
    assert found["dyndns_update_seconds_sum{protocol=json}"] == pytest.approx(70.306)


def test_figures_are_summed_over_all_processes() -> None:
    slots = Slots(2, FIGURES)
    Meters(slots).failed_login()
    slots.take([0])
    child = os.fork()
    if child == 0:
        Meters(slots).failed_login()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert samples(Meters(slots))["dyndns_failed_logins_total{}"] == 2
