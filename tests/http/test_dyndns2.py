"""/nic/update: requests of routers, answers, and calls to Hetzner."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from tests.http.conftest import Serve
from tests.http.service import (
    APEX,
    CREATE,
    DEEP,
    HOME,
    LIST,
    NAS,
    OPERATOR,
    UNICODE,
    WILDCARD,
    Router,
    Service,
    basic,
    key_of,
    reading,
    said,
    setting,
)

GOOD = (200, b"good 198.51.100.1\n")
QUERY = {"hostname": HOME, "myip": "198.51.100.1"}
KEY = key_of(HOME)


def test_create_change_and_repeat_cost_three_one_and_no_calls(
    service: Service, router: Router
) -> None:
    assert said(router.updates(myip="198.51.100.1")) == (200, b"good 198.51.100.1\n")
    assert service.calls() == [LIST, reading("home"), CREATE]
    assert said(router.updates(myip="198.51.100.2")) == (200, b"good 198.51.100.2\n")
    assert service.calls() == [setting("home")]
    assert said(router.updates(myip="198.51.100.2")) == (200, b"nochg 198.51.100.2\n")
    assert service.calls() == []
    assert service.sandbox.records(HOME, "A") == ["198.51.100.2"]


def test_a_record_that_exists_at_hetzner_is_nochg(service: Service, router: Router) -> None:
    service.sandbox.publish(HOME, "A", "198.51.100.1")
    assert said(router.updates(myip="198.51.100.1")) == (200, b"nochg 198.51.100.1\n")
    assert service.calls() == [LIST, reading("home")]


def test_both_families_in_one_request_are_read_together(service: Service, router: Router) -> None:
    answer = router.updates(myip="198.51.100.1", myipv6="2001:db8::5")
    assert said(answer) == (200, b"good 198.51.100.1,2001:db8::5\n")
    assert service.calls() == [LIST, reading("home"), CREATE, CREATE]
    answer = router.updates(myip="198.51.100.1", myipv6="2001:db8::6")
    assert said(answer) == (200, b"good 198.51.100.1,2001:db8::6\n")
    assert service.calls() == [setting("home", "AAAA")]
    answer = router.updates(myip="198.51.100.1", myipv6="2001:db8::6")
    assert said(answer) == (200, b"nochg 198.51.100.1,2001:db8::6\n")
    assert service.calls() == []


@pytest.mark.parametrize("kept", ["A", "AAAA"])
def test_a_family_without_an_address_is_not_changed(
    service: Service, router: Router, kept: str
) -> None:
    router.updates(myip="198.51.100.1,2001:db8::5")
    router.updates(myip="198.51.100.2" if kept == "AAAA" else "2001:db8::6")
    before = {"A": ["198.51.100.1"], "AAAA": ["2001:db8::5"]}
    assert service.sandbox.records(HOME, kept) == before[kept]


@pytest.mark.parametrize(
    "path",
    [
        *("/nic/update", "/nic/update/", "//nic/update", "/nic//update//", "///nic/update"),
        "/nic/update/nic/update",
        *("/v3/update", "/v3/update/", "//v3/update"),
    ],
)
def test_every_path_of_the_protocol_answers_without_a_redirect(
    service: Service, router: Router, path: str
) -> None:
    answer = service.asks("GET", path, query_string=QUERY, headers=router.headers)
    assert said(answer) == GOOD


SOUND_REQUESTS: dict[str, dict[str, Any]] = {
    "Fritz!Box": {"query": f"hostname={HOME}&myip=198.51.100.1"},
    "Fritz!Box with its placeholders unfilled": {
        "query": f"hostname={HOME}&myip=198.51.100.1&myipv6=<ip6addr>&lan=<ip6lanprefix>"
    },
    "upper-case names of parameters": {"query": f"HOSTNAME={HOME}&MYIP=198.51.100.1"},
    "upper-case and a final dot": {"query": "hostname=HOME.Example.COM.&myip=198.51.100.1"},
    "a final ampersand": {"query": f"hostname={HOME}&myip=198.51.100.1&"},
    "a bare name": {"query": f"{HOME}&myip=198.51.100.1"},
    "no name, taken from the user": {"query": "myip=198.51.100.1"},
    "an empty name, taken from the user": {"query": "hostname=&myip=198.51.100.1"},
    "all parameters of dyn.com": {
        "query": f"system=dyndns&hostname={HOME}&myip=198.51.100.1&wildcard=NOCHG&mx=&backmx=NO"
        "&offline=NO&url="
    },
    "myipv4": {"query": f"hostname={HOME}&myipv4=198.51.100.1"},
    "ip": {"query": f"hostname={HOME}&ip=198.51.100.1"},
    "ipv4": {"query": f"hostname={HOME}&ipv4=198.51.100.1"},
    "ip4": {"query": f"hostname={HOME}&ip4=198.51.100.1"},
    "myip2": {"query": f"hostname={HOME}&myip2=198.51.100.1"},
    "a mapped address": {"query": f"hostname={HOME}&myip=::ffff:198.51.100.1"},
    "a list with blanks": {"query": f"hostname={HOME}&myip=%20198.51.100.1%20,%20"},
    "several of one family, the first counts": {
        "query": f"hostname={HOME}&myip=198.51.100.1,198.51.100.2&ip=198.51.100.3"
    },
    "the parameter twice": {"query": f"hostname={HOME}&myip=198.51.100.1&myip=198.51.100.2"},
    "with the length of its prefix": {"query": f"hostname={HOME}&myip=198.51.100.1/24"},
    "colons and commas percent-encoded": {
        "query": f"hostname={HOME}&myip=%3A%3Affff%3A198.51.100.1%2Cfe80%3A%3A1"
    },
    "the user twice, once empty": {
        "query": f"hostname={HOME}&myip=198.51.100.1&user=&username=home&pass=&password={KEY}",
        "headers": {},
    },
    "garbage beside it": {"query": f"hostname={HOME}&myip=nonsense,198.51.100.1,fe80::1"},
    "a form": {
        "method": "POST",
        "query": "",
        "data": f"hostname={HOME}&myip=198.51.100.1",
        "content_type": "application/x-www-form-urlencoded",
    },
    "name in the query, address in the form": {
        "method": "POST",
        "query": f"hostname={HOME}",
        "data": "myip=198.51.100.1",
        "content_type": "application/x-www-form-urlencoded",
    },
    "OPNsense: a POST with all in the query and no body": {
        "method": "POST",
        "query": f"hostname={HOME}&myip=198.51.100.1",
    },
    "Content-Type and no body on GET": {
        "query": f"hostname={HOME}&myip=198.51.100.1",
        "content_type": "application/x-www-form-urlencoded",
    },
}


@pytest.mark.parametrize("options", SOUND_REQUESTS.values(), ids=SOUND_REQUESTS.keys())
def test_requests_of_real_devices_are_accepted(
    service: Service, router: Router, options: dict[str, Any]
) -> None:
    options = dict(options)
    method, query = options.pop("method", "GET"), options.pop("query")
    assert said(router.asks(method, query, **options)) == GOOD
    assert service.states() == {(HOME, "A"): ("198.51.100.1", "publishing")}


@pytest.mark.parametrize(
    "query",
    [
        {"myip": "2001:db8::5"},
        {"myip": "2001:DB8:0000:0000:0000:0000:0000:0005"},
        {"myipv6": "2001:db8::5"},
        {"ipv6": "2001:db8::5"},
        {"ip6": "2001:db8::5"},
        {"myip6": "2001:db8::5"},
        {"myip": "", "myipv6": "2001:db8::5"},
        {"myip": "0.0.0.0", "myipv6": "2001:db8::5"},  # noqa: S104
        {"myip": "%IP%", "myipv6": "2001:db8::5"},
        {"myip": "198.51.100", "myipv6": "2001:db8::5"},
    ],
)
def test_an_ipv6_address_alone_sets_aaaa_alone(
    service: Service, router: Router, query: dict[str, str]
) -> None:
    assert said(router.updates(**query)) == (200, b"good 2001:db8::5\n")
    assert service.states() == {(HOME, "AAAA"): ("2001:db8::5", "publishing")}


def test_the_answer_lists_ipv4_first_even_for_a_speedport(router: Router) -> None:
    answer = router.updates(myip="2001:db8::5,198.51.100.1")
    assert said(answer) == (200, b"good 198.51.100.1,2001:db8::5\n")


PLACEHOLDERS = [
    *("", "<ipaddr>", "<ip6addr>", "<ip6lanprefix>", "<ip>", "%IP%", "%ip%"),
    *("%i", "%I", "__MYIP__", "[IP]", "[ip]", "@IP", "@ip", "auto", "AUTO", "dhcp", "none", "no"),
    *("preserve", "-", "0.0.0.0", "::", "::/0", "0.0.0.0/0", "auto,-", "<ipaddr>,<ip6addr>"),  # noqa: S104
]


@pytest.mark.parametrize("placeholder", PLACEHOLDERS)
def test_a_placeholder_counts_as_no_address(router: Router, placeholder: str) -> None:
    query = {"hostname": HOME, "myip": placeholder}
    assert said(router.asks("GET", query, peer="203.0.113.50")) == (200, b"good 203.0.113.50\n")


@pytest.mark.parametrize(
    "query", [f"hostname={HOME}&myip=%IP%", f"hostname={HOME}&myip=<ipaddr>&myipv6=<ip6addr>"]
)
def test_a_placeholder_may_come_unescaped(router: Router, query: str) -> None:
    assert said(router.asks("GET", query, peer="203.0.113.50")) == (200, b"good 203.0.113.50\n")


def test_without_an_address_only_the_callers_own_is_set(service: Service, router: Router) -> None:
    answer = router.asks("GET", {"hostname": HOME}, peer="2001:db8::77")
    assert said(answer) == (200, b"good 2001:db8::77\n")
    assert service.states() == {(HOME, "AAAA"): ("2001:db8::77", "publishing")}


@pytest.mark.parametrize("myip", ["10.1.2.3", "127.0.0.1", "100.64.0.1", "fd00::5"])
def test_an_explicit_private_address_is_set(router: Router, myip: str) -> None:
    assert said(router.updates(myip=myip)) == (200, f"good {myip}\n".encode())


@pytest.mark.parametrize("user", ["home", "HOME", HOME, f"{HOME}.", "Home.Example.com", " home "])
def test_the_user_is_the_first_label_or_the_whole_name(service: Service, user: str) -> None:
    headers = {"Authorization": basic(user, KEY)}
    answer = service.asks("GET", "/nic/update", query_string=QUERY, headers=headers)
    assert said(answer) == GOOD


@pytest.mark.parametrize(
    ("user", "secret"),
    [("user", "pass"), ("username", "password"), ("USER", "PASS"), ("Username", "Password")],
)
@pytest.mark.parametrize("in_form", [False, True], ids=["query", "form"])
def test_credentials_may_come_as_parameters(
    service: Service, user: str, secret: str, in_form: bool
) -> None:
    everything = {**QUERY, user: "home", secret: KEY}
    sent: dict[str, Any] = {"data": everything} if in_form else {"query_string": everything}
    assert said(service.asks("POST" if in_form else "GET", "/nic/update", **sent)) == GOOD


@pytest.mark.parametrize("unusable", ["Bearer x", "Basic", "Basic %%%", "Basic aG9tZQ=="])
def test_credentials_in_the_query_count_when_the_header_is_unusable(
    service: Service, unusable: str
) -> None:
    query = {**QUERY, "user": "home", "pass": KEY}
    headers = {"Authorization": unusable}
    answer = service.asks("GET", "/nic/update", query_string=query, headers=headers)
    assert said(answer) == GOOD


@pytest.mark.parametrize(
    ("header", "query"),
    [(("home", KEY), ("nas", "wrong")), (("x", "x"), ("home", KEY)), (("", ""), ("home", KEY))],
)
def test_either_of_two_logins_is_enough(
    service: Service, header: tuple[str, str], query: tuple[str, str]
) -> None:
    answer = service.asks(
        "GET",
        "/nic/update",
        query_string={**QUERY, "user": query[0], "pass": query[1]},
        headers={"Authorization": basic(*header)},
    )
    assert said(answer) == GOOD


@pytest.mark.parametrize("key", ["a:key:with:colons", "schlüssel-mit-umlaut", "x" * 64])
@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_a_key_may_hold_colons_and_letters_of_any_encoding(
    service: Service, key: str, encoding: str
) -> None:
    service.key_file.write_text(f"{HOME} {key}\n", encoding="utf-8")
    login = base64.b64encode(f"home:{key}".encode(encoding)).decode()
    headers = {"Authorization": f"Basic {login}"}
    answer = service.asks("GET", "/nic/update", query_string=QUERY, headers=headers)
    assert said(answer) == GOOD


def test_the_operator_may_update_every_registered_host(service: Service) -> None:
    headers = {"Authorization": basic(*OPERATOR)}
    answer = service.asks("GET", "/nic/update", query_string=QUERY, headers=headers)
    assert said(answer) == GOOD
    query = {**QUERY, "hostname": NAS}
    answer = service.asks("GET", "/nic/update", query_string=query, headers=headers)
    assert said(answer) == GOOD


@pytest.mark.parametrize("name", [APEX, WILDCARD, DEEP, UNICODE], ids=str)
def test_apex_wildcard_deep_and_unicode_names_are_updated(service: Service, name: str) -> None:
    headers = {"Authorization": basic(name, key_of(name))}
    query = {**QUERY, "hostname": name}
    answer = service.asks("GET", "/nic/update", query_string=query, headers=headers)
    assert said(answer) == GOOD
    assert service.sandbox.records(name, "A") == ["198.51.100.1"]


def test_a_unicode_name_is_accepted(service: Service) -> None:
    headers = {"Authorization": basic(UNICODE, key_of(UNICODE))}
    query = {**QUERY, "hostname": "Größe.example.com"}
    answer = service.asks("GET", "/nic/update", query_string=query, headers=headers)
    assert said(answer) == GOOD


def test_head_changes_nothing(service: Service, router: Router) -> None:
    answer = router.asks("HEAD", QUERY)
    assert said(answer) == (405, b"")
    assert answer.headers["Allow"] == "GET, POST"
    assert service.states() == {}
    assert service.calls() == []


def test_a_caller_without_user_agent_host_and_accept_is_served(
    serve: Serve, router: Router
) -> None:
    service = serve()
    environ = {"REMOTE_ADDR": "198.51.100.77", "SERVER_PROTOCOL": "HTTP/1.0", "HTTP_HOST": ""}
    answer = service.asks(
        "GET",
        "/nic/update",
        query_string=QUERY,
        headers={**router.headers, "User-Agent": "", "Accept": "image/gif"},
        environ_overrides=environ,
    )
    assert said(answer) == GOOD


@pytest.mark.parametrize("raw", ["caf\xe9", "\xff\xfe", "\xc3"])
def test_raw_bytes_of_any_encoding_in_the_query_are_harmless(
    service: Service, router: Router, raw: str
) -> None:
    query = f"hostname={HOME}&myip=198.51.100.1&device={raw}"
    environ = {"QUERY_STRING": query}
    answer = service.asks("GET", "/nic/update", headers=router.headers, environ_overrides=environ)
    assert said(answer) == (200, b"good 198.51.100.1\n")
