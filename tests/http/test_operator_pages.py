"""The operator's pages: who sees them, and what they contain."""

from __future__ import annotations

import gzip
import re
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest
from jinja2 import StrictUndefined

from backend.errors import ChangeRefused
from backend.model import Hostname, RecordType, shown as as_written
from backend.store.hosts import State
from backend.store.records import Failed
from backend.store.schema import Entry
from backend.web.session import POLICY
from tests.http.conftest import Serve
from tests.http.operator import PLACE, Operator, words
from tests.http.service import HOME, NAS, OPERATOR, PEER, UNICODE, Service, basic, key_of

GETS = ["/", f"/hosts/{HOME}", "/metrics"]
ACTIONS = ["retry", "drop", "mute", "unmute", "update", "key", "hide", "rotate", "download"]
NASTY = "<script>alert('\"')</script>\r\n</table>&amp;"


@pytest.fixture
def operator(service: Service) -> Operator:
    register(service)
    service.app.jinja_env.undefined = StrictUndefined  # a wrong name in a template fails the test
    return Operator(service)


def register(service: Service) -> None:
    """Register the hosts, as the start of the service does."""
    for store in service.store():
        store.hosts.register(service.hosts, 1_700_000_000)


@pytest.mark.parametrize("path", GETS)
def test_without_an_operator_login_pages_answer_404(serve: Serve, path: str) -> None:
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
def test_only_the_operator_sees_pages(operator: Operator, path: str, login: str) -> None:
    answer = operator.asks("GET", path, login=login)
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith("Basic ")
    assert answer.headers["Cache-Control"] == "no-store"
    assert HOME not in answer.text.replace(path, "")
    assert "198.51" not in answer.text


@pytest.mark.parametrize("action", ACTIONS)
def test_only_the_operator_can_act(service: Service, operator: Operator, action: str) -> None:
    before = service.key_file.read_bytes()
    answer = operator.asks("POST", f"/hosts/{HOME}/{action}", {}, login=basic("operator", "no"))
    assert answer.status_code == 401
    assert service.key_file.read_bytes() == before
    assert service.rows("history") == []


def test_a_wrong_login_is_explained(service: Service) -> None:
    answer = Operator(service).asks("GET", "/", login=basic(OPERATOR[0], "wrong"))
    assert "Wrong user name or password." in answer.text
    assert "key" not in answer.text


def test_wrong_logins_are_limited_and_the_right_one_passes(serve: Serve) -> None:
    service = serve(AUTH_FAILURE_LIMIT="2")
    operator = Operator(service)
    wrong = basic(OPERATOR[0], "wrong")
    statuses = [operator.asks("GET", "/", login=wrong).status_code for _ in range(4)]
    assert statuses == [401, 401, 429, 429]
    assert int(operator.asks("GET", "/", login=wrong).headers["Retry-After"]) > 0
    assert operator.asks("GET", "/").status_code == 200


@pytest.mark.parametrize("path", ["/", f"/hosts/{HOME}", "/hosts/no.example.com", "/?page=x&q=%3C"])
def test_every_page_has_security_headers(operator: Operator, path: str) -> None:
    headers = operator.asks("GET", path).headers
    assert headers["Content-Security-Policy"] == POLICY
    assert "unsafe" not in POLICY
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    ("path", "is_live"), [("/", True), (f"/hosts/{HOME}", True), ("/hosts/no.example.com", False)]
)
def test_an_error_page_does_not_refresh(operator: Operator, path: str, *, is_live: bool) -> None:
    page = operator.asks("GET", path).text
    assert ('id="fresh"' in page, "data-live" in page) == (is_live, is_live)


