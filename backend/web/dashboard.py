"""The operator's pages about all hosts: the list, adding hosts, the check, the metrics."""

from __future__ import annotations

import contextlib
import json
import logging
from dataclasses import dataclass, replace
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

from backend import __version__
from backend.admin.actions import Actions, names_in
from backend.admin.status import Overview, Snapshot, describe
from backend.errors import FAIL, DyndnsError, Line, StoreUnavailable
from backend.hetzner.zones import delegation_hint
from backend.metrics import Gauge, Meters
from backend.model import Hostname, RecordType
from backend.store.conditions import Condition, HostLine, Selection
from backend.web.pages import (
    compress,
    fill,
    host_path,
    in_turn,
    lead_again,
    lead_to,
    leave,
    prepare,
)
from backend.web.session import Session, error_page, refusal, with_headers

logger = logging.getLogger(__name__)

_HOSTS_A_PAGE = 50
_LINES_AT_ONCE = 250  # of hosts in the text for Prometheus


@dataclass(frozen=True)
class Dashboard:
    """The operator's pages."""

    session: Session
    refresh: Callable[[], None]  # `Registry.refresh`
    overview: Overview
    actions: Actions
    add_host_pages: Callable[[Blueprint], None]
    meters: Meters
    check: Callable[[], Iterable[Line]]
    send_test: Callable[[], bool]  # returns whether there are channels

    def blueprint(self) -> Blueprint:
        pages = Blueprint("operator", __name__)
        pages.add_url_rule("/", "overview", in_turn(self.show_overview))
        pages.add_url_rule("/metrics", "metrics", in_turn(self.show_metrics))
        pages.add_url_rule("/hosts.json", "hosts", in_turn(self.list_hosts))
        pages.add_url_rule("/add", "add", self.add, methods=["GET", "POST"])
        for path, view in (("/check", self.show_check), ("/test", self.show_test)):
            pages.add_url_rule(path, path[1:], view, methods=["POST"])
            pages.add_url_rule(path, f"{path[1:]}-again", lead_again)
        self.add_host_pages(pages)
        pages.before_request(self.session.log_in)
        pages.before_request(self.refresh_hosts)
        pages.after_request(with_headers)
        pages.after_request(compress)
        pages.register_error_handler(DyndnsError, refusal)
        pages.register_error_handler(Exception, _crash)
        pages.record(prepare)
        return pages

    def refresh_hosts(self) -> None:
        """Read the host that the operator has just added in another process."""
        with contextlib.suppress(StoreUnavailable):  # the view reports it
            self.refresh()

    def show_overview(self) -> str:
        snapshot = self.overview.read()
        query, state = request.args.get("q", ""), request.args.get("state", "")
        text = query.strip().lower()
        groups = self.overview.groups(text) if text else snapshot.groups
        matching = replace(snapshot, groups=groups)
        found = sum(
            one.number
            for one in groups
            if (one.needs_operator if state == "need" else state in ("", one.condition.slug))
        )
        last = max(1, -(-found // _HOSTS_A_PAGE))
        number = min(last, max(1, request.args.get("page", 1, type=int)))
        condition = next((one for one in Condition if one.slug == state), None)
        first = (number - 1) * _HOSTS_A_PAGE
        selection = Selection(text, condition, state == "need", first, _HOSTS_A_PAGE)
        return render_template(
            "overview.html",
            snapshot=snapshot,
            matching=matching,
            conditions=list(Condition),
            kinds=list(RecordType),
            found=found,
            rows=list(self.overview.hosts(selection)),
            page=number,
            pages=last,
            query=query,
            state=state,
            delegation_hint=delegation_hint,
            token=self.session.form_token(),
        )

    def list_hosts(self) -> Response:
        """Answer with all hosts as JSON, the worst first."""
        texts = (
            json.dumps(describe(one, is_fixed=self.actions.is_fixed(one.host))).encode()
            for one in self.overview.hosts()
        )
        body = (b"[", b",".join(texts), b"]\n")  # not joined once more: it has some megabytes
        return Response(body, content_type="application/json")

    def add(self) -> Response | tuple[str, int]:
        """Show the form, or add the hosts that it names: all of them, or none."""
        if request.method == "GET":
            return self._show_form("", ()), 200
        operator = self.session.check_form()
        text = request.form.get("names", "")
        names = names_in(text)
        lines = self.actions.add(names, operator)
        has_failed = not lines or any(line.state == FAIL for line in lines)
        if has_failed or any(line.is_finding for line in lines):
            return self._show_form(text if has_failed else "", lines), 400 if has_failed else 200
        if len(lines) > 1:
            return lead_to("/", "added-all")
        host = Hostname.parse(names[0])
        return lead_to(host_path(host), "added", host, "setup")

    def _show_form(self, text: str, lines: Sequence[Line]) -> str:
        is_bad = any(line.state == FAIL for line in lines)
        added = [] if is_bad else sorted({line.what for line in lines if "." in line.what})
        return render_template(
            "add.html",
            text=text,
            lines=lines,
            added=[name for name in added if not name.startswith("zone ")],
            is_bad=is_bad,
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

    def show_test(self) -> Response:
        self.session.check_form()
        return leave("tested" if self.send_test() else "untested")

    def show_metrics(self) -> Response:
        lines: Sequence[HostLine] = ()
        try:
            snapshot, lines = self.overview.read(), self.overview.lines()
        except StoreUnavailable:
            snapshot = None
        kind = "text/plain; version=0.0.4; charset=utf-8"
        return fill(Response(content_type=kind), exposition(self.meters, snapshot, lines))


def _crash(error: Exception) -> Response:
    if isinstance(error, HTTPException):
        return error_page(error.code or 500, error.name, error.description or "")
    logger.error("A request to %s failed", request.url_rule, exc_info=error)
    return error_page(500, "Something went wrong", "The log of the service has the details.")


def exposition(
    meters: Meters, snapshot: Snapshot | None, lines: Sequence[HostLine]
) -> Iterator[bytes]:
    """Yield the text for Prometheus in parts: the counters, the gauges, and those of each host.

    With many hosts, `Gauge` would take ten times as long. A host name needs no escaping.
    """
    yield meters.exposition(_gauges(snapshot))
    if snapshot is None:
        return
    states = {
        condition: "".join(
            f'dyndns_host_state{{host="\0",state="{one.slug}"}} {float(one is condition)}\n'
            for one in Condition
        )
        for condition in Condition
    }
    now = snapshot.now
    texts: Sequence[tuple[str, str, Callable[[HostLine], str]]] = (
        (
            "dyndns_host_state",
            "1 for the state of a host",
            lambda one: states[one.condition].replace("\0", one.host),
        ),
        (
            "dyndns_host_last_seen_age_seconds",
            "Time since the last update of a host; missing for a host never seen",
            lambda one: (
                ""
                if one.seen_at is None
                else f'dyndns_host_last_seen_age_seconds{{host="{one.host}"}} '
                f"{max(0.0, now - one.seen_at)}\n"
            ),
        ),
        (
            "dyndns_host_muted",
            "1 while a host is muted",
            lambda one: f'dyndns_host_muted{{host="{one.host}"}} {float(one.is_muted)}\n',
        ),
    )
    for name, help_text, text_of in texts:
        yield f"# HELP {name} {help_text}\n# TYPE {name} gauge\n".encode()
        for start in range(0, len(lines), _LINES_AT_ONCE):
            yield "".join(map(text_of, lines[start : start + _LINES_AT_ONCE])).encode()


def _gauges(snapshot: Snapshot | None) -> Iterator[Gauge]:
    """Yield every gauge; without a snapshot only those that need no store."""
    version = [((__version__,), 1)]
    yield Gauge("dyndns_build_info", "Version of the service", version, ("version",))
    up = snapshot is not None
    yield Gauge("dyndns_store_up", "1 while the store answers", [((), up)])
    if snapshot is None:
        return
    help_text, waiting = "Updates that Hetzner hasn't accepted", snapshot.waiting
    yield Gauge("dyndns_updates_waiting", help_text, [((), waiting)])
    oldest = snapshot.oldest_update_at
    age = 0.0 if oldest is None else max(0.0, snapshot.now - oldest)
    help_text = "Age of the oldest update that Hetzner hasn't accepted; 0 without any"
    yield Gauge("dyndns_oldest_update_age_seconds", help_text, [((), age)])
    labels, quotas = ("project", "limit"), snapshot.quotas
    left = [((one.project, one.limit), snapshot.left(one)) for one in quotas]
    help_text = "Calls left of Hetzner's rate limit, by the limit per hour"
    yield Gauge("dyndns_hetzner_quota_remaining", help_text, left, labels)
    limits = [((one.project, one.limit), one.limit) for one in quotas]
    yield Gauge("dyndns_hetzner_quota_limit", "Calls allowed per hour", limits, labels)
    refused = [((one.project,), bool(one.error)) for one in snapshot.projects]
    help_text = "1 while Hetzner refuses a token"
    yield Gauge("dyndns_hetzner_project_refused", help_text, refused, ("project",))
    undelegated = snapshot.undelegated
    zones = [((zone.name,), zone in undelegated) for zone in snapshot.zones]
    help_text = "1 for a zone that isn't delegated to Hetzner"
    yield Gauge("dyndns_zone_undelegated", help_text, zones, ("zone",))
