"""Stores pushes, merges those with the same cause, and sends them until each channel has them."""

from __future__ import annotations

import contextlib
import json
import logging
import threading
import time
from typing import Callable, Sequence

from backend.errors import StoreUnavailable
from backend.notify.channels import Channel, PushFailed, PushRefused
from backend.notify.reporter import HostPush, Push, merged
from backend.store.leases import LeaderElection
from backend.store.pushes import Delivery, Pushes, WaitingPush
from backend.text import counted

logger = logging.getLogger(__name__)

_LIFETIME = 3600.0  # seconds after which a push is useless
_PAUSES = (2.0, 5.0, 15.0, 30.0, 60.0)  # seconds between tries; the last one repeats
# Seconds before a push that may have arrived is sent again: each repetition may be a duplicate.
_DOUBTFUL_PAUSES = (5.0, 60.0, 300.0, 600.0)
_MOST_WAITING = 100
_LONGEST_TRY = 30.0  # seconds; a channel may have a lower limit
_UNBELIEVED_PAUSE = 0.5
_POLL_SECONDS = 0.1
_AHEAD_SECONDS = 10.0  # a stop sends the pushes that are due in this time
_AWAKE_SECONDS = 10.0  # the lease of the leader lasts longer


class Outbox:
    """Sends pushes on its own thread, the most urgent first. Safe to share between threads.

    A push is deleted from the store when the channel has accepted it, so a push whose process is
    killed meanwhile is sent again. `is_first` returns true in the first process that asks for a key
    within some time. Only that process logs that the channel has a problem, and that the problem
    has cleared.
    """

    def __init__(  # noqa: PLR0913
        self,
        channel: Channel,
        pushes: Pushes,
        is_first: Callable[[str], bool] = lambda _: True,
        *,
        pauses: Sequence[float] = _PAUSES,
        count: Callable[[str], None] = lambda _: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.name = channel.name
        self._channel = channel
        self._pushes = pushes
        self._setting = "NTFY_URL" if channel.name == "ntfy" else "NOTIFY_URLS"
        self._is_first = is_first
        self._problems: dict[str, bool] = {}  # whether this process has logged them
        self._pauses = pauses
        self._count = count  # ``sent`` or ``dropped``
        self._clock = clock
        self._finished: set[int] = set()  # still to be deleted from the store
        self._failures = 0  # in a row
        self._has_sent = False  # since the last summary
        self._lost = 0  # since the last summary
        self._is_woken = False
        self._awake_until = 0.0  # monotonic; then this process may not be the leader any more
        self._end: float | None = None  # the deadline of a stop (monotonic)
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name=channel.name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def problem(self) -> str:
        """Return a problem if the thread has died. An unreachable server isn't a problem."""
        has_died = self._thread.ident is not None and not self._thread.is_alive()
        return f"{self.name} has died" if has_died and self._end is None else ""

    def wake(self) -> None:
        """Send the stored pushes. Only the leader calls this, every second while pushes wait."""
        with self._changed:
            self._awake_until = time.monotonic() + _AWAKE_SECONDS
            self._is_woken = True
            self._changed.notify_all()

    def end(self, seconds: float) -> None:
        """Let the thread end: it sends the stored pushes for at most a few seconds."""
        with self._changed:
            if self._end is None:
                self._end = time.monotonic() + seconds
            self._changed.notify_all()

    def stop(self, seconds: float) -> None:
        """Send the stored pushes, for at most a few seconds; the others remain stored."""
        self.end(seconds)
        if self._thread.is_alive():
            self._thread.join(seconds)
        self._sum_up()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._is_woken or self._end is not None)
                if not self._is_woken:
                    return
                self._is_woken = False
            try:
                self._send_all()
            except StoreUnavailable:
                logger.debug("The pushes for %s can't be read now.", self.name)

    def _send_all(self) -> None:
        """Send pushes while any are due."""
        while time.monotonic() < self._awake_until and self._seconds_left():
            delivery = self._next()
            if delivery is None:
                if self._settle():
                    continue
                return
            pause = self._send(delivery)
            if pause and not self._wait(pause):
                return

    def _seconds_left(self) -> float:
        return _LONGEST_TRY if self._end is None else max(0.0, self._end - time.monotonic())

    def _wait(self, pause: float) -> bool:
        """Wait before the next try; return false if there is none."""
        with self._changed:
            self._changed.wait_for(lambda: self._end is not None, pause)
            return self._end is None

    def _next(self) -> Delivery | None:
        """Return the push to send next, after the deletion of all that are finished or useless."""
        self._delete()
        now = self._clock()
        queue = self._pushes.queue(self.name)
        young = [one for one in queue if now - one.at <= _LIFETIME]
        for one in queue:
            if now - one.at > _LIFETIME:
                self._lose(one, "it is too old")
        for one in young[_MOST_WAITING:]:
            self._lose(one, "too many pushes are waiting")
        self._delete()
        # A later time is from before the clock was set back.
        latest = now + 2 * _DOUBTFUL_PAUSES[-1]
        waiting = young[:_MOST_WAITING]
        return next((one for one in waiting if not now < one.retry_at < latest), None)

    def _delete(self) -> None:
        if self._finished:
            self._pushes.delivered(self._finished)
            self._finished.clear()

    def _send(self, delivery: Delivery) -> float:
        """Try to send a push; return the seconds to wait before the next try of any push."""
        try:
            content = json.loads(delivery.content)
            push = Push(**{**content, "tags": tuple(content["tags"])})
            self._channel.publish(push, self._seconds_left())
        except PushRefused as error:
            self._complain(
                f"{self.name} refuses pushes",
                f"{self.name} refuses pushes: {error}. Until you correct this, events are only "
                "logged.",
            )
            self._lose(delivery, f"{self.name} refused it", is_logged=True)
        except PushFailed as error:
            return self._fail(delivery, error)
        except Exception:
            logger.exception("A push failed because of a bug")
            self._lose(delivery, "of a bug")
        else:
            self._count("sent")
            self._failures = 0
            self._has_sent = True
            self._finished.add(delivery.id)
        return 0.0

    def _fail(self, delivery: Delivery, error: PushFailed) -> float:
        """Keep a push for later; return the seconds to wait before the next try."""
        is_stopping = self._end is not None
        if error.is_doubtful:
            pause = _DOUBTFUL_PAUSES[min(delivery.doubts, len(_DOUBTFUL_PAUSES) - 1)]
            with contextlib.suppress(StoreUnavailable):
                self._pushes.doubt(delivery, self._clock() + pause)
        self._failures += 1
        number = self._failures - error.believed_after
        if number <= 0:
            return 0.0 if is_stopping else min(self._pauses[0], _UNBELIEVED_PAUSE)
        if error.believed_after:
            self._complain(
                f"{self.name} refuses pushes",
                f"{self.name} refuses pushes: {error}. Pushes wait for up to an hour. Until "
                f"{self.name} accepts them, events are only logged.",
            )
        elif not is_stopping:  # after the deadline, the attempt may have had too little time
            self._complain(
                f"{self.name} is away",
                f"No push gets through to {self.name} ({error}). Pushes wait for up to an hour. "
                f"Updates are not affected. If this lasts, check {self._setting} and the server.",
            )
        return max(self._pauses[min(number, len(self._pauses)) - 1], error.retry_after)

    def _settle(self) -> bool:
        """After the last push, log that a problem has cleared, and store a push about lost ones.

        Returns whether there is such a push.
        """
        if self._failures or not self._has_sent:
            return False
        self._has_sent = False
        lost = self._sum_up()
        if lost:
            text = f"{lost} could not be delivered since the last one: see the log."
            push = Push("Notifications were lost", text, tags=("wastebasket",))
            self._pushes.send(push.content(), push.priority, [self.name], self._clock())
        if any(self._problems.values()):
            logger.info("%s accepts pushes again.", self.name)
        self._problems.clear()
        return bool(lost)

    def _complain(self, problem: str, sentence: str) -> None:
        """Log a problem of the channel or its settings once, not at every push."""
        if problem not in self._problems:
            self._problems[problem] = self._is_first(problem)
            if self._problems[problem]:
                logger.error("%s", sentence)

    def _lose(self, delivery: Delivery, why: str, *, is_logged: bool = False) -> None:
        """Drop a push. The log names the first one; the summary counts the others."""
        self._count("dropped")
        self._finished.add(delivery.id)
        self._lost += 1
        level = logging.DEBUG if is_logged or self._lost > 1 else logging.WARNING
        title = json.loads(delivery.content)["title"]
        logger.log(level, "Not pushed, because %s: %s", why, title)

    def _sum_up(self) -> int:
        """Log how many pushes were lost since the last time; return the number."""
        lost, self._lost = self._lost, 0
        if lost:
            logger.warning("%s lost. The log has all events.", counted(lost, "push", "pushes"))
        return lost


