"""The calls to Hetzner, timed."""

from __future__ import annotations

from typing import Any, Dict, Mapping, Optional

from backend.hetzner.api import CloudApi, Deadline, Query
from backend.workers.meters import Meters


class MeasuredApi(CloudApi):
    """The API as one token sees it, with a watch in the hand."""

    def __init__(self, token: str, url: str, agent: str, meters: Meters) -> None:
        super().__init__(token, url, agent)
        self._meters = meters

    def call(
        self,
        method: str,
        path: str,
        deadline: Deadline,
        query: Query = (),
        body: Optional[Mapping[str, Any]] = None,
    ) -> Dict[str, Any]:
        """Make one call, likewise."""
        with self._meters.call(method) as measured:
            answer = super().call(method, path, deadline, query, body)
            measured.outcome = "ok"
            return answer
