"""Publishes certificate challenges (DNS-01), and removes them again."""

from __future__ import annotations

import time
from typing import Callable, Protocol, Sequence

from backend.errors import (
    ChangeRefused,
    DyndnsError,
    HetznerBusy,
    OperatorError,
    SecondaryZone,
    StoreUnavailable,
    Superseded,
    TransientError,
    ZoneNotFound,
)
from backend.events import ChallengeFailed, ChallengePublished, ChallengeRemoved
from backend.hetzner.client import NotFound
from backend.hetzner.dns import CHALLENGE_COMMENT, ActionState, Location
from backend.hetzner.zones import Zones
from backend.metrics import Meters
from backend.model import Change, Deadline, Hostname
from backend.notify.reporter import Reporter
from backend.rate import Shares
from backend.store import Store
from backend.store.challenges import FAILED, Challenge, StoredChallenge
from backend.store.leases import new_owner, wait_for_host
from backend.store.schema import Entry
from backend.sync.publisher import LONGEST_REFUSED_PAUSE, pause_after

KEPT_SECONDS = 3600.0  # clients that clean up do so after a minute
# For a challenge and its answer. Many proxies wait for an answer for 60 seconds.
_ANSWER_SECONDS = 55.0
# For Hetzner to accept it. The rest is for the action, which takes up to 17 seconds.
_ACCEPT_SECONDS = 25.0
# A request that takes longer has ended with its process.
_GRACE_SECONDS = 70.0
_LOCK_SECONDS = 45.0  # longer than any work under the lock
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 5.0
_REMOVE_SECONDS = 15.0
_NAMES_A_TICK = 10  # a longer run would count as one that hangs, if Hetzner doesn't answer
# Without a zone, for about a day. Its texts are gone with it.
_MOST_ATTEMPTS = 40


class Slots(Protocol):
    """Bounds the waiting requests, as `HostSlots` does."""

    def acquire(self, host: Hostname, deadline: Deadline) -> None: ...
    def release(self, host: Hostname) -> None: ...


