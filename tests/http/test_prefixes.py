"""A new IPv6 prefix moves every machine behind a router, and is never published itself."""

from __future__ import annotations

from typing import Any

import pytest
from werkzeug.test import TestResponse

from tests.http.conftest import Serve
from tests.http.service import (
    DEEP,
    HOME,
    LIST,
    NAS,
    OPERATOR,
    Service,
    basic,
    key_of,
    reading,
    record,
    refused,
    said,
    setting,
    told,
)

CAM = DEEP
KEY = "one-key-for-the-whole-lan"
ROUTER_ID, NAS_ID, CAM_ID = "::1", "::211:32ff:fe11:2233", "::a:b:c:d"
IDS = f"{HOME}={ROUTER_ID},{NAS}={NAS_ID},{CAM}={CAM_ID}"
FIRST, SECOND = "2001:db8:1:2::/64", "2001:db8:7:8::/64"


@pytest.fixture
def lan(serve: Serve) -> Service:
    service = serve(IPV6_INTERFACE_IDS=IDS)
    service.key_file.write_text("".join(f"{host} {KEY}\n" for host in (HOME, NAS, CAM)))
    return service


def asked(service: Service, query: str, **options: Any) -> TestResponse:  # noqa: ANN401
    headers = {"Authorization": basic(HOME, KEY)}
    options = {"headers": headers, **options}
    return service.asks("GET", "/nic/update", query_string=query, **options)


def fritz_box(service: Service, ipaddr: str, prefix: str) -> TestResponse:
    """The request of docs/routers.md, as a Fritz!Box sends it: nothing is escaped."""
    hosts = f"{HOME},{NAS},{CAM}"
    return asked(service, f"hostname={hosts}&myip={ipaddr}&ip6lanprefix={prefix}")


def lines(*told: str) -> bytes:
    return "".join(f"{line}\n" for line in told).encode()


def aaaa(service: Service, *hosts: str) -> list[list[str]]:
    return [service.sandbox.records(host, "AAAA") for host in hosts]


def test_one_fritz_box_request_moves_router_and_hosts(lan: Service) -> None:
    answer = fritz_box(lan, "198.51.100.1", FIRST)
    assert said(answer) == (
        200,
        lines(
            "good 198.51.100.1,2001:db8:1:2::1",
            "good 198.51.100.1,2001:db8:1:2:211:32ff:fe11:2233",
            "good 198.51.100.1,2001:db8:1:2:a:b:c:d",
        ),
    )
    assert [lan.sandbox.records(host, "A") for host in (HOME, NAS, CAM)] == [["198.51.100.1"]] * 3
    assert aaaa(lan, HOME, NAS, CAM) == [
        ["2001:db8:1:2::1"],
        ["2001:db8:1:2:211:32ff:fe11:2233"],
        ["2001:db8:1:2:a:b:c:d"],
    ]


def test_a_new_prefix_moves_all_hosts_and_repeats_cost_nothing(lan: Service) -> None:
    fritz_box(lan, "198.51.100.1", FIRST)
    lan.calls()
    assert fritz_box(lan, "198.51.100.1", SECOND).data.count(b"good ") == 3
    assert lan.calls() == [
        setting("home", "AAAA"),
        setting("nas", "AAAA"),
        setting("a.b.c", "AAAA"),
    ]
    assert aaaa(lan, HOME, NAS) == [["2001:db8:7:8::1"], ["2001:db8:7:8:211:32ff:fe11:2233"]]
    assert fritz_box(lan, "198.51.100.1", SECOND).data.count(b"nochg ") == 3
    assert lan.calls() == []


def test_a_host_with_another_key_is_not_moved(lan: Service) -> None:
    lan.key_file.write_text(f"{HOME} {KEY}\n{NAS} another-key-than-that\n{CAM} {KEY}\n")
    answer = fritz_box(lan, "198.51.100.1", FIRST)
    assert answer.data.splitlines()[1] == b"nohost"
    assert aaaa(lan, NAS) == [[]]


@pytest.mark.parametrize(
    "given",
    [
        *(
            "ip6lanprefix=2001:db8:1:2::/64",
            "ip6lanprefix=2001:db8:1:2::",
            "IP6LANPREFIX=2001:db8:1:2",
        ),
        *("ipv6prefix=2001:db8:1:2::/64", "ip6lanprefix=2001:db8:1:2:9:9:9:9/64"),
        *("myip=2001:db8:1:2::/64", "myipv6=2001:db8:1:2::", "ip6=2001%3Adb8%3A1%3A2%3A%3A%2F64"),
        *("ip6lanprefix=x,2001:db8:1:2::/64", "ip6lanprefix=2001:db8:1:2::/64&myip=<ipaddr>"),
        "ip6lanprefix=2001:db8:1:2::/64&myipv6=2001:db8:ffff::9",  # the router's own, on its WAN
        "myip=2001:db8:ffff::9&myipv6=2001:db8:1:2::/64",
    ],
)
def test_a_prefix_may_be_named_in_many_ways(lan: Service, given: str) -> None:
    answer = asked(lan, f"hostname={NAS}&{given}")
    assert said(answer) == (200, b"good 2001:db8:1:2:211:32ff:fe11:2233\n")
    assert list(lan.states()) == [(NAS, "AAAA")]


