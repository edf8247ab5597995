"""Hetzner hangs: callers are answered before they time out, and other hosts are not delayed."""

from __future__ import annotations

import time
from typing import Iterator, NamedTuple

import pytest
from werkzeug.test import TestResponse

from sandbox import Sandbox
from tests.http.conftest import Serve
from tests.http.service import (
    DEEP,
    HOME,
    NAS,
    OPERATOR,
    Service,
    basic,
    reading,
    record,
    refused,
    said,
    told,
)
from tests.http.waiting import Background, until_asked

# inadyn's timeout (https://github.com/troglobit/inadyn), after which the update has failed.
PATIENCE = 10.0
READINGS = "/zones/example.com/rrsets"


class Slow(NamedTuple):
    """Updates that were sent while each read at Hetzner hangs; none came from a patient caller."""

    service: Service
    of_one_host: Background[TestResponse]
    of_two_hosts: Background[TestResponse]
    one_in_time: bool
    two_in_time: bool


@pytest.fixture(scope="module")
def slow(running_sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slow]:
    running_sandbox.reset()
    service = Service(running_sandbox, tmp_path_factory.mktemp("slow"))
    service.host(DEEP).updates("198.51.100.1")
    running_sandbox.delay(9, path=READINGS, method="GET")
    query = {"hostname": f"{NAS},example.com", "myip": "198.51.100.1"}
    headers = {"Authorization": basic(*OPERATOR)}
    end = time.monotonic() + PATIENCE
    one = Background(lambda: service.host(HOME).updates("198.51.100.1"))
    two = Background(
        lambda: service.asks("GET", "/nic/update", query_string=query, headers=headers)
    )
    yield Slow(
        service,
        one,
        two,
        one.has_ended_within(end - time.monotonic()),
        two.has_ended_within(end - time.monotonic()),
    )
    two.result()
    service.stop()


def test_a_host_is_answered_before_it_loses_patience(slow: Slow) -> None:
    assert slow.one_in_time
    assert refused(slow.of_one_host.result()) == (503, "unavailable")
    assert slow.service.states()[HOME, "A"] == ("198.51.100.1", "pending")


def test_a_router_with_two_hosts_is_answered_in_time(slow: Slow) -> None:
    assert slow.two_in_time
    assert said(slow.of_two_hosts.result()) == (503, b"911\n911\n")


def test_while_all_threads_wait_for_hetzner_unchanged_hosts_are_answered(serve: Serve) -> None:
    service = serve(THREADS="1")
    service.host(DEEP).updates("198.51.100.1")
    service.calls()
    service.sandbox.delay(2, path=READINGS, count=1)
    calling = Background(lambda: service.host(HOME).updates("198.51.100.1"))
    until_asked(service.sandbox, reading("home"))
    queued = Background(lambda: service.host(NAS).updates("198.51.100.1"))
    while (NAS, "A") not in service.states():
        assert not queued.has_ended_within(0.01), "an update is stored before it waits"
    answer = service.host(DEEP).updates("198.51.100.1")
    assert told(answer) == (200, record("unchanged", "198.51.100.1", DEEP))
    assert told(calling.result()) == (200, record("created", "198.51.100.1"))
    assert told(queued.result()) == (200, record("created", "198.51.100.1", NAS))