class Challenges:
    """Publishes and removes challenges. Safe to share between threads.

    A challenge is stored before Hetzner is asked, so that it is removed even if this process dies.
    """

    def __init__(  # noqa: PLR0913
        self,
        store: Store,
        zones: Zones,
        reporter: Reporter,
        shares: Shares,
        slots: Slots,
        *,
        meters: Meters | None = None,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._store = store
        self._zones = zones
        self._reporter = reporter
        self._shares = shares
        self._meters = meters or Meters()
        self._clock = clock
        self._sleep = sleep
        self._slots = slots
        self._refused: dict[Hostname, tuple[float, DyndnsError]] = {}

    def present(self, challenge: Challenge) -> None:
        """Publish a challenge, and wait until Hetzner's name servers have it.

        A challenge that can't be published in time is removed again.

        Raises:
            OperatorError: Hetzner refuses it until the operator changes something.
            TransientError: it isn't published in time, or not stored.

        """
        deadline = Deadline(_ANSWER_SECONDS)
        with self._meters.update(challenge.requester.protocol) as measured:
            self._slots.acquire(challenge.name, deadline)
            try:
                start = self._clock()
                # Hetzner isn't asked at each request about a challenge that it refuses.
                until, refusal = self._refused.get(challenge.host, (0.0, None))
                if refusal is not None and 0 < until - start <= _GRACE_SECONDS:
                    raise refusal.with_traceback(None)
                self._refused.pop(challenge.host, None)
                added = start + _GRACE_SECONDS
                is_published = self._store.challenges.add(challenge, start, added)
                try:
                    self._publish(challenge, start, deadline, is_published=is_published)
                except DyndnsError as error:
                    self._take_back(challenge, added, error)
                    raise
            finally:
                self._slots.release(challenge.name)
            measured.outcome = Change.CREATED.value

    def clean_up(self, challenge: Challenge) -> bool:
        """Let a background job remove a challenge soon; return whether there is one.

        Raises:
            StoreUnavailable: it stays until its time is over.

        """
        with self._meters.update(challenge.requester.protocol) as measured:
            is_known = self._store.challenges.expire(challenge, self._clock())
            measured.outcome = (Change.DELETED if is_known else Change.UNCHANGED).value
        return is_known

    def tick(self) -> None:
        """Remove the challenges whose time is over. Every process does: each name has a lock."""
        for name in self._store.challenges.due_names(self._clock(), _NAMES_A_TICK):
            owner = new_owner()
            if not self._lock(name, owner):
                continue
            try:
                self._remove_due(name)
            finally:
                self._store.leases.release(_lock_of(name), owner)

    def _publish(
        self, challenge: Challenge, start: float, deadline: Deadline, *, is_published: bool
    ) -> None:
        """Publish a challenge that was stored at `start`, and keep it until it is removed."""
        name, owner, added = challenge.name, new_owner(), start + _GRACE_SECONDS
        accepting = Deadline(min(_ACCEPT_SECONDS, deadline.remaining()))
        superseded = Superseded(f"{name} was set again, or removed, in the meantime.")
        wait_for_host(name, lambda: self._lock(name, owner) or None, accepting)
        try:
            # Nothing would remove a text that isn't stored any more.
            if not self._store.challenges.is_current(challenge, added):
                raise superseded
            found = self._add_in_time(challenge, accepting, is_published=is_published)
        finally:
            self._store.leases.release(_lock_of(name), owner)
        if found is not None:
            self._follow(challenge, *found, deadline)
        elif not is_published:  # it isn't ours to remove
            return
        now = self._clock()
        why = f"published for a certificate, {now - start:.0f} s after the request"
        entry = _entry(challenge, now, "challenge", why)
        event = ChallengePublished(challenge.host, challenge.requester.source, now - start)
        with self._store.transaction():
            had_failed = self._store.challenges.keep(challenge, added, now + KEPT_SECONDS, entry)
            if had_failed is None:
                raise superseded
            self._reporter.report(event, quietly=not had_failed)

    def _add_in_time(
        self, challenge: Challenge, deadline: Deadline, *, is_published: bool
    ) -> tuple[Location, int] | None:
        """Add a challenge at Hetzner, several times if necessary."""
        attempts, has_looked_again = 0, False
        while True:
            try:
                return self._add(challenge, deadline, is_published=is_published)
            except ChangeRefused as error:
                is_outdated = isinstance(error, (NotFound, SecondaryZone))  # the list of zones
                # An attempt whose answer was lost may have added the text in the meantime.
                if has_looked_again or not (is_outdated or attempts):
                    raise
                self._zones.invalidate()
                has_looked_again = True
            except TransientError as error:
                pause = pause_after(attempts, error, first=_FIRST_PAUSE, longest=_LONGEST_PAUSE)
                if deadline.has_passed or pause >= deadline.remaining():
                    raise
                self._sleep(pause)
                attempts += 1

    def _add(
        self, challenge: Challenge, deadline: Deadline, *, is_published: bool
    ) -> tuple[Location, int] | None:
        """Add a challenge at Hetzner; return where, and its action, if any is needed."""
        location = self._zones.find(challenge.name, deadline)
        project = location.zone.project
        if project.api.is_short:
            self._shares.take(challenge.host)
        found = project.read_texts(location, deadline)
        text = _text(challenge)
        if text in found.comments:
            if is_published:
                return None
            if found.comments[text] != CHALLENGE_COMMENT:  # another client's, which removes it
                self._store.challenges.delete(challenge)
                return None
            # The answer to an earlier attempt was lost, and with it the id of the action.
            project.remove_texts(location, [text], deadline)
            found = project.read_texts(location, deadline)
        return location, project.add_text(location, text, found, deadline)

    def _follow(
        self, challenge: Challenge, location: Location, action: int, deadline: Deadline
    ) -> None:
        """Wait for the end of an action; raise an error if it doesn't end well and in time."""
        pause = _FIRST_PAUSE
        while not deadline.has_passed:
            self._sleep(min(pause, deadline.remaining()))
            pause = min(pause + 1, _LONGEST_PAUSE)
            try:
                state = _state(challenge, location, action, deadline)
            except TransientError:
                continue
            if state.status == "success":
                return
            if state.status == "error":
                why = state.error or "it gives no reason"
                raise HetznerBusy(
                    f"Hetzner could not publish the challenge of {challenge.host}: {why}."
                )
        raise HetznerBusy(f"Hetzner hasn't published the challenge of {challenge.host} in time.")

    def _take_back(self, challenge: Challenge, added: float, error: DyndnsError) -> None:
        """Let a background job remove what may be at Hetzner, and report the failure."""
        now = self._clock()
        if isinstance(error, OperatorError):
            self._refused[challenge.host] = (now + _GRACE_SECONDS, error)
        try:
            self._store.challenges.expire(challenge, now, added)
            if not isinstance(error, Superseded):  # the client itself has caused it
                self._report(challenge, now, error)
        except StoreUnavailable:
            return  # it is removed when its time is over

    def _remove_due(self, name: Hostname) -> None:
        """Remove the due challenges of a locked name at Hetzner, with one write."""
        now = self._clock()
        due = self._store.challenges.due(name, now)
        if not due:
            return
        try:
            self._remove(name, due)
        except DyndnsError as error:
            if isinstance(error, StoreUnavailable):
                raise
            longest = LONGEST_REFUSED_PAUSE if isinstance(error, OperatorError) else 60.0
            attempts = max(one.attempts for one in due)
            if isinstance(error, ZoneNotFound) and attempts >= _MOST_ATTEMPTS:
                self._store.challenges.removed(due, [])
                return
            pause = pause_after(attempts, error, longest=longest)
            self._store.challenges.postpone(due, now + min(pause, LONGEST_REFUSED_PAUSE))
            if isinstance(error, OperatorError):
                self._report(due[0].challenge, now, error)
            return
        told = [one.challenge for one in due if one.is_published]
        why = "removed: the certificate doesn't need it any more"
        entries = [_entry(one, now, "challenge_removed", why) for one in told]
        self._store.challenges.removed(due, entries)
        for challenge in told:
            self._reporter.report(ChallengeRemoved(challenge.host))

    def _remove(self, name: Hostname, due: Sequence[StoredChallenge]) -> None:
        deadline = Deadline(_REMOVE_SECONDS)
        location = self._zones.find(name, deadline)
        project = location.zone.project
        if project.api.is_low:
            raise HetznerBusy("The rest of the quota is left to requests.")
        try:
            found = project.read_texts(location, deadline).comments
            texts = sorted({_text(one.challenge) for one in due}.intersection(map(str, found)))
            if texts:
                project.remove_texts(location, texts, deadline)
        except NotFound:  # another client removed the texts, or the list of zones is old
            self._zones.invalidate()
            raise HetznerBusy(f"{name} was changed at Hetzner in the meantime.") from None

    def _report(self, challenge: Challenge, now: float, error: DyndnsError) -> None:
        """Report a failure, each cause once a day until a challenge is published."""
        entry = _entry(challenge, now, FAILED, str(error))
        with self._store.transaction():
            if self._store.history.add_once(entry, error.seen):
                self._reporter.report(ChallengeFailed(challenge.host, str(error)))

    def _lock(self, name: Hostname, owner: str) -> bool:
        return self._store.leases.acquire(_lock_of(name), owner, self._clock(), _LOCK_SECONDS)


def _state(
    challenge: Challenge, location: Location, action: int, deadline: Deadline
) -> ActionState:
    """Return the state of an action; if Hetzner doesn't report it, look for the text."""
    project = location.zone.project
    try:
        found = project.actions([action], deadline).get(action)
    except OperatorError:
        found = None
    if found is not None:
        return found
    is_there = _text(challenge) in project.read_texts(location, deadline).comments
    return ActionState("success" if is_there else "error", "")


def _lock_of(name: Hostname) -> str:
    return f"host {name}"


def _text(challenge: Challenge) -> str:
    return f'"{challenge.value}"'


def _entry(challenge: Challenge, now: float, event: str, why: str) -> Entry:
    requester = challenge.requester
    host, source, protocol = challenge.host.text, requester.source, requester.protocol
    return Entry(now, host, "TXT", event, source, protocol, None, None, why)
