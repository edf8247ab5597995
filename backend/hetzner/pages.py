"""A list of the Cloud API, a page at a time.

Facts: https://docs.hetzner.cloud/cloud.spec.json, section "Pagination".
"""

from __future__ import annotations

from typing import Any, Dict, Iterator, Optional, Sequence, Tuple

from backend.hetzner.answers import understood
from backend.hetzner.api import CloudApi, Deadline

_MAX_PAGES = 200


def pages(
    api: CloudApi,
    path: str,
    size: str,
    deadline: Deadline,
    selection: Sequence[Tuple[str, str]] = (),
) -> Iterator[Dict[str, Any]]:
    """Ask for one page after the other; raise as `CloudApi.call` does."""
    page: Optional[int] = 1
    for _ in range(_MAX_PAGES):
        query = [*selection, ("page", str(page)), ("per_page", size)]
        answer = api.call("GET", path, deadline, query)
        yield answer
        with understood():
            page = answer["meta"]["pagination"]["next_page"]
        if page is None:
            return