@pytest.mark.parametrize("path", ["/", f"/hosts/{HOME}"])
def test_pages_contain_no_inline_code_and_no_external_links(operator: Operator, path: str) -> None:
    page = operator.sees(path)
    assert re.findall(r"\s(style|on\w+)=", page) == []
    assert "<style" not in page
    assert re.findall(r"<script(?![^>]* src=)", page) == []
    links = re.findall(r'(?:src|href|action)="([^"]*)"', page)
    assert [one for one in links if not one.startswith(("/", "#", "data:image/svg"))] == []


def test_assets_are_immutable_and_versioned(
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


def test_a_host_shows_addresses_state_and_last_seen(service: Service, operator: Operator) -> None:
    service.host().updates("198.51.100.1")
    service.host().updates("2001:db8::1")
    for store in service.store():
        store.hosts.see({Hostname(HOME): time.time()}, time.time())
    page = operator.sees(f"/?q={HOME}")
    text = words(page)
    assert "publishing" in text
    assert "198.51.100.1" in text
    assert "2001:db8::1" in text
    assert re.search(
        r'<time datetime="20\d\d-[^"]*Z" title="20\d\d-[^"]* UTC" data-form="ago">just now', page
    )


def test_a_refused_host_comes_first_with_its_hint(service: Service, operator: Operator) -> None:
    service.sandbox.fail(403, code="protected", method="POST", count=None)
    service.host(NAS).updates("198.51.100.1")
    text = words(operator.sees())
    assert text.index(NAS) < text.index(HOME)
    assert "refused" in text
    assert "To do: Lift the change protection of the record." in text
    assert re.search(r"refused \d+ s .* To do: .* Next try in .* automatically\.", text)
    assert "The host has never sent an update." in text
    assert "Retry now" in text


def test_a_desired_address_is_shown_beside_the_published_one(
    service: Service, operator: Operator
) -> None:
    service.host().updates("198.51.100.1")
    for store in service.store():
        store.records.note_actions([(store.records.of(Hostname(HOME))[RecordType.A], None)])
    service.sandbox.fail(403, code="protected", method="POST", count=None)
    service.host().updates("198.51.100.2")
    for path in ("/", f"/hosts/{HOME}"):
        assert "198.51.100.1 desired: 198.51.100.2" in words(operator.sees(path))


def test_hosts_can_be_searched_by_name_address_and_state(
    service: Service, operator: Operator
) -> None:
    service.host().updates("198.51.100.77")
    page = operator.sees("/?q=NAS")
    assert shown(page) == [NAS]
    assert "all 1 never seen 1" in words(page)
    assert shown(operator.sees("/?q=100.77")) == [HOME]
    assert shown(operator.sees("/?state=publishing")) == [HOME]
    assert shown(operator.sees("/?q=zzz")) == []
    assert "No host matches." in operator.sees("/?q=zzz")


def test_many_hosts_are_paged(serve: Serve) -> None:
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


def test_foreign_text_is_escaped(service: Service, operator: Operator) -> None:
    service.host().updates("198.51.100.1")
    for store in service.store():
        (record,) = store.records.of(Hostname(HOME)).values()
        store.records.note(
            Failed(record, State.REFUSED, ChangeRefused(NASTY, hint=NASTY), 2.0), 1.0
        )
    for path in ("/", f"/hosts/{HOME}", f"/?q={NASTY}", f"/?state={NASTY}"):
        page = operator.sees(path)
        assert "<script>alert" not in page
        assert "</table>&amp;" not in page
        assert page.count("<script") == 1
    assert NASTY.replace("\r\n", " ") in words(operator.sees(f"/hosts/{HOME}"))
    for path in (f"/hosts/{NASTY}", f"/hosts/{HOME}?device={NASTY}&kind={NASTY}&url={NASTY}"):
        assert "<script>alert" not in operator.asks("GET", path).text


def test_the_history_can_be_filtered_by_kind(service: Service, operator: Operator) -> None:
    service.host().updates("198.51.100.1")
    service.sandbox.fail(403, code="protected", method="POST", count=None)
    service.host().updates("198.51.100.2")
    assert events(operator.sees(f"/hosts/{HOME}")) == ["refused", "created"]
    assert events(operator.sees(f"/hosts/{HOME}?kind=changes")) == ["created"]
    assert events(operator.sees(f"/hosts/{HOME}?kind=failures")) == ["refused"]
    assert events(operator.sees(f"/hosts/{HOME}?kind=contact")) == []
    assert '<svg class="timeline"' in operator.sees(f"/hosts/{HOME}?kind=contact")


def test_a_long_history_is_paged(operator: Operator) -> None:
    for number in range(70):
        operator.presses(HOME, "unmute" if number % 2 else "mute", until="2090-01-02")
    assert len(events(operator.sees(f"/hosts/{HOME}"))) == 20
    assert len(events(operator.sees(f"/hosts/{HOME}?page=4"))) == 10


def test_no_page_contains_a_key_unasked(operator: Operator) -> None:
    for path in ("/", f"/hosts/{HOME}", f"/hosts/{HOME}?device=curl"):
        assert "the-secret-key" not in operator.sees(path)
    text = words(operator.sees(f"/hosts/{HOME}?device=vodafone"))
    assert f"https://{HOME}:YOUR-KEY@dyndns.example.com/nic/update?hostname={HOME}" in text


def test_the_snippets_contain_the_chosen_url(operator: Operator) -> None:
    chosen = operator.sees(f"/hosts/{HOME}?device=cron&url=https://other.example.net/base/")
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
            operator.sees(f"/hosts/{HOME}?device=cron&url={bad}")
        )


