"""Certificate challenges over both protocols: who may set which text, and what stays."""

from __future__ import annotations

import re
import threading
import time
from typing import Any, Callable, Iterator, Mapping

import pytest
from werkzeug.test import TestResponse

from backend.hetzner.dns import Hetzner, RRSet
from backend.model import Hostname, Requester
from backend.rate import DAY
from backend.server import loops
from backend.store.challenges import MOST_VALUES
from backend.sync import challenges
from backend.sync.publisher import pause_after
from sandbox import Sandbox
from tests.http.conftest import FIRST, READ_ONLY as READER, SECOND, Console, Serve
from tests.http.operator import Operator, words
from tests.http.service import (
    HOME,
    LAB,
    NAS,
    NOWHERE,
    OPERATOR,
    READ_ONLY,
    WILDCARD,
    Service,
    basic,
    key_of,
    refused,
    told,
)
from tests.http.test_operator_pages import register

VALUE, OTHER = "LHDhK3oGRvkiefQnx7OOczTY5Tic_xZ6HcMOc_gmtoM", "-" * 43
NAME = f"_acme-challenge.{HOME}"
FOREIGN = '"a text of the operator"'


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(challenges, "_FIRST_PAUSE", 0.02)
    monkeypatch.setattr(challenges, "_LONGEST_PAUSE", 0.05)


@pytest.fixture
def acme(serve: Serve) -> Acme:
    return Acme(serve(ACME_DNS="1"))


@pytest.fixture(scope="module")
def running_sandbox() -> Iterator[Sandbox]:
    """A sandbox whose actions end almost at once."""
    zones = [f"example.com={FIRST}", f"lab.example.com={SECOND}", f"example.org={READER}"]
    with Sandbox(zones, [FIRST, SECOND], read_only_tokens=[READER], action_seconds=0.05) as sandbox:
        yield sandbox


