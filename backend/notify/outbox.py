"""The queue of pushes, and what several processes must say only once."""

from __future__ import annotations

import heapq
import itertools
import logging
import os
import threading
import time
import weakref
from typing import Callable, List, NamedTuple, Optional, Sequence

from backend.notify.ntfy import LoginRefused, Ntfy, Push, PushFailed, PushRefused
from backend.text import counted

logger = logging.getLogger(__name__)


class Once:
    """Made before the fork, it is shared by all children: a pipe that holds one byte or none."""

    def __init__(self) -> None:
        self._out, self._in = os.pipe()
        for end in (self._out, self._in):
            os.set_blocking(end, False)
            weakref.finalize(self, os.close, end)
        self.allow()

    def take(self) -> bool:
        """Whether the word may be said: true for whoever asks first."""
        try:
            return bool(os.read(self._out, 1))
        except BlockingIOError:
            return False

    def allow(self) -> None:
        """Let the word be said again; only for whoever has said it."""
        os.write(self._in, b"1")


class Complaints:
    """What the log says once, whichever process finds it out: made before the fork."""

    def __init__(self) -> None:
        self.is_refused = Once()
        self.is_away = Once()


_PAUSES = (2.0, 5.0, 15.0, 30.0, 60.0)  # seconds between tries; the last one for all that follow
_LIFETIME = 3600.0  # seconds until a push is too old to be of use
_MOST_WAITING = 100
_LONGEST_TRY = 10.0  # seconds
# ntfy 2.11 answers 403 now and then, and takes the same push a moment later: one means nothing.
_REFUSALS_BELIEVED = 5
_UNBELIEVED_PAUSE = 0.5


class _QueuedPush(NamedTuple):
    """A push that waits. In order of its fields: the most urgent first, then the oldest."""

    rank: int
    number: int
    since: float
    push: Push


