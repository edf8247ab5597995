"""The page of a host: its state, set-up, history and settings, and what the operator can do."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Mapping, Sequence

import segno
from flask import Blueprint, Response, g, make_response, render_template, request, url_for

from backend import setup_guides
from backend.admin.actions import Actions
from backend.admin.status import RETURNS, HostStatus, Overview
from backend.admin.timeline import (
    CHALLENGES,
    CHANGES,
    CONTACT,
    FAILURES,
    OPERATOR_ACTIONS,
    PERIODS,
    WARNINGS,
    draw,
    summary,
    window,
)
from backend.errors import FAIL, BadRequest, CallerError, OperatorError, TransientError
from backend.model import Address, Hostname, RecordType, Requester
from backend.store.conditions import Condition
from backend.store.history import History
from backend.store.leases import SAY_AGAIN
from backend.store.schema import Entry
from backend.text import after, duration, local
from backend.web.caller import base_url
from backend.web.pages import host_path, lead_again, lead_to, leave
from backend.web.session import FORM_SECONDS, Session

_ENTRIES_A_PAGE = 20
_DAYS_DRAWN = (1, 7, 30, 90)
_MOST_PAGES = 1_000_000  # databases have no number beyond 63 bits
_NO_KEY = "YOUR-KEY"
_MOST_WARNINGS = 3
_MOST_OF_A_CODE = 1200  # bytes that a phone can read from a screen
# The filters of a history: each label, and its events; no events stands for all events.
_KINDS: Mapping[str, tuple[str, Sequence[str]]] = {
    "": ("everything", ()),
    "changes": ("address changes", CHANGES),
    "failures": ("failures", FAILURES),
    "contact": ("lost and back", CONTACT),
    "operator": ("the operator's actions", OPERATOR_ACTIONS),
}
# The fields of a host's own settings: name, label, an example, and what an empty one means.
_FIELDS = (
    ("lost_after", "Lost after a silence of", "3d", "as in LOST_CONNECTION_TIMEOUT"),
    ("ttl", "TTL of its records, in seconds", "300", "as in RECORD_TTL"),
    ("interface_id", "Host part of its IPv6 address", "::1:2:3:4", "as in IPV6_INTERFACE_IDS"),
    ("certificates", "Certificates for its own key", "off", "as in ACME_DNS"),
    ("note", "Note", "in the attic", "no note"),
)


class AlreadyRotated(CallerError):
    """The host's key has changed since the page with the form was shown."""


