"""The actions on the operator's pages, and the protection of their forms."""

from __future__ import annotations

import base64
import html
import re
import time

import pytest
from werkzeug.test import TestResponse

from backend.model import Hostname
from tests.http.conftest import Console, Serve
from tests.http.operator import PLACE, Operator, words
from tests.http.service import HOME, NAS, OPERATOR, PEER, Service, basic, key_of, record, told
from tests.http.test_operator_pages import ACTIONS, operator, register

__all__ = ["operator"]


def key_cookie(answer: TestResponse) -> dict[str, str]:
    """Return the header with the cookie that lets a page show a key."""
    cookies = [one for one in answer.headers.getlist("Set-Cookie") if "dyndns-key" in one]
    (cookie,) = cookies
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert f"Path=/hosts/{HOME}" in cookie
    return {"Cookie": cookie.partition(";")[0]}


def refuse(service: Service) -> None:
    """Make Hetzner refuse an update of HOME."""
    service.sandbox.fail(403, code="protected", method="POST", count=1)
    service.host().updates("198.51.100.1")


# The token and the headers of a form that isn't ours.
WITHOUT_TOKEN = (None, {})
OF_OTHER_SITE = ("right", {"Origin": "https://evil.example.net"})
FOREIGN: list[tuple[str | None, dict[str, str]]] = [
    ("", {}),
    ("0" * 64, {}),
    ("nönsense", {}),
    ("right", {"Origin": "null"}),
    ("right", {"Origin": "http://["}),
    ("right", {"Sec-Fetch-Site": "cross-site", "Origin": PLACE}),
    ("right", {"Sec-Fetch-Site": "same-site"}),
    ("right", {"Origin": "https://evil.net", "X-Forwarded-Host": "evil.net"}),
]


@pytest.mark.parametrize(
    ("action", "token", "headers"),
    [
        *((action, *form) for action in ACTIONS for form in (WITHOUT_TOKEN, OF_OTHER_SITE)),
        *(("rotate", *form) for form in FOREIGN),
    ],
)
def test_a_foreign_form_changes_nothing(
    service: Service, operator: Operator, action: str, token: str | None, headers: dict[str, str]
) -> None:
    before = service.key_file.read_bytes()
    form = operator.form(operator.sees(f"/hosts/{HOME}"), f"/hosts/{HOME}/rotate")
    form.update(until="2090-01-01", ip="198.51.100.1")
    form["token"] = form["token"] if token == "right" else token or ""
    if token is None:
        del form["token"]
    answer = operator.asks("POST", f"/hosts/{HOME}/{action}", form, headers=headers)
    assert answer.status_code == 400
    assert "go back to the page" in words(answer.text)
    assert service.key_file.read_bytes() == before
    assert service.rows("history") == []
    assert key_of(HOME) not in answer.text


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": PLACE},
        {"Sec-Fetch-Site": "same-origin", "Origin": "https://as-the-proxy-has-it.example.com"},
    ],
)
def test_our_own_form_is_accepted_from_every_browser(
    operator: Operator, headers: dict[str, str]
) -> None:
    form = operator.form(operator.sees(f"/hosts/{HOME}"), f"/hosts/{HOME}/key")
    answer = operator.asks("POST", f"/hosts/{HOME}/key", form, headers=headers)
    assert answer.status_code == 303


def test_our_own_form_is_accepted_behind_a_trusted_proxy(serve: Serve) -> None:
    service = serve(TRUSTED_PROXIES=PEER)
    register(service)
    operator = Operator(service)
    form = operator.form(operator.sees(f"/hosts/{HOME}"), f"/hosts/{HOME}/key")
    headers = {"Origin": "https://outside.example.com", "X-Forwarded-Host": "outside.example.com"}
    assert operator.asks("POST", f"/hosts/{HOME}/key", form, headers=headers).status_code == 303


def test_a_form_is_valid_in_every_worker_for_a_day(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = serve(), serve()
    register(one)
    operator = Operator(one)
    form = operator.form(operator.sees(f"/hosts/{HOME}"), f"/hosts/{HOME}/key")
    path = f"/hosts/{HOME}/key"
    assert operator.asks("POST", path, form, service=other).status_code == 303
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 25 * 3600)
    assert operator.asks("POST", path, form, service=other).status_code == 400


def test_a_form_from_a_fast_clock_is_valid(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = serve(), serve()
    register(one)
    operator = Operator(one)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 60)
    form = operator.form(operator.sees(f"/hosts/{HOME}"), f"/hosts/{HOME}/key")
    monkeypatch.undo()
    answer = operator.asks("POST", f"/hosts/{HOME}/key", form, service=other)
    assert answer.status_code == 303


def test_tokens_and_cookie_contain_no_secret(operator: Operator) -> None:
    answer = operator.asks("GET", f"/hosts/{HOME}")
    tokens = re.findall(r'name="(?:token|rotation)" value="([^"]*)"', answer.text)
    tokens.append(answer.headers["Set-Cookie"].partition(";")[0].partition("=")[2])
    assert len(tokens) > 2
    for token in tokens:
        decoded = [base64.urlsafe_b64decode(part + "===") for part in token.split(".")[1:]]
        for secret in (OPERATOR[1], key_of(HOME)):
            assert secret not in token
            assert not any(secret.encode() in part for part in decoded)


