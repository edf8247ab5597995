"""An update in the background of a test."""

from __future__ import annotations

import threading

import requests

from tests.e2e.processes import Backend


class Updating:
    """An update on its own thread."""

    def __init__(self, backend: Backend, host: str, ip: str) -> None:
        self._url = f"{backend.url}/update"
        self._headers = {"X-Pre-Shared-Key": backend.key_of(host)}
        self._body = {"fqdn": host, "ip": ip}
        self._answers: list[tuple[int, str] | None] = []
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def answer(self) -> tuple[int, str] | None:
        """Return the status and code of the answer; None if the connection ended without one."""
        self._thread.join(30)
        assert self._answers, "the update did not end"
        return self._answers[0]

    def _run(self) -> None:
        with requests.Session() as session:
            session.trust_env = False
            try:
                answer = session.post(self._url, json=self._body, headers=self._headers, timeout=20)
            except requests.ConnectionError:
                self._answers.append(None)
                return
            self._answers.append((answer.status_code, answer.json().get("status", "")))