@pytest.mark.parametrize(
    ("prefix", "address"),
    [
        ("2001:db8:1:200::/56", "2001:db8:1:200:211:32ff:fe11:2233"),
        ("2001:db8:1:2f0::/60", "2001:db8:1:2f0:211:32ff:fe11:2233"),
        ("2001:db8:1:2fc::/62", "2001:db8:1:2fc:211:32ff:fe11:2233"),
    ],
)
def test_of_a_shorter_prefix_the_first_network_is_meant(
    lan: Service, prefix: str, address: str
) -> None:
    answer = asked(lan, f"hostname={NAS}&ip6lanprefix={prefix}")
    assert said(answer) == (200, f"good {address}\n".encode())


def test_a_full_address_without_a_prefix_is_the_hosts_own(lan: Service) -> None:
    answer = asked(lan, f"hostname={NAS}&myip=2001:db8:ffff::9")
    assert said(answer) == (200, b"good 2001:db8:ffff::9\n")


@pytest.mark.parametrize(
    "empty",
    [
        *("ip6lanprefix=", "ip6lanprefix", "IPv6Prefix=", "ip6prefix=none", "ip6lanprefix=::/0"),
        *("ip6lanprefix=<ip6lanprefix>", "ip6lanprefix=x"),
    ],
)
def test_an_empty_prefix_gives_no_host_the_routers_address(serve: Serve, empty: str) -> None:
    service = serve(IPV6_INTERFACE_IDS=f"{NAS}={NAS_ID}")
    service.key_file.write_text(f"{HOME} {KEY}\n{NAS} {KEY}\n")
    asked(service, f"hostname={NAS}&ip6lanprefix={FIRST}")
    both = f"hostname={HOME},{NAS}"
    answer = asked(service, f"{both}&myip=198.51.100.1&myipv6=2001:db8:ffff::9&{empty}")
    assert said(answer) == (200, lines("good 198.51.100.1,2001:db8:ffff::9", "good 198.51.100.1"))
    before = ["2001:db8:1:2:211:32ff:fe11:2233"]
    assert aaaa(service, HOME, NAS) == [["2001:db8:ffff::9"], before]
    answer = asked(service, f"{both}&myipv6=2001:db8:ffff::7&{empty}")
    assert said(answer) == (200, lines("good 2001:db8:ffff::7", "dnserr"))
    assert aaaa(service, HOME, NAS) == [["2001:db8:ffff::7"], before]


def test_the_log_explains_a_skipped_host_with_empty_prefix(
    lan: Service, caplog: pytest.LogCaptureFixture
) -> None:
    assert said(asked(lan, f"hostname={NAS}&myip=2001:db8::9&ip6lanprefix=")) == (400, b"dnserr\n")
    assert "The router left its prefix empty" in caplog.text


@pytest.fixture
def plain(serve: Serve) -> Service:
    """No host has an entry in IPV6_INTERFACE_IDS."""
    service = serve()
    service.key_file.write_text(f"{HOME} {KEY}\n{NAS} {KEY}\n")
    return service


def test_the_last_aaaas_host_part_replaces_a_missing_id(plain: Service) -> None:
    asked(plain, f"hostname={NAS}&myip=2001:db8:1:2::5")
    plain.calls()
    answer = asked(plain, f"hostname={NAS}&ip6lanprefix={SECOND}")
    assert said(answer) == (200, b"good 2001:db8:7:8::5\n")
    assert plain.calls() == [setting("nas", "AAAA")]
    answer = asked(plain, f"hostname={NAS}&ip6lanprefix={SECOND}")
    assert said(answer) == (200, b"nochg 2001:db8:7:8::5\n")
    assert plain.calls() == []


def test_a_shorter_prefix_keeps_the_network_number(plain: Service) -> None:
    asked(plain, f"hostname={NAS}&myip=2001:db8:1:203::5")
    answer = asked(plain, f"hostname={NAS}&ip6lanprefix=2001:db8:7:800::/56")
    assert said(answer) == (200, b"good 2001:db8:7:803::5\n")


def test_an_aaaa_that_only_hetzner_knows_is_looked_up_once(plain: Service) -> None:
    plain.sandbox.publish(NAS, "AAAA", "2001:db8:1:2::5")
    answer = asked(plain, f"hostname={NAS}&ip6lanprefix={SECOND}")
    assert said(answer) == (200, b"good 2001:db8:7:8::5\n")
    assert plain.calls() == [LIST, reading("nas"), reading("nas"), setting("nas", "AAAA")]
    asked(plain, f"hostname={NAS}&ip6lanprefix={FIRST}")
    assert plain.calls() == [setting("nas", "AAAA")]


def test_a_full_address_goes_before_a_kept_host_part(plain: Service) -> None:
    asked(plain, f"hostname={HOME}&myip=2001:db8:1:2::5")
    answer = asked(plain, f"hostname={HOME}&myipv6=2001:db8:ffff::9&ip6lanprefix={SECOND}")
    assert said(answer) == (200, b"good 2001:db8:ffff::9\n")


