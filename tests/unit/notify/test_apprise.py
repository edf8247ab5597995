from __future__ import annotations

import pytest

from backend.errors import SettingUnusable
from backend.notify import apprise, channels

URL = "json://example.com/a-secret"


def test_urls_need_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channels.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(SettingUnusable, match=r"requirements-apprise\.txt") as caught:
        channels.check_urls([URL])
    assert "a-secret" not in str(caught.value)


def test_without_urls_no_library_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channels.importlib.util, "find_spec", lambda _: None)
    channels.check_urls([])


@pytest.mark.parametrize(
    ("answer", "problem"),
    [([], "doesn't answer"), ([True, False], "can't read URL 2 of 2")],
)
def test_urls_that_can_not_be_read_are_refused_by_number(
    monkeypatch: pytest.MonkeyPatch, answer: list[bool], problem: str
) -> None:
    monkeypatch.setattr(channels.importlib.util, "find_spec", lambda _: object())
    monkeypatch.setattr(apprise, "run", lambda *_: answer)
    with pytest.raises(SettingUnusable, match=problem) as caught:
        channels.check_urls([URL, URL])
    assert "a-secret" not in str(caught.value)