def test_an_unusable_forwarded_host_leaves_the_example_url(serve: Serve) -> None:
    service = serve(TRUSTED_PROXIES=PEER)
    register(service)
    path = f"/hosts/{HOME}?device=cron"
    answer = Operator(service).asks("GET", path, headers={"X-Forwarded-Host": "["})
    assert answer.status_code == 200
    assert "https://your-backend.example.com/update" in words(answer.text)


@pytest.mark.parametrize("number", ["1000000000000000000000", "-9", "x"])
@pytest.mark.parametrize("place", ["/?page=", f"/hosts/{HOME}?page=", f"/hosts/{HOME}?days="])
def test_a_wrong_page_number_shows_a_page(operator: Operator, place: str, number: str) -> None:
    assert HOME in operator.sees(place + number)


@pytest.mark.parametrize("name", ["nobody.example.com", "rubbish", "x" * 300])
def test_an_unregistered_host_has_no_page(operator: Operator, name: str) -> None:
    assert operator.asks("GET", f"/hosts/{name}").status_code in (400, 404)


def test_the_page_reports_an_unavailable_store(serve: Serve) -> None:
    service = serve()
    service.database.unlink()
    service.database.mkdir()
    answer = Operator(service).asks("GET", "/")
    assert answer.status_code == 503
    assert "store" in words(answer.text)


def test_viewing_pages_causes_no_call_to_hetzner(service: Service, operator: Operator) -> None:
    operator.sees()
    operator.sees(f"/hosts/{HOME}")
    operator.asks("GET", "/metrics")
    assert service.calls() == []


def test_the_list_accepts_no_post(operator: Operator) -> None:
    assert operator.asks("POST", "/").status_code == 405


def shown(page: str) -> list[str]:
    """Return the hosts in the table, in order."""
    return re.findall(r'<a id="link-([^"]*)"', page)


def events(page: str) -> list[str]:
    """Return the events in the table of the history."""
    return re.findall(r'<tr class="event-(\w+)">', page)


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_a_foreign_link_cannot_choose_the_service_url(operator: Operator, site: str) -> None:
    path = f"/hosts/{HOME}?device=curl&url=https://evil.example.net"
    page = operator.asks("GET", path, headers={"Sec-Fetch-Site": site})
    assert page.status_code == 200
    assert "evil.example.net" not in page.text
    assert PLACE in page.text
    own = operator.asks("GET", path, headers={"Sec-Fetch-Site": "same-origin"})
    assert "evil.example.net" in own.text