@pytest.mark.parametrize("given", [f"ip6lanprefix={FIRST}", f"myip={FIRST}", "myip=2001:db8:1:2::"])
def test_a_bare_prefix_is_never_published(plain: Service, given: str) -> None:
    assert said(asked(plain, f"hostname={NAS}&{given}")) == (400, b"dnserr\n")
    assert plain.calls() == [LIST, reading("nas")]
    assert said(asked(plain, f"hostname={NAS}&{given}")) == (400, b"dnserr\n")
    assert plain.calls() == []  # and Hetzner isn't asked at each request
    assert plain.states() == {}


def test_a_host_without_an_aaaa_gets_its_ipv4_address(plain: Service) -> None:
    asked(plain, f"hostname={NAS}&myip=2001:db8:1:2::5")
    answer = asked(plain, f"hostname={HOME},{NAS}&myip=198.51.100.1&ip6lanprefix={SECOND}")
    assert said(answer) == (200, b"good 198.51.100.1\ngood 198.51.100.1,2001:db8:7:8::5\n")
    answer = asked(plain, f"hostname={HOME},{NAS}&ip6lanprefix={FIRST}")
    assert said(answer) == (200, b"dnserr\ngood 2001:db8:1:2::5\n")
    assert aaaa(plain, HOME, NAS) == [[], ["2001:db8:1:2::5"]]


def test_a_missing_host_part_is_reported_once(
    plain: Service, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        asked(plain, f"hostname={HOME}&myip=198.51.100.1&ip6lanprefix={FIRST}")
    lines = [line for line in caplog.messages if "IPV6_INTERFACE_IDS" in line]
    assert len(lines) == 1
    assert f" sent the prefix {FIRST} for {HOME}" in lines[0]


def test_a_removed_aaaa_leaves_no_host_part(plain: Service) -> None:
    asked(plain, f"hostname={NAS}&myip=198.51.100.1,2001:db8:1:2::5")
    asked(plain, f"hostname={NAS}&offline=YES")
    answer = asked(plain, f"hostname={NAS}&myip=198.51.100.1&ip6lanprefix={SECOND}")
    assert said(answer) == (200, b"good 198.51.100.1\n")


def test_with_an_id_an_aaaa_that_was_removed_comes_back(lan: Service) -> None:
    fritz_box(lan, "198.51.100.1", FIRST)
    asked(lan, f"hostname={NAS}&offline=YES")
    assert aaaa(lan, NAS) == [[]]
    fritz_box(lan, "198.51.100.1", FIRST)
    assert aaaa(lan, NAS) == [["2001:db8:1:2:211:32ff:fe11:2233"]]


def test_a_prefix_update_keeps_ipv4_while_hetzner_is_away(
    plain: Service,
) -> None:
    plain.sandbox.fail(503, count=None)
    answer = asked(plain, f"hostname={NAS}&myip=198.51.100.1&ip6lanprefix={FIRST}")
    assert said(answer) == (503, b"911\n")
    assert plain.states() == {(NAS, "A"): ("198.51.100.1", "pending")}


def test_a_prefix_is_no_update_while_hetzner_is_away(plain: Service) -> None:
    plain.sandbox.fail(503, count=None)
    answer = asked(plain, f"hostname={NAS}&ip6lanprefix={FIRST}")
    assert said(answer) == (503, b"911\n")
    assert plain.states() == {}
    plain.sandbox.reset()
    plain.sandbox.publish(NAS, "AAAA", "2001:db8:ffff::5")
    answer = asked(plain, f"hostname={NAS}&ip6lanprefix={FIRST}")
    assert said(answer) == (200, b"good 2001:db8:1:2::5\n")


def test_without_a_login_no_host_part_is_looked_for(plain: Service) -> None:
    wrong: dict[str, dict[str, str]] = {"headers": {"Authorization": basic(HOME, "wrong")}}
    assert said(asked(plain, f"hostname={NAS}&ip6lanprefix={FIRST}", **wrong))[0] == 401
    assert plain.calls() == []


def test_the_operator_may_move_a_lan_of_many_keys(serve: Serve) -> None:
    service = serve(IPV6_INTERFACE_IDS=IDS)
    login = {"headers": {"Authorization": basic(*OPERATOR)}}
    answer = asked(service, f"hostname={HOME},{NAS}&ip6lanprefix={FIRST}", **login)
    assert said(answer) == (
        200,
        b"good 2001:db8:1:2::1\ngood 2001:db8:1:2:211:32ff:fe11:2233\n",
    )


def test_the_json_protocol_takes_a_prefix_as_well(serve: Serve) -> None:
    service = serve(IPV6_INTERFACE_IDS=f"{NAS}={NAS_ID}")
    expected = record("created", "2001:db8:1:2:211:32ff:fe11:2233", NAS)
    assert told(service.host(NAS).updates(FIRST)) == (200, expected)
    assert refused(service.host().updates(FIRST)) == (400, "invalid_ip")
    assert key_of(NAS) not in str(service.rows("history"))