class Grouping:
    """Stores pushes, merges those with the same cause, and lets the outboxes send them.

    Each process stores its pushes; the leader merges and sends those of all processes.
    """

    def __init__(
        self,
        pushes: Pushes,
        election: LeaderElection,
        outboxes: Sequence[Outbox],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._pushes = pushes
        self._election = election
        self._outboxes = {outbox.name: outbox for outbox in outboxes}
        self._clock = clock

    def start(self) -> None:
        for outbox in self._outboxes.values():
            outbox.start()

    def problem(self, _patience: float) -> str:
        """Return a problem if the thread of an outbox has died."""
        return ", ".join(filter(None, (outbox.problem() for outbox in self._outboxes.values())))

    def put(self, push: Push | HostPush) -> None:
        """Store a push, in the transaction of its event if this thread is in one.

        Raises:
            StoreUnavailable: the push isn't stored, and neither is the rest of the transaction.

        """
        now = self._clock()
        if not self._outboxes:
            return
        if isinstance(push, HostPush):
            due = now + push.waits
            fields = (push.cause, push.host, push.topic, push.is_problem, now, due, push.content)
            self._pushes.add(WaitingPush(*fields), now)
        else:
            self._pushes.send(push.content(), push.priority, self._outboxes, now)

    def tick(self) -> None:
        """As the leader, send the pushes that are due. Call this every second."""
        now = self._clock()
        if self._election.keep(now):
            self._send(now)

    def stop(self, seconds: float) -> None:
        """Send all pushes for at most a few seconds, unless another process does.

        The rest is sent after the next start, and with it those that wait for more hosts: a restart
        doesn't split the push of a cause.
        """
        end = time.monotonic() + seconds
        with contextlib.suppress(StoreUnavailable):
            while self._outboxes and not self._pushes.is_empty() and time.monotonic() < end:
                now = self._clock()
                if self._election.keep(now):
                    self._send(now, _AHEAD_SECONDS)
                    break
                time.sleep(_POLL_SECONDS)  # the leader may be stopping, too
        for outbox in self._outboxes.values():
            outbox.end(end - time.monotonic())
        for outbox in self._outboxes.values():
            outbox.stop(max(0.0, end - time.monotonic()))
        with contextlib.suppress(StoreUnavailable):
            self._election.resign()

    def _send(self, now: float, ahead: float = 0.0) -> None:
        channels = list(self._outboxes)
        for channel in self._pushes.merge(now, channels, merged, ahead):
            if channel in self._outboxes:
                self._outboxes[channel].wake()
            else:  # a channel that was removed from the settings
                self._pushes.delivered(
                    one.id for one in self._pushes.queue(channel) if one.at < now - _LIFETIME
                )
