from __future__ import annotations

import logging
import threading
from typing import Callable, Iterator, List, Union

import pytest

from backend.notify.ntfy import LoginRefused, Push, PushFailed, PushRefused
from backend.notify.outbox import Complaints, Outbox
from tests.unit.fakes import Clock

# Bounds for a machine that is busy: what is waited for comes at once, or never.
PATIENCE = 20.0
AWAY, BUSY = PushFailed("it can't be reached, no connection"), PushFailed("it answers 429", 7)
ONE_LOST = "1 push lost; what was to be told is in this log."
WRONG_LOGIN = LoginRefused("wrong login (401): check NTFY_USERNAME and NTFY_PASSWORD")
WRONG_URL = PushRefused("not found (404): check NTFY_URL")

Answer = Union[Exception, Callable[[], None], None]


class Server:
    """Stands in for `Ntfy`: answers one try after the other as told, and then takes everything."""

    def __init__(self, *answers: Answer) -> None:
        self.answers: List[Answer] = list(answers)
        self.tries: List[str] = []
        self.taken: List[Push] = []
        self.seconds: List[float] = []
        self.changed = threading.Condition()

    def publish(self, push: Push, seconds: float) -> None:
        with self.changed:
            self.tries.append(push.title)
            self.seconds.append(seconds)
            answer = self.answers.pop(0) if self.answers else None
            self.changed.notify_all()
        if isinstance(answer, Exception):
            raise answer
        if answer is not None:
            answer()
        with self.changed:
            self.taken.append(push)
            self.changed.notify_all()

    def waits_for(self, condition: Callable[[], object]) -> None:
        with self.changed:
            assert self.changed.wait_for(condition, PATIENCE), (self.tries, self.titles())

    def titles(self) -> List[str]:
        return [push.title for push in self.taken]


class Authorizer:
    """Holds a try up until it is opened."""

    def __init__(self) -> None:
        self.is_reached = threading.Event()
        self._is_open = threading.Event()

    def __call__(self) -> None:
        self.is_reached.set()
        assert self._is_open.wait(PATIENCE)

    def open(self) -> None:
        self._is_open.set()


@pytest.fixture
def authorizer() -> Iterator[Authorizer]:
    authorizer = Authorizer()
    yield authorizer
    authorizer.open()


def push(title: str, priority: int = 3) -> Push:
    return Push(title, "message", priority)


def started(server: Server, **options: object) -> Outbox:
    outbox = Outbox(server, **{"pauses": (0.001,), **options})
    outbox.start()
    return outbox


def lines(caplog: pytest.LogCaptureFixture, level: int = logging.INFO) -> List[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= level]


def test_pushes_are_sent_in_order() -> None:
    server = Server()
    outbox = started(server)
    for number in range(20):
        outbox.put(push(str(number)))
    server.waits_for(lambda: len(server.taken) == 20)
    assert server.titles() == [str(number) for number in range(20)]
    outbox.stop(PATIENCE)


def test_whoever_leaves_a_push_waits_for_nobody(authorizer: Authorizer) -> None:
    server = Server(authorizer)
    outbox = started(server)
    for number in range(50):
        outbox.put(push(str(number)))
    assert authorizer.is_reached.wait(PATIENCE)
    assert server.taken == []
    authorizer.open()
    server.waits_for(lambda: len(server.taken) == 50)
    outbox.stop(PATIENCE)


def test_a_lost_host_does_not_wait_behind_changes_of_address(authorizer: Authorizer) -> None:
    server = Server(authorizer)
    outbox = started(server)
    outbox.put(push("first"))
    assert authorizer.is_reached.wait(PATIENCE)
    for number in range(99):
        outbox.put(push(f"change {number}"))
    outbox.put(push("lost", 4))
    authorizer.open()
    server.waits_for(lambda: len(server.taken) == 101)
    assert server.titles()[:3] == ["first", "lost", "change 0"]
    outbox.stop(PATIENCE)


def test_a_lost_host_does_not_wait_behind_a_push_that_failed(authorizer: Authorizer) -> None:
    def fail_late() -> None:
        authorizer()
        raise AWAY

    server = Server(fail_late)
    outbox = started(server)
    outbox.put(push("change"))
    assert authorizer.is_reached.wait(PATIENCE)
    outbox.put(push("lost", 4))
    authorizer.open()
    server.waits_for(lambda: len(server.taken) == 2)
    assert server.tries == ["change", "lost", "change"]
    outbox.stop(PATIENCE)


@pytest.mark.parametrize("failure", [AWAY, BUSY, PushFailed("it answers 503")])
def test_a_push_that_failed_is_tried_again_until_it_is_through(
    monkeypatch: pytest.MonkeyPatch, failure: PushFailed
) -> None:
    server = Server(failure, failure, failure)
    outbox = Outbox(server, pauses=(2, 5))
    pauses: List[float] = []
    monkeypatch.setattr(outbox, "_wait", lambda pause: not pauses.append(pause))
    outbox.start()
    outbox.put(push("title"))
    server.waits_for(lambda: server.taken)
    assert server.tries == ["title"] * 4
    assert pauses == [max(pause, failure.retry_after) for pause in (2, 5, 5)]
    outbox.stop(PATIENCE)


