"""The operator's browser: logs in, reads pages and submits forms."""

from __future__ import annotations

import html
import re
from typing import Mapping

from werkzeug.test import TestResponse

from tests.http.service import OPERATOR, PEER, Service, basic

PLACE = "https://dyndns.example.com"


class Operator:
    """A browser with the operator's login."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def asks(  # noqa: PLR0913
        self,
        method: str,
        path: str,
        form: Mapping[str, str] | None = None,
        *,
        login: str | None = basic(*OPERATOR),
        headers: Mapping[str, str] | None = None,
        service: Service | None = None,
    ) -> TestResponse:
        sent = {**({"Authorization": login} if login else {}), **(headers or {})}
        with (service or self._service).app.test_client(use_cookies=False) as client:
            return client.open(
                path,
                method=method,
                data=form,
                headers=sent,
                base_url=PLACE,
                environ_overrides={"REMOTE_ADDR": PEER},
            )

    def sees(self, path: str = "/") -> str:
        """Return the page at a path."""
        answer = self.asks("GET", path)
        assert answer.status_code == 200, answer.text
        return answer.text

    def follows(self, answer: TestResponse) -> str:
        """Return the page that an action leads to, which says what was done."""
        assert answer.status_code == 303, answer.text
        cookies = [one.partition(";")[0] for one in answer.headers.getlist("Set-Cookie")]
        page = self.asks(
            "GET",
            answer.headers["Location"].partition("#")[0],
            headers={"Cookie": "; ".join(cookies)},
        )
        assert "dyndns-done=;" in page.headers["Set-Cookie"]
        return page.text

    def form(self, page: str, action: str) -> dict[str, str]:
        """Return the values of a form as the page contains them."""
        own = rf'<form [^>]*method="post" action="{re.escape(action)}">(.*?)</form>'
        found = re.search(own, page, re.DOTALL)
        if not found:  # a button of the form of the page
            assert f'formaction="{action}"' in page, f"no form for {action}"
            found = re.search(r'<form method="post" id="act".*?>(.*?)</form>', page, re.DOTALL)
        assert found
        fields = re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)">', found[1])
        return {name: html.unescape(value) for name, value in fields}

    def presses(self, host: str, deed: str, **filled_in: str) -> TestResponse:
        """Submit a form on a host's page."""
        action = f"/hosts/{host}/{deed}"
        form = self.form(self.sees(f"/hosts/{host}"), action)
        return self.asks("POST", action, {**form, **filled_in}, headers={"Origin": PLACE})


def words(page: str) -> str:
    """Return the visible text of a page."""
    body = page.split("<main", 1)[1]
    text = re.sub(r"<(svg|script)\b.*?</\1>", " ", body, flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", text)).split())