def test_wrong_keys_are_shown_with_their_source_until_the_host_is_seen(
    service: Service, operator: Operator
) -> None:
    page = words(operator.sees(f"/hosts/{HOME}"))
    assert "Waiting for the first update" in page
    wrong = {"X-Pre-Shared-Key": "wrong"}
    for _ in range(3):
        service.asks("POST", "/update", "84.46.12.7", json={"fqdn": HOME}, headers=wrong)
    page = words(operator.sees(f"/hosts/{HOME}"))
    assert "Wrong key from 84.46.12.7 , 3 times in the last 15 min. Enter the key of this" in page
    assert "Waiting" not in page
    assert "Wrong key" not in words(operator.sees(f"/hosts/{NAS}"))
    assert service.host().updates("198.51.100.1").status_code == 200
    service.runs("activity")
    page = words(operator.sees(f"/hosts/{HOME}"))
    assert "Last good update just now" in page
    assert "If you haven't corrected it since, enter the key of this page" in page


def test_the_set_up_of_a_silent_host_is_not_called_good(
    service: Service, operator: Operator
) -> None:
    service.host().updates("198.51.100.1")
    service.runs("activity")
    with closing(sqlite3.connect(str(service.database))) as store, store:
        store.execute("UPDATE hosts SET silent_since = seen_at WHERE host = ?", (HOME,))
    page = words(operator.sees(f"/hosts/{HOME}"))
    assert "No update since the last good one just now" in page
    assert "Last good update" not in page


def test_a_refresh_leaves_out_what_the_browser_has(operator: Operator) -> None:
    page = operator.sees()
    have = ",".join(re.findall(r'data-live="(\w+)"', page))
    fresh = operator.asks("GET", "/", headers={"X-Have": have}).text
    assert fresh.count("data-same") >= len(re.findall("<tbody", page))
    assert HOME not in re.sub(r' id="[^"]*"', "", fresh)
    assert len(fresh) < len(page) / 3


def test_pages_are_compressed_but_not_a_page_with_a_key(operator: Operator) -> None:
    accepts = {"Accept-Encoding": "gzip"}
    answer = operator.asks("GET", "/", headers=accepts)
    assert answer.headers["Content-Encoding"] == "gzip"
    assert HOME in gzip.decompress(answer.data).decode()
    shown = operator.presses(HOME, "key").headers.getlist("Set-Cookie")
    cookie = next(one.partition(";")[0] for one in shown if "dyndns-key" in one)
    page = operator.asks("GET", f"/hosts/{HOME}", headers={**accepts, "Cookie": cookie})
    assert key_of(HOME) in page.text
    assert "Content-Encoding" not in page.headers


def test_pages_work_below_a_path_of_a_trusted_proxy(serve: Serve) -> None:
    service = serve(TRUSTED_PROXIES=PEER)
    register(service)
    operator = Operator(service)
    below = {"X-Forwarded-Prefix": "/dyndns"}
    page = operator.asks("GET", "/", headers=below).text
    links = re.findall(r'(?:href|src|action)="(/[^"]*)"', page)
    assert len(links) > 10
    assert [one for one in links if not one.startswith("/dyndns/")] == []
    host = operator.asks("GET", f"/hosts/{HOME}?device=cron", headers=below).text
    assert "https://dyndns.example.com/dyndns/update" in words(host)
    form = operator.form(host, f"/dyndns/hosts/{HOME}/key")
    answer = operator.asks("POST", f"/hosts/{HOME}/key", form, headers=below)
    assert answer.headers["Location"] == f"/dyndns/hosts/{HOME}?device=cron#setup"
    # A proxy has rules for paths, and may pass on the header of a caller.
    assert operator.asks("GET", "/dyndns/metrics", headers=below).status_code == 404


