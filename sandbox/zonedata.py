"""All zones and actions in memory: visibility, writes, and the state that DNS publishes."""

from __future__ import annotations

import dataclasses
import re
import threading
from collections import Counter, OrderedDict, deque
from typing import Callable, Mapping, Sequence

from sandbox.action import FAILED, Action
from sandbox.refusal import not_found, protected, taken
from sandbox.zone import Edit, Zone, fresh

# Real action ids have more than 32 bits; a client that truncates them should fail here, too.
_FIRST_ACTION = 604_989_101_982_297
_FIRST_ZONE = 53_091
# Older actions are dropped, since a load test may make millions.
MOST_ACTIONS = 100_000


class Zones:
    """The zones of all projects. Thread-safe. A project is identified by its token.

    `clock` returns seconds since 1970. The API shows a write at once; DNS serves `published`, which
    shows the write when its action has succeeded.
    """

    def __init__(self, clock: Callable[[], float], action_seconds: float = 0.5) -> None:
        self.clock = clock
        self._seconds = action_seconds
        self._lock = threading.RLock()
        self._action_id = _FIRST_ACTION
        self.clear()

    def clear(self) -> None:
        """Delete all zones and actions; action ids are not reused."""
        with self._lock:
            self._zones: dict[int, Zone] = {}
            self._ids: dict[str, int] = {}
            self._published: dict[str, Zone] = {}
            self._actions: OrderedDict[int, Action] = OrderedDict()
            # Each action with its zone and the snapshot to publish, None for a deleted zone.
            # All actions take the same time, so they end in the order of their start.
            self._pending: deque[tuple[Action, Zone, Zone | None]] = deque()
            self._running: Counter[int] = Counter()
            self._failed: set[int] = set()
            self._outcomes: deque[tuple[str, Mapping[str, str]]] = deque()
            self._zone_id = _FIRST_ZONE

    def foresee(self, outcome: str, count: int = 1, error: Mapping[str, str] = FAILED) -> None:
        """Set the outcome of the next `count` actions; the default is success."""
        with self._lock:
            self._outcomes.extend([(outcome, error)] * count)

    def describe(self, name: str, *, status: str | None, delegation: str) -> None:
        """Set what the API shows as a zone's status and delegation."""
        with self._lock:
            zone = self._named(name)
            self._zones[zone.id] = dataclasses.replace(zone, status=status, delegation=delegation)

    def add(self, zone: Zone) -> Zone:
        """Add a published zone without an action."""
        with self._lock:
            added = self._enter(zone)
            self._published[added.name] = added
            return added

    def publish(self, name: str, edit: Edit) -> None:
        """Change and publish a zone without an action."""
        with self._lock:
            zone = self._save(edit(self._named(name)))
            self._published[zone.name] = zone
            # Otherwise the end of a running action would revert the change.
            self._pending = deque(
                (action, one, zone if one.id == zone.id else snapshot)
                for action, one, snapshot in self._pending
            )

    def visible(self, project: str) -> list[Zone]:
        """Return the zones that are visible to this project."""
        with self._lock:
            return [zone for zone in self._zones.values() if zone.project in (None, project)]

    def find(self, project: str, id_or_name: str) -> Zone:
        """Return the zone with this id or name, or raise 404, also for zones of other projects."""
        with self._lock:
            number = self._ids.get(id_or_name)
            if number is None and re.fullmatch(r"[1-9][0-9]{0,17}", id_or_name):
                number = int(id_or_name)
            zone = self._zones.get(number or 0)
        if zone is None or zone.project not in (None, project):
            raise not_found("Zone")
        return zone

    def zone_of(self, hostname: str) -> tuple[Zone, str]:
        """Return the zone of any project that contains this name, and the relative name."""
        labels = hostname.split(".")
        with self._lock:
            for cut in range(len(labels)):
                name = ".".join(labels[cut:])
                if name in self._ids:
                    return self._named(name), ".".join(labels[:cut]) or "@"
        raise KeyError(hostname)

    def create(self, zone: Zone) -> tuple[Zone, Action]:
        """Add a new zone; its name must be unique in all projects."""
        with self._lock:
            added = self._enter(zone)
            return added, self._act("create_zone", added, added)

    def change(self, project: str, id_or_name: str, command: str, edit: Edit) -> Action:
        """Execute one write; writes are serialised."""
        with self._lock:
            zone = self._save(edit(self.find(project, id_or_name)))
            return self._act(command, zone, zone)

    def amend(self, project: str, id_or_name: str, edit: Edit) -> Zone:
        """Change labels, which need no action."""
        with self._lock:
            zone = edit(self.find(project, id_or_name))
            self._zones[zone.id] = zone
            return zone

    def delete(self, project: str, id_or_name: str) -> Action:
        """Delete a zone, unless it or one of its RRSets is protected."""
        with self._lock:
            zone = self.find(project, id_or_name)
            if zone.protected:
                raise protected("Zone is delete protected")
            if any(rrset.protected for rrset in zone.rrsets.values()):
                raise protected("RRSet(s) is/are change protected")
            del self._zones[zone.id], self._ids[zone.name]
            return self._act("delete_zone", zone, None)

    def actions(self, project: str, ids: Sequence[int] = ()) -> list[Action]:
        """Return all actions of the project, or those with these ids, also of deleted zones."""
        with self._lock:
            known = [
                self._actions[number] for number in sorted(set(ids)) if number in self._actions
            ]
            every = known if ids else self._actions.values()
            return [action for action in every if action.project in (None, project)]

    def action(self, project: str, action_id: int) -> Action:
        """Return the action with this id, or raise 404."""
        with self._lock:
            action = self._actions.get(action_id)
        if action is None or action.project not in (None, project):
            raise not_found("Action")
        return action

    def published(self) -> Mapping[str, Zone]:
        """Return the zones that DNS serves now, by name."""
        with self._lock:
            self._publish_ended()
            return dict(self._published)

    def status(self, zone: Zone) -> str:
        """Return `updating` while an action runs, `error` after a failed action, else `ok`."""
        if zone.status:
            return zone.status
        with self._lock:
            self._publish_ended()
            if self._running[zone.id]:
                return "updating"
            return "error" if zone.id in self._failed else "ok"

    def _named(self, name: str) -> Zone:
        return self._zones[self._ids[name]]

    def _enter(self, zone: Zone) -> Zone:
        if zone.name in self._ids:
            raise taken("name", f"zone '{zone.name}' already exists")
        entered = dataclasses.replace(fresh(zone), id=self._zone_id, created=self.clock())
        self._zone_id += 1
        self._zones[entered.id] = entered
        self._ids[entered.name] = entered.id
        return entered

    def _save(self, zone: Zone) -> Zone:
        moved = zone.rrsets != self._zones[zone.id].rrsets
        self._zones[zone.id] = zone.next_serial() if moved else zone
        return self._zones[zone.id]

    def _act(self, command: str, zone: Zone, snapshot: Zone | None) -> Action:
        self._publish_ended()
        outcome, error = self._outcomes.popleft() if self._outcomes else ("success", None)
        action = Action(
            self._action_id,
            command,
            zone.id,
            zone.project,
            self.clock(),
            self._seconds,
            outcome,
            error,
        )
        self._action_id += 1
        self._actions[action.id] = action
        if len(self._actions) > MOST_ACTIONS:
            self._actions.popitem(last=False)
        self._running[zone.id] += 1
        if outcome != "never":
            self._pending.append((action, zone, snapshot))
        return action

    def _publish_ended(self) -> None:
        """Publish snapshots of ended actions in order; a success includes earlier failed writes."""
        now = self.clock()
        while self._pending and self._pending[0][0].status(now) != "running":
            action, zone, snapshot = self._pending.popleft()
            self._running[zone.id] -= 1
            if action.outcome == "error":
                self._failed.add(zone.id)
                continue
            self._failed.discard(zone.id)
            if snapshot is None:
                self._published.pop(zone.name, None)
            else:
                self._published[zone.name] = snapshot