def test_a_new_password_invalidates_forms(serve: Serve) -> None:
    one, other = serve(), serve(BASIC_AUTH_PASSWORD="another-password")
    register(one)
    operator = Operator(one)
    form = operator.form(operator.sees(f"/hosts/{HOME}"), f"/hosts/{HOME}/key")
    login = basic("operator", "another-password")
    answer = operator.asks("POST", f"/hosts/{HOME}/key", form, login=login, service=other)
    assert answer.status_code == 400


@pytest.mark.parametrize("action", ACTIONS)
def test_a_link_or_a_reload_leads_to_the_host_and_changes_nothing(
    service: Service, operator: Operator, action: str
) -> None:
    before = service.key_file.read_bytes()
    answer = operator.asks("GET", f"/hosts/{HOME}/{action}")
    assert (answer.status_code, answer.headers["Location"]) == (303, f"/hosts/{HOME}")
    assert service.key_file.read_bytes() == before
    assert service.rows("history") == []


def test_retry_makes_the_update_due_and_redirects_back(
    service: Service, operator: Operator
) -> None:
    refuse(service)
    (before,) = service.rows("records")
    answer = operator.presses(HOME, "retry")
    assert (answer.status_code, answer.headers["Location"]) == (303, f"/hosts/{HOME}")
    assert answer.headers["Cache-Control"] == "no-store"
    (after,) = service.rows("records")
    assert after["retry_at"] <= time.time() < before["retry_at"]
    assert f"{HOME}: the service is retrying" in operator.follows(answer)


def test_a_link_of_another_site_cannot_say_that_something_was_done(operator: Operator) -> None:
    page = operator.sees(f"/hosts/{HOME}?done=rotate&for={HOME}")
    assert "has a new key" not in page


def test_a_refresh_leaves_the_message_to_the_next_page(operator: Operator) -> None:
    done = {"Cookie": f"dyndns-done=unmute:{HOME}"}
    answer = operator.asks("GET", f"/hosts/{HOME}", headers={**done, "X-Have": ""})
    assert "are on again" not in answer.text
    assert "dyndns-done" not in answer.headers.get("Set-Cookie", "")


def test_retry_from_the_list_redirects_to_the_list(service: Service, operator: Operator) -> None:
    refuse(service)
    form = operator.form(operator.sees("/?q=home&state=refused&page=1"), f"/hosts/{HOME}/retry")
    answer = operator.asks("POST", f"/hosts/{HOME}/retry", form)
    assert answer.headers["Location"] == "/?q=home&state=refused&page=1"


def test_a_dropped_update_is_gone_from_the_page(service: Service, operator: Operator) -> None:
    refuse(service)
    operator.presses(HOME, "drop")
    assert "protected" not in words(operator.sees())
    assert [row["event"] for row in service.rows("history")] == ["refused", "dropped"]


def test_drop_keeps_the_published_address(
    service: Service, operator: Operator, console: Console
) -> None:
    service.host().updates("198.51.100.9")
    for store in service.store():
        (publishing,) = store.records.of(Hostname(HOME)).values()
        store.records.note_actions([(publishing, None)])
    service.sandbox.fail(403, code="protected", method="POST", count=1)
    assert service.host().updates("198.51.100.1").status_code == 502
    operator.presses(HOME, "drop")
    assert service.states() == {(HOME, "A"): ("198.51.100.9", "published")}
    assert told(service.host().updates("198.51.100.1")) == (200, record("updated", "198.51.100.1"))
    assert list(console.shows(HOME)["records"]) == ["198.51.100.1"]


def test_the_key_is_shown_only_on_request(operator: Operator) -> None:
    answer = operator.presses(HOME, "key")
    assert (answer.status_code, answer.headers["Cache-Control"]) == (303, "no-store")
    cookie = key_cookie(answer)
    page = operator.asks("GET", f"/hosts/{HOME}", headers=cookie)
    assert page.text.count(key_of(HOME)) >= 2
    assert "Content-Encoding" not in page.headers
    assert key_of(NAS) not in page.text
    for other in (f"/hosts/{NAS}", "/"):
        assert "the-secret-key" not in operator.asks("GET", other, headers=cookie).text
    assert key_of(HOME) not in operator.sees(f"/hosts/{HOME}")


