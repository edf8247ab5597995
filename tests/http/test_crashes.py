"""An unexpected error: each protocol answers in its own form, without details."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask

from backend.auth.keys import NO_KEYS
from backend.auth.registry import Access, HostList
from backend.settings import read
from backend.web.app import create_app
from tests.http.service import check_form, refused, said

SECRET = "what nobody may see"


class Broken:
    """Stands for any part of the service that has a bug."""

    def access(self) -> Access:
        return Access(HostList(), NO_KEYS)

    def authorize(self, _: object, **_options: object) -> None:
        raise KeyError(SECRET)


def never(*_: object) -> None:
    raise AssertionError("never reached")


@pytest.fixture
def app() -> Flask:
    broken: Any = Broken()
    settings, _ = read({"HETZNER_TOKEN": "x" * 64})
    return create_app(
        broken.access, broken.authorize, never, never, list, settings.access.trusted_proxies
    )


@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_json_answers_internal_and_no_details(
    app: Flask, method: str, caplog: pytest.LogCaptureFixture
) -> None:
    answer = app.test_client().open("/update", method=method, json={"fqdn": "home.example.com"})
    check_form(answer)
    assert refused(answer) == (500, "internal")
    assert SECRET.encode() not in answer.data
    assert SECRET in caplog.text


@pytest.mark.parametrize("path", ["/nic/update", "/v3/update"])
def test_dyndns2_answers_911_and_no_details(
    app: Flask, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    answer = app.test_client().get(path, query_string={"hostname": "a.example.com", "pass": "key"})
    check_form(answer)
    assert said(answer) == (500, b"911\n")
    assert SECRET in caplog.text
    assert "pass" not in caplog.text


def test_a_bug_is_never_shown_in_a_debugger(app: Flask) -> None:
    app.debug = True
    answer = app.test_client().post("/update", json={})
    assert refused(answer) == (500, "internal")
