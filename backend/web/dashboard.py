"""The operator's pages: the list of hosts, the check of the set-up, and the metrics."""

from __future__ import annotations

import contextlib
import logging
from dataclasses import dataclass
from typing import Callable, Iterable, Iterator, Sequence

from flask import (
    Blueprint,
    Response,
    current_app,
    render_template,
    request,
    stream_with_context,
)
from werkzeug.exceptions import HTTPException

from backend.admin.actions import Actions
from backend.admin.status import Overview, Snapshot
from backend.errors import DyndnsError, StoreUnavailable
from backend.hetzner.zones import delegation_hint, is_undelegated
from backend.model import RecordType
from backend.store.conditions import Condition, Group, HostLine, Selection
from backend.web.pages import compress, fill, in_turn, lead_again, leave, prepare
from backend.web.session import Session, error_page, refusal, with_headers

logger = logging.getLogger(__name__)

_HOSTS_A_PAGE = 50


@dataclass(frozen=True)
class Dashboard:
    """The operator's pages."""

    session: Session
    refresh: Callable[[], None]  # `Registry.refresh`
    overview: Overview
    actions: Actions
    # The text for Prometheus, in parts.
    metrics: Callable[[Snapshot | None, Sequence[HostLine]], Iterator[bytes]]
    host_pages: Sequence[Callable[[Blueprint], None]]  # each adds pages about hosts
    check: Callable[[], Iterable[object]]  # yields `errors.Line`

    def blueprint(self) -> Blueprint:
        pages = Blueprint("operator", __name__)
        pages.add_url_rule("/", "overview", in_turn(self.show_overview))
        pages.add_url_rule("/metrics", "metrics", in_turn(self.show_metrics))
        for path, view in (("/check", self.show_check), ("/test", self.send_test)):
            pages.add_url_rule(path, path[1:], view, methods=["POST"])
            pages.add_url_rule(path, f"{path[1:]}-again", lead_again)
        for register in self.host_pages:
            register(pages)
        pages.before_request(self.session.log_in)
        pages.before_request(self.refresh_hosts)
        pages.after_request(with_headers)
        pages.after_request(compress)
        pages.register_error_handler(DyndnsError, refusal)
        pages.register_error_handler(Exception, _crash)
        pages.record(prepare)
        return pages

    def refresh_hosts(self) -> None:
        """Learn of the host that the operator has just added in another process."""
        with contextlib.suppress(StoreUnavailable):  # the view reports it
            self.refresh()

    def show_overview(self) -> str:
        snapshot = self.overview.read()
        query, state = request.args.get("q", ""), request.args.get("state", "")
        text = query.strip().lower()
        groups = self.overview.groups(text) if text else snapshot.groups
        found = sum(one.number for one in groups if _is_in(one, state))
        last = max(1, -(-found // _HOSTS_A_PAGE))
        number = min(last, max(1, request.args.get("page", 1, type=int)))
        condition = next((one for one in Condition if one.slug == state), None)
        selection = Selection(text, condition, in_need=state == "need")
        lines = self.overview.lines(selection, (number - 1) * _HOSTS_A_PAGE, _HOSTS_A_PAGE)
        return render_template(
            "overview.html",
            snapshot=snapshot,
            numbers=snapshot.numbers,
            in_need=snapshot.in_need,
            conditions=list(Condition),
            kinds=list(RecordType),
            found=found,
            rows=list(self.overview.details(lines)),
            page=number,
            pages=last,
            query=query,
            state=state,
            undelegated=[zone for zone in snapshot.zones if is_undelegated(zone.delegation)],
            delegation_hint=delegation_hint,
            token=self.session.form_token(),
        )

    def show_check(self) -> Response:
        """Run the command `check`, and send each line as soon as it is known."""
        self.session.check_form()
        template = current_app.jinja_env.get_template("check.html")
        values = {"lines": self.check()}
        current_app.update_template_context(values)
        response = Response(stream_with_context(template.generate(values)))
        response.headers["X-Accel-Buffering"] = "no"  # nginx would send all lines at once
        return response

    def send_test(self) -> Response:
        """Send a test message."""
        self.session.check_form()
        return leave("tested" if self.actions.test_message() else "untested")

    def show_metrics(self) -> Response:
        lines: Sequence[HostLine] = ()
        try:
            snapshot, lines = self.overview.read(), self.overview.lines()
        except StoreUnavailable:
            snapshot = None
        texts = self.metrics(snapshot, lines)
        kind = "text/plain; version=0.0.4; charset=utf-8"
        return fill(Response(content_type=kind), texts)


def _is_in(group: Group, state: str) -> bool:
    return group.needs_operator if state == "need" else state in ("", group.condition.slug)


def _crash(error: Exception) -> Response:
    if isinstance(error, HTTPException):
        return error_page(error.code or 500, error.name, error.description or "")
    logger.error("A request to %s failed", request.url_rule, exc_info=error)
    return error_page(500, "Something went wrong", "The log of the service has the details.")
