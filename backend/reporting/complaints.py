"""What the log says once of a lasting trouble with ntfy."""

from __future__ import annotations

from backend.workers.once import Once


class Complaints:
    """What the log says once, whichever process finds it out: made before the fork."""

    def __init__(self) -> None:
        self.is_refused = Once()
        self.is_away = Once()
