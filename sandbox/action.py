"""The progress of an accepted write: running, then success or error, by the clock."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Mapping

OUTCOMES = ("success", "error", "never")
FAILED = {"code": "action_failed", "message": "Action failed"}


@dataclass(frozen=True)
class Action:
    """One accepted write; `project` is None if all projects can see the zone. Times in seconds."""

    id: int
    command: str
    zone_id: int
    project: str | None
    started: float
    seconds: float
    outcome: str = "success"
    error: Mapping[str, str] | None = None

    def status(self, now: float) -> str:
        """Return `running`, `success` or `error`."""
        finished = self.outcome != "never" and now >= self.started + self.seconds
        return self.outcome if finished else "running"

    def progress(self, now: float) -> int:
        """Return 0, 50 or 100 percent, the only steps in recorded answers of Hetzner."""
        if self.status(now) != "running":
            return 100
        return 0 if now < self.started + self.seconds / 2 else 50

    def finished(self, now: float) -> float | None:
        """Return when it ended, or None while it is running."""
        return None if self.status(now) == "running" else self.started + self.seconds
