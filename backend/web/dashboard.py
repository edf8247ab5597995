"""The operator's pages: the list of hosts, a page for each host, and the metrics."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import Any, Callable, Mapping, Sequence

from flask import Blueprint, Response, make_response, redirect, render_template, request, url_for
from flask.blueprints import BlueprintSetupState
from markupsafe import Markup
from werkzeug.exceptions import HTTPException

from backend import setup_guides
from backend.admin.actions import Actions
from backend.admin.status import (
    RETURNS,
    Condition,
    HostStatus,
    Overview,
    gauges,
)
from backend.admin.timeline import CHANGES, CONTACT, FAILURES, OPERATOR_ACTIONS, draw
from backend.errors import (
    BadRequest,
    CallerError,
    DyndnsError,
    HostNotAllowed,
    StoreUnavailable,
)
from backend.hetzner.zones import delegation_hint, is_undelegated
from backend.metrics import Meters
from backend.model import Hostname, RecordType, Requester
from backend.store.history import History
from backend.text import after, moment, rough
from backend.web.caller import base_url, is_cross_site
from backend.web.session import FORM_SECONDS, Session, error_page, refusal, with_headers

logger = logging.getLogger(__name__)

_HOSTS_A_PAGE = 50
_ENTRIES_A_PAGE = 50
_ENTRIES_DRAWN = 2000
_DAYS_DRAWN = (1, 7, 30, 90)
_MOST_PAGES = 1_000_000  # databases have no number beyond 63 bits
_JUST_NOW = 5  # seconds
_NO_KEY = "YOUR-KEY"
# The filters of a history: each label, and its events; no events stands for all events.
_KINDS: Mapping[str, tuple[str, Sequence[str]]] = {
    "": ("everything", ()),
    "changes": ("address changes", CHANGES),
    "failures": ("failures", FAILURES),
    "contact": ("lost and back", CONTACT),
    "operator": ("the operator's actions", OPERATOR_ACTIONS),
}
_DONE = {
    "retry": "The service is retrying the host's pending updates.",
    "drop": "The host's failed update was dropped.",
    "nothing": "Nothing was changed: the host has no such update.",
    "mute": "Notifications about this host are muted.",
    "unmute": "Notifications about this host are on again.",
}


def _ago(at: float | None, now: float) -> Markup:
    if at is None:
        return Markup("never")
    return _time(at, "just now" if now - at < _JUST_NOW else f"{rough(now - at)} ago")


def _time(at: float, words: str) -> Markup:
    """Return words for a time; a browser shows the exact time on hover."""
    exact = moment(at, "%Y-%m-%d %H:%M:%S UTC")
    return Markup('<time datetime="{}" title="{}">{}</time>').format(_iso(at), exact, words)


def _iso(at: float) -> str:
    return moment(at, "%Y-%m-%dT%H:%M:%SZ")


FILTERS: Mapping[str, Callable[..., str]] = {
    "ago": _ago,
    "lasting": lambda at, now: _time(at, rough(now - at)),
    "until": lambda at, now: _time(at, "now" if at <= now else f"in {rough(at - now)}"),
    "minute": lambda at: _time(at, moment(at, "%Y-%m-%d %H:%M")),
    "clock": lambda at: moment(at, "%H:%M:%S UTC"),
    "iso": _iso,
}


class AlreadyRotated(CallerError):
    """The host's key has changed since the page with the form was shown."""


