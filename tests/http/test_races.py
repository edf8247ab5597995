"""The record changes at Hetzner between the service's read and write."""

from __future__ import annotations

import pytest

from sandbox import Sandbox
from tests.http.conftest import Console, Serve
from tests.http.service import (
    CREATE,
    HOME,
    Host,
    Service,
    reading,
    record,
    refused,
    said,
    setting,
    told,
)
from tests.http.waiting import Background, until_asked

SECONDS = 0.4  # delay of a write, so that the other write comes first


def held_up(sandbox: Sandbox, host: Host, ip: str, call: str, *values: str) -> object:
    """Send an update; while its write is delayed, set the record to these values."""
    method, path = call.split(" ")
    sandbox.delay(SECONDS, path=path, method=method, count=1)
    updating = Background(lambda: host.updates(ip))
    until_asked(sandbox, call)
    sandbox.publish(HOME, "A", *values)
    return told(updating.result())


def after_the_list(service: Service) -> list[str]:
    return [call for call in service.calls() if not call.startswith("GET /zones?")]


def test_a_record_that_appears_before_ours_is_created_is_set(service: Service, host: Host) -> None:
    answer = held_up(service.sandbox, host, "198.51.100.1", CREATE, "198.51.100.66")
    assert answer == (200, record("updated", "198.51.100.1"))
    assert after_the_list(service) == [reading("home"), CREATE, reading("home"), setting("home")]
    assert service.sandbox.records(HOME, "A") == ["198.51.100.1"]


def test_a_record_that_vanishes_before_ours_is_set_is_created(service: Service, host: Host) -> None:
    host.updates("198.51.100.1")
    service.calls()
    answer = held_up(service.sandbox, host, "198.51.100.2", setting("home"))
    assert answer == (200, record("created", "198.51.100.2"))
    assert service.calls() == [setting("home"), reading("home"), CREATE]
    assert service.sandbox.records(HOME, "A") == ["198.51.100.2"]


def test_a_create_that_meets_its_own_record_sets_it(service: Service, host: Host) -> None:
    path = "/zones/example.com/rrsets"
    service.sandbox.fail(409, "uniqueness_error", path=path, method="POST", after=True)
    assert told(host.updates("198.51.100.1")) == (200, record("created", "198.51.100.1"))
    assert after_the_list(service) == [reading("home"), CREATE, reading("home"), setting("home")]


def test_two_devices_on_one_host_are_reported_once(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("WARNING", "hetzner-dyndns")
    workers = [serve(), serve()]
    for number in range(12):
        peer = f"203.0.113.{number % 2 + 1}"
        answer = workers[number // 6].host().sends("POST", peer, ip=peer)
        assert answer.status_code == 200
    warnings = [line for line in caplog.messages if "back and forth" in line]
    assert len(warnings) == 1
    assert f"{HOME} A" in warnings[0]
    assert "203.0.113.1 and 203.0.113.2" in warnings[0]


def test_several_records_are_reported_before_they_are_replaced(
    service: Service, host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    service.sandbox.publish(HOME, "A", "198.51.100.8", "198.51.100.9")
    service.sandbox.fail(503, "unavailable", method="POST")
    assert refused(host.updates("198.51.100.1")) == (503, "unavailable")
    (warning,) = [line for line in caplog.messages if "several A records" in line]
    assert "198.51.100.8, 198.51.100.9" in warning
    assert [row["event"] for row in service.rows("history")] == ["several", "postponed"]


def test_the_comment_of_the_same_address_is_kept(host: Host, console: Console) -> None:
    old, second = ({"value": f"192.0.2.{n}", "comment": text} for n, text in ((1, "old"), (2, "x")))
    body = {"name": "home", "type": "A", "records": [old, second]}
    console.changes("POST", "/zones/example.com/rrsets", body)
    assert told(host.updates("192.0.2.1")) == (200, record("updated", "192.0.2.1"))
    assert console.shows(HOME)["records"] == {"192.0.2.1": "old"}


def test_a_404_followed_by_a_409_is_published(service: Service, host: Host) -> None:
    host.updates("198.51.100.1")
    service.sandbox.fail(404, "not_found", path="*/set_records")
    service.sandbox.fail(409, "uniqueness_error", method="POST", path="/zones/example.com/rrsets")
    assert told(host.updates("198.51.100.2")) == (200, record("updated", "198.51.100.2"))
    assert service.sandbox.records(HOME, "A") == ["198.51.100.2"]


def test_a_record_that_comes_and_goes_is_published_later(service: Service, host: Host) -> None:
    service.sandbox.fail(404, "not_found", count=None, path="*/set_records")
    service.sandbox.fail(409, "uniqueness_error", count=None, method="POST")
    answer = host.updates("198.51.100.2")
    assert refused(answer) == (503, "unavailable")
    assert "exists, but doesn't list it" in answer.get_json()["error"]
    assert said(service.router().updates(myip="198.51.100.2")) == (503, b"911\n")
    assert service.states() == {(HOME, "A"): ("198.51.100.2", "pending")}
    assert len(service.calls()) < 12
    service.sandbox.reset()
    assert told(host.updates("198.51.100.2")) == (200, record("created", "198.51.100.2"))


def test_a_record_that_exists_but_is_not_listed_is_set(service: Service, host: Host) -> None:
    host.updates("198.51.100.1")
    service.sandbox.fail(404, "not_found", path="*/set_records")
    empty = '{"rrsets":[],"meta":{"pagination":{"next_page":null}}}'
    path = "/zones/example.com/rrsets"
    service.sandbox.fail(200, body=empty, method="GET", path=path, count=None)
    assert refused(host.updates("198.51.100.2")) == (503, "unavailable")
    assert told(host.updates("198.51.100.2")) == (200, record("updated", "198.51.100.2"))
    assert service.sandbox.records(HOME, "A") == ["198.51.100.2"]


def test_a_zone_that_is_listed_but_not_found_refuses_nothing(service: Service, host: Host) -> None:
    host.updates("198.51.100.1")
    service.sandbox.fail(404, "not_found", count=None, path="/zones/example.com/rrsets*")
    assert refused(host.updates("198.51.100.2")) == (503, "unavailable")


def test_a_cname_that_appears_before_the_create_is_reported(service: Service, host: Host) -> None:
    service.sandbox.delay(SECONDS, path="/zones/example.com/rrsets", method="POST", count=1)
    updating = Background(lambda: host.updates("198.51.100.1"))
    until_asked(service.sandbox, CREATE)
    service.sandbox.publish(HOME, "CNAME", "other.example.org.")
    assert refused(updating.result()) == (502, "hetzner_refused")
