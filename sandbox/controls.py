"""The sandbox without its sockets, and the methods that control it."""

from __future__ import annotations

import time
from typing import Callable, Sequence

from sandbox.action import OUTCOMES
from sandbox.faults import Delay, Fault, Faults
from sandbox.gate import Gate, Tokens
from sandbox.journal import Call, Journal
from sandbox.limits import Limits
from sandbox.rdata import canonical
from sandbox.zone import Record, RRSet, Zone
from sandbox.zonedata import Zones

# Not a secret: it is valid only in a sandbox.
DEMO_TOKEN = "sandbox0" * 8


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
        self.gate = Gate(
            known, Limits(clock, *limits, hour_seconds=hour_seconds), Faults(), Journal(clock)
        )
        self.reset()

    @property
    def token(self) -> str:
        """The first token."""
        return self.tokens[0]

    def reset(self) -> None:
        """Restore the initial zones, and clear calls, faults and limits."""
        self.gate.faults.clear()
        self.gate.limits.clear()
        self.gate.journal.clear()
        self.zones.clear()
        for zone in self._first_zones:
            self.zones.add(zone)

    def calls(self) -> list[Call]:
        """Return the calls to the API so far, in order of arrival."""
        return self.gate.journal.calls()

    def forget_calls(self) -> None:
        """Clear the list of calls."""
        self.gate.journal.clear()

    def fail(  # noqa: PLR0913
        self,
        status: int | None = None,
        code: str | None = None,
        count: int | None = 1,
        *,
        path: str | None = None,
        method: str | None = None,
        html: bool = False,
        location: str | None = None,
        body: str | None = None,
        headers: dict[str, str] | None = None,
        after: bool = False,
        drop: bool = False,
    ) -> None:
        """Make the next `count` matching calls fail (None: all of them); see `Fault`."""
        self.gate.faults.fail(
            Fault(
                status=status,
                code=code,
                count=count,
                path=path,
                method=method,
                html=html,
                location=location,
                body=body,
                headers=headers or {},
                after=after,
                drop=drop,
            )
        )

    def delay(
        self,
        seconds: float,
        *,
        path: str | None = None,
        method: str | None = None,
        count: int | None = None,
    ) -> None:
        """Make matching calls wait before they are executed; the newest matching delay applies."""
        self.gate.faults.delay(Delay(seconds, path, method, count))

    def fail_no_more(self) -> None:
        """Remove all failures."""
        self.gate.faults.clear_faults()

    def delay_no_more(self) -> None:
        """Remove all delays and execute waiting calls at once."""
        self.gate.faults.clear_delays()

    def actions_end(self, outcome: str, count: int = 1) -> None:
        """Set the outcome of the actions of the next `count` writes: success, error or never."""
        if outcome not in OUTCOMES:
            raise ValueError(f"outcome must be one of {', '.join(OUTCOMES)}")
        if count < 1:
            raise ValueError("count must be at least 1")
        self.zones.foresee(outcome, count)

    def publish(self, name: str, kind: str, *values: str, ttl: int | None = None) -> None:
        """Set published records without a call or an action; without values, remove them."""
        zone, owner = self.zones.holder(name)
        rrset = RRSet(owner, kind, tuple(Record(canonical(kind, v)) for v in values), ttl)
        if values:
            self.zones.publish(zone.name, lambda zone: zone.put(rrset))
        else:
            self.zones.publish(zone.name, lambda zone: zone.delete(rrset.key))

    def records(self, name: str, kind: str) -> list[str]:
        """Return the values that the API shows for a full name, sorted; DNS may be behind."""
        zone, owner = self.zones.holder(name)
        rrset = zone.rrsets.get((owner, kind))
        return sorted(rrset.values) if rrset else []


def _zone(text: str, tokens: Sequence[str]) -> Zone:
    name, _, project = text.partition("=")
    if project and project not in tokens:
        raise ValueError(f"zone {name} belongs to an unknown token")
    if "." not in name or name != name.lower().strip("."):
        raise ValueError(f"'{name}' is not a zone: use a name like example.com")
    return Zone(name=name, project=project or None)
