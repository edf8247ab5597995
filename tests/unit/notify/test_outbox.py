from __future__ import annotations

import json
import logging
import threading
from typing import Callable, Iterator, Union

import pytest

from backend.errors import StoreUnavailable
from backend.notify.channels import PushFailed, PushRefused
from backend.notify.outbox import Outbox
from backend.notify.reporter import Push
from backend.store import Store
from tests.unit.fakes import Clock

# Long enough for a busy machine.
PATIENCE = 20.0
AWAY = PushFailed("ntfy.example.com can't be reached: no connection")
BUSY = PushFailed("ntfy.example.com answers 429", 7)
ONE_LOST = "1 push lost. The log has all events."
WRONG_LOGIN = PushFailed(
    "wrong login (401): check NTFY_USERNAME and NTFY_PASSWORD", believed_after=4
)
WRONG_URL = PushRefused("not found (404): check NTFY_URL")

Answer = Union[Exception, Callable[[], None], None]


class Server:
    """Stands in for `Ntfy`: gives the prepared answers, and then accepts every push."""

    name = "ntfy"

    def __init__(self, *answers: Answer) -> None:
        self.answers: list[Answer] = list(answers)
        self.tries: list[str] = []
        self.taken: list[Push] = []
        self.seconds: list[float] = []
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

    def titles(self) -> list[str]:
        return [push.title for push in self.taken]


class Gate:
    """Blocks a try until it is opened."""

    def __init__(self) -> None:
        self.is_reached = threading.Event()
        self._is_open = threading.Event()

    def __call__(self) -> None:
        self.is_reached.set()
        assert self._is_open.wait(PATIENCE)

    def open(self) -> None:
        self._is_open.set()


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.open()


def push(title: str, priority: int = 3) -> Push:
    return Push(title, "message", priority)


class FirstOfAll:
    """A fake of `is_first` that remembers all keys forever."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, problem: str) -> bool:
        self.asked.append(problem)
        return self.asked.count(problem) == 1


class FilledOutbox(Outbox):
    """An outbox whose leader stores a push and wakes it at once."""

    def put(self, push: Push) -> None:
        self._pushes.send(push.content(), push.priority, [self.name], self._clock())
        self.wake()

    def stored(self) -> list[str]:
        """The titles of the pushes that are still in the store."""
        return [json.loads(one.content)["title"] for one in self._pushes.queue(self.name)]


Opens = Callable[..., FilledOutbox]


@pytest.fixture
def opened(store: Store) -> Opens:
    """Return a function that opens an outbox, which isn't started."""

    def open_(server: Server, **options: object) -> FilledOutbox:
        return FilledOutbox(server, store.pushes, **{"pauses": (0.001,), **options})

    return open_


@pytest.fixture
def started(opened: Opens) -> Opens:
    """Return a function that opens and starts an outbox."""

    def start(server: Server, **options: object) -> FilledOutbox:
        outbox = opened(server, **options)
        outbox.start()
        return outbox

    return start


def lines(caplog: pytest.LogCaptureFixture, level: int = logging.INFO) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= level]


def test_pushes_are_sent_in_order(started: Opens) -> None:
    server = Server()
    outbox = started(server)
    for number in range(20):
        outbox.put(push(str(number)))
    server.waits_for(lambda: len(server.taken) == 20)
    assert server.titles() == [str(number) for number in range(20)]
    outbox.stop(PATIENCE)


def test_queueing_a_push_does_not_block(gate: Gate, started: Opens) -> None:
    server = Server(gate)
    outbox = started(server)
    for number in range(50):
        outbox.put(push(str(number)))
    assert gate.is_reached.wait(PATIENCE)
    assert server.taken == []
    gate.open()
    server.waits_for(lambda: len(server.taken) == 50)
    outbox.stop(PATIENCE)


def test_an_urgent_push_overtakes_waiting_ones(gate: Gate, started: Opens) -> None:
    server = Server(gate)
    outbox = started(server)
    outbox.put(push("first"))
    assert gate.is_reached.wait(PATIENCE)
    for number in range(99):
        outbox.put(push(f"change {number}"))
    outbox.put(push("lost", 4))
    gate.open()
    server.waits_for(lambda: len(server.taken) == 101)
    assert server.titles()[:3] == ["first", "lost", "change 0"]
    outbox.stop(PATIENCE)