class Outbox:
    """Sends pushes, the most urgent first. Safe to share between threads."""

    def __init__(
        self,
        ntfy: Ntfy,
        complaints: Optional[Complaints] = None,
        *,
        pauses: Sequence[float] = _PAUSES,
        count: Callable[[str], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ntfy = ntfy
        self._complaints = complaints or Complaints()
        self._said: List[Once] = []
        self._pauses = pauses
        self._count = count  # ``sent`` or ``dropped``
        self._clock = clock
        self._numbers = itertools.count()
        self._waiting: List[_QueuedPush] = []
        self._sending: Optional[_QueuedPush] = None
        self._refusals = 0  # in a row
        self._lost = 0  # since the last summary
        self._end: Optional[float] = None  # when stopping: by when
        self._has_ended = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="ntfy", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def problem(self) -> str:
        """Return what is wrong with the thread; a server that is away is nothing wrong."""
        has_died = self._thread.ident is not None and not self._thread.is_alive()
        return "ntfy has died" if has_died and self._end is None else ""

    def put(self, push: Push) -> None:
        """Leave a push to be sent; when too many wait, the least urgent is dropped."""
        queued = _QueuedPush(-push.priority, next(self._numbers), self._clock(), push)
        with self._changed:
            has_ended = self._has_ended
            dropped = None if has_ended else self._add(queued)
        if has_ended:
            self._lose(queued, "the service ends")
        elif dropped is not None:
            self._lose(dropped, "too many wait")

    def stop(self, seconds: float) -> None:
        """Send what waits, as far as that can be done within some seconds."""
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
            self._lose(queued, "the service ends")
        self._sum_up()

    def _add(self, queued: _QueuedPush) -> Optional[_QueuedPush]:
        """Add a letter; return the one that has to go for it."""
        heapq.heappush(self._waiting, queued)
        self._changed.notify_all()
        if len(self._waiting) <= _MOST_WAITING:
            return None
        dropped = max(self._waiting)
        self._waiting.remove(dropped)
        heapq.heapify(self._waiting)
        return dropped

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

    def _take(self) -> Optional[_QueuedPush]:
        """Wait for a letter and take it; `None` at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._end is not None)
            if not self._waiting or not self._seconds_left():
                return None
            self._sending = heapq.heappop(self._waiting)
            return self._sending

    def _seconds_left(self) -> float:
        return _LONGEST_TRY if self._end is None else max(0.0, self._end - self._clock())

    def _wait(self, pause: float) -> bool:
        """Wait before the next try; false when there shall be none."""
        with self._changed:
            if self._end is not None:
                return False
            self._changed.wait_for(lambda: self._end is not None, pause)
            return True

    def _send(self, queued: _QueuedPush, failures: int) -> float:
        """Try to send a letter; return how long to wait before the next try of anything."""
        if self._clock() - queued.since > _LIFETIME:
            self._lose(queued, "it became too old")
            return 0.0
        try:
            self._ntfy.publish(queued.push, self._seconds_left())
        except LoginRefused as error:
            return self._refused(queued, error)
        except PushRefused as error:
            self._complain(
                self._complaints.is_refused,
                f"ntfy refuses pushes: {error}. Until that is mended, events are in this log only.",
            )
            self._lose(queued, "it was refused", is_said=True)
        except PushFailed as error:
            if self._end is None:  # at the end, a try may have had no time
                self._complain(
                    self._complaints.is_away,
                    f"No push gets through to ntfy ({error}). They wait for an hour at most; "
                    "nothing else is affected. If this lasts, check NTFY_URL and the server.",
                )
            self._put_back(queued)
            return max(self._pause(failures), error.retry_after)
        except Exception:
            logger.exception("A push failed; the outbox goes on")
            self._lose(queued, "there is a bug")
        else:
            self._note_success()
        return 0.0

    def _refused(self, queued: _QueuedPush, error: LoginRefused) -> float:
        """Try again later; when stopping, at once, until the refusal is believed."""
        self._refusals += 1
        believed_for = self._refusals - _REFUSALS_BELIEVED
        if believed_for >= 0:
            self._complain(
                self._complaints.is_refused,
                f"ntfy refuses pushes: {error}. They wait for an hour at most; "
                "until it takes them, events are in this log only.",
            )
            if self._end is not None:
                self._lose(queued, "it was refused", is_said=True)
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
            heapq.heappush(self._waiting, queued)

    def _note_success(self) -> None:
        """Once nothing waits any more, say that all is well again, and what was lost."""
        self._count("sent")
        with self._changed:
            self._refusals = 0
            self._sending = None
            if self._waiting or self._has_ended:
                return
        lost = self._sum_up()
        if lost:
            self.put(_summary(lost))
        if self._said:
            logger.info("ntfy takes pushes again.")
            while self._said:
                self._said.pop().allow()

    def _complain(self, complaint: Once, sentence: str) -> None:
        """Say what is wrong with ntfy or its settings once, not at every push."""
        if complaint.take():
            self._said.append(complaint)
            logger.error("%s", sentence)

    def _lose(self, queued: _QueuedPush, why: str, *, is_said: bool = False) -> None:
        """Give a letter up: the first one is named in the log, the others are counted there."""
        self._count("dropped")
        with self._changed:
            self._lost += 1
            is_said = is_said or self._lost > 1
            if self._sending is queued:
                self._sending = None
        level = logging.DEBUG if is_said else logging.WARNING
        logger.log(level, "Not pushed, for %s: %s", why, queued.push.title)

    def _sum_up(self) -> int:
        """Say in the log how many were lost since the last time, and return it."""
        with self._changed:
            lost, self._lost = self._lost, 0
        if lost:
            pushes = counted(lost, "push", "pushes")
            logger.warning("%s lost; what was to be told is in this log.", pushes)
        return lost


def _summary(lost: int) -> Push:
    text = f"{lost} could not be delivered since the last one: see the log of hetzner-dyndns."
    return Push("Notifications were lost", text, tags=("wastebasket",))
