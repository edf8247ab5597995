"""The operator's pages: the dashboard, a host's page, and the metrics."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple

from flask import Blueprint, Response, make_response, redirect, render_template, request, url_for
from flask.blueprints import BlueprintSetupState
from markupsafe import Markup
from werkzeug.exceptions import HTTPException

from backend import errors, setup_guides
from backend.admin.actions import Actions
from backend.admin.status import (
    Condition,
    HostStatus,
    Overview,
    Snapshot,
    delegation_hint,
    gauges,
    is_lost,
)
from backend.admin.timeline import CHANGES, CONTACT, DEEDS, FAILURES, draw
from backend.auth.authorizer import Authorizer
from backend.errors import BadRequest, CallerError, HostNotAllowed
from backend.metrics import Meters
from backend.model import Hostname, RecordType, Requester
from backend.store.history import History
from backend.text import after, duration
from backend.web.request import Network, base_url
from backend.web.session import (
    Forms,
    authorize_operator,
    current_credentials,
    current_operator,
    error_page,
    guarded,
    refusal,
)
from backend.web.sites import is_cross_site

logger = logging.getLogger(__name__)

# What can be chosen of a history, and which events that are.
KINDS: Mapping[str, Tuple[str, ...]] = {
    "changes": CHANGES,
    "failures": FAILURES,
    "contact": CONTACT,
    "operator": DEEDS,
}
KIND_NAMES = {
    "": "everything",
    "changes": "address changes",
    "failures": "failures",
    "contact": "lost and back",
    "operator": "what the operator did",
}
DONE = {
    "retry": "Its waiting updates are being tried again.",
    "nothing": "There was nothing to do.",
    "drop": "The update that failed is dropped.",
    "mute": "It is muted: nothing is pushed when it is lost.",
    "unmute": "It is not muted any more.",
}


def ago(at: Optional[float], now: float) -> Markup:
    """Write how long ago something was; the exact time is shown on hover."""
    if at is None:
        return Markup("never")
    seconds = now - at
    words = "just now" if seconds < 5 else f"{_rough(seconds)} ago"  # noqa: PLR2004
    return _time(at, words)


def until(at: float, now: float) -> Markup:
    """Write when something will be."""
    return _time(at, "now" if at <= now else f"in {_rough(at - now)}")


def day(at: float) -> Markup:
    """Write a moment to the minute."""
    return _time(at, time.strftime("%Y-%m-%d %H:%M", time.gmtime(at)))


def _rough(seconds: float) -> str:
    """Say a duration in its largest unit: what changes every second would disturb."""
    if seconds < 60:  # noqa: PLR2004
        return f"{int(seconds)} s"
    unit = next(size for size in (86400, 3600, 60) if seconds >= size)
    return duration(seconds // unit * unit)


def clock(at: float) -> str:
    """Write the time of day."""
    return time.strftime("%H:%M:%S", time.gmtime(at))


def iso(at: float) -> str:
    """Write a moment for programs."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))


def _time(at: float, words: str) -> Markup:
    exact = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(at))
    return Markup('<time datetime="{}" title="{}">{}</time>').format(iso(at), exact, words)


FILTERS: Dict[str, Callable[..., Any]] = {
    "ago": ago,
    "until": until,
    "day": day,
    "clock": clock,
    "iso": iso,
}

PAGE = 50


@dataclass(frozen=True)
class Dashboard:
    """What the operator's pages show, and what their buttons do."""

    overview: Overview
    actions: Actions
    history: History
    forms: Forms
    meters: Meters
    history_days: int