class Acme:
    """A client of both protocols."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.sandbox = service.sandbox

    def asks(self, path: str, body: object, headers: Mapping[str, str] = {}) -> TestResponse:
        return self.service.asks("POST", path, json=body, headers=dict(headers))

    def presents(
        self,
        value: str = VALUE,
        name: str = HOME,
        login: tuple[str, str] = (HOME, key_of(HOME)),
        path: str = "/acme/present",
    ) -> TestResponse:
        body = {"fqdn": f"_acme-challenge.{name}.", "value": value}
        return self.asks(path, body, {"Authorization": basic(*login)})

    def cleans_up(self, value: str = VALUE, **more: Any) -> TestResponse:  # noqa: ANN401
        return self.presents(value, path="/acme/cleanup", **more)

    def updates(
        self, value: str = VALUE, name: str = HOME, login: tuple[str, str] = (HOME, key_of(HOME))
    ) -> TestResponse:
        headers = {"X-Api-User": login[0], "X-Api-Key": login[1]}
        return self.asks("/acme-dns/update", {"subdomain": name, "txt": value}, headers)

    def answer(self, name: str = NAME) -> list[str]:
        return self.sandbox.answer(name, "TXT")

    def shown(self, name: str = NAME) -> list[str]:
        """Return the texts that Hetzner's API shows."""
        return self.sandbox.records(name, "TXT")

    def removes(self) -> None:
        self.service.runs("challenges")

    def removes_later(self, seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
        loops, later = self.service._services.loops, time.time() + seconds  # noqa: SLF001
        job = next(one._action for one in loops if one._name == "challenges")  # noqa: SLF001
        monkeypatch.setattr(job.__self__, "_clock", lambda: later)
        self.removes()

    def history(self) -> list[str]:
        return [row["event"] for row in self.service.rows("history")]


def quoted(*values: str) -> list[str]:
    return sorted(f'"{value}"' for value in values)


def test_without_the_switch_the_paths_do_not_exist(service: Service) -> None:
    for path in ("/acme/present", "/acme/cleanup", "/acme-dns/update"):
        assert refused(service.asks("POST", path, json={})) == (404, "not_found")


def test_httpreq_publishes_and_cleans_up(acme: Acme) -> None:
    assert told(acme.presents()) == (200, {"status": "published", "fqdn": f"{NAME}."})
    assert acme.answer() == quoted(VALUE)
    assert told(acme.cleans_up()) == (200, {"status": "removed", "fqdn": f"{NAME}."})
    acme.removes()
    assert acme.shown() == []
    assert acme.service.rows("challenges") == []
    assert acme.history() == ["challenge", "challenge_removed"]
    assert acme.service.rows("records") == []
    assert told(acme.cleans_up()) == (200, {"status": "unchanged", "fqdn": f"{NAME}."})


def test_acme_dns_publishes_until_its_time_is_over(
    acme: Acme, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert told(acme.updates()) == (200, {"txt": VALUE})
    assert acme.answer() == quoted(VALUE)
    acme.removes()
    assert acme.shown() == quoted(VALUE)
    acme.removes_later(3601, monkeypatch)
    assert acme.shown() == []


@pytest.mark.parametrize("login", [(HOME, key_of(HOME)), ("home", key_of(HOME)), OPERATOR])
def test_logins_are_those_of_updates(acme: Acme, login: tuple[str, str]) -> None:
    assert acme.presents(login=login).status_code == 200
    assert acme.updates(OTHER, login=login).status_code == 200
    assert acme.answer() == quoted(VALUE, OTHER)


def test_a_key_alone_is_enough(acme: Acme) -> None:
    body = {"fqdn": NAME, "value": VALUE}
    assert acme.asks("/acme/present", body, {"X-Pre-Shared-Key": key_of(HOME)}).status_code == 200


def test_host_and_wildcard_have_two_values_at_one_name(acme: Acme) -> None:
    wildcards = (WILDCARD, key_of(WILDCARD))
    assert acme.presents().status_code == 200
    assert told(acme.presents(OTHER, login=wildcards))[1]["fqdn"] == f"{NAME}."
    assert acme.answer() == quoted(VALUE, OTHER)
    acme.cleans_up()
    acme.removes()
    assert acme.shown() == quoted(OTHER)
    hosts = [row["host"] for row in acme.service.rows("history")]
    assert hosts == [HOME, WILDCARD, HOME]


def test_acme_dns_accepts_the_name_of_a_wildcard(acme: Acme) -> None:
    assert acme.updates(name=WILDCARD, login=(WILDCARD, key_of(WILDCARD))).status_code == 200
    assert acme.answer() == quoted(VALUE)


def test_texts_of_others_stay(acme: Acme, console: Console) -> None:
    acme.sandbox.publish(NAME, "TXT", FOREIGN, ttl=3600)
    acme.presents()
    assert console.shows(NAME, "TXT")["ttl"] == 3600
    assert acme.shown() == sorted([FOREIGN, *quoted(VALUE)])
    acme.cleans_up()
    acme.removes()
    assert acme.shown() == [FOREIGN]


def test_a_value_that_someone_else_has_set_stays(acme: Acme) -> None:
    acme.sandbox.publish(NAME, "TXT", *quoted(VALUE))
    assert acme.presents().status_code == 200
    acme.cleans_up()
    acme.removes()
    assert acme.shown() == quoted(VALUE)


def test_a_new_rrset_has_a_short_ttl_and_says_whose_it_is(acme: Acme, console: Console) -> None:
    acme.presents()
    comment = "certificate challenge, set by hetzner-dyndns"
    assert console.shows(NAME, "TXT") == {"ttl": 60, "records": {f'"{VALUE}"': comment}}


def test_the_same_value_again_is_not_written_again(acme: Acme) -> None:
    acme.presents()
    acme.service.calls()
    assert acme.presents().status_code == 200
    reading = "GET /zones/example.com/rrsets?name=_acme-challenge.home&type=TXT&type=CNAME"
    assert acme.service.calls() == [reading]


def test_the_oldest_of_many_values_goes(acme: Acme) -> None:
    values = [f"{number:043}" for number in range(12)]
    for value in values:
        assert acme.updates(value).status_code == 200
    acme.removes()
    assert acme.shown() == quoted(*values[2:])


def test_a_challenge_that_waits_is_not_the_oldest(serve: Serve) -> None:
    acme, other = Acme(serve(ACME_DNS="1")), Acme(serve(ACME_DNS="1"))
    for number in range(MOST_VALUES):
        assert acme.updates(f"{number:043}").status_code == 200
    acme.sandbox.delay(30, method="GET", path="/actions")
    statuses: list[int] = []
    waiting = threading.Thread(target=lambda: statuses.append(acme.updates().status_code))
    waiting.start()
    until(lambda: f'"{VALUE}"' in acme.shown())
    second = threading.Thread(target=lambda: statuses.append(other.updates(OTHER).status_code))
    second.start()
    until(lambda: f'"{OTHER}"' in acme.shown())
    acme.sandbox.delay_no_more()
    waiting.join(20)
    second.join(20)
    assert statuses == [200, 200]
    acme.removes()
    assert len(acme.shown()) == MOST_VALUES


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"fqdn": NAME, "value": VALUE[1:]}, "bad_request"),
        ({"fqdn": NAME, "value": f"{VALUE}="}, "bad_request"),
        ({"fqdn": NAME, "value": f'{VALUE[2:]}""'}, "bad_request"),
        ({"fqdn": NAME, "value": ""}, "bad_request"),
        ({"fqdn": NAME}, "bad_request"),
        ({"fqdn": NAME, "value": 1}, "bad_request"),
        ({"domain": HOME, "token": "t", "keyAuth": "k"}, "bad_request"),
        ({"fqdn": NAME, "value": VALUE, "hostname": NAS}, "bad_request"),
        ({"fqdn": NAME, "value": VALUE, "ip": "198.51.100.7"}, "bad_request"),
        ({"fqdn": NAME, "value": VALUE, "other": "2001:db8::7"}, "bad_request"),
        ({"value": VALUE}, "bad_request"),
        ({"fqdn": HOME, "value": VALUE}, "invalid_fqdn"),
        ({"fqdn": f"_acme-challenge.*.{HOME}", "value": VALUE}, "invalid_fqdn"),
        ({"fqdn": f"_dmarc.{HOME}", "value": VALUE}, "invalid_fqdn"),
        ({"fqdn": f"_acme-challenge.{NAME}", "value": VALUE}, "invalid_fqdn"),
        ({"fqdn": "_acme-challenge.", "value": VALUE}, "invalid_fqdn"),
        ([], "bad_request"),
        ("text", "bad_request"),
    ],
)
def test_anything_else_is_refused_and_sets_nothing(acme: Acme, body: object, code: str) -> None:
    for path in ("/acme/present", "/acme/cleanup"):
        answer = acme.asks(path, body, {"Authorization": basic(HOME, key_of(HOME))})
        assert answer.status_code == 400
        assert answer.get_json()["code"] in (code, "missing_fqdn")
    assert acme.service.calls() == []
    assert acme.service.rows("challenges") == []


