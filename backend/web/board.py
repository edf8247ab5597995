"""The status page: all hosts at a glance, the worst first."""

from __future__ import annotations

from typing import List, Sequence

from flask import Blueprint, render_template, request

from backend.model import RecordType
from backend.operations.overview import Snapshot, delegation_mend, is_lost
from backend.operations.status import Condition, HostStatus
from backend.web.face import Face, credentials
from backend.web.words import DONE

PAGE = 50


def add_to(pages: Blueprint, face: Face) -> None:
    """Add the status page."""

    @pages.get("/")
    def board() -> str:
        snapshot = face.overview.read()
        found = _chosen(snapshot)
        last = max(1, -(-len(found) // PAGE))
        number = min(last, max(1, request.args.get("page", 1, type=int)))
        return render_template(
            "board.html",
            snapshot=snapshot,
            conditions=list(Condition),
            kinds=list(RecordType),
            found=found,
            rows=found[(number - 1) * PAGE : number * PAGE],
            page=number,
            pages=last,
            query=request.args.get("q", ""),
            state=request.args.get("state", ""),
            lost_zones=[zone for zone in snapshot.zones if is_lost(zone.delegation)],
            delegation_mend=delegation_mend,
            done=DONE.get(request.args.get("done", "")),
            token=face.form_token(credentials()),
        )


def _chosen(snapshot: Snapshot) -> List[HostStatus]:
    """Return the hosts that are searched for."""
    wanted = request.args.get("q", "").strip().lower()
    state = request.args.get("state", "")
    return [
        one
        for one in snapshot.hosts
        if (not state or one.condition.slug == state)
        and (not wanted or any(wanted in text for text in _texts(one)))
    ]


def _texts(one: HostStatus) -> Sequence[str]:
    return [one.host.text, *(str(address) for address in one.published.values())]
