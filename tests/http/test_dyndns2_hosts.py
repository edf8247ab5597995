"""/nic/update with several hosts: a line for each, in the order of the names."""

from __future__ import annotations

import pytest
from werkzeug.test import TestResponse

from tests.http.service import (
    CREATE,
    HOME,
    LIST,
    NAS,
    NOWHERE,
    OPERATOR,
    Service,
    basic,
    key_of,
    reading,
    said,
)

FOREIGN = "foreign.example.com"
SHARED_KEY = "one-key-for-two-hosts"


@pytest.fixture
def shared(service: Service) -> Service:
    """Two hosts share a key; the others have their own."""
    lines = [f"{HOME} {SHARED_KEY}", f"{NAS} {SHARED_KEY}", f"{NOWHERE} {SHARED_KEY}"]
    service.key_file.write_text("\n".join(lines) + "\n")
    return service


def asked(service: Service, query: object, **options: object) -> TestResponse:
    headers = {"Authorization": basic("home", SHARED_KEY)}
    options = {"headers": headers, **options}
    return service.asks("GET", "/nic/update", query_string=query, **options)


def names(*hosts: str) -> dict[str, str]:
    return {"hostname": ",".join(hosts), "myip": "198.51.100.1"}


def test_each_host_gets_a_line(shared: Service) -> None:
    answer = asked(shared, names(HOME, NAS))
    assert said(answer) == (200, b"good 198.51.100.1\ngood 198.51.100.1\n")
    assert shared.calls() == [LIST, reading("home"), CREATE, reading("nas"), CREATE]
    assert shared.sandbox.records(HOME, "A") == ["198.51.100.1"]
    assert shared.sandbox.records(NAS, "A") == ["198.51.100.1"]


@pytest.mark.parametrize(
    ("hosts", "status", "lines"),
    [
        ((NAS, HOME), 200, b"good 198.51.100.1\ngood 198.51.100.1\n"),
        ((HOME, HOME), 200, b"good 198.51.100.1\n" * 2),
        ((HOME, NAS, HOME), 200, b"good 198.51.100.1\n" * 3),
        ((HOME, FOREIGN), 200, b"good 198.51.100.1\nnohost\n"),
        ((FOREIGN, HOME), 200, b"nohost\ngood 198.51.100.1\n"),
        (("_bad.example.com", HOME), 200, b"notfqdn\ngood 198.51.100.1\n"),
        ((NOWHERE, HOME), 200, b"dnserr\ngood 198.51.100.1\n"),
        ((FOREIGN, "home"), 404, b"nohost\nnotfqdn\n"),
        (("home", FOREIGN), 400, b"notfqdn\nnohost\n"),
        ((NOWHERE, FOREIGN), 502, b"dnserr\nnohost\n"),
        ((FOREIGN, FOREIGN), 404, b"nohost\nnohost\n"),
    ],
)
def test_the_lines_are_in_the_order_of_the_names(
    shared: Service, hosts: tuple[str, ...], status: int, lines: bytes
) -> None:
    assert said(asked(shared, names(*hosts))) == (status, lines)


@pytest.mark.parametrize(
    "query",
    [
        f"hostname={HOME},%20{NAS}&myip=198.51.100.1",
        f"hostname={HOME}&myip=198.51.100.1&hostname={NAS}",
        f"hostname={HOME},,{NAS},&myip=198.51.100.1",
        f"HOSTNAME={HOME.upper()}.,{NAS}&myip=198.51.100.1",
    ],
    ids=["a blank", "two parameters", "empty places", "upper case"],
)
def test_a_list_may_be_written_in_many_ways(shared: Service, query: str) -> None:
    assert said(asked(shared, query)) == (200, b"good 198.51.100.1\ngood 198.51.100.1\n")


def test_one_part_of_the_list_may_be_in_a_form(shared: Service) -> None:
    headers = {"Authorization": basic("home", SHARED_KEY)}
    query, form = {"hostname": HOME, "myip": "198.51.100.1"}, {"hostname": NAS}
    answer = shared.asks("POST", "/nic/update", query_string=query, data=form, headers=headers)
    assert said(answer) == (200, b"good 198.51.100.1\ngood 198.51.100.1\n")


def test_twenty_hosts_are_served(shared: Service) -> None:
    status, body = said(asked(shared, names(*[HOME] * 20)))
    assert (status, body.count(b"\n")) == (200, 20)


def test_a_wrong_key_causes_one_line_and_one_failure(shared: Service) -> None:
    headers = {"Authorization": basic("home", "wrong")}
    answer = asked(shared, names(HOME, NAS, FOREIGN), headers=headers)
    assert said(answer) == (401, b"badauth\n")
    assert shared.calls() == []


def test_missing_credentials_cause_one_line(shared: Service) -> None:
    assert said(asked(shared, names(HOME, NAS), headers={})) == (401, b"badauth\n")


def test_a_key_is_valid_only_for_its_hosts(service: Service) -> None:
    headers = {"Authorization": basic("home", key_of(HOME))}
    answer = asked(service, names(HOME, NAS), headers=headers)
    assert said(answer) == (200, b"good 198.51.100.1\nnohost\n")
    assert list(service.states()) == [(HOME, "A")]


def test_an_answer_of_401_means_that_nothing_changed(service: Service) -> None:
    headers = {"X-Pre-Shared-Key": key_of(HOME)}
    answer = asked(service, names(HOME, NAS), headers=headers)
    assert (answer.status_code == 401) == (service.states() == {})


def test_the_operator_may_name_every_host(service: Service) -> None:
    headers = {"Authorization": basic(*OPERATOR)}
    answer = asked(service, names(HOME, NAS), headers=headers)
    assert said(answer) == (200, b"good 198.51.100.1\ngood 198.51.100.1\n")


def test_a_user_of_two_hosts_with_one_key_needs_hostname(service: Service) -> None:
    others = "home.example.net"
    service.key_file.write_text(f"{HOME} {SHARED_KEY}\n{others} {SHARED_KEY}\n")
    assert said(asked(service, {"myip": "198.51.100.1"})) == (400, b"notfqdn\n")
    assert said(asked(service, names(HOME))) == (200, b"good 198.51.100.1\n")


def test_the_key_decides_between_two_hosts_of_a_user(service: Service) -> None:
    headers = {"Authorization": basic("home", key_of(HOME))}
    answer = asked(service, {"myip": "198.51.100.1"}, headers=headers)
    assert said(answer) == (200, b"good 198.51.100.1\n")
    assert list(service.states()) == [(HOME, "A")]


def test_one_host_may_fail_while_the_other_succeeds(shared: Service) -> None:
    shared.sandbox.fail(503, path="/zones/example.com/rrsets", method="POST")
    assert said(asked(shared, names(HOME, NAS))) == (200, b"911\ngood 198.51.100.1\n")


def test_if_all_hosts_fail_the_answer_has_retry_after(shared: Service) -> None:
    shared.sandbox.fail(503, count=None)
    assert said(asked(shared, names(HOME, NAS))) == (503, b"911\n911\n")
