"""The list of hosts as JSON; forms that add, rename and remove hosts, and change their settings."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Mapping, Sequence

from flask import (
    Blueprint,
    Response,
    render_template,
    request,
)

from backend.admin.hosts import HostManager, names_in
from backend.admin.status import Overview, describe
from backend.errors import FAIL, OK, BadRequest, Line
from backend.model import Hostname, OwnSettings
from backend.text import exactly
from backend.web.pages import host_path, in_turn, lead_again, lead_to, leave
from backend.web.session import Session

# The fields of a host's own settings: name, label, an example, and what an empty one means.
_FIELDS = (
    ("lost_after", "Lost after a silence of", "3d", "LOST_CONNECTION_TIMEOUT"),
    ("ttl", "TTL of its records, in seconds", "300", "RECORD_TTL"),
    ("interface_id", "Host part of its IPv6 address", "::211:32ff:fe11:2233", "IPV6_INTERFACE_IDS"),
    ("certificates", "Certificates for its own key, on or off", "off", "ACME_DNS"),
    ("note", "Note", "in the attic", "no note"),
)


@dataclass(frozen=True)
class HostForms:
    """Which hosts there are: a list, and the forms that change it."""

    session: Session
    manager: HostManager
    overview: Overview

    def register(self, pages: Blueprint) -> None:
        """Add the forms to the pages of the operator."""
        pages.add_url_rule("/hosts.json", "hosts", in_turn(self.list_hosts))
        pages.add_url_rule("/add", "add", self.add, methods=["GET", "POST"])
        actions = {"set": self.change, "rename": self.rename, "remove": self.remove}
        for action, view in actions.items():
            path = f"/hosts/<name>/{action}"
            pages.add_url_rule(path, action, view, methods=["POST"])
            pages.add_url_rule(path, f"{action}-again", lead_again)

    def list_hosts(self) -> Response:
        """Answer with all hosts as JSON, the worst first."""
        texts = [
            json.dumps(describe(one, is_fixed=self.manager.is_fixed(one.host)))
            for one in self.overview.details(self.overview.lines())
        ]
        return Response(f"[{','.join(texts)}]\n", content_type="application/json")

    def values(self, host: Hostname) -> Mapping[str, Any]:
        """Return what the page of a host needs for its forms."""
        own = self.manager.own(host)
        fields = [(*field, _written(own, field[0])) for field in _FIELDS]
        return {"fields": fields, "is_fixed": self.manager.is_fixed(host)}

    def add(self) -> Response | tuple[str, int]:
        """Show the form, or add the hosts that it names: all of them, or none."""
        if request.method == "GET":
            return self._show("", ()), 200
        operator = self.session.check_form()
        text = request.form.get("names", "")
        names = names_in(text)
        lines = self.manager.add(names, operator)
        has_failed = not lines or any(line.state == FAIL for line in lines)
        if has_failed or any(line.state != OK for line in lines):
            return self._show(text if has_failed else "", lines), 400 if has_failed else 200
        if len(lines) > 1:
            return lead_to("/", "added-all")
        host = Hostname.parse(names[0])
        return lead_to(host_path(host), "added", host, "setup")

    def rename(self, name: str) -> Response | tuple[str, int]:
        operator = self.session.check_form()
        new = request.form.get("new", "")
        lines = self.manager.rename(Hostname.parse(name), new, operator)
        if not lines or any(line.state == FAIL for line in lines):
            raise BadRequest(
                " ".join(f"{line.found} {line.hint}" for line in lines if line.state == FAIL)
                or "Write the new name."
            )
        host = Hostname.parse(new)
        return lead_to(host_path(host), "renamed", host, "setup")

    def remove(self, name: str) -> Response:
        operator = self.session.check_form()
        host, choice = Hostname.parse(name), request.form.get("records", "")
        if choice not in ("delete", "keep"):
            raise BadRequest("Choose whether the records of the host are deleted or kept.")
        self.manager.remove(host, operator, delete_records=choice == "delete")
        return lead_to("/", "removed", host)

    def change(self, name: str) -> Response:
        operator = self.session.check_form()
        host = Hostname.parse(name)
        texts = {field[0]: request.form[field[0]] for field in _FIELDS if field[0] in request.form}
        self.manager.change(host, texts, operator)
        return leave("set", host, "settings")

    def _show(self, text: str, lines: Sequence[Line]) -> str:
        is_bad = any(line.state == FAIL for line in lines)
        added = [] if is_bad else sorted({line.what for line in lines if "." in line.what})
        return render_template(
            "add.html",
            text=text,
            lines=[line for line in lines if line.state != OK or not is_bad],
            added=[name for name in added if not name.startswith("zone ")],
            is_bad=is_bad,
            has_names=bool(text.strip()),
            token=self.session.form_token(),
        )


def _written(own: OwnSettings, name: str) -> str:
    value = getattr(own, name)
    if value is None or isinstance(value, bool):
        return {None: "", True: "on", False: "off"}[value]
    return exactly(value) if name == "lost_after" else str(value)