@pytest.mark.parametrize(
    ("name", "login"),
    [
        (HOME, (HOME, "wrong")),
        (HOME, (NAS, key_of(NAS))),
        (f"sub.{HOME}", (HOME, key_of(HOME))),
        ("example.com", (HOME, key_of(HOME))),
        ("unknown.example.com", (HOME, key_of(HOME))),
        ("unknown.example.com", ("unknown.example.com", key_of(HOME))),
    ],
)
def test_other_names_and_wrong_keys_get_the_same_answer(
    acme: Acme, name: str, login: tuple[str, str]
) -> None:
    answers = (
        acme.presents(name=name, login=login),
        acme.cleans_up(name=name, login=login),
        acme.updates(name=name, login=login),
    )
    for answer in answers:
        assert refused(answer) == (401, "unauthorized")
    assert acme.service.calls() == []


def test_no_login_is_answered_with_a_challenge(acme: Acme) -> None:
    assert refused(acme.asks("/acme-dns/update", {"subdomain": HOME, "txt": VALUE}))[0] == 401


def test_a_browser_of_another_site_sets_nothing(acme: Acme) -> None:
    headers = {"Authorization": basic(HOME, key_of(HOME)), "Sec-Fetch-Site": "cross-site"}
    answer = acme.asks("/acme/present", {"fqdn": NAME, "value": VALUE}, headers)
    assert refused(answer) == (403, "cross_site")


