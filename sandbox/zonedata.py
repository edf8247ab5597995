"""All zones and actions in memory: who sees which, what each write does, what DNS may show yet."""

from __future__ import annotations

import dataclasses
import re
import threading
from collections import Counter, OrderedDict, deque
from typing import Callable, Deque, Dict, List, Mapping, Optional, Sequence, Set, Tuple

from sandbox.action import Action
from sandbox.refusal import not_found, protected, taken
from sandbox.zone import Edit, Zone, fresh

# Real action ids need more than 32 bits; a client that cuts them off should fail here already.
_FIRST_ACTION = 604_989_101_982_297
_FIRST_ZONE = 53_091
# Older ones are forgotten: a load test may make millions.
MOST_ACTIONS = 100_000


class Zones:
    """The zones of all projects, safe for threads; a project is the token that owns it.

    `clock` gives seconds since 1970. Reading through the API shows a write at once; `published`,
    which DNS serves, shows it when its action has succeeded.
    """

    def __init__(self, clock: Callable[[], float], action_seconds: float = 0.5) -> None:
        self.clock = clock
        self._seconds = action_seconds
        self._lock = threading.RLock()
        self._action_id = _FIRST_ACTION
        self.clear()

    def clear(self) -> None:
        """Forget everything, but give no action the id of a forgotten one."""
        with self._lock:
            self._zones: Dict[int, Zone] = {}
            self._ids: Dict[str, int] = {}
            self._published: Dict[str, Zone] = {}
            self._actions: OrderedDict[int, Action] = OrderedDict()
            # Each with its zone and with what that publishes, None where the zone is removed.
            # All take the same time, so they end in the order in which they began.
            self._pending: Deque[Tuple[Action, Zone, Optional[Zone]]] = deque()
            self._running: Counter[int] = Counter()
            self._failed: Set[int] = set()
            self._outcomes: Deque[str] = deque()
            self._zone_id = _FIRST_ZONE

    def foresee(self, outcome: str, count: int = 1) -> None:
        """Let the next `count` actions end in this outcome; without a word they succeed."""
        with self._lock:
            self._outcomes.extend([outcome] * count)

    def add(self, zone: Zone) -> Zone:
        """Put a zone there as if it had always been: published, and without an action."""
        with self._lock:
            added = self._enter(zone)
            self._published[added.name] = added
            return added

    def publish(self, name: str, edit: Edit) -> None:
        """Change a zone as if long ago: published, and without an action."""
        with self._lock:
            zone = self._save(edit(self._named(name)))
            self._published[zone.name] = zone
            # What is under way would else take it back when it comes to its end.
            self._pending = deque(
                (action, one, zone if one.id == zone.id else snapshot)
                for action, one, snapshot in self._pending
            )

    def visible(self, project: str) -> List[Zone]:
        """The zones this project sees: its own and those that are everybody's."""
        with self._lock:
            return [zone for zone in self._zones.values() if zone.project in (None, project)]

    def find(self, project: str, id_or_name: str) -> Zone:
        """The zone of this id or name, or 404; other projects' zones look absent."""
        with self._lock:
            number = self._ids.get(id_or_name)
            if number is None and re.fullmatch(r"[1-9][0-9]{0,17}", id_or_name):
                number = int(id_or_name)
            zone = self._zones.get(number or 0)
        if zone is None or zone.project not in (None, project):
            raise not_found("Zone")
        return zone

    def holder(self, hostname: str) -> Tuple[Zone, str]:
        """The zone that holds this name, whoever's it is, and the name's part below it."""
        labels = hostname.split(".")
        with self._lock:
            for cut in range(len(labels)):
                name = ".".join(labels[cut:])
                if name in self._ids:
                    return self._named(name), ".".join(labels[:cut]) or "@"
        raise KeyError(hostname)

    def create(self, zone: Zone) -> Tuple[Zone, Action]:
        """Enter a new zone; its name must be new to all projects."""
        with self._lock:
            added = self._enter(zone)
            return added, self._act("create_zone", added, added)

    def change(self, project: str, id_or_name: str, command: str, edit: Edit) -> Action:
        """Carry out one write; two writes of one zone never interleave."""
        with self._lock:
            zone = self._save(edit(self.find(project, id_or_name)))
            return self._act(command, zone, zone)

    def amend(self, project: str, id_or_name: str, edit: Edit) -> Zone:
        """Change what DNS doesn't show, labels: at once and without an action."""
        with self._lock:
            zone = edit(self.find(project, id_or_name))
            self._zones[zone.id] = zone
            return zone

    def delete(self, project: str, id_or_name: str) -> Action:
        """Remove a zone, unless it or one of its RRSets is protected."""
        with self._lock:
            zone = self.find(project, id_or_name)
            if zone.protected:
                raise protected("Zone is delete protected")
            if any(rrset.protected for rrset in zone.rrsets.values()):
                raise protected("RRSet(s) is/are change protected")
            del self._zones[zone.id], self._ids[zone.name]
            return self._act("delete_zone", zone, None)

    def actions(self, project: str, ids: Sequence[int] = ()) -> List[Action]:
        """All actions on this project's zones, or those of these ids; of deleted zones too."""
        with self._lock:
            known = [
                self._actions[number] for number in sorted(set(ids)) if number in self._actions
            ]
            every = known if ids else self._actions.values()
            return [action for action in every if action.project in (None, project)]

    def action(self, project: str, action_id: int) -> Action:
        """The action of this id, or 404."""
        with self._lock:
            action = self._actions.get(action_id)
        if action is None or action.project not in (None, project):
            raise not_found("Action")
        return action

    def published(self) -> Mapping[str, Zone]:
        """What DNS serves now, by zone name."""
        with self._lock:
            self._settle()
            return dict(self._published)

    def status(self, zone: Zone) -> str:
        """`updating` while an action runs, `error` after one that failed, else `ok`."""
        with self._lock:
            self._settle()
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

    def _act(self, command: str, zone: Zone, snapshot: Optional[Zone]) -> Action:
        self._settle()
        outcome = self._outcomes.popleft() if self._outcomes else "success"
        action = Action(
            self._action_id,
            command,
            zone.id,
            zone.project,
            self.clock(),
            self._seconds,
            outcome,
        )
        self._action_id += 1
        self._actions[action.id] = action
        if len(self._actions) > MOST_ACTIONS:
            self._actions.popitem(last=False)
        self._running[zone.id] += 1
        if outcome != "never":
            self._pending.append((action, zone, snapshot))
        return action

    def _settle(self) -> None:
        """Publish, in order, what has succeeded by now; a later success publishes all before it."""
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