def test_the_key_stays_shown_for_a_quarter_of_an_hour(
    operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    cookie = key_cookie(operator.presses(HOME, "key"))
    now = time.time()
    for seconds, is_shown in ((600, True), (1000, False)):
        monkeypatch.setattr(time, "time", lambda seconds=seconds: now + seconds)
        page = operator.asks("GET", f"/hosts/{HOME}", headers=cookie).text
        assert (key_of(HOME) in page) is is_shown


def test_an_action_keeps_device_address_and_page(operator: Operator) -> None:
    kept = "device=curl&url=https%3A%2F%2Fother.example.net%2Fbase&kind=contact&days=30"
    page = operator.sees(f"/hosts/{HOME}?{kept}")
    form = operator.form(page, f"/hosts/{HOME}/key")
    answer = operator.asks("POST", f"/hosts/{HOME}/key", form)
    assert answer.headers["Location"] == f"/hosts/{HOME}?{kept}#setup"


@pytest.mark.parametrize("back", ["//evil.example.net", "https://evil.example.net/", "/metrics"])
def test_an_action_leads_to_no_other_page(operator: Operator, back: str) -> None:
    form = operator.form(operator.sees(f"/hosts/{HOME}"), f"/hosts/{HOME}/key")
    answer = operator.asks("POST", f"/hosts/{HOME}/key", {**form, "back": back})
    assert answer.headers["Location"] == f"/hosts/{HOME}#setup"


def test_a_form_that_is_too_old_leads_back_to_its_page(operator: Operator) -> None:
    form = {"token": "old", "back": f"/hosts/{HOME}?device=curl&days=30"}
    answer = operator.asks("POST", f"/hosts/{HOME}/mute", form)
    assert answer.status_code == 400
    assert f'href="/hosts/{HOME}?device=curl&amp;days=30"' in answer.text


def test_an_address_is_set_by_hand(service: Service, operator: Operator) -> None:
    answer = operator.presses(HOME, "update", ip=" 198.51.100.44 ")
    assert "Hetzner has accepted the address" in operator.follows(answer)
    assert service.states() == {(HOME, "A"): ("198.51.100.44", "publishing")}
    assert service.rows("history")[0]["protocol"] == "page"
    again = operator.presses(HOME, "update", ip="198.51.100.44")
    assert "has this address already" in operator.follows(again)
    assert operator.presses(HOME, "update", ip="nonsense").status_code == 400
    service.sandbox.fail(403, code="protected", method="POST", count=1)
    refused = operator.presses(HOME, "update", ip="198.51.100.45")
    assert "Hetzner refuses the address" in operator.follows(refused)


def test_the_settings_can_be_downloaded_with_the_key(operator: Operator) -> None:
    form = operator.form(operator.sees(f"/hosts/{HOME}?device=curl"), f"/hosts/{HOME}/download")
    answer = operator.asks("POST", f"/hosts/{HOME}/download", form)
    assert answer.headers["Content-Disposition"] == 'attachment; filename="curl.txt"'
    assert key_of(HOME) in answer.text
    assert "https://dyndns.example.com/nic/update" in answer.text


def test_a_new_key_is_shown_once_and_replaces_the_old(service: Service, operator: Operator) -> None:
    cookie = key_cookie(operator.presses(HOME, "rotate"))
    page = operator.asks("GET", f"/hosts/{HOME}", headers=cookie)
    found = re.search(r'<code id="key">([^<]*)</code>', page.text)
    assert found
    key = html.unescape(found[1])
    host = service.host()
    assert host.updates("198.51.100.1").status_code == 401
    host.headers = {"X-Pre-Shared-Key": key}
    assert host.updates("198.51.100.1").status_code == 200
    assert key not in operator.sees(f"/hosts/{HOME}")
    assert key not in str(service.rows("history"))
    assert service.host(NAS).updates("198.51.100.2").status_code == 200


def test_a_new_key_is_valid_in_every_worker_at_once(serve: Serve) -> None:
    one, other = serve(), serve()
    register(one)
    assert other.host().updates("198.51.100.1").status_code == 200
    assert Operator(one).presses(HOME, "rotate").status_code == 303
    assert other.host().updates("198.51.100.2").status_code == 401


def test_reloading_the_page_does_not_rotate_again(operator: Operator) -> None:
    form = operator.form(operator.sees(f"/hosts/{HOME}"), f"/hosts/{HOME}/rotate")
    assert operator.asks("POST", f"/hosts/{HOME}/rotate", form).status_code == 303
    again = operator.asks("POST", f"/hosts/{HOME}/rotate", form)
    assert again.status_code == 400
    assert "has changed since" in words(again.text)


def test_an_unwritable_key_file_is_explained(service: Service, operator: Operator) -> None:
    form = operator.form(operator.sees(f"/hosts/{HOME}"), f"/hosts/{HOME}/rotate")
    service.key_file.rename(service.folder / "elsewhere")
    answer = operator.asks("POST", f"/hosts/{HOME}/rotate", form)
    assert answer.status_code == 502
    assert "PRE_SHARED_KEY_FILE" in words(answer.text)


def test_a_host_is_muted_until_a_date(service: Service, operator: Operator) -> None:
    operator.presses(HOME, "mute", until="2090-01-02")
    assert "muted" in words(operator.sees(f"/?q={HOME}"))
    assert "2090-01-02 00:00" in words(operator.sees(f"/hosts/{HOME}"))
    operator.presses(HOME, "unmute")
    assert [row["event"] for row in service.rows("history")] == ["muted", "unmuted"]


@pytest.mark.parametrize("until", ["", "soon", "2001-01-01"])
def test_a_wrong_or_past_date_is_explained(
    service: Service, operator: Operator, until: str
) -> None:
    answer = operator.presses(HOME, "mute", until=until)
    assert answer.status_code == 400
    assert service.rows("history") == []