@pytest.mark.parametrize("prefix", ["/x", "//evil.example.net", "/x/../..", "/a b", "x"])
def test_only_a_trusted_proxy_names_a_path(serve: Serve, prefix: str) -> None:
    trusted = PEER if prefix != "/x" else "192.0.2.1"
    service = serve(TRUSTED_PROXIES=trusted)
    register(service)
    page = Operator(service).asks("GET", "/", headers={"X-Forwarded-Prefix": prefix}).text
    links = re.findall(r'href="([^"#d][^"]*)"', page)
    assert [one for one in links if not re.match(r"/(hosts|static|add|\?|$)", one)] == []


@pytest.mark.parametrize("path", ["/update", "/nowhere", "/nic/nowhere"])
def test_a_person_sees_no_raw_json(operator: Operator, path: str) -> None:
    headers = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    answer = operator.asks("GET", path, headers=headers)
    assert answer.status_code in (404, 405)
    assert answer.mimetype == "text/html"
    assert "All hosts" in words(answer.text)
    assert operator.asks("GET", path).mimetype != "text/html"


def test_the_history_says_how_long_an_address_was_held(
    service: Service, operator: Operator
) -> None:
    now = time.time()
    changes = [(now - 90000, None, "198.51.100.1"), (now - 3720, "198.51.100.1", "198.51.100.2")]
    for store in service.store():
        for at, old, new in changes:
            by = ("198.51.100.9", "dyndns2", old, new, "asked for")
            store.history.add(Entry(at, HOME, "A", "replaced", *by))
    page = words(operator.sees(f"/hosts/{HOME}"))
    assert "none → 198.51.100.1 held 23 h 58 min" in page
    assert "198.51.100.1 → 198.51.100.2 held for 1 h so far" in page


def test_a_name_is_shown_as_its_owner_writes_it(operator: Operator) -> None:
    page = operator.sees()
    name = as_written(Hostname(UNICODE))
    assert Hostname.parse(name).text == UNICODE
    assert not name.isascii()
    assert f'<span title="{UNICODE}">{name}</span>' in page
    assert shown(operator.sees(f"/?q={name[:-3]}")) == [UNICODE]
    own = operator.sees(f"/hosts/{UNICODE}")
    assert name in words(own)
    assert f"never seen: {name} · hetzner-dyndns</title>" in own


def test_everything_is_checked_line_by_line(operator: Operator) -> None:
    form = operator.form(operator.sees(), "/check")
    answer = operator.asks("POST", "/check", form)
    text = words(answer.text)
    assert "The token can read" in text
    assert f"ok {HOME} : The records are in zone example.com" in text
    assert f"ok {as_written(Hostname(UNICODE))} : The records are in" in text
    good, failures = (answer.text.count(f'class="check {state}"') for state in ("ok", "fail"))
    assert failures > 1
    assert f"The check has ended: {good} ok, 0 warnings, {failures} failures." in text
    assert answer.headers["X-Accel-Buffering"] == "no"
    assert operator.asks("POST", "/check", {}).status_code == 400
    assert operator.asks("GET", "/check").headers["Location"] == "/"


def test_a_test_message_needs_notifications(operator: Operator) -> None:
    answer = operator.asks("POST", "/test", operator.form(operator.sees("/?q=home"), "/test"))
    assert answer.headers["Location"] == "/?q=home"
    page = operator.follows(answer)
    assert "No notifications are set up" in page
    assert 'class="notice bad" role="status" id="done"' in page


def test_a_failed_test_message_is_explained(serve: Serve) -> None:
    service = serve(NTFY_URL="http://127.0.0.1:9", NTFY_TOPIC="topic")
    register(service)
    operator = Operator(service)
    answer = operator.asks("POST", "/test", operator.form(operator.sees(), "/test"))
    assert answer.status_code == 502
    assert "can't be reached" in words(answer.text)
