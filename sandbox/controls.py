"""The sandbox without its sockets, and the methods that control it."""

from __future__ import annotations

import dataclasses
import time
from typing import Any, Callable, Sequence

from sandbox.action import FAILED, OUTCOMES
from sandbox.faults import Delay, Fault, Faults
from sandbox.guard import Guard, Tokens
from sandbox.journal import Call, Journal
from sandbox.limits import Limits
from sandbox.rdata import canonical
from sandbox.shapes import DELEGATED
from sandbox.zone import Record, RRSet, Zone
from sandbox.zonedata import Zones

# Not a secret: it is valid only in a sandbox.
DEMO_TOKEN = "sandbox0" * 8
STATUSES = (None, "ok", "updating", "error")


def steady_clock() -> Callable[[], float]:
    """Return a clock of seconds since 1970 that ignores changes of the machine's clock."""
    offset = time.time() - time.monotonic()
    return lambda: offset + time.monotonic()


class Controls:
    """Zones, tokens, limits, faults and calls.

    A zone is `name`, visible to all tokens, or `name=TOKEN`, visible to one. `limits` are calls an
    hour, for most calls and for calls for actions; `hour_seconds` is the length of that hour.

    Raises:
        ValueError: an argument is invalid.

    """

    def __init__(  # noqa: PLR0913
        self,
        zones: Sequence[str] = ("example.com",),
        tokens: Sequence[str] = (DEMO_TOKEN,),
        *,
        read_only_tokens: Sequence[str] = (),
        action_seconds: float = 0.5,
        limits: tuple[int, int] = (3600, 7200),
        hour_seconds: float = 3600,
        clock: Callable[[], float] | None = None,
    ) -> None:
        if not action_seconds >= 0:
            raise ValueError("action_seconds can't be negative")
        clock = clock or steady_clock()
        known = Tokens((*tokens, *read_only_tokens), read_only_tokens)
        self.tokens = known.every
        self._first_zones = [_zone(text, self.tokens) for text in zones]
        self.zones = Zones(clock, action_seconds)
        self.guard = Guard(
            known, Limits(clock, *limits, hour_seconds=hour_seconds), Faults(), Journal(clock)
        )
        self.reset()

    @property
    def token(self) -> str:
        """The first token."""
        return self.tokens[0]

    def reset(self) -> None:
        """Restore the initial zones, and clear calls, faults and limits."""
        self.guard.faults.clear()
        self.guard.limits.clear()
        self.guard.journal.clear()
        self.zones.clear()
        for zone in self._first_zones:
            self.zones.add(zone)

    def calls(self) -> list[Call]:
        """Return the calls to the API so far, in order of arrival."""
        return self.guard.journal.calls()

    def clear_calls(self) -> None:
        """Clear the list of calls."""
        self.guard.journal.clear()

    def fail(
        self,
        status: int | None = None,
        code: str | None = None,
        count: int | None = 1,
        **more: Any,  # noqa: ANN401
    ) -> None:
        """Make the next `count` matching calls fail (None: all of them); `Fault` has the fields."""
        self.guard.faults.fail(Fault(status, code, count, **more))

    def delay(self, seconds: float, **more: Any) -> None:  # noqa: ANN401
        """Make matching calls wait before they are executed; `Delay` has the fields."""
        self.guard.faults.delay(Delay(seconds, **more))

    def fail_no_more(self) -> None:
        """Remove all failures."""
        self.guard.faults.clear_faults()

    def delay_no_more(self) -> None:
        """Remove all delays and execute waiting calls at once."""
        self.guard.faults.clear_delays()

    def actions_end(
        self,
        outcome: str,
        count: int = 1,
        *,
        code: str = FAILED["code"],
        message: str = FAILED["message"],
    ) -> None:
        """Set the outcome of the actions of the next `count` writes: success, error or never."""
        if outcome not in OUTCOMES:
            raise ValueError(f"outcome must be one of {', '.join(OUTCOMES)}")
        if count < 1:
            raise ValueError("count must be at least 1")
        self.zones.foresee(outcome, count, {"code": code, "message": message})

    def show_zone(self, name: str, *, status: str | None = None, delegation: str = "valid") -> None:
        """Set what the API shows of a zone; a `status` of None follows the zone's actions."""
        if status not in STATUSES:
            raise ValueError("status must be null or one of ok, updating, error")
        if delegation not in DELEGATED:
            raise ValueError(f"delegation must be one of {', '.join(DELEGATED)}")
        try:
            self.zones.describe(name, status=status, delegation=delegation)
        except KeyError:
            raise ValueError(f"there is no zone '{name}'") from None

    def publish(self, name: str, kind: str, *values: str, ttl: int | None = None) -> None:
        """Set published records without a call or an action; without values, remove them."""
        zone, owner = self.zones.zone_of(name)
        records = tuple(Record(canonical(kind, value)) for value in values)

        def edit(zone: Zone) -> Zone:
            if not records:
                return zone.delete((owner, kind))
            before = zone.rrsets.get((owner, kind), RRSet(owner, kind, records))
            return zone.put(dataclasses.replace(before, records=records, ttl=ttl))

        self.zones.publish(zone.name, edit)

    def records(self, name: str, kind: str) -> list[str]:
        """Return the values that the API shows for a full name, sorted; DNS may be behind."""
        zone, owner = self.zones.zone_of(name)
        rrset = zone.rrsets.get((owner, kind))
        return sorted(rrset.values) if rrset else []


def _zone(text: str, tokens: Sequence[str]) -> Zone:
    name, _, project = text.partition("=")
    if project and project not in tokens:
        raise ValueError(f"zone {name} belongs to an unknown token")
    if "." not in name or name != name.lower().strip("."):
        raise ValueError(f"'{name}' is not a zone: use a name like example.com")
    return Zone(name=name, project=project or None, delegation="valid")