def test_failed_logins_count_as_those_of_updates(serve: Serve) -> None:
    acme = Acme(serve(ACME_DNS="1", AUTH_FAILURE_LIMIT="2"))
    statuses = [acme.updates(login=(HOME, "wrong-key")).status_code for _ in range(3)]
    assert statuses == [401, 401, 429]
    assert acme.updates().status_code == 200


@pytest.mark.parametrize(
    ("host", "answer"),
    [(NOWHERE, (404, "zone_not_found")), (READ_ONLY, (502, "hetzner_refused"))],
)
def test_a_permanent_refusal_is_told(serve: Serve, host: str, answer: tuple[int, str]) -> None:
    acme = Acme(serve(ACME_DNS="1", HETZNER_TOKEN=f"{FIRST},{SECOND},{READER}"))
    assert refused(acme.presents(name=host, login=(host, key_of(host)))) == answer
    acme.service.calls()
    assert refused(acme.presents(name=host, login=(host, key_of(host)))) == answer
    assert acme.service.calls() == []
    assert acme.history() == ["challenge_failed"]


def test_the_page_of_a_host_shows_its_last_challenge(acme: Acme) -> None:
    register(acme.service)
    pages = Operator(acme.service)

    def shown() -> list[str]:
        page = words(pages.sees(f"/hosts/{HOME}"))
        return re.findall(r"Last certificate challenge (\w+)", page)

    assert shown() == []
    acme.presents()
    assert shown() == ["published"]
    acme.sandbox.actions_end("error")
    acme.presents(OTHER)
    assert shown() == ["failed"]


def test_a_cname_at_the_name_is_told(acme: Acme) -> None:
    acme.sandbox.publish(NAME, "CNAME", "other.example.net.")
    answer = acme.presents()
    assert refused(answer) == (502, "hetzner_refused")
    assert "CNAME" in answer.get_json()["error"]


def test_another_project_has_its_own_zones(serve: Serve) -> None:
    acme = Acme(serve(ACME_DNS="1", HETZNER_TOKEN=f"{FIRST},{SECOND}"))
    assert acme.presents(name=LAB, login=(LAB, key_of(LAB))).status_code == 200
    assert acme.answer(f"_acme-challenge.{LAB}") == quoted(VALUE)


def test_a_short_outage_is_waited_for(acme: Acme) -> None:
    acme.sandbox.fail(503, count=2, headers={"Retry-After": "0"})
    acme.sandbox.fail(502, count=1, method="GET", path="/actions", html=True)
    monkey = acme.presents()
    assert monkey.status_code == 200
    assert acme.answer() == quoted(VALUE)