def test_an_urgent_push_overtakes_one_that_failed(gate: Gate, started: Opens) -> None:
    def fail_late() -> None:
        gate()
        raise AWAY

    server = Server(fail_late)
    outbox = started(server)
    outbox.put(push("change"))
    assert gate.is_reached.wait(PATIENCE)
    outbox.put(push("lost", 4))
    gate.open()
    server.waits_for(lambda: len(server.taken) == 2)
    assert server.tries == ["change", "lost", "change"]
    outbox.stop(PATIENCE)


@pytest.mark.parametrize("failure", [AWAY, BUSY, PushFailed("ntfy.example.com answers 503")])
def test_a_failed_push_is_retried_until_it_succeeds(
    monkeypatch: pytest.MonkeyPatch, failure: PushFailed, opened: Opens
) -> None:
    server = Server(failure, failure, failure)
    outbox = opened(server, pauses=(2, 5))
    pauses: list[float] = []
    monkeypatch.setattr(outbox, "_wait", lambda pause: not pauses.append(pause))
    outbox.start()
    outbox.put(push("title"))
    server.waits_for(lambda: server.taken)
    assert server.tries == ["title"] * 4
    assert pauses == [max(pause, failure.retry_after) for pause in (2, 5, 5)]
    outbox.stop(PATIENCE)


def test_a_refused_login_is_retried_soon_and_later_less_often(
    monkeypatch: pytest.MonkeyPatch, opened: Opens
) -> None:
    server = Server(*[WRONG_LOGIN] * 7)
    outbox = opened(server, pauses=(2, 5))
    pauses: list[float] = []
    monkeypatch.setattr(outbox, "_wait", lambda pause: not pauses.append(pause))
    outbox.start()
    outbox.put(push("title"))
    server.waits_for(lambda: server.taken)
    assert server.tries == ["title"] * 8
    assert pauses == [0.5, 0.5, 0.5, 0.5, 2, 5, 5]
    outbox.stop(PATIENCE)


def test_each_outage_of_ntfy_and_its_end_are_logged_once(
    caplog: pytest.LogCaptureFixture, started: Opens
) -> None:
    caplog.set_level(logging.INFO)
    for _ in range(2):
        caplog.clear()
        server = Server(*[AWAY] * 5)
        outbox = started(server)
        outbox.put(push("one"))
        outbox.put(push("two"))
        server.waits_for(lambda server=server: len(server.taken) == 2)
        outbox.stop(PATIENCE)
        (away, back) = lines(caplog)
        assert (
            "No push gets through to ntfy (ntfy.example.com can't be reached: no connection)."
            in away
        )
        assert back == "ntfy accepts pushes again."


def test_a_wrong_url_and_its_correction_are_logged_once(
    caplog: pytest.LogCaptureFixture, started: Opens
) -> None:
    caplog.set_level(logging.INFO)
    server = Server(*[WRONG_URL] * 3)
    outbox = started(server)
    for number in range(3):
        outbox.put(push(str(number)))
    server.waits_for(lambda: len(server.tries) == 3)
    outbox.put(push("corrected"))
    server.waits_for(lambda: len(server.taken) == 2)
    outbox.stop(PATIENCE)
    assert server.tries == ["0", "1", "2", "corrected", "Notifications were lost"]
    assert server.taken[1].message.startswith("3 could not be delivered")
    refused, lost, back = lines(caplog)
    assert lost == "3 pushes lost. The log has all events."
    assert refused == (
        "ntfy refuses pushes: not found (404): check NTFY_URL. Until you correct this, events are "
        "only logged."
    )
    assert back == "ntfy accepts pushes again."


def test_a_login_that_is_allowed_later_loses_no_push(
    caplog: pytest.LogCaptureFixture, started: Opens
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
        "ntfy refuses pushes: wrong login (401): check NTFY_USERNAME and NTFY_PASSWORD. Pushes "
        "wait for up to an hour. Until ntfy accepts them, events are only logged."
    )
    assert back == "ntfy accepts pushes again."