def test_a_refused_login_is_tried_again_soon_until_it_is_believed_and_then_less_and_less(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = Server(*[WRONG_LOGIN] * 7)
    outbox = Outbox(server, pauses=(2, 5))
    pauses: List[float] = []
    monkeypatch.setattr(outbox, "_wait", lambda pause: not pauses.append(pause))
    outbox.start()
    outbox.put(push("title"))
    server.waits_for(lambda: server.taken)
    assert server.tries == ["title"] * 8
    assert pauses == [0.5, 0.5, 0.5, 0.5, 2, 5, 5]
    outbox.stop(PATIENCE)


def test_that_ntfy_is_away_is_logged_once_and_its_end_too_each_time(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    complaints = Complaints()
    for _ in range(2):
        caplog.clear()
        server = Server(*[AWAY] * 5)
        outbox = started(server, complaints=complaints)
        outbox.put(push("one"))
        outbox.put(push("two"))
        server.waits_for(lambda server=server: len(server.taken) == 2)
        outbox.stop(PATIENCE)
        (away, back) = lines(caplog)
        assert "No push gets through to ntfy (it can't be reached, no connection)." in away
        assert back == "ntfy takes pushes again."


def test_a_wrong_url_is_logged_once_with_the_hint_and_its_end_too(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    server = Server(*[WRONG_URL] * 3)
    outbox = started(server)
    for number in range(3):
        outbox.put(push(str(number)))
    server.waits_for(lambda: len(server.tries) == 3)
    outbox.put(push("mended"))
    server.waits_for(lambda: len(server.taken) == 2)
    outbox.stop(PATIENCE)
    assert server.tries == ["0", "1", "2", "mended", "Notifications were lost"]
    assert server.taken[1].message.startswith("3 could not be delivered")
    refused, lost, back = lines(caplog)
    assert lost == "3 pushes lost; what was to be told is in this log."
    assert refused == (
        "ntfy refuses pushes: not found (404): check NTFY_URL. Until that is mended, events are in "
        "this log only."
    )
    assert back == "ntfy takes pushes again."


def test_a_login_that_is_mended_on_the_server_costs_nothing_and_is_logged_once_and_its_end_too(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    server = Server(*[WRONG_LOGIN] * 7)
    outbox = started(server)
    for number in range(3):
        outbox.put(push(str(number)))
    server.waits_for(lambda: len(server.taken) == 3)
    outbox.stop(PATIENCE)
    assert server.titles() == ["0", "1", "2"]
    refused, back = lines(caplog)
    assert refused == (
        "ntfy refuses pushes: wrong login (401): check NTFY_USERNAME and NTFY_PASSWORD. They wait "
        "for an hour at most; until it takes them, events are in this log only."
    )
    assert back == "ntfy takes pushes again."


def test_a_refusal_that_ntfy_takes_back_costs_nothing_and_is_no_word_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    for number in range(10):
        server = Server(WRONG_LOGIN, WRONG_LOGIN)
        outbox = started(server, pauses=(0.0001,))
        outbox.put(push(str(number)))
        if number % 2:
            server.waits_for(lambda server=server: server.taken)
        outbox.stop(PATIENCE)
        assert server.titles() == [str(number)]
    assert lines(caplog) == []


def test_of_many_processes_one_complains_and_each_complaint_has_its_turn(
    caplog: pytest.LogCaptureFixture,
) -> None:
    complaints = Complaints()
    for _ in range(3):
        server = Server(AWAY, *[WRONG_LOGIN] * 10_000)
        outbox = started(server, complaints=complaints)
        outbox.put(push("title"))
        server.waits_for(lambda server=server: len(server.tries) >= 6)
        outbox.stop(PATIENCE)
    away, refused = lines(caplog, logging.ERROR)
    assert "No push gets through" in away
    assert "wrong login" in refused


def test_when_too_many_wait_the_least_urgent_are_dropped_and_counted(
    caplog: pytest.LogCaptureFixture, authorizer: Authorizer
) -> None:
    caplog.set_level(logging.DEBUG)
    server = Server(authorizer)
    outbox = started(server)
    outbox.put(push("first"))
    assert authorizer.is_reached.wait(PATIENCE)
    for number in range(103):
        outbox.put(push(f"change {number}"))
    outbox.put(push("lost", 4))
    dropped = [f"Not pushed, for too many wait: change {number}" for number in (100, 101, 102, 99)]
    assert lines(caplog, logging.DEBUG) == dropped
    assert lines(caplog) == dropped[:1], "the others are counted"
    authorizer.open()
    server.waits_for(lambda: len(server.taken) == 102)
    outbox.stop(PATIENCE)
    kept = [f"change {number}" for number in range(99)]
    assert [title for title in server.titles() if title != "Notifications were lost"] == [
        *("first", "lost"),
        *kept,
    ]
    (summary,) = (one for one in server.taken if one.title == "Notifications were lost")
    assert summary.message.startswith("4 could not be delivered")
    assert lines(caplog)[1:] == ["4 pushes lost; what was to be told is in this log."]


def test_a_push_that_is_too_old_to_be_of_use_is_given_up(
    caplog: pytest.LogCaptureFixture, clock: Clock
) -> None:
    def fail_and_wait() -> None:
        clock.advance(1800)
        raise AWAY

    server = Server(fail_and_wait, fail_and_wait, fail_and_wait)
    outbox = started(server, clock=clock)
    outbox.put(push("old"))
    server.waits_for(lambda: len(server.tries) == 3)
    outbox.put(push("new"))
    server.waits_for(lambda: len(server.taken) == 2)
    outbox.stop(PATIENCE)
    assert server.titles() == ["new", "Notifications were lost"]
    assert "Not pushed, for it became too old: old" in lines(caplog)


def test_a_bug_costs_one_push_and_is_logged_with_its_traceback(
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = Server(KeyError("a bug"))
    outbox = started(server)
    outbox.put(push("one"))
    outbox.put(push("two"))
    server.waits_for(lambda: "two" in server.titles())
    outbox.stop(PATIENCE)
    (record,) = (record for record in caplog.records if record.levelno == logging.ERROR)
    assert record.exc_info is not None
    assert "Not pushed, for there is a bug: one" in lines(caplog)
    assert "one" not in server.titles()


class TestTheEnd:
    def test_sends_what_waits(
        self, caplog: pytest.LogCaptureFixture, authorizer: Authorizer
    ) -> None:
        server = Server(authorizer)
        outbox = started(server)
        outbox.put(push("first"))
        assert authorizer.is_reached.wait(PATIENCE)
        for number in range(100):
            outbox.put(push(str(number)))
        ending = threading.Thread(target=outbox.stop, args=(PATIENCE,))
        ending.start()
        authorizer.open()
        ending.join(PATIENCE)
        assert len(server.taken) == 101
        assert lines(caplog) == []

    def test_of_an_idle_outbox_comes_at_once(self, caplog: pytest.LogCaptureFixture) -> None:
        outbox = started(Server())
        outbox.stop(3600)
        assert not [thread for thread in threading.enumerate() if thread.name == "ntfy"]
        assert lines(caplog) == []

    def test_gives_a_try_no_more_time_than_is_left(self, clock: Clock) -> None:
        server = Server()
        outbox = Outbox(server, clock=clock)
        outbox.put(push("title"))
        ending = threading.Thread(target=outbox.stop, args=(3,))
        outbox._end = clock() + 3  # noqa: SLF001 - as if the stop had come before the first try
        outbox.start()
        ending.start()
        ending.join(PATIENCE)
        assert server.seconds == [3]

    def test_is_no_time_to_complain_of_a_server_that_had_none(
        self, caplog: pytest.LogCaptureFixture, clock: Clock
    ) -> None:
        outbox = Outbox(Server(AWAY), clock=clock)
        outbox.put(push("title"))
        outbox._end = clock() + 0.001  # noqa: SLF001 - as if the stop had come before the first try
        outbox.start()
        outbox.stop(PATIENCE)
        assert lines(caplog) == ["Not pushed, for the service ends: title", ONE_LOST]

    def test_does_not_wait_for_a_server_that_hangs_and_names_what_is_lost(
        self, caplog: pytest.LogCaptureFixture, authorizer: Authorizer
    ) -> None:
        server = Server(authorizer)
        outbox = started(server)
        for title in ("hanging", "waiting"):
            outbox.put(push(title))
        assert authorizer.is_reached.wait(PATIENCE)
        outbox.stop(0.05)
        assert lines(caplog) == [
            "Not pushed, for the service ends: hanging",
            "2 pushes lost; what was to be told is in this log.",
        ]

    def test_tries_a_server_that_is_away_once_more_at_most(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        server = Server(*[AWAY] * 100)
        outbox = started(server, pauses=(3600,))
        outbox.put(push("title"))
        server.waits_for(lambda: server.tries)
        outbox.stop(PATIENCE)
        assert len(server.tries) <= 2
        assert lines(caplog)[1:] == ["Not pushed, for the service ends: title", ONE_LOST]

    def test_believes_the_fifth_refusal_without_a_pause_and_counts_what_is_lost(
        self, caplog: pytest.LogCaptureFixture, clock: Clock
    ) -> None:
        server = Server(*[WRONG_LOGIN] * 7)
        outbox = Outbox(server, pauses=(3600,), clock=clock)
        for number in range(3):
            outbox.put(push(str(number)))
        outbox._end = clock() + 3  # noqa: SLF001 - as if the stop had come before the first try
        outbox.start()
        outbox.stop(PATIENCE)
        assert server.tries == ["0"] * 5 + ["1", "2"]
        refused, lost = lines(caplog)
        assert "wrong login" in refused
        assert lost == "3 pushes lost; what was to be told is in this log."

    def test_of_an_outbox_that_never_started_names_what_is_lost(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        outbox = Outbox(Server())
        outbox.put(push("title"))
        outbox.stop(PATIENCE)
        outbox.put(push("after the end"))
        assert lines(caplog) == [
            "Not pushed, for the service ends: title",
            ONE_LOST,
            "Not pushed, for the service ends: after the end",
        ]
