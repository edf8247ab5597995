from __future__ import annotations

from pathlib import Path

import pytest
import requests
from requests.structures import CaseInsensitiveDict

from backend.outgoing import Session, retry_after


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        *(("7", 7.0), ("1.5", 1.5), ("0", 1.0), ("-5", 1.0), ("1e9", 300.0)),
        *(("inf", 300.0), ("nan", 1.0), ("", None), ("soon", None)),
        ("Wed, 21 Oct 2026 07:28:00 GMT", None),
    ],
)
def test_retry_after_stays_within_its_bounds(header: str, seconds: float | None) -> None:
    assert retry_after(CaseInsensitiveDict({"Retry-After": header}), 1.0, 300.0) == seconds


def test_an_answer_may_omit_retry_after() -> None:
    assert retry_after({}, 1.0, 300.0) is None


def test_an_entry_in_netrc_adds_no_login(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine ntfy.example.com login somebody password else\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    for url, login in (
        ("https://ntfy.example.com", None),
        ("https://me:secret@ntfy.example.com", "Basic bWU6c2VjcmV0"),
    ):
        sent = Session(url).prepare_request(requests.Request("POST", url))
        assert sent.headers.get("Authorization") == login
