"""Hetzner doesn't report the outcome of the action of an accepted change."""

from __future__ import annotations

import pytest

from tests.http.service import CREATE, HOME, Host, Service


@pytest.mark.parametrize(
    "fault",
    [
        {"status": 410, "code": "deprecated_api_endpoint"},
        {"status": 403, "code": "forbidden"},
        {"status": 200, "body": '{"actions":[]}'},
    ],
    ids=["410", "403", "empty"],
)
def test_the_record_that_the_api_shows_decides(
    service: Service,
    host: Host,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    fault: dict[str, object],
) -> None:
    monkeypatch.setattr("backend.store.records.FIRST_POLL", 0.0)
    service.sandbox.fail(path="/actions", count=None, **fault)
    for address in ("198.51.100.1", "198.51.100.2"):
        host.updates(address)
        for _ in range(3):
            service.runs("reconciler")
        assert service.states() == {(HOME, "A"): (address, "published")}
    posts = [call for call in service.calls() if call.startswith("POST")]
    assert posts == [CREATE, posts[-1]], "no value is written twice"
    (error,) = [line for line in caplog.messages if "doesn't confirm" in line]
    assert error.endswith("as soon as the API shows it.")
