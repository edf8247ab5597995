"""A host's own page: how it fares, its history, what to paste into its device, its buttons."""

from __future__ import annotations

import time
from typing import Any, List, Mapping, Optional, Sequence, Tuple

from flask import Blueprint, Response, make_response, redirect, render_template, request, url_for

from backend import routers
from backend.errors import BadRequest, CallerError, HostNotAllowed
from backend.model import Asker, Hostname, RecordType
from backend.moments import after
from backend.operations.status import Condition, HostStatus
from backend.operations.timeline import draw
from backend.web import wire
from backend.web.face import Face, credentials, operator
from backend.web.words import DONE, KIND_NAMES, KINDS

ROWS = 50
_DRAWN = 2000  # entries that are looked at for the picture
_SPANS = (1, 7, 30, 90)
_MOST_PAGES = 1_000_000  # databases have no number beyond 63 bits
_NO_KEY = "YOUR-KEY"


class AlreadyRotated(CallerError):
    """The key that was to be replaced isn't the host's key any more."""


class HostPage:
    """Everything under ``/hosts/NAME``."""

    def __init__(self, face: Face, proxies: Sequence[wire.Network]) -> None:
        self._face = face
        self._proxies = proxies

    def add_to(self, pages: Blueprint) -> None:
        """Add the page, and what its buttons post to."""
        pages.add_url_rule("/hosts/<name>", "host", self.show, methods=["GET"])
        for deed, view in (
            ("retry", self.retry),
            ("forget", self.forget),
            ("mute", self.mute),
            ("unmute", self.unmute),
            ("key", self.reveal),
            ("rotate", self.rotate),
        ):
            pages.add_url_rule(f"/hosts/<name>/{deed}", deed, view, methods=["POST"])

    # -- looking

    def show(self, name: str) -> str:
        """Show a host, without its key."""
        return self._page(Hostname.parse(name))

    def _page(self, host: Hostname, key: Optional[str] = None, *, is_new: bool = False) -> str:
        status, now = self._face.overview.host(host)
        if status is None:
            raise HostNotAllowed(f"{host} isn't registered: add it to REGISTERED_FQDNS.")
        url = self._base_url()
        devices = routers.snippets(host, key or _NO_KEY, url)
        chosen = request.values.get("device", devices[0].device)
        device = next((one for one in devices if one.device == chosen), devices[0])
        return render_template(
            "host.html",
            **self._told(status, now),
            now=now,
            one=status,
            kinds=list(RecordType),
            devices=devices,
            device=device,
            url=url,
            key=key,
            is_new=is_new,
            no_key=_NO_KEY,
            done=DONE.get(request.args.get("done", "")),
            token=self._face.form_token(credentials()),
            rotation=self._rotation(host),
        )

    def _told(self, status: HostStatus, now: float) -> Mapping[str, Any]:
        """Gather what the history tells."""
        kind = request.args.get("kind", "")
        number = min(_MOST_PAGES, max(1, request.args.get("page", 1, type=int)))
        days = request.args.get("days", 7, type=int)
        entries = self._face.history.find(
            status.host,
            events=KINDS.get(kind, ()),
            limit=ROWS + 1,
            skip=(number - 1) * ROWS,
        )
        silent = status.condition is Condition.SILENT
        every = self._face.history.find(status.host, limit=_DRAWN)
        span = min(max(days, 1), self._face.history_days)
        silent_since = status.seen_at if silent else None
        return {
            "entries": entries[:ROWS],
            "page": number,
            "has_more": len(entries) > ROWS,
            "kind": kind if kind in KINDS else "",
            "kinds_of_history": KIND_NAMES,
            "days": span,
            "spans": _spans(self._face.history_days),
            "timeline": draw(every, status.published, silent_since, now, span),
        }

    def _base_url(self) -> str:
        """Return where devices reach this service: as chosen, else as the operator has."""
        chosen = request.values.get("url", "").strip().rstrip("/")
        told = wire.base_url(request, self._proxies)
        return next(filter(routers.is_address, (chosen, told)), routers.EXAMPLE_URL)

    def _rotation(self, host: Hostname) -> str:
        """Return what a form has to bring to replace the key the host has now, and no other."""
        return self._face.sign("rotate", host.text, self._face.actions.key(host) or "")

    # -- doing

    def retry(self, name: str) -> Response:
        """Try again now."""
        return _back(name, "retry" if self._face.actions.retry(*self._may(name)) else "nothing")

    def forget(self, name: str) -> Response:
        """Forget an error."""
        return _back(name, "forget" if self._face.actions.forget(*self._may(name)) else "nothing")

    def mute(self, name: str) -> Response:
        """Mute until a date."""
        host, asker = self._may(name)
        try:
            until = after(request.form.get("until", ""), time.time())
        except ValueError as error:
            raise BadRequest(f"Until when? Please {error}.") from None
        self._face.actions.mute(host, until, asker)
        return _back(name, "mute")

    def unmute(self, name: str) -> Response:
        """End a mute."""
        host, asker = self._may(name)
        self._face.actions.mute(host, None, asker)
        return _back(name, "unmute")

    def reveal(self, name: str) -> str:
        """Show the page with the key in it."""
        host, _ = self._may(name)
        key = self._face.actions.key(host)
        if key is None:
            raise BadRequest(f"The key file has no key of {host}: restart the service to make one.")
        return self._page(host, key)

    def rotate(self, name: str) -> str:
        """Give the host a new key, and show it once."""
        host, asker = self._may(name)
        if request.form.get("rotation") != self._rotation(host):
            raise AlreadyRotated(
                "The key has been changed since this page was shown: reload the host's page."
            )
        return self._page(host, self._face.actions.rotate(host, asker), is_new=True)

    def _may(self, name: str) -> Tuple[Hostname, Asker]:
        self._face.check_form(credentials(), self._proxies)
        return Hostname.parse(name), operator()


def _spans(history_days: int) -> List[int]:
    return [days for days in _SPANS if days <= history_days]


def _back(name: str, done: str) -> Response:
    """Send the browser back to where the button was."""
    if request.form.get("from") == "board":
        return make_response(redirect(url_for("operator.board", done=done), 303))
    return make_response(redirect(url_for("operator.host", name=name, done=done), 303))