@dataclass(frozen=True)
class Dashboard:
    """The operator's pages."""

    session: Session
    overview: Overview
    actions: Actions
    history: History
    meters: Meters
    history_days: int

    def blueprint(self) -> Blueprint:
        pages = Blueprint("operator", __name__)
        pages.add_url_rule("/", "overview", self.show_overview)
        pages.add_url_rule("/metrics", "metrics", self.show_metrics)
        pages.add_url_rule("/hosts/<name>", "host", lambda name: self._page(Hostname.parse(name)))
        for action, view in (
            ("retry", self.retry),
            ("drop", self.drop_update),
            ("mute", self.mute),
            ("unmute", self.unmute),
            ("key", self.show_key),
            ("rotate", self.rotate),
        ):
            pages.add_url_rule(f"/hosts/<name>/{action}", action, view, methods=["POST"])
        pages.before_request(self.session.log_in)
        pages.after_request(with_headers)
        pages.register_error_handler(DyndnsError, refusal)
        pages.register_error_handler(Exception, _crash)
        pages.record(_prepare_templates)
        return pages

    def show_overview(self) -> str:
        snapshot = self.overview.read()
        query, state = request.args.get("q", ""), request.args.get("state", "")
        text = query.strip().lower()
        found = [
            one
            for one in snapshot.hosts
            if state in ("", one.condition.slug)
            and any(text in shown for shown in (one.host.text, *map(str, one.published.values())))
        ]
        last = max(1, -(-len(found) // _HOSTS_A_PAGE))
        number = min(last, max(1, request.args.get("page", 1, type=int)))
        return render_template(
            "overview.html",
            snapshot=snapshot,
            conditions=list(Condition),
            kinds=list(RecordType),
            found=found,
            rows=found[(number - 1) * _HOSTS_A_PAGE : number * _HOSTS_A_PAGE],
            page=number,
            pages=last,
            query=query,
            state=state,
            undelegated=[zone for zone in snapshot.zones if is_undelegated(zone.delegation)],
            delegation_hint=delegation_hint,
            done=_DONE.get(request.args.get("done", "")),
            token=self.session.form_token(),
        )

    def show_metrics(self) -> Response:
        try:
            snapshot = self.overview.read()
        except StoreUnavailable:
            snapshot = None
        text = self.meters.exposition(gauges(snapshot))
        return Response(text, content_type="text/plain; version=0.0.4; charset=utf-8")

    def retry(self, name: str) -> Response:
        done = self.actions.retry(*self._check(name))
        return _redirect(name, "retry" if done else "nothing")

    def drop_update(self, name: str) -> Response:
        done = self.actions.drop_update(*self._check(name))
        return _redirect(name, "drop" if done else "nothing")

    def mute(self, name: str) -> Response:
        host, requester = self._check(name)
        try:
            until = after(request.form.get("until", ""), time.time())
        except ValueError as error:
            raise BadRequest(f"The end of the mute is missing or wrong: {error}.") from None
        self.actions.mute(host, until, requester)
        return _redirect(name, "mute")

    def unmute(self, name: str) -> Response:
        host, requester = self._check(name)
        self.actions.mute(host, None, requester)
        return _redirect(name, "unmute")

    def show_key(self, name: str) -> str:
        host, _ = self._check(name)
        key = self.actions.key(host)
        if key is None:
            raise BadRequest(f"The key file has no key for {host}: restart the service to add one.")
        return self._page(host, key)

    def rotate(self, name: str) -> str:
        host, requester = self._check(name)
        sent, key = request.form.get("rotation", ""), self.actions.key(host)
        # A browser that loads the page again sends the form again.
        if not self.session.is_valid(sent, FORM_SECONDS, "rotate", host.text, key):
            raise AlreadyRotated(
                f"The key of {host} has been changed since this page was shown: reload the "
                "host's page."
            )
        return self._page(host, self.actions.rotate(host, requester), is_new=True)

    def _check(self, name: str) -> tuple[Hostname, Requester]:
        """Check the form, and return the host and the operator of an action."""
        operator = self.session.check_form()
        return Hostname.parse(name), operator

    def _page(self, host: Hostname, key: str | None = None, *, is_new: bool = False) -> str:
        status, now = self.overview.host(host)
        if status is None:
            raise HostNotAllowed(f"{host} isn't registered: add it to REGISTERED_FQDNS.")
        url = self._service_url()
        guides = setup_guides.snippets(host, key or _NO_KEY, url)
        chosen = request.values.get("device", "")
        return render_template(
            "host.html",
            **self._history(status, now),
            now=now,
            one=status,
            kinds=list(RecordType),
            returns=RETURNS,
            guides=guides,
            device=chosen if chosen in setup_guides.DEVICES else guides[0].device,
            url=url,
            key=key,
            is_new=is_new,
            no_key=_NO_KEY,
            done=_DONE.get(request.args.get("done", "")),
            token=self.session.form_token(),
            rotation=self.session.token("rotate", host.text, self.actions.key(host)),
        )

    def _history(self, status: HostStatus, now: float) -> Mapping[str, Any]:
        """Return the timeline and the chosen page of the history."""
        kind = request.args.get("kind", "")
        kind = kind if kind in _KINDS else ""
        page = min(_MOST_PAGES, max(1, request.args.get("page", 1, type=int)))
        days = min(max(request.args.get("days", 7, type=int), 1), self.history_days)
        entries = self.history.find(
            status.host,
            events=_KINDS[kind][1],
            limit=_ENTRIES_A_PAGE + 1,
            skip=(page - 1) * _ENTRIES_A_PAGE,
        )
        drawn = self.history.find(status.host, limit=_ENTRIES_DRAWN)
        silent_since = status.seen_at if status.condition is Condition.SILENT else None
        return {
            "entries": entries[:_ENTRIES_A_PAGE],
            "page": page,
            "has_more": len(entries) > _ENTRIES_A_PAGE,
            "kind": kind,
            "kind_names": {name: words for name, (words, _) in _KINDS.items()},
            "days": days,
            "choices_of_days": [one for one in _DAYS_DRAWN if one <= self.history_days],
            "timeline": draw(drawn, status.published, silent_since, now, days),
        }

    def _service_url(self) -> str:
        """Return the URL for devices: the one the operator chose, else the one the browser uses.

        A link on another site can't choose it: devices would send their keys there.
        """
        is_ours = not is_cross_site(request, self.session.proxies)
        chosen = request.values.get("url", "").strip().rstrip("/") if is_ours else ""
        urls = (chosen, base_url(request, self.session.proxies), setup_guides.EXAMPLE_URL)
        return next(filter(setup_guides.is_address, urls))


def _redirect(name: str, done: str) -> Response:
    """Send the browser back to the page that has the button."""
    if request.form.get("from") == "overview":
        return make_response(redirect(url_for("operator.overview", done=done), 303))
    return make_response(redirect(url_for("operator.host", name=name, done=done), 303))


def _prepare_templates(state: BlueprintSetupState) -> None:
    environment = state.app.jinja_env
    environment.filters.update(FILTERS)
    environment.trim_blocks = environment.lstrip_blocks = True


def _crash(error: Exception) -> Response:
    if isinstance(error, HTTPException):
        return error_page(error.code or 500, error.name, error.description or "")
    logger.error("A request to %s failed", request.url_rule, exc_info=error)
    return error_page(500, "Something went wrong", "The log of the service has the details.")
