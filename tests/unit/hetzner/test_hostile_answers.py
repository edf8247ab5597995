"""A call ends in time with a reason, even if the server at HETZNER_API_URL is hostile."""

from __future__ import annotations

import gc
import re
import ssl
import warnings
from functools import partial
from pathlib import Path
from typing import Iterator

import pytest
import trustme

from backend.errors import DyndnsError
from backend.hetzner.client import CloudApi
from backend.model import Deadline
from tests.hostile import (
    ANSWERS,
    BROKEN,
    CONNECT_ANSWERS,
    ENDLESS,
    LATE,
    ODD,
    REDIRECT,
    Hostile,
    Servers,
    good,
    together,
    trickled,
)

TOKEN = "secret" + "t" * 58
GOOD = good(b'{"zones": []}')
OVER_TLS = [trickled(*ENDLESS[index]) for index in (0, 1, 4, 7, 13)]
REASONS = {
    LATE: r"no complete answer in time\.",
    BROKEN: "can't be reached: (the answer broke off|no connection)",
    ODD: r"HETZNER_API_URL answers \d+ \(|too long|the answer broke off|: 503\b",
    REDIRECT: r"HETZNER_API_URL answers 30\d \(|too long",
}


def outcome(url: str, seconds: float) -> str:
    """Return the result of a call as text."""
    try:
        CloudApi(TOKEN, url, "agent").call("POST", "/zones", Deadline(seconds), (), {"a": 1})
    except DyndnsError as error:
        return f"{type(error).__name__}: {error}"
    except Exception as error:  # noqa: BLE001
        return f"a bug: {error!r}"
    return "success"


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "*")


@pytest.fixture
def servers() -> Iterator[Servers]:
    with Servers() as servers:
        yield servers


@pytest.fixture(scope="module")
def outcomes() -> dict[str, str]:
    """Return the result for each answer. Calls without an answer run in parallel."""
    with pytest.MonkeyPatch.context() as patch, Servers() as servers:
        patch.setenv("NO_PROXY", "*")
        at = {one.name: f"http://127.0.0.1:{servers.give(one)}" for one in ANSWERS}
        late = [one.name for one in ANSWERS if one.outcome == LATE]
        results = together({name: partial(outcome, at[name], 1) for name in late})
        results.update({name: outcome(url, 50) for name, url in at.items() if name not in results})
    return results


@pytest.mark.parametrize("one", ANSWERS, ids=lambda one: one.name)
def test_a_hostile_answer_ends_in_one_clear_line(outcomes: dict[str, str], one: Hostile) -> None:
    assert outcomes[one.name].startswith("Hetzner")
    assert TOKEN not in outcomes[one.name]
    assert re.search(REASONS[one.outcome], outcomes[one.name])


def test_an_answer_may_break_off_at_any_byte(servers: Servers) -> None:
    beginnings = (GOOD[:length] for length in range(len(GOOD) + 1))
    url = f"http://127.0.0.1:{servers.start(lambda _: [next(beginnings)])}"
    results = [outcome(url, 50) for _ in range(len(GOOD) + 1)]
    assert results.pop() == "success"
    assert [one for one in results if not one.startswith("Hetzner")] == []


def test_the_time_limit_holds_over_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority, bundle = trustme.CA(), tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(bundle))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(bundle))
    with Servers(context) as servers:
        ports = {one.name: servers.give(one) for one in OVER_TLS}
        fine = servers.start(lambda _: [GOOD])
        # One record of 12,000 bytes; handshake and tickets take less than 6,000.
        long = servers.start(lambda _: [good(b" " * 12_000)])
        ports["record"] = servers.slow_line(long, spared=6000)
        ports["handshake"] = servers.slow_line(fine, spared=0)
        assert outcome(f"https://127.0.0.1:{fine}", 50) == "success"
        results = together(
            {name: partial(outcome, f"https://127.0.0.1:{port}", 2) for name, port in ports.items()}
        )
    assert [one for one in results.values() if not re.search(REASONS[LATE], one)] == []


def test_an_answer_to_connect_ends(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(request: bytes) -> Iterator[bytes]:
        number = re.search(rb"case-(\d+)", request)
        assert number
        return CONNECT_ANSWERS[int(number.group(1))].pieces()

    monkeypatch.delenv("NO_PROXY")
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{servers.start(answer)}")
    with warnings.catch_warnings():
        # Before Python 3.12, http.client doesn't close a refused CONNECT.
        warnings.simplefilter("ignore", ResourceWarning)
        results = together(
            {
                one.name: partial(outcome, f"https://case-{number}.test", 1)
                for number, one in enumerate(CONNECT_ANSWERS)
            }
        )
        gc.collect()
    for one in CONNECT_ANSWERS:
        assert results[one.name].startswith("Hetzner"), one.name
        assert one.outcome != LATE or "no complete answer in time" in results[one.name], one.name
