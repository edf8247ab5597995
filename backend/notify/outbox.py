"""Reports events: a log line and perhaps a push, which waits in a queue."""

from __future__ import annotations

import bisect
import itertools
import logging
import threading
import time
from typing import Any, Callable, Mapping, NamedTuple, Sequence

from backend.events import Event, PushPolicy
from backend.notify.ntfy import LoginRefused, Ntfy, Push, PushFailed, PushRefused
from backend.text import counted, duration, moment

logger = logging.getLogger(__name__)
events = logging.getLogger("hetzner-dyndns")

_PAUSES = (2.0, 5.0, 15.0, 30.0, 60.0)  # seconds between tries; the last one repeats
_LIFETIME = 3600.0  # seconds after which a push is useless
_MOST_WAITING = 100
_LONGEST_TRY = 10.0  # seconds
# ntfy 2.11 sometimes answers 403, and accepts the same push a moment later.
_REFUSALS_BELIEVED = 5
_UNBELIEVED_PAUSE = 0.5


class _QueuedPush(NamedTuple):
    """A push that waits. The order of the fields sorts the most urgent first, then the oldest."""

    rank: int
    number: int
    since: float
    push: Push


class Outbox:
    """Sends pushes on its own thread, the most urgent first. Safe to share between threads.

    `is_first` returns whether this process is the first of all that asks for a key for some time.
    Only this process logs that ntfy has a problem, and that the problem is over.
    """

    def __init__(
        self,
        ntfy: Ntfy,
        is_first: Callable[[str], bool] = lambda _: True,
        *,
        pauses: Sequence[float] = _PAUSES,
        count: Callable[[str], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ntfy = ntfy
        self._is_first = is_first
        self._problems: dict[str, bool] = {}  # whether this process has logged them
        self._pauses = pauses
        self._count = count  # ``sent`` or ``dropped``
        self._clock = clock
        self._numbers = itertools.count()
        self._waiting: list[_QueuedPush] = []  # sorted
        self._sending: _QueuedPush | None = None
        self._refusals = 0  # in a row
        self._lost = 0  # since the last summary
        self._end: float | None = None  # the deadline of a stop
        self._has_ended = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="ntfy", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def problem(self) -> str:
        """Return whether the thread has died. A server that is away is no problem."""
        has_died = self._thread.ident is not None and not self._thread.is_alive()
        return "ntfy has died" if has_died and self._end is None else ""

    def put(self, push: Push) -> None:
        """Queue a push. If too many wait, the least urgent one is dropped."""
        queued = _QueuedPush(-push.priority, next(self._numbers), self._clock(), push)
        with self._changed:
            has_ended = self._has_ended
            dropped = None if has_ended else self._add(queued)
        if has_ended:
            self._lose(queued, "the service stops")
        elif dropped is not None:
            self._lose(dropped, "too many pushes wait")

    def stop(self, seconds: float) -> None:
        """Send the waiting pushes, as far as this takes no more than some seconds."""
        with self._changed:
            self._end = self._clock() + seconds
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join(seconds)
        with self._changed:
            left = [queued for queued in (self._sending, *self._waiting) if queued is not None]
            self._waiting.clear()
            self._has_ended = True
        for queued in left:
            self._lose(queued, "the service stops")
        self._sum_up()

    def _add(self, queued: _QueuedPush) -> _QueuedPush | None:
        """Queue a push; return the one that is dropped for it."""
        bisect.insort(self._waiting, queued)
        self._changed.notify_all()
        return self._waiting.pop() if len(self._waiting) > _MOST_WAITING else None

    def _run(self) -> None:
        failures = 0
        while True:
            queued = self._take()
            if queued is None:
                return
            pause = self._send(queued, failures)
            failures = failures + 1 if pause else 0
            if pause and not self._wait(pause):
                return

    def _take(self) -> _QueuedPush | None:
        """Wait for a push and take it; return `None` at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._end is not None)
            if not self._waiting or not self._seconds_left():
                return None
            self._sending = self._waiting.pop(0)
            return self._sending

    def _seconds_left(self) -> float:
        return _LONGEST_TRY if self._end is None else max(0.0, self._end - self._clock())

    def _wait(self, pause: float) -> bool:
        """Wait before the next try; return false if there is none."""
        with self._changed:
            if self._end is not None:
                return False
            self._changed.wait_for(lambda: self._end is not None, pause)
            return True

    def _send(self, queued: _QueuedPush, failures: int) -> float:
        """Try to send a push; return the seconds to wait before the next try of any push."""
        if self._clock() - queued.since > _LIFETIME:
            self._lose(queued, "it is too old")
            return 0.0
        try:
            self._ntfy.publish(queued.push, self._seconds_left())
        except LoginRefused as error:
            return self._refused(queued, error)
        except PushRefused as error:
            self._complain(
                "ntfy refuses pushes",
                f"ntfy refuses pushes: {error}. Until you correct this, events are only logged.",
            )
            self._lose(queued, "ntfy refused it", is_logged=True)
        except PushFailed as error:
            if self._end is None:  # at the end, a try may have had no time
                self._complain(
                    "ntfy is away",
                    f"No push gets through to ntfy ({error}). Pushes wait for up to an hour. "
                    "Updates are not affected. If this lasts, check NTFY_URL and the server.",
                )
            self._put_back(queued)
            return max(self._pause(failures), error.retry_after)
        except Exception:
            logger.exception("A push failed because of a bug")
            self._lose(queued, "of a bug")
        else:
            self._note_success()
        return 0.0

    def _refused(self, queued: _QueuedPush, error: LoginRefused) -> float:
        """Try again later. While stopping, try at once until the refusal is believed."""
        self._refusals += 1
        believed_for = self._refusals - _REFUSALS_BELIEVED
        if believed_for >= 0:
            self._complain(
                "ntfy refuses pushes",
                f"ntfy refuses pushes: {error}. Pushes wait for up to an hour. Until ntfy accepts "
                "them, events are only logged.",
            )
            if self._end is not None:
                self._lose(queued, "ntfy refused it", is_logged=True)
                return 0.0
        self._put_back(queued)
        if self._end is not None:
            return 0.0
        pause = self._pause(max(0, believed_for))
        return pause if believed_for >= 0 else min(pause, _UNBELIEVED_PAUSE)

    def _pause(self, failures: int) -> float:
        return self._pauses[min(failures, len(self._pauses) - 1)]

    def _put_back(self, queued: _QueuedPush) -> None:
        with self._changed:
            self._sending = None
            bisect.insort(self._waiting, queued)

    def _note_success(self) -> None:
        """Count the push. If no other push waits, log that a problem is over, and what was lost."""
        self._count("sent")
        with self._changed:
            self._refusals = 0
            self._sending = None
            if self._waiting or self._has_ended:
                return
        lost = self._sum_up()
        if lost:
            text = f"{lost} could not be delivered since the last one: see the log."
            self.put(Push("Notifications were lost", text, tags=("wastebasket",)))
        if any(self._problems.values()):
            logger.info("ntfy accepts pushes again.")
        self._problems.clear()

    def _complain(self, problem: str, sentence: str) -> None:
        """Log a problem of ntfy or its settings once, not at every push."""
        if problem not in self._problems:
            self._problems[problem] = self._is_first(problem)
            if self._problems[problem]:
                logger.error("%s", sentence)

    def _lose(self, queued: _QueuedPush, why: str, *, is_logged: bool = False) -> None:
        """Drop a push. The log names the first one; the summary counts the others."""
        self._count("dropped")
        with self._changed:
            self._lost += 1
            is_logged = is_logged or self._lost > 1
            if self._sending is queued:
                self._sending = None
        level = logging.DEBUG if is_logged else logging.WARNING
        logger.log(level, "Not pushed, because %s: %s", why, queued.push.title)

    def _sum_up(self) -> int:
        """Log how many pushes were lost since the last time; return the number."""
        with self._changed:
            lost, self._lost = self._lost, 0
        if lost:
            logger.warning("%s lost. The log has all events.", counted(lost, "push", "pushes"))
        return lost


class Reporter:
    """Logs events, and pushes those whose policy asks for it."""

    def __init__(
        self,
        push: Callable[[Push], None] = lambda _: None,
        *,
        on_change: bool = False,
        debugging: bool = False,
    ) -> None:
        self._push = push
        self._pushed = {PushPolicy.ALWAYS}
        if on_change or debugging:
            self._pushed.add(PushPolicy.CHANGING)

    def report(self, event: Event, *, quietly: bool = False) -> None:
        """Report an event; `quietly` sends no push. Never raises, and never blocks."""
        is_pushed = event.push in self._pushed and not quietly and getattr(event, "is_news", True)
        if not events.isEnabledFor(event.level) and not is_pushed:
            return  # an unchanged update ends here
        words = {name: _FORMATS.get(name, str)(value) for name, value in vars(event).items()}
        message = event.message.format(**words)
        events.log(event.level, "%s", message)
        if is_pushed:
            self._push(Push(event.title.format(**words), message, event.priority, event.tags))


def _last_seen(at: float | None) -> str:
    return "none since its registration" if at is None else f"last seen {moment(at)}"


# How a field of an event is written; `str` writes all others.
_FORMATS: Mapping[str, Callable[[Any], str]] = {
    "host": lambda host: str(host or "an unknown host"),
    "type": lambda kind: str(kind.value),
    "after": duration,
    "seen_at": _last_seen,
    "unsaid": lambda more: f" {more} more since the last such line." if more else "",
}
