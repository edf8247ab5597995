"""/metrics, read with the parser of prometheus_client."""

from __future__ import annotations

import gzip
import re
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Mapping, Tuple

import pytest
from prometheus_client.parser import text_string_to_metric_families

from backend.web.pages import in_turn
from tests.http.conftest import Serve
from tests.http.operator import Operator
from tests.http.service import HOME, NAS, Service, basic
from tests.http.test_operator_pages import register

Labels = Tuple[Tuple[str, str], ...]


class Figures:
    """The samples of one answer."""

    def __init__(self, operator: Operator) -> None:
        answer = operator.asks("GET", "/metrics")
        assert answer.status_code == 200
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        assert answer.headers["Cache-Control"] == "no-store"
        self.samples: dict[tuple[str, Labels], float] = {}
        for family in text_string_to_metric_families(answer.text):
            assert family.documentation, family.name
            for sample in family.samples:
                self.samples[sample.name, tuple(sorted(sample.labels.items()))] = sample.value

    def of(self, name: str, **labels: str) -> float:
        return self.samples[f"dyndns_{name}", tuple(sorted(labels.items()))]

    def states(self) -> Mapping[str, str]:
        """The state of each host; a host has exactly one."""
        found: dict[str, str] = {}
        for (name, labels), value in self.samples.items():
            if name == "dyndns_host_state" and value == 1:
                found_labels = dict(labels)
                assert found_labels["host"] not in found
                found[found_labels["host"]] = found_labels["state"]
        return found


@pytest.fixture
def operator(service: Service) -> Operator:
    register(service)
    return Operator(service)


def test_updates_are_timed_and_counted_by_protocol_and_outcome(
    service: Service, operator: Operator
) -> None:
    service.host().updates("198.51.100.1")
    service.host().updates("198.51.100.1")
    service.router().updates(myip="198.51.100.2")
    service.host().updates("rubbish")
    service.router(NAS).asks("GET", {"hostname": HOME, "myip": "198.51.100.3"})
    figures = Figures(operator)
    assert figures.of("updates_total", protocol="json", outcome="created") == 1
    assert figures.of("updates_total", protocol="json", outcome="cached") == 1
    assert figures.of("updates_total", protocol="json", outcome="bad_request") == 1
    assert figures.of("updates_total", protocol="dyndns2", outcome="replaced") == 1
    assert figures.of("updates_total", protocol="dyndns2", outcome="not_allowed") == 1
    assert figures.of("update_seconds_count", protocol="json") == 2
    assert figures.of("update_seconds_count", protocol="dyndns2") == 1


def test_failures_are_counted_by_kind(service: Service, operator: Operator) -> None:
    service.sandbox.fail(403, code="protected", method="POST", count=1)
    service.host().updates("198.51.100.1")
    service.sandbox.fail(503, count=None)
    service.host(NAS).updates("198.51.100.1")
    figures = Figures(operator)
    assert figures.of("updates_total", protocol="json", outcome="refused") == 1
    assert figures.of("updates_total", protocol="json", outcome="unavailable") == 1
    assert figures.of("hetzner_call_seconds_count", method="POST", outcome="refused") == 1
    assert figures.of("updates_waiting") == 2
    assert figures.of("oldest_update_age_seconds") >= 0


def test_only_wrong_logins_are_counted_as_failed(service: Service, operator: Operator) -> None:
    service.asks("GET", "/nic/update", query_string={"hostname": HOME})
    service.asks("GET", "/nic/update", headers={"Authorization": basic("home", "no")})
    operator.asks("GET", "/", login=basic("operator", "no"))
    assert Figures(operator).of("failed_logins_total") == 2


def test_every_series_exists_from_the_start(operator: Operator) -> None:
    figures = Figures(operator)
    assert figures.of("updates_total", protocol="json", outcome="unavailable") == 0
    assert figures.of("updates_waiting") == figures.of("oldest_update_age_seconds") == 0
    assert figures.of("store_up") == 1


def test_pushes_are_counted_by_channel(serve: Serve) -> None:
    settings = {"NTFY_URL": "http://ntfy.invalid", "NTFY_TOPIC": "dyndns"}
    figures = Figures(Operator(serve(**settings)))
    found = [labels for name, labels in figures.samples if name == "dyndns_pushes_total"]
    assert sorted(found) == [
        (("channel", "ntfy"), ("result", "dropped")),
        (("channel", "ntfy"), ("result", "sent")),
    ]


def test_each_host_has_exactly_one_state(service: Service, operator: Operator) -> None:
    service.sandbox.fail(403, code="protected", method="POST", count=1)
    service.host(NAS).updates("198.51.100.1")
    service.host().updates("198.51.100.1")
    operator.presses(HOME, "mute", until="2090-01-01")
    figures = Figures(operator)
    states = figures.states()
    assert set(states) == {name.text for name in service.hosts}
    assert states.pop(NAS) == "refused"
    assert states.pop(HOME) == "publishing"
    assert set(states.values()) == {"never"}
    assert figures.of("host_muted", host=HOME) == 1
    assert figures.of("host_muted", host=NAS) == 0


def test_requests_of_strangers_add_no_series(service: Service, operator: Operator) -> None:
    before = set(Figures(operator).samples)
    for number in range(20):
        service.asks(
            "GET",
            f"/nic/update?hostname=x{number}.example.com&myip={number}",
            headers={"Authorization": basic(f"u{number}", f"p{number}")},
        )
        service.asks("BREW", f"/update/{number}")
    assert set(Figures(operator).samples) == before


def test_counters_are_readable_without_the_store(serve: Serve) -> None:
    service = serve()
    operator = Operator(service)
    service.asks("GET", "/nic/update", headers={"Authorization": basic("home", "no")})
    service.database.unlink()
    service.database.mkdir()
    figures = Figures(operator)
    assert figures.of("store_up") == 0
    assert figures.of("failed_logins_total") == 1
    assert not [name for name, _ in figures.samples if name == "dyndns_host_state"]


def test_the_text_is_compressed_for_clients_that_accept_it(
    service: Service, operator: Operator
) -> None:
    service.host().updates("198.51.100.1")
    plain = operator.asks("GET", "/metrics")
    packed = operator.asks("GET", "/metrics", headers={"Accept-Encoding": "gzip"})
    assert "Content-Encoding" not in plain.headers
    assert packed.headers["Content-Encoding"] == "gzip"
    names = re.findall(rb"^# TYPE (\S+)", gzip.decompress(packed.data), re.MULTILINE)
    assert names == re.findall(rb"^# TYPE (\S+)", plain.data, re.MULTILINE)
    assert b"dyndns_host_muted" in names


def test_a_process_runs_one_view_of_all_hosts_at_a_time() -> None:
    running: list[int] = []
    most: list[int] = []

    def view() -> str:
        running.append(1)
        most.append(len(running))
        time.sleep(0.02)
        running.pop()
        return ""

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: in_turn(view)(), range(8)))
    assert max(most) == 1
