from __future__ import annotations

import logging

import pytest

from backend.events import (
    ActionsUnknown,
    AnsweredFromCache,
    CameBack,
    ChallengeFailed,
    ChallengePublished,
    ChallengeRemoved,
    Cleared,
    Confirmed,
    Contested,
    Event,
    FellSilent,
    LoginFailed,
    LoginsBlocked,
    OperatorActed,
    PartlyUsed,
    Postponed,
    PrefixIgnored,
    Published,
    RecordEvent,
    Refused,
    Rejected,
    SeveralRecords,
    TokenRefused,
    ZoneFailed,
)
from backend.model import RecordType
from backend.notify.reporter import HostPush, Push, Reporter
from backend.text import duration
from tests.unit.fakes import host

HOST = host("nas.example.com")
A = RecordType.A
PUBLISHED = Published(HOST, A, "198.51.100.1", "198.51.100.2", "requested by 198.51.100.2")
REPORTED = [
    (
        ChallengePublished(HOST, "198.51.100.2", 4),
        logging.INFO,
        (
            "nas.example.com: a certificate challenge from 198.51.100.2 is published, 4 s after "
            "the request."
        ),
    ),
    (
        ChallengeFailed(HOST, "Hetzner is away."),
        logging.WARNING,
        "nas.example.com: a certificate challenge failed. Hetzner is away.",
    ),
    (
        ChallengeRemoved(HOST),
        logging.DEBUG,
        "nas.example.com: a certificate challenge was removed.",
    ),
    (
        PUBLISHED,
        logging.INFO,
        "nas.example.com A: 198.51.100.1 -> 198.51.100.2 (requested by 198.51.100.2).",
    ),
    (Confirmed(HOST, A), logging.DEBUG, "nas.example.com A: no change (asked Hetzner)."),
    (AnsweredFromCache(HOST, A), logging.DEBUG, "nas.example.com A: no change (cache)."),
    (
        Postponed(HOST, A, "Hetzner is away."),
        logging.WARNING,
        "nas.example.com A is not published yet, and will be retried. Hetzner is away. Act",
    ),
    (
        Refused(HOST, A, "Lift 100% of the {protection}."),
        logging.ERROR,
        "nas.example.com A can't be published. Lift 100% of the {protection}.",
    ),
    (
        Cleared(HOST, RecordType.AAAA, 90),
        logging.INFO,
        "nas.example.com AAAA is published after all, 1 min 30 s after the request.",
    ),
    (
        FellSilent(HOST, None, 10800),
        logging.ERROR,
        "nas.example.com is lost: no update for 3 h (none since its registration). Check",
    ),
    (
        FellSilent(HOST, 1_800_000_000, 90000),
        logging.ERROR,
        "nas.example.com is lost: no update for 1 d 1 h (last seen 2027-01-15 08:00 UTC)",
    ),
    (
        SeveralRecords(HOST, A, "198.51.100.8, 198.51.100.9", "198.51.100.1"),
        logging.WARNING,
        "nas.example.com has several A records (198.51.100.8, 198.51.100.9): the update replaces ",
    ),
    (
        Contested(HOST, A, "198.51.100.8 and 198.51.100.9"),
        logging.WARNING,
        "nas.example.com A was changed back and forth repeatedly within an hour by requests ",
    ),
    (
        ZoneFailed("example.com"),
        logging.ERROR,
        "Hetzner can't publish zone example.com, so updates of its hosts don't reach DNS. ",
    ),
    (
        ActionsUnknown("Update hetzner-dyndns."),
        logging.ERROR,
        "Hetzner doesn't confirm that it publishes changes. Update hetzner-dyndns. Until",
    ),
    (
        CameBack(HOST, 11520),
        logging.INFO,
        "nas.example.com is back again after 3 h 12 min.",
    ),
    (
        PrefixIgnored(HOST, "198.51.100.1", "2001:db8:1:2::/64"),
        logging.WARNING,
        "198.51.100.1 sent the prefix 2001:db8:1:2::/64 for nas.example.com, but ",
    ),
    (
        Rejected(HOST, "198.51.100.1", "Not an address."),
        logging.WARNING,
        "nas.example.com was not updated: the request from 198.51.100.1 is invalid. ",
    ),
    (
        PartlyUsed(HOST, "198.51.100.1", "Not an address."),
        logging.WARNING,
        "nas.example.com was updated, but a part of the request from 198.51.100.1 is invalid. ",
    ),
    (
        LoginFailed("198.51.100.1", HOST),
        logging.WARNING,
        "Failed login from 198.51.100.1 for nas.example.com.",
    ),
    (
        LoginFailed("198.51.100.1", None),
        logging.WARNING,
        "Failed login from 198.51.100.1 for an unknown host.",
    ),
    (
        LoginFailed("198.51.100.1", None, left_out=77),
        logging.WARNING,
        "Failed login from 198.51.100.1 for an unknown host. 77 earlier ones were not logged. If",
    ),
    (
        LoginsBlocked("198.51.100.1", HOST),
        logging.WARNING,
        "Too many failed logins for nas.example.com, the last one from 198.51.100.1: ",
    ),
    (
        TokenRefused(2, "It may not read."),
        logging.ERROR,
        "Hetzner refuses token 2. It may not read.",
    ),
    (
        OperatorActed(HOST, "has a new key", "198.51.100.1"),
        logging.INFO,
        "nas.example.com has a new key (operator, 198.51.100.1).",
    ),
]
ALWAYS = [
    *(Postponed(HOST, A, "x"), Refused(HOST, A, "x"), Cleared(HOST, A, 1)),
    *(FellSilent(HOST, 1, 1), CameBack(HOST, 1), LoginsBlocked("x", HOST)),
    *(Contested(HOST, A, "x and y"), ActionsUnknown("x"), ZoneFailed("x")),
    TokenRefused(1, "x"),
    *(Rejected(HOST, "x", "x"), PartlyUsed(HOST, "x", "x"), SeveralRecords(HOST, A, "x", "y")),
    *(ChallengePublished(HOST, "x", 1), ChallengeFailed(HOST, "x")),
]
NEVER = [
    *(Confirmed(HOST, A), AnsweredFromCache(HOST, A)),
    *(PrefixIgnored(HOST, "198.51.100.1", "2001:db8:1:2::/64"), LoginFailed("x", HOST)),
    *(OperatorActed(HOST, "x", "y"), ChallengeRemoved(HOST)),
]