@pytest.mark.parametrize("outcome", ["error", "never"])
def test_what_is_not_published_in_time_is_taken_back(
    acme: Acme, outcome: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(challenges, "_ANSWER_SECONDS", 1.0)
    acme.sandbox.actions_end(outcome)
    assert refused(acme.presents()) == (503, "unavailable")
    assert acme.shown() == quoted(VALUE)
    acme.removes()
    assert acme.shown() == []
    assert acme.service.rows("challenges") == []
    assert acme.history() == ["challenge_failed"]


def test_a_lost_answer_leaves_nothing_behind(acme: Acme) -> None:
    acme.sandbox.fail(after=True, method="POST", count=1)
    assert acme.presents().status_code == 200
    assert acme.answer() == quoted(VALUE)
    acme.cleans_up()
    acme.removes()
    assert acme.shown() == []


def test_a_text_that_is_shown_late_is_no_refusal(
    acme: Acme, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, reads = Hetzner.read_texts, iter((True, False))

    def read_late(*arguments: Any) -> RRSet:  # noqa: ANN401
        return read(*arguments) if next(reads, True) else RRSet({}, None)

    monkeypatch.setattr(Hetzner, "read_texts", read_late)
    acme.sandbox.fail(after=True, method="POST", count=1)
    assert acme.presents().status_code == 200
    assert acme.answer() == quoted(VALUE)


def test_a_wildcard_removes_no_value_of_the_host_with_its_name(acme: Acme) -> None:
    wildcards = (WILDCARD, key_of(WILDCARD))
    assert acme.presents().status_code == 200
    assert refused(acme.presents(login=wildcards)) == (400, "bad_request")
    assert told(acme.cleans_up(login=wildcards))[1]["status"] == "unchanged"
    for number in range(MOST_VALUES + 1):
        assert acme.presents(f"{number:043}", login=wildcards).status_code == 200
    acme.removes()
    assert VALUE in str(acme.shown())
    assert len(acme.shown()) == MOST_VALUES + 1
    assert acme.cleans_up().status_code == 200
    acme.removes()
    assert VALUE not in str(acme.shown())


def test_a_client_that_gives_up_is_not_reported(
    acme: Acme, caplog: pytest.LogCaptureFixture
) -> None:
    acme.sandbox.delay(30, method="GET", path="/actions")
    statuses: list[int] = []
    waiting = threading.Thread(target=lambda: statuses.append(acme.presents().status_code))
    waiting.start()
    until(lambda: any(call.path == "/actions" for call in acme.sandbox.calls()))
    assert acme.cleans_up().status_code == 200
    acme.sandbox.delay_no_more()
    waiting.join(20)
    assert statuses == [503]
    assert acme.history() == []
    assert "failed" not in caplog.text


def test_a_removal_that_fails_is_repeated(acme: Acme, monkeypatch: pytest.MonkeyPatch) -> None:
    acme.presents()
    acme.cleans_up()
    acme.sandbox.fail(503, count=1, headers={"Retry-After": "0"})
    acme.sandbox.fail(423, "protected", count=1, method="POST")
    monkeypatch.setattr(challenges, "pause_after", lambda *_, **__: 0.0)
    for _ in range(2):
        acme.removes()
        assert acme.shown() == quoted(VALUE)
    acme.removes()
    assert acme.shown() == []
    # Only the refusal needs the operator.
    assert acme.history() == ["challenge", "challenge_failed", "challenge_removed"]


def test_actions_that_cannot_be_followed_are_judged_by_the_api(acme: Acme) -> None:
    acme.sandbox.fail(403, count=None, method="GET", path="/actions")
    assert acme.presents().status_code == 200


def test_an_address_update_passes_a_waiting_challenge(acme: Acme) -> None:
    acme.sandbox.delay(30, method="GET", path="/actions")
    waiting = threading.Thread(target=acme.presents)
    waiting.start()
    until(lambda: any(call.path == "/actions" for call in acme.sandbox.calls()))
    assert acme.service.host().updates("198.51.100.7").status_code == 200
    acme.sandbox.delay_no_more()
    waiting.join(20)
    assert acme.answer() == quoted(VALUE)


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_third_challenge_of_a_name_does_not_wait(acme: Acme) -> None:
    acme.sandbox.delay(30, method="GET", path="/actions")
    statuses: list[int] = []
    threads = [
        threading.Thread(target=lambda one=one: statuses.append(acme.presents(one).status_code))
        for one in (VALUE, OTHER, "0" * 43)
    ]
    for thread in threads:
        thread.start()
    until(lambda: statuses == [503])
    acme.sandbox.delay_no_more()
    for thread in threads:
        thread.join(20)
    assert sorted(statuses) == [200, 200, 503]


def test_the_answers_are_counted(acme: Acme) -> None:
    acme.presents()
    acme.cleans_up()
    with acme.service.app.test_client() as client:
        text = client.get("/metrics", auth=OPERATOR).get_data(as_text=True)
    for outcome in ("created", "deleted"):
        assert f'dyndns_updates_total{{outcome="{outcome}",protocol="httpreq"}} 1.0' in text


def test_a_host_can_be_excluded(serve: Serve) -> None:
    acme = Acme(serve(ACME_DNS="1"))
    off, operator = {"certificates": False}, Requester("", "operator")
    assert acme.presents().status_code == 200
    for store in acme.service.store():
        store.hosts.register(acme.service.hosts, time.time())
        store.registrations.change(Hostname(HOME), off, operator, time.time())
    acme.service.runs("registered hosts")
    acme.removes()
    assert acme.shown() == []
    assert refused(acme.presents()) == (403, "fqdn_not_allowed")
    assert refused(acme.updates()) == (403, "fqdn_not_allowed")
    assert acme.presents(login=(WILDCARD, key_of(WILDCARD))).status_code == 200
    assert acme.service.host().updates("198.51.100.7").status_code == 200


def test_another_process_removes_what_a_killed_one_has_set(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    acme, other = Acme(serve(ACME_DNS="1")), Acme(serve(ACME_DNS="0"))

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(challenges.Challenges, "_follow", die)
    with pytest.raises(KeyboardInterrupt):
        acme.presents()
    other.removes()
    assert acme.shown() == quoted(VALUE)
    other.removes_later(71, monkeypatch)
    assert acme.shown() == []
    assert acme.service.rows("challenges") == []


def test_a_challenge_that_is_removed_while_it_waits_is_not_added(
    acme: Acme, monkeypatch: pytest.MonkeyPatch
) -> None:
    wait = challenges.wait_for_host

    def give_up_and_wait(*arguments: Any) -> object:  # noqa: ANN401
        acme.cleans_up()
        acme.removes()
        return wait(*arguments)

    monkeypatch.setattr(challenges, "wait_for_host", give_up_and_wait)
    assert refused(acme.presents()) == (503, "unavailable")
    assert acme.shown() == []
    assert acme.service.rows("challenges") == []


def test_a_challenge_in_a_deleted_zone_is_forgotten_after_a_day(
    acme: Acme, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    console.changes("POST", "/zones", {"name": "example.invalid", "mode": "primary"})
    login = (NOWHERE, key_of(NOWHERE))
    assert acme.presents(name=NOWHERE, login=login).status_code == 200
    console.changes("DELETE", "/zones/example.invalid")
    acme.cleans_up(name=NOWHERE, login=login)
    pauses: list[float] = []

    def no_pause(*arguments: Any, **options: Any) -> float:  # noqa: ANN401
        pauses.append(pause_after(*arguments, **options))
        return 0.0

    monkeypatch.setattr(challenges, "pause_after", no_pause)
    while acme.service.rows("challenges"):
        assert sum(pauses) < 2 * DAY
        acme.removes()
    assert sum(pauses) > DAY / 2
    assert acme.history() == ["challenge", "challenge_failed"]


def test_a_missing_zone_is_looked_for_again_after_an_outage(acme: Acme) -> None:
    acme.presents()
    acme.sandbox.fail(503, count=1, method="POST", headers={"Retry-After": "0"})
    acme.sandbox.fail(404, "not_found", count=1, method="POST")
    assert acme.presents(OTHER).status_code == 200
    assert acme.answer() == quoted(VALUE, OTHER)


def test_the_removals_of_one_run_end_before_the_job_counts_as_hanging() -> None:
    longest = challenges._NAMES_A_TICK * challenges._REMOVE_SECONDS  # noqa: SLF001
    assert longest <= loops._PATIENCE / 2  # noqa: SLF001
