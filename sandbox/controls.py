"""Everything the sandbox is made of apart from its sockets, and the levers that tests pull."""

from __future__ import annotations

import time
from typing import Callable, Dict, List, Optional, Sequence, Tuple

from sandbox.action import OUTCOMES
from sandbox.faults import Delay, Fault, Faults
from sandbox.gate import Gate, Tokens
from sandbox.journal import Call, Journal
from sandbox.limits import Limits
from sandbox.rdata import canonical
from sandbox.zone import Record, RRSet, Zone
from sandbox.zonedata import Zones

# A token anyone may know: it opens nothing but a sandbox.
DEMO_TOKEN = "sandbox0" * 8


def steady_clock() -> Callable[[], float]:
    """Seconds since 1970 that never jump, whatever is done to the machine's clock."""
    offset = time.time() - time.monotonic()
    return lambda: offset + time.monotonic()


class Controls:
    """Zones, tokens, limits, faults and calls; each zone is `name`, or `name=TOKEN` of one project.

    A zone without a token is seen by all tokens. `limits` are requests an hour: of the bucket for
    most calls, and of that for record actions. An hour of theirs may be as short as you like.
    """

    def __init__(  # noqa: PLR0913
        self,
        zones: Sequence[str] = ("example.com",),
        tokens: Sequence[str] = (DEMO_TOKEN,),
        *,
        read_only_tokens: Sequence[str] = (),
        action_seconds: float = 0.5,
        limits: Tuple[int, int] = (3600, 7200),
        hour_seconds: float = 3600,
        clock: Optional[Callable[[], float]] = None,
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
        """Make everything as it was at the start: zones, calls, faults, limits."""
        self.gate.faults.clear()
        self.gate.limits.clear()
        self.gate.journal.clear()
        self.zones.clear()
        for zone in self._first_zones:
            self.zones.add(zone)

    def calls(self) -> List[Call]:
        """The calls to the API so far, in the order in which they came in."""
        return self.gate.journal.calls()

    def forget_calls(self) -> None:
        """Let `calls` begin anew."""
        self.gate.journal.clear()

    def fail(  # noqa: PLR0913
        self,
        status: Optional[int] = None,
        code: Optional[str] = None,
        count: Optional[int] = 1,
        *,
        path: Optional[str] = None,
        method: Optional[str] = None,
        html: bool = False,
        location: Optional[str] = None,
        body: Optional[str] = None,
        headers: Optional[Dict[str, str]] = None,
        after: bool = False,
        drop: bool = False,
    ) -> None:
        """Let the next `count` matching calls (None: all of them) go wrong; see `Fault`."""
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
        path: Optional[str] = None,
        method: Optional[str] = None,
        count: Optional[int] = None,
    ) -> None:
        """Let matching calls wait before they are carried out, if no newer order is for them."""
        self.gate.faults.delay(Delay(seconds, path, method, count))

    def fail_no_more(self) -> None:
        """Take back what `fail` has ordered."""
        self.gate.faults.clear_faults()

    def delay_no_more(self) -> None:
        """Take back what `delay` has ordered; calls that wait are carried out at once."""
        self.gate.faults.clear_delays()

    def actions_end(self, outcome: str, count: int = 1) -> None:
        """Let the actions of the next `count` writes end in `success`, in `error`, or `never`."""
        if outcome not in OUTCOMES:
            raise ValueError(f"outcome must be one of {', '.join(OUTCOMES)}")
        if count < 1:
            raise ValueError("count must be at least 1")
        self.zones.foresee(outcome, count)

    def publish(self, name: str, kind: str, *values: str, ttl: Optional[int] = None) -> None:
        """Put records there as if long ago: no call, no action, DNS shows them; none: remove."""
        zone, owner = self.zones.holder(name)
        rrset = RRSet(owner, kind, tuple(Record(canonical(kind, v)) for v in values), ttl)
        if values:
            self.zones.publish(zone.name, lambda zone: zone.put(rrset))
        else:
            self.zones.publish(zone.name, lambda zone: zone.delete(rrset.key))

    def records(self, name: str, kind: str) -> List[str]:
        """The values that the API shows for this full name, sorted; DNS may still lag behind."""
        zone, owner = self.zones.holder(name)
        rrset = zone.rrsets.get((owner, kind))
        return sorted(rrset.values) if rrset else []


def _zone(text: str, tokens: Sequence[str]) -> Zone:
    name, _, project = text.partition("=")
    if project and project not in tokens:
        raise ValueError(f"zone {name} belongs to a token that isn't given")
    if "." not in name or name != name.lower().strip("."):
        raise ValueError(f"'{name}' is no zone: give a name like example.com")
    return Zone(name=name, project=project or None)