@dataclass(frozen=True)
class HostPages:
    """The pages of the hosts."""

    session: Session
    overview: Overview
    actions: Actions
    history: History
    history_days: int

    def register(self, pages: Blueprint) -> None:
        """Add the pages to those of the operator."""
        pages.add_url_rule("/hosts/<name>", "host", self.show)
        for action, view in (
            ("retry", self.retry),
            ("drop", self.drop_update),
            ("mute", self.mute),
            ("unmute", self.unmute),
            ("update", self.update),
            ("key", self.show_key),
            ("hide", self.hide_key),
            ("rotate", self.rotate),
            ("download", self.download),
            ("set", self.change),
            ("rename", self.rename),
            ("remove", self.remove),
        ):
            pages.add_url_rule(f"/hosts/<name>/{action}", action, view, methods=["POST"])
            pages.add_url_rule(f"/hosts/<name>/{action}", f"{action}-again", lead_again)

    def show(self, name: str) -> str:
        host = Hostname.parse(name)
        status, now = self.overview.host(host)
        key = self.actions.key(host)
        shown = key if key and self.session.shows_key(key, _path(host)) else None
        g.has_key = shown is not None
        own = self.actions.own_texts(host)
        return render_template(
            "host.html",
            **self._history(status, now),
            **self._setup(host, shown),
            fields=[(*field, own[field[0]]) for field in _FIELDS],
            is_fixed=self.actions.is_fixed(host),
            now=now,
            one=status,
            kinds=list(RecordType),
            returns=RETURNS,
            wrong=self.overview.wrong_logins(host),
            zone=local(now, "%Z"),  # in which the form reads a date
            warnings=self.history.find(
                host, since=now - SAY_AGAIN, events=WARNINGS, limit=_MOST_WARNINGS
            ),
            challenge=next(iter(self.history.find(host, events=CHALLENGES, limit=1)), None),
            window=duration(self.overview.failure_window),
            key=shown,
            token=self.session.form_token(),
            rotation=self.session.token("rotate", host.text, key),
        )

    def retry(self, name: str) -> Response:
        host, operator = self._check(name)
        return leave("retry" if self.actions.retry(host, operator) else "nothing", host)

    def drop_update(self, name: str) -> Response:
        host, operator = self._check(name)
        return leave("drop" if self.actions.drop_update(host, operator) else "nothing", host)

    def mute(self, name: str) -> Response:
        host, operator = self._check(name)
        try:
            until = after(request.form.get("until", ""), time.time())
        except ValueError as error:
            raise BadRequest(f"The end of the mute is missing or wrong: {error}.") from None
        self.actions.mute(host, until, operator)
        return leave("mute", host)

    def unmute(self, name: str) -> Response:
        host, operator = self._check(name)
        self.actions.mute(host, None, operator)
        return leave("unmute", host)

    def update(self, name: str) -> Response:
        host, operator = self._check(name)
        address = Address.parse(request.form.get("ip", ""))
        try:
            outcome = self.actions.update(host, address, operator)
        except OperatorError:
            return leave("refused", host)
        except TransientError:
            return leave("waits", host)
        return leave("updated" if outcome.changed else "unchanged", host)

    def show_key(self, name: str) -> Response:
        host, _ = self._check(name)
        key = self.actions.key(host)
        if key is None:
            raise BadRequest(f"{host} has no key yet: restart the service, which makes one.")
        return self._leave_with_key("", host, key)

    def hide_key(self, name: str) -> Response:
        host, _ = self._check(name)
        return self._leave_with_key("", host, None)

    def rotate(self, name: str) -> Response:
        host, operator = self._check(name)
        sent, key = request.form.get("rotation", ""), self.actions.key(host)
        # The form may be sent again, for example from the history of the browser.
        if not self.session.is_valid(sent, FORM_SECONDS, "rotate", host.text, key):
            raise AlreadyRotated(
                f"The key of {host} has changed since this page was shown, so it was not replaced "
                "again."
            )
        return self._leave_with_key("rotate", host, self.actions.rotate(host, operator))

    def download(self, name: str) -> Response:
        """Send the settings for a device as a file, key included."""
        host, _ = self._check(name)
        key = self.actions.key(host) or _NO_KEY
        guide = setup_guides.snippet(self._device(), host, key, self._service_url())
        response = make_response(guide.text + "\n")
        response.mimetype = "text/plain"
        is_compose = guide.device == "compose"
        file = "docker-compose.yml" if is_compose else f"{guide.device}.txt"
        response.headers["Content-Disposition"] = f'attachment; filename="{file}"'
        g.has_key = True
        return response

    def rename(self, name: str) -> Response | str:
        host, operator = self._check(name)
        new = request.form.get("new", "")
        lines = self.actions.rename(host, new, operator)
        if not lines or any(line.state == FAIL for line in lines):
            raise BadRequest(
                " ".join(f"{line.found} {line.hint}" for line in lines if line.state == FAIL)
                or "Write the new name."
            )
        host = Hostname.parse(new)
        if any(line.is_finding for line in lines):
            return render_template("renamed.html", host=host, lines=lines)
        return lead_to(host_path(host), "renamed", host, "setup")

    def remove(self, name: str) -> Response:
        host, operator = self._check(name)
        choice = request.form.get("records", "")
        if choice not in ("delete", "keep"):
            raise BadRequest("Choose whether the records of the host are deleted or kept.")
        self.actions.remove(host, operator, delete_records=choice == "delete")
        return lead_to("/", "removed", host)

    def change(self, name: str) -> Response:
        host, operator = self._check(name)
        texts = {field[0]: request.form[field[0]] for field in _FIELDS if field[0] in request.form}
        self.actions.change(host, texts, operator)
        return leave("set", host, "settings")

    def _check(self, name: str) -> tuple[Hostname, Requester]:
        """Check the form, and return the host and the operator of an action."""
        operator = self.session.check_form()
        return Hostname.parse(name), operator

    def _leave_with_key(self, done: str, host: Hostname, key: str | None) -> Response:
        """Redirect to the set-up, which shows the key; `None` hides the key again."""
        return self.session.show_key(leave(done, host, "setup"), key, _path(host))

    def _setup(self, host: Hostname, key: str | None) -> Mapping[str, Any]:
        """Return the settings for the chosen device."""
        device, url = self._device(), self._service_url()
        guide = setup_guides.snippet(device, host, key or _NO_KEY, url)
        fits = len(guide.text.encode("utf-8")) <= _MOST_OF_A_CODE
        code = segno.make(guide.text, micro=False) if key and fits else None
        return {
            "devices": setup_guides.DEVICES,
            "guide": guide,
            "parts": setup_guides.parts(guide.text),
            "code": code.svg_data_uri(scale=4, dark="#000", light="#fff") if code else "",
            "service": url,
            "no_key": _NO_KEY,
        }

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
        shown, period = entries[:_ENTRIES_A_PAGE], window(now, days)
        samples = self.history.sample(status.host, *period, PERIODS, (*CHANGES, *CONTACT))
        silent_since = status.seen_at if status.condition is Condition.SILENT else None
        timeline = draw(samples, status.published, silent_since, status.lost_after, period)
        return {
            "entries": [(one, self._held(one, shown)) for one in shown],
            "page": page,
            "has_more": len(entries) > _ENTRIES_A_PAGE,
            "kind": kind,
            "kind_names": {name: words for name, (words, _) in _KINDS.items()},
            "failures": FAILURES,
            "days": days,
            "choices_of_days": [one for one in _DAYS_DRAWN if one <= self.history_days],
            "timeline": timeline,
            "summary": summary(self.history.numbers(status.host, period[0]), days),
        }

    def _held(self, entry: Entry, page: Sequence[Entry]) -> tuple[float, float | None] | None:
        """Return from when until when the address of a change was held; `None` for other entries.

        The end is `None` while the address is held.
        """
        if entry.event not in CHANGES or entry.new is None:
            return None
        host = Hostname(entry.host)
        later = [
            one.at
            for one in page
            if one.at > entry.at and one.type == entry.type and one.event in CHANGES
        ]
        end = min(later, default=None) or self.history.next(host, entry.type, entry.at, CHANGES)
        return entry.at, end

    def _device(self) -> str:
        chosen = request.values.get("device", "")
        return chosen if chosen in setup_guides.DEVICES else next(iter(setup_guides.DEVICES))

    def _service_url(self) -> str:
        """Return the URL for devices: the one the operator chose, or the one the browser uses.

        A link on another site can't choose it: devices would send their keys there.
        """
        chosen = "" if g.is_foreign else request.values.get("url", "").strip().rstrip("/")
        used = base_url(request, self.session.proxies) + request.script_root
        return next(filter(setup_guides.is_address, (chosen, used, setup_guides.EXAMPLE_URL)))


def _path(host: Hostname) -> str:
    path: str = url_for("operator.host", name=host.text)
    return path