def test_a_refusal_that_ntfy_takes_back_is_not_logged(
    caplog: pytest.LogCaptureFixture, started: Opens
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


def test_of_several_processes_one_logs_each_problem(
    caplog: pytest.LogCaptureFixture, started: Opens
) -> None:
    is_first = FirstOfAll()
    for _ in range(3):
        server = Server(AWAY, *[WRONG_LOGIN] * 10_000)
        outbox = started(server, is_first=is_first)
        outbox.put(push("title"))
        server.waits_for(lambda server=server: len(server.tries) >= 6)
        outbox.stop(PATIENCE)
    away, refused = lines(caplog, logging.ERROR)
    assert "No push gets through" in away
    assert "wrong login" in refused


def test_only_the_process_that_logged_a_problem_logs_its_end(
    caplog: pytest.LogCaptureFixture, started: Opens
) -> None:
    caplog.set_level(logging.INFO)
    is_first = FirstOfAll()
    for title in ("first", "second"):
        server = Server(*[AWAY] * 3)
        outbox = started(server, is_first=is_first)
        outbox.put(push(title))
        server.waits_for(lambda server=server: server.taken)
        outbox.stop(PATIENCE)
    away, back = lines(caplog)
    assert "No push gets through" in away
    assert back == "ntfy accepts pushes again."
    assert len(is_first.asked) == 2, "each process asks once for each problem"


def test_a_full_queue_drops_the_least_urgent_pushes(
    caplog: pytest.LogCaptureFixture, gate: Gate, started: Opens
) -> None:
    caplog.set_level(logging.DEBUG)
    server = Server(gate)
    outbox = started(server)
    outbox.put(push("first"))
    assert gate.is_reached.wait(PATIENCE)
    for number in range(103):
        outbox.put(push(f"change {number}"))
    outbox.put(push("lost", 4))
    gate.open()
    server.waits_for(lambda: len(server.taken) == 102)
    outbox.stop(PATIENCE)
    dropped = [
        f"Not pushed, because too many pushes are waiting: change {number}"
        for number in (99, 100, 101, 102)
    ]
    assert [line for line in lines(caplog, logging.DEBUG) if "Not" in line] == dropped
    kept = [f"change {number}" for number in range(99)]
    assert [title for title in server.titles() if title != "Notifications were lost"] == [
        *("first", "lost"),
        *kept,
    ]
    (summary,) = (one for one in server.taken if one.title == "Notifications were lost")
    assert summary.message.startswith("4 could not be delivered")
    counted = "4 pushes lost. The log has all events."
    assert lines(caplog) == [dropped[0], counted], "the others are counted"


def test_a_push_that_is_too_old_is_dropped(
    caplog: pytest.LogCaptureFixture, clock: Clock, started: Opens
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
    assert "Not pushed, because it is too old: old" in lines(caplog)


def test_a_bug_loses_one_push_and_logs_a_traceback(
    caplog: pytest.LogCaptureFixture, started: Opens
) -> None:
    server = Server(KeyError("a bug"))
    outbox = started(server)
    outbox.put(push("one"))
    outbox.put(push("two"))
    server.waits_for(lambda: "two" in server.titles())
    outbox.stop(PATIENCE)
    (record,) = (record for record in caplog.records if record.levelno == logging.ERROR)
    assert record.exc_info is not None
    assert "Not pushed, because of a bug: one" in lines(caplog)
    assert "one" not in server.titles()


class TestStop:
    def test_sends_stored_pushes(
        self, caplog: pytest.LogCaptureFixture, gate: Gate, started: Opens
    ) -> None:
        server = Server(gate)
        outbox = started(server)
        outbox.put(push("first"))
        assert gate.is_reached.wait(PATIENCE)
        for number in range(100):
            outbox.put(push(str(number)))
        ending = threading.Thread(target=outbox.stop, args=(PATIENCE,))
        ending.start()
        gate.open()
        ending.join(PATIENCE)
        assert len(server.taken) == 101
        assert outbox.stored() == []
        assert lines(caplog) == []

    def test_ends_an_idle_outbox_at_once(
        self, caplog: pytest.LogCaptureFixture, started: Opens
    ) -> None:
        started(Server()).stop(3600)
        assert not [thread for thread in threading.enumerate() if thread.name == "ntfy"]
        assert lines(caplog) == []

    def test_leaves_the_pushes_to_the_leader(self, started: Opens, opened: Opens) -> None:
        opened(Server()).put(push("title"))  # in another process
        server = Server()
        outbox = started(server)
        outbox.stop(PATIENCE)
        assert server.tries == []
        assert outbox.stored() == ["title"]

    def test_gives_a_try_only_the_time_left(
        self, monkeypatch: pytest.MonkeyPatch, opened: Opens
    ) -> None:
        server = Server()
        outbox = opened(server)
        outbox.put(push("title"))
        monkeypatch.setattr(outbox, "_seconds_left", lambda: 3.0)
        outbox.start()
        outbox.stop(PATIENCE)
        assert server.seconds == [3]

    def test_logs_no_outage_if_the_last_try_had_no_time(
        self, caplog: pytest.LogCaptureFixture, opened: Opens
    ) -> None:
        outbox = opened(Server(AWAY))
        outbox.put(push("title"))
        outbox.end(PATIENCE)
        outbox.start()
        outbox.stop(PATIENCE)
        assert outbox.stored() == ["title"]
        assert lines(caplog) == []

    def test_does_not_wait_for_a_server_that_hangs(
        self, caplog: pytest.LogCaptureFixture, gate: Gate, started: Opens
    ) -> None:
        outbox = started(Server(gate))
        for title in ("hanging", "waiting"):
            outbox.put(push(title))
        assert gate.is_reached.wait(PATIENCE)
        outbox.stop(0.05)
        assert outbox.stored() == ["hanging", "waiting"]
        assert lines(caplog) == []

    def test_retries_a_server_that_is_away_at_most_once(self, started: Opens) -> None:
        server = Server(*[AWAY] * 100)
        outbox = started(server, pauses=(3600,))
        outbox.put(push("title"))
        server.waits_for(lambda: server.tries)
        outbox.stop(PATIENCE)
        assert len(server.tries) <= 2
        assert outbox.stored() == ["title"]

    def test_believes_the_fifth_refusal_without_a_pause(
        self, caplog: pytest.LogCaptureFixture, opened: Opens
    ) -> None:
        server = Server(*[WRONG_LOGIN] * 7)
        outbox = opened(server, pauses=(3600,))
        for number in range(3):
            outbox.put(push(str(number)))
        outbox.end(PATIENCE)
        outbox.start()
        outbox.stop(PATIENCE)
        assert server.tries == ["0"] * 5
        assert outbox.stored() == ["0", "1", "2"]
        (refused,) = lines(caplog)
        assert "wrong login" in refused


class TestAKilledProcess:
    """The next process sends every push that no channel has accepted."""

    def test_loses_no_push_that_waits(self, opened: Opens, started: Opens) -> None:
        killed = opened(Server())
        for number in range(3):
            killed.put(push(str(number)))
        server = Server()
        outbox = started(server)
        outbox.wake()
        server.waits_for(lambda: len(server.taken) == 3)
        outbox.stop(PATIENCE)
        assert server.titles() == ["0", "1", "2"]
        assert outbox.stored() == []

    def test_repeats_only_the_push_that_it_was_sending(
        self, store: Store, monkeypatch: pytest.MonkeyPatch, started: Opens
    ) -> None:
        first = Server()
        with monkeypatch.context() as patched:
            patched.setattr(store.pushes, "delivered", raise_unavailable)
            killed = started(first)
            for title in ("one", "two"):
                killed.put(push(title))
            killed.stop(PATIENCE)
        second = Server()
        outbox = started(second)
        outbox.wake()
        second.waits_for(lambda: len(second.taken) == 2)
        outbox.stop(PATIENCE)
        assert (first.titles(), second.titles()) == (["one"], ["one", "two"])


def raise_unavailable(*_: object) -> None:
    raise StoreUnavailable("It is away.")


class TestAPushThatMayHaveArrived:
    def test_is_repeated_less_and_less_often(self, clock: Clock, opened: Opens) -> None:
        server = Server(*[PushFailed("no answer in time", is_doubtful=True)] * 1000)
        outbox = opened(server, clock=clock)
        for seconds in range(0, 3600, 10):
            if not seconds:
                outbox.put(push("title"))
            clock.advance(10)
            outbox.wake()
            outbox._send_all()  # noqa: SLF001 - as its thread does
        assert 5 <= len(server.tries) <= 10
        clock.advance(3600)
        outbox._send_all()  # noqa: SLF001
        assert outbox.stored() == []

    def test_delays_no_other(self, started: Opens) -> None:
        server = Server(PushFailed("no answer in time", is_doubtful=True))
        outbox = started(server)
        outbox.put(push("slow"))
        outbox.put(push("next"))
        server.waits_for(lambda: server.taken)
        outbox.stop(PATIENCE)
        assert server.tries == ["slow", "next"]
        assert outbox.stored() == ["slow"]
