"""How far an accepted write has got: running, half-way, then success or error, by the clock."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

OUTCOMES = ("success", "error", "never")


@dataclass(frozen=True)
class Action:
    """One accepted write; `project` is its zone's, None where all projects see the zone."""

    id: int
    command: str
    zone_id: int
    project: Optional[str]
    started: float
    seconds: float
    outcome: str = "success"

    def status(self, now: float) -> str:
        """`running`, `success` or `error`."""
        finished = self.outcome != "never" and now >= self.started + self.seconds
        return self.outcome if finished else "running"

    def progress(self, now: float) -> int:
        """Percent: 0, 50, 100, the only steps that recordings of Hetzner show."""
        if self.status(now) != "running":
            return 100
        return 0 if now < self.started + self.seconds / 2 else 50

    def finished(self, now: float) -> Optional[float]:
        """When it ended, or None."""
        return None if self.status(now) == "running" else self.started + self.seconds