@pytest.mark.parametrize(("event", "level", "line"), REPORTED)
def test_every_event_logs_one_line(
    caplog: pytest.LogCaptureFixture, event: Event, level: int, line: str
) -> None:
    caplog.set_level(logging.DEBUG, "hetzner-dyndns")
    Reporter().report(event)
    (record,) = caplog.records
    assert record.levelno == level
    assert record.getMessage().startswith(line)


def test_every_event_is_tested_here() -> None:
    tested = {type(event) for event, _, _ in REPORTED}
    known = {*Event.__subclasses__(), *RecordEvent.__subclasses__(), *Rejected.__subclasses__()}
    assert tested == known - {RecordEvent}
    assert {type(event) for event in [*ALWAYS, *NEVER, PUBLISHED]} == tested


def test_an_unchanged_address_is_logged_only_in_debug(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "hetzner-dyndns")
    Reporter().report(AnsweredFromCache(HOST, A))
    Reporter().report(Confirmed(HOST, A))
    assert caplog.records == []


def pushed(event: Event, **options: bool) -> list[Push]:
    pushes: list[Push | HostPush] = []
    Reporter(pushes.append, **options).report(event)
    return [one.push if isinstance(one, HostPush) else one for one in pushes]


@pytest.mark.parametrize("event", ALWAYS, ids=lambda event: type(event).__name__)
def test_errors_and_their_ends_are_pushed(event: Event) -> None:
    (push,) = pushed(event)
    if hasattr(event, "host"):
        assert "nas.example.com" in push.title
        assert "nas.example.com" in push.message
    assert push.priority == (4 if isinstance(event, FellSilent) else 3)


def test_every_push_about_a_host_waits_for_others_of_its_cause() -> None:
    pushes: list[Push | HostPush] = []
    reporter = Reporter(pushes.append, pushes_routine=True)
    for event in [*ALWAYS, PUBLISHED]:
        if hasattr(event, "host"):
            reporter.report(event)
    assert [one for one in pushes if not isinstance(one, HostPush)] == []


def test_a_quiet_event_is_only_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "hetzner-dyndns")
    pushes: list[Push | HostPush] = []
    Reporter(pushes.append).report(Refused(HOST, A, "x"), quietly=True)
    assert pushes == []
    assert len(caplog.records) == 1


@pytest.mark.parametrize("event", NEVER, ids=lambda event: type(event).__name__)
def test_some_events_are_never_pushed(event: Event) -> None:
    assert pushed(event, pushes_routine=True) == []


def test_a_change_is_pushed_only_by_choice() -> None:
    assert pushed(PUBLISHED) == []
    (push,) = pushed(PUBLISHED, pushes_routine=True)
    assert "198.51.100.1 -> 198.51.100.2" in push.message


def test_an_error_is_pushed_even_if_it_is_not_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.CRITICAL, "hetzner-dyndns")
    assert len(pushed(Postponed(HOST, A, "x"))) == 1


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        *((0, "0 s"), (0.9, "0 s"), (-5, "0 s"), (1, "1 s"), (59, "59 s"), (60, "1 min")),
        *((61, "1 min 1 s"), (3600, "1 h"), (3601, "1 h"), (11520, "3 h 12 min")),
        *((86399, "23 h 59 min"), (86400, "1 d"), (90000, "1 d 1 h"), (86400 * 400, "400 d")),
    ],
)
def test_a_duration_is_written_in_its_two_largest_units(seconds: float, text: str) -> None:
    assert duration(seconds) == text
