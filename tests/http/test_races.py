"""The record changes at Hetzner between our read and our write."""

from __future__ import annotations

from sandbox import Sandbox
from tests.http.service import CREATE, HOME, Host, Service, reading, record, refused, setting, told
from tests.http.waiting import Background, until_asked

SECONDS = 0.4  # how long a write is held up, so that the other one comes first


def held_up(sandbox: Sandbox, host: Host, ip: str, call: str, *values: str) -> object:
    """Update while a write of ours waits, during which the record becomes these values."""
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
    assert answer == (200, record("created", "198.51.100.1"))
    assert after_the_list(service) == [reading("home"), CREATE, reading("home"), setting("home")]
    assert service.sandbox.records(HOME, "A") == ["198.51.100.1"]


def test_a_record_that_vanishes_before_ours_is_set_is_created(service: Service, host: Host) -> None:
    host.updates("198.51.100.1")
    service.calls()
    answer = held_up(service.sandbox, host, "198.51.100.2", setting("home"))
    assert answer == (200, record("updated", "198.51.100.2"))
    assert service.calls() == [setting("home"), CREATE]
    assert service.sandbox.records(HOME, "A") == ["198.51.100.2"]


def test_a_create_that_meets_its_own_record_sets_it(service: Service, host: Host) -> None:
    path = "/zones/example.com/rrsets"
    service.sandbox.fail(409, "uniqueness_error", path=path, method="POST", after=True)
    assert told(host.updates("198.51.100.1")) == (200, record("created", "198.51.100.1"))
    assert after_the_list(service) == [reading("home"), CREATE, reading("home"), setting("home")]


def test_a_record_that_comes_and_goes_ends_in_an_answer(service: Service, host: Host) -> None:
    host.updates("198.51.100.1")
    service.sandbox.fail(404, "not_found", count=None, path="*/set_records")
    service.sandbox.fail(409, "uniqueness_error", count=None, method="POST")
    assert host.updates("198.51.100.2").status_code in (502, 503)
    assert len(service.calls()) < 12


def test_a_cname_that_appears_before_the_create_is_reported(service: Service, host: Host) -> None:
    service.sandbox.delay(SECONDS, path="/zones/example.com/rrsets", method="POST", count=1)
    updating = Background(lambda: host.updates("198.51.100.1"))
    until_asked(service.sandbox, CREATE)
    service.sandbox.publish(HOME, "CNAME", "other.example.org.")
    assert refused(updating.result()) == (502, "hetzner_refused")
