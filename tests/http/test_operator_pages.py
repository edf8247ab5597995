"""What the operator sees, and what nobody else does."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import List

import pytest

from backend.errors import ChangeRefused
from backend.model import Hostname, RecordType
from backend.web.session import POLICY
from tests.http.conftest import Serve
from tests.http.operator import PLACE, Operator, words
from tests.http.service import HOME, NAS, OPERATOR, PEER, Service, basic, key_of

GETS = ["/", f"/hosts/{HOME}", "/metrics"]
DEEDS = ["retry", "drop", "mute", "unmute", "key", "rotate"]
NASTY = "<script>alert('\"')</script>\r\n</table>&amp;"


@pytest.fixture
def operator(service: Service) -> Operator:
    register(service)
    return Operator(service)


def register(service: Service) -> None:
    """Do what the start does."""
    for store in service.store():
        store.hosts.register(service.hosts, 1_700_000_000)


@pytest.mark.parametrize("path", GETS)
def test_without_a_login_set_there_is_no_such_page(serve: Serve, path: str) -> None:
    service = serve(BASIC_AUTH_USERNAME="", BASIC_AUTH_PASSWORD="")
    operator = Operator(service)
    assert operator.asks("GET", path).status_code == 404
    assert operator.asks("GET", path, login=None).status_code == 404


@pytest.mark.parametrize("path", [*GETS, "/hosts/nobody.example.com"])
@pytest.mark.parametrize(
    "login",
    [
        None,
        basic(OPERATOR[0], "wrong"),
        basic("wrong", OPERATOR[1]),
        basic(HOME.split(".")[0], key_of(HOME)),
        "Basic rubbish",
    ],
)
def test_nobody_else_sees_anything(operator: Operator, path: str, login: str) -> None:
    answer = operator.asks("GET", path, login=login)
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith("Basic ")
    assert answer.headers["Cache-Control"] == "no-store"
    assert HOME not in answer.text.replace(path, "")
    assert "198.51" not in answer.text


@pytest.mark.parametrize("deed", DEEDS)
def test_nobody_else_does_anything(service: Service, operator: Operator, deed: str) -> None:
    before = service.key_file.read_bytes()
    answer = operator.asks("POST", f"/hosts/{HOME}/{deed}", {}, login=basic("operator", "no"))
    assert answer.status_code == 401
    assert service.key_file.read_bytes() == before
    assert service.rows("history") == []


def test_a_wrong_login_is_told_so_in_words_of_an_operator(service: Service) -> None:
    answer = Operator(service).asks("GET", "/", login=basic(OPERATOR[0], "wrong"))
    assert "Wrong user name or password." in answer.text
    assert "key" not in answer.text


def test_wrong_operators_logins_are_counted_and_the_right_one_passes(serve: Serve) -> None:
    service = serve(AUTH_FAILURE_LIMIT="2")
    operator = Operator(service)
    wrong = basic(OPERATOR[0], "wrong")
    statuses = [operator.asks("GET", "/", login=wrong).status_code for _ in range(4)]
    assert statuses == [401, 401, 429, 429]
    assert int(operator.asks("GET", "/", login=wrong).headers["Retry-After"]) > 0
    assert operator.asks("GET", "/").status_code == 200


@pytest.mark.parametrize("path", ["/", f"/hosts/{HOME}", "/hosts/no.example.com", "/?page=x&q=%3C"])
def test_every_page_is_guarded(operator: Operator, path: str) -> None:
    headers = operator.asks("GET", path).headers
    assert headers["Content-Security-Policy"] == POLICY
    assert "unsafe" not in POLICY
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    ("path", "is_live"), [("/", True), (f"/hosts/{HOME}", True), ("/hosts/no.example.com", False)]
)
def test_a_page_that_says_an_error_is_not_kept_up_to_date(
    operator: Operator, path: str, *, is_live: bool
) -> None:
    page = operator.asks("GET", path).text
    assert ('id="fresh"' in page, "data-live" in page) == (is_live, is_live)


@pytest.mark.parametrize("path", ["/", f"/hosts/{HOME}"])
def test_nothing_is_inline_and_nothing_comes_from_elsewhere(operator: Operator, path: str) -> None:
    page = operator.sees(path)
    assert re.findall(r"\s(style|on\w+)=", page) == []
    assert "<style" not in page
    assert re.findall(r"<script(?![^>]* src=)", page) == []
    links = re.findall(r'(?:src|href|action)="([^"]*)"', page)
    assert [one for one in links if not one.startswith(("/", "#", "data:image/svg"))] == []


def test_style_and_script_are_kept_by_the_browser_and_change_their_address(
    operator: Operator,
) -> None:
    links = re.findall(r'"(/static/[^"]*)"', operator.sees())
    assert sorted(Path(one).suffix for one in links) == [".css", ".js"]
    for one in links:
        answer = operator.asks("GET", one)
        assert (answer.status_code, "immutable" in answer.headers["Cache-Control"]) == (200, True)
        version = one.split("/")[2]
        assert operator.asks("GET", one.replace(version, "0" * 16)).status_code == 404
    assert operator.asks("GET", "/static/x/../../app.py").status_code == 404


def test_a_host_shows_address_state_and_when_it_was_seen(
    service: Service, operator: Operator
) -> None:
    service.host().updates("198.51.100.1")
    service.host().updates("2001:db8::1")
    for store in service.store():
        store.hosts.see({Hostname(HOME): time.time()}, time.time())
    page = operator.sees(f"/?q={HOME}")
    told = words(page)
    assert "publishing" in told
    assert "198.51.100.1" in told
    assert "2001:db8::1" in told
    assert re.search(r'<time datetime="20\d\d-[^"]*Z" title="20\d\d-[^"]* UTC">just now', page)


def test_a_refused_host_comes_first_with_error_and_hint(
    service: Service, operator: Operator
) -> None:
    service.sandbox.fail(403, code="protected", method="POST", count=None)
    service.host(NAS).updates("198.51.100.1")
    told = words(operator.sees())
    assert told.index(NAS) < told.index(HOME)
    assert "refused" in told
    assert "To do: Lift the change protection of the record." in told
    assert "Try again now" in told


def test_a_desired_address_is_shown_beside_the_published_one(
    service: Service, operator: Operator
) -> None:
    service.host().updates("198.51.100.1")
    for store in service.store():
        store.records.finish(store.records.of(Hostname(HOME))[RecordType.A])
    service.sandbox.fail(403, code="protected", method="POST", count=None)
    service.host().updates("198.51.100.2")
    for path in ("/", f"/hosts/{HOME}"):
        assert "198.51.100.1 desired: 198.51.100.2" in words(operator.sees(path))


def test_hosts_can_be_searched_by_name_address_and_state(
    service: Service, operator: Operator
) -> None:
    service.host().updates("198.51.100.77")
    assert shown(operator.sees("/?q=NAS")) == [NAS]
    assert shown(operator.sees("/?q=100.77")) == [HOME]
    assert shown(operator.sees("/?state=publishing")) == [HOME]
    assert shown(operator.sees("/?q=zzz")) == []
    assert "No host is like that." in operator.sees("/?q=zzz")


def test_many_hosts_come_in_pages(serve: Serve) -> None:
    names = [f"h{number:03}.example.com" for number in range(120)]
    service = serve(REGISTERED_FQDNS=",".join(names))
    register(service)
    operator = Operator(service)
    pages = [shown(operator.sees(f"/?page={number}")) for number in (1, 2, 3)]
    assert [len(page) for page in pages] == [50, 50, 20]
    assert [*pages[0], *pages[1], *pages[2]] == names
    assert shown(operator.sees("/?page=99")) == pages[2]
    assert shown(operator.sees("/?page=-1")) == pages[0]
    assert 'rel="next"' in operator.sees("/?page=2")
    assert 'rel="next"' not in operator.sees("/?page=3")


def test_what_strangers_and_hetzner_say_stays_text(service: Service, operator: Operator) -> None:
    service.host().updates("198.51.100.1")
    for store in service.store():
        (record,) = store.records.of(Hostname(HOME)).values()
        store.records.refuse(record, ChangeRefused(NASTY, hint=NASTY), 1.0, 2.0)
    for path in ("/", f"/hosts/{HOME}", f"/?q={NASTY}", f"/?done={NASTY}&state={NASTY}"):
        page = operator.sees(path)
        assert "<script>alert" not in page
        assert "</table>&amp;" not in page
        assert page.count("<script") == 1
    assert NASTY.replace("\r\n", " ") in words(operator.sees(f"/hosts/{HOME}"))
    for path in (f"/hosts/{NASTY}", f"/hosts/{HOME}?device={NASTY}&kind={NASTY}&url={NASTY}"):
        assert "<script>alert" not in operator.asks("GET", path).text


def test_the_history_can_be_cut_by_kind(service: Service, operator: Operator) -> None:
    service.host().updates("198.51.100.1")
    service.sandbox.fail(403, code="protected", method="POST", count=None)
    service.host().updates("198.51.100.2")
    assert events(operator.sees(f"/hosts/{HOME}")) == ["refused", "created"]
    assert events(operator.sees(f"/hosts/{HOME}?kind=changes")) == ["created"]
    assert events(operator.sees(f"/hosts/{HOME}?kind=failures")) == ["refused"]
    assert events(operator.sees(f"/hosts/{HOME}?kind=contact")) == []
    assert '<svg class="timeline"' in operator.sees(f"/hosts/{HOME}?kind=contact")


def test_a_long_history_comes_in_pages(operator: Operator) -> None:
    for number in range(70):
        operator.presses(HOME, "unmute" if number % 2 else "mute", until="2090-01-02")
    assert len(events(operator.sees(f"/hosts/{HOME}"))) == 50
    assert len(events(operator.sees(f"/hosts/{HOME}?page=2"))) == 20


def test_no_key_is_in_a_page_until_it_is_asked_for(operator: Operator) -> None:
    for path in ("/", f"/hosts/{HOME}", f"/hosts/{HOME}?device=curl"):
        assert "the-secret-key" not in operator.sees(path)
    told = words(operator.sees(f"/hosts/{HOME}?device=vodafone"))
    assert f"https://{HOME}:YOUR-KEY@dyndns.example.com/nic/update?hostname={HOME}" in told


def test_the_snippets_have_the_address_the_operator_chooses(operator: Operator) -> None:
    chosen = operator.sees(f"/hosts/{HOME}?device=curl&url=https://other.example.net/base/")
    assert "https://other.example.net/base/update" in words(chosen)
    for bad in (
        "javascript:alert(1)",
        "//x",
        "ftp://x",
        "https://",
        "https://x/';id;'",
        "http://[",
    ):
        assert "https://dyndns.example.com/update" in words(
            operator.sees(f"/hosts/{HOME}?device=curl&url={bad}")
        )


def test_a_proxy_that_names_no_address_leaves_that_of_the_example(serve: Serve) -> None:
    service = serve(TRUSTED_PROXIES=PEER)
    register(service)
    path = f"/hosts/{HOME}?device=curl"
    answer = Operator(service).asks("GET", path, headers={"X-Forwarded-Host": "["})
    assert answer.status_code == 200
    assert "https://your-backend.example.com/update" in words(answer.text)


@pytest.mark.parametrize("number", ["1000000000000000000000", "-9", "x"])
@pytest.mark.parametrize("place", ["/?page=", f"/hosts/{HOME}?page=", f"/hosts/{HOME}?days="])
def test_a_number_that_no_page_has_is_none_the_worse(
    operator: Operator, place: str, number: str
) -> None:
    assert HOME in operator.sees(place + number)


@pytest.mark.parametrize("name", ["nobody.example.com", "rubbish", "x" * 300])
def test_a_host_that_is_not_registered_has_no_page(operator: Operator, name: str) -> None:
    assert operator.asks("GET", f"/hosts/{name}").status_code in (400, 404)


def test_the_page_says_so_when_the_store_is_away(serve: Serve) -> None:
    service = serve()
    service.database.unlink()
    service.database.mkdir()
    answer = Operator(service).asks("GET", "/")
    assert answer.status_code == 503
    assert "store" in words(answer.text)


def test_looking_causes_no_call_to_hetzner(service: Service, operator: Operator) -> None:
    operator.sees()
    operator.sees(f"/hosts/{HOME}")
    operator.asks("GET", "/metrics")
    assert service.calls() == []


def test_no_page_is_there_to_be_posted_to(operator: Operator) -> None:
    assert operator.asks("POST", "/").status_code == 405


def shown(page: str) -> List[str]:
    """The hosts in the table, in order."""
    return re.findall(r'<a id="link-([^"]*)"', page)


def events(page: str) -> List[str]:
    """The events in the table of the history."""
    return re.findall(r'<tr class="event-(\w+)">', page)


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_a_link_on_another_site_does_not_choose_where_devices_send_keys(
    operator: Operator, site: str
) -> None:
    path = f"/hosts/{HOME}?device=curl&url=https://evil.example.net"
    page = operator.asks("GET", path, headers={"Sec-Fetch-Site": site})
    assert page.status_code == 200
    assert "evil.example.net" not in page.text
    assert PLACE in page.text
    own = operator.asks("GET", path, headers={"Sec-Fetch-Site": "same-origin"})
    assert "evil.example.net" in own.text