def _add_overview(pages: Blueprint, dashboard: Dashboard) -> None:
    """Add the status page."""

    @pages.get("/")
    def overview() -> str:
        snapshot = dashboard.overview.read()
        found = _chosen(snapshot)
        last = max(1, -(-len(found) // PAGE))
        number = min(last, max(1, request.args.get("page", 1, type=int)))
        return render_template(
            "overview.html",
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
            delegation_hint=delegation_hint,
            done=DONE.get(request.args.get("done", "")),
            token=dashboard.forms.form_token(current_credentials()),
        )


def _chosen(snapshot: Snapshot) -> List[HostStatus]:
    """Return the hosts that are searched for."""
    query = request.args.get("q", "").strip().lower()
    state = request.args.get("state", "")
    return [
        one
        for one in snapshot.hosts
        if (not state or one.condition.slug == state)
        and (not query or any(query in text for text in _texts(one)))
    ]


def _texts(one: HostStatus) -> Sequence[str]:
    return [one.host.text, *(str(address) for address in one.published.values())]


ROWS = 50
_DRAWN = 2000  # entries that are looked at for the picture
_SPANS = (1, 7, 30, 90)
_MOST_PAGES = 1_000_000  # databases have no number beyond 63 bits
_NO_KEY = "YOUR-KEY"


class AlreadyRotated(CallerError):
    """The key that was to be replaced isn't the host's key any more."""


class HostPage:
    """Everything under ``/hosts/NAME``."""

    def __init__(self, dashboard: Dashboard, proxies: Sequence[Network]) -> None:
        self._dashboard = dashboard
        self._proxies = proxies

    def add_to(self, pages: Blueprint) -> None:
        """Add the page, and what its buttons post to."""
        pages.add_url_rule("/hosts/<name>", "host", self.show, methods=["GET"])
        for deed, view in (
            ("retry", self.retry),
            ("drop", self.drop_update),
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
        status, now = self._dashboard.overview.host(host)
        if status is None:
            raise HostNotAllowed(f"{host} isn't registered: add it to REGISTERED_FQDNS.")
        url = self._base_url()
        devices = setup_guides.snippets(host, key or _NO_KEY, url)
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
            token=self._dashboard.forms.form_token(current_credentials()),
            rotation=self._rotation(host),
        )

    def _told(self, status: HostStatus, now: float) -> Mapping[str, Any]:
        """Gather what the history tells."""
        kind = request.args.get("kind", "")
        number = min(_MOST_PAGES, max(1, request.args.get("page", 1, type=int)))
        days = request.args.get("days", 7, type=int)
        entries = self._dashboard.history.find(
            status.host,
            events=KINDS.get(kind, ()),
            limit=ROWS + 1,
            skip=(number - 1) * ROWS,
        )
        silent = status.condition is Condition.SILENT
        every = self._dashboard.history.find(status.host, limit=_DRAWN)
        span = min(max(days, 1), self._dashboard.history_days)
        silent_since = status.seen_at if silent else None
        return {
            "entries": entries[:ROWS],
            "page": number,
            "has_more": len(entries) > ROWS,
            "kind": kind if kind in KINDS else "",
            "kinds_of_history": KIND_NAMES,
            "days": span,
            "spans": _spans(self._dashboard.history_days),
            "timeline": draw(every, status.published, silent_since, now, span),
        }

    def _base_url(self) -> str:
        """Return where devices reach this service: as chosen, else as the operator has.

        A link on another site chooses nothing: devices would send their keys there.
        """
        is_ours = not is_cross_site(request, self._proxies)
        chosen = request.values.get("url", "").strip().rstrip("/") if is_ours else ""
        told = base_url(request, self._proxies)
        return next(filter(setup_guides.is_address, (chosen, told)), setup_guides.EXAMPLE_URL)

    def _rotation(self, host: Hostname) -> str:
        """Return what a form has to bring to replace the key the host has now, and no other."""
        return self._dashboard.forms.sign(
            "rotate", host.text, self._dashboard.actions.key(host) or ""
        )

    # -- doing

    def retry(self, name: str) -> Response:
        """Try again now."""
        return _back(
            name, "retry" if self._dashboard.actions.retry(*self._may(name)) else "nothing"
        )

    def drop_update(self, name: str) -> Response:
        """Drop the update that failed."""
        return _back(
            name, "drop" if self._dashboard.actions.drop_update(*self._may(name)) else "nothing"
        )

    def mute(self, name: str) -> Response:
        """Mute until a date."""
        host, requester = self._may(name)
        try:
            until = after(request.form.get("until", ""), time.time())
        except ValueError as error:
            raise BadRequest(f"Until when? Please {error}.") from None
        self._dashboard.actions.mute(host, until, requester)
        return _back(name, "mute")

    def unmute(self, name: str) -> Response:
        """End a mute."""
        host, requester = self._may(name)
        self._dashboard.actions.mute(host, None, requester)
        return _back(name, "unmute")

    def reveal(self, name: str) -> str:
        """Show the page with the key in it."""
        host, _ = self._may(name)
        key = self._dashboard.actions.key(host)
        if key is None:
            raise BadRequest(f"The key file has no key of {host}: restart the service to make one.")
        return self._page(host, key)

    def rotate(self, name: str) -> str:
        """Give the host a new key, and show it once."""
        host, requester = self._may(name)
        if request.form.get("rotation") != self._rotation(host):
            raise AlreadyRotated(
                "The key has been changed since this page was shown: reload the host's page."
            )
        return self._page(host, self._dashboard.actions.rotate(host, requester), is_new=True)

    def _may(self, name: str) -> Tuple[Hostname, Requester]:
        self._dashboard.forms.check_form(current_credentials(), self._proxies)
        return Hostname.parse(name), current_operator()


def _spans(history_days: int) -> List[int]:
    return [days for days in _SPANS if days <= history_days]


def _back(name: str, done: str) -> Response:
    """Send the browser back to where the button was."""
    if request.form.get("from") == "overview":
        return make_response(redirect(url_for("operator.overview", done=done), 303))
    return make_response(redirect(url_for("operator.host", name=name, done=done), 303))


def blueprint(
    authorizer: Authorizer, dashboard: Dashboard, proxies: Sequence[Network]
) -> Blueprint:
    """Return the pages, ready to be registered."""
    pages = Blueprint("operator", __name__)
    _add_overview(pages, dashboard)
    HostPage(dashboard, proxies).add_to(pages)

    @pages.before_request
    def authorize() -> None:
        authorize_operator(authorizer, dashboard.forms, proxies)

    @pages.get("/metrics")
    def metrics() -> Response:
        try:
            snapshot = dashboard.overview.read()
        except errors.StoreUnavailable:
            snapshot = None
        text = dashboard.meters.exposition(gauges(snapshot))
        return Response(text, content_type="text/plain; version=0.0.4; charset=utf-8")

    @pages.record
    def prepare(state: BlueprintSetupState) -> None:
        state.app.jinja_env.filters.update(FILTERS)
        state.app.jinja_env.trim_blocks = True
        state.app.jinja_env.lstrip_blocks = True

    @pages.errorhandler(errors.DyndnsError)
    def refuse(error: errors.DyndnsError) -> Response:
        return refusal(error)

    @pages.errorhandler(Exception)
    def crash(error: Exception) -> Response:
        if isinstance(error, HTTPException):
            return error_page(error.code or 500, error.name, error.description or "")
        logger.error("A request to %s failed", request.url_rule, exc_info=error)
        return error_page(500, "Something went wrong", "The log says what.")

    pages.after_request(guarded)
    return pages
