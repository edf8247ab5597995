"""A queue of pushes, which waits while the server is away."""

from __future__ import annotations

import bisect
import itertools
import logging
import threading
import time
from typing import Callable, NamedTuple, Sequence

from backend.notify.channels import Channel
from backend.notify.ntfy import Push, PushFailed, PushRefused
from backend.text import counted

logger = logging.getLogger(__name__)

_PAUSES = (2.0, 5.0, 15.0, 30.0, 60.0)  # seconds between tries; the last one repeats
_LIFETIME = 3600.0  # seconds after which a push is useless
_MOST_WAITING = 100
_LONGEST_TRY = 30.0  # seconds; a channel may have a lower limit
_UNBELIEVED_PAUSE = 0.5


class _QueuedPush(NamedTuple):
    """A push that waits. The order of the fields sorts the most urgent first, then the oldest."""

    rank: int
    number: int
    since: float
    push: Push


class Outbox:
    """Sends pushes on its own thread, the most urgent first. Safe to share between threads.

    `is_first` returns true in the first process that asks for a key within some time. Only that
    process logs that the channel has a problem, and that the problem has cleared.
    """

    def __init__(
        self,
        channel: Channel,
        is_first: Callable[[str], bool] = lambda _: True,
        *,
        pauses: Sequence[float] = _PAUSES,
        count: Callable[[str], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._channel = channel
        self._name = channel.name
        self._setting = "NTFY_URL" if channel.name == "ntfy" else "NOTIFY_URLS"
        self._is_first = is_first
        self._problems: dict[str, bool] = {}  # whether this process has logged them
        self._pauses = pauses
        self._count = count  # ``sent`` or ``dropped``
        self._clock = clock
        self._numbers = itertools.count()
        self._waiting: list[_QueuedPush] = []  # sorted
        self._sending: _QueuedPush | None = None
        self._failures = 0  # in a row
        self._lost = 0  # since the last summary
        self._end: float | None = None  # the deadline of a stop
        self._has_ended = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name=channel.name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def problem(self, _patience: float = 0.0) -> str:
        """Return a problem if the thread has died. An unreachable server isn't a problem."""
        has_died = self._thread.ident is not None and not self._thread.is_alive()
        return f"{self._name} has died" if has_died and self._end is None else ""

    def put(self, push: Push) -> None:
        """Queue a push. If too many wait, the least urgent one is dropped."""
        queued = _QueuedPush(-push.priority, next(self._numbers), self._clock(), push)
        dropped, why = queued, "the service is stopping"
        with self._changed:
            if not self._has_ended:
                bisect.insort(self._waiting, queued)
                self._changed.notify_all()
                if len(self._waiting) <= _MOST_WAITING:
                    return
                dropped, why = self._waiting.pop(), "too many pushes are waiting"
        self._lose(dropped, why)

    def end(self, seconds: float) -> None:
        """Let the thread end: it sends the waiting pushes for at most a few seconds."""
        with self._changed:
            if self._end is None:
                self._end = self._clock() + seconds
            self._changed.notify_all()

    def stop(self, seconds: float) -> None:
        """Send the waiting pushes, for at most a few seconds, and drop the others."""
        self.end(seconds)
        if self._thread.is_alive():
            self._thread.join(seconds)
        with self._changed:
            left = [queued for queued in (self._sending, *self._waiting) if queued is not None]
            self._waiting.clear()
            self._has_ended = True
        for queued in left:
            self._lose(queued, "the service is stopping")
        self._sum_up()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._end is not None)
                if not self._waiting or not self._seconds_left():
                    return
                queued = self._sending = self._waiting.pop(0)
            pause = self._send(queued)
            if pause and not self._wait(pause):
                return

    def _seconds_left(self) -> float:
        return _LONGEST_TRY if self._end is None else max(0.0, self._end - self._clock())

    def _wait(self, pause: float) -> bool:
        """Wait before the next try; return false if there is none."""
        with self._changed:
            if self._end is not None:
                return False
            self._changed.wait_for(lambda: self._end is not None, pause)
            return True

    def _send(self, queued: _QueuedPush) -> float:
        """Try to send a push; return the seconds to wait before the next try of any push."""
        if self._clock() - queued.since > _LIFETIME:
            self._lose(queued, "it is too old")
            return 0.0
        try:
            self._channel.publish(queued.push, self._seconds_left())
        except PushRefused as error:
            self._complain(
                f"{self._name} refuses pushes",
                f"{self._name} refuses pushes: {error}. Until you correct this, events are only "
                "logged.",
            )
            self._lose(queued, f"{self._name} refused it", is_logged=True)
        except PushFailed as error:
            return self._fail(queued, error)
        except Exception:
            logger.exception("A push failed because of a bug")
            self._lose(queued, "of a bug")
        else:
            self._note_success()
        return 0.0

    def _fail(self, queued: _QueuedPush, error: PushFailed) -> float:
        """Put a push back; return the seconds to wait before the next try."""
        self._failures += 1
        with self._changed:
            self._sending = None
            bisect.insort(self._waiting, queued)
            is_stopping = self._end is not None
        number = self._failures - error.believed_after
        if number <= 0:
            return 0.0 if is_stopping else min(self._pauses[0], _UNBELIEVED_PAUSE)
        if error.believed_after:
            self._complain(
                f"{self._name} refuses pushes",
                f"{self._name} refuses pushes: {error}. Pushes wait for up to an hour. Until "
                f"{self._name} accepts them, events are only logged.",
            )
        elif not is_stopping:  # after the deadline, the attempt may have had too little time
            self._complain(
                f"{self._name} is away",
                f"No push gets through to {self._name} ({error}). Pushes wait for up to an hour. "
                f"Updates are not affected. If this lasts, check {self._setting} and the server.",
            )
        return max(self._pauses[min(number, len(self._pauses)) - 1], error.retry_after)

    def _note_success(self) -> None:
        """Count the push; after the last one, log that a problem has cleared, and lost pushes."""
        self._count("sent")
        with self._changed:
            self._failures = 0
            self._sending = None
            if self._waiting or self._has_ended:
                return
        lost = self._sum_up()
        if lost:
            text = f"{lost} could not be delivered since the last one: see the log."
            self.put(Push("Notifications were lost", text, tags=("wastebasket",)))
        if any(self._problems.values()):
            logger.info("%s accepts pushes again.", self._name)
        self._problems.clear()

    def _complain(self, problem: str, sentence: str) -> None:
        """Log a problem of the channel or its settings once, not at every push."""
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
