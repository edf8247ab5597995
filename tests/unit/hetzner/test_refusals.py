from __future__ import annotations

import json
from typing import Any, Mapping

import pytest

from backend.errors import (
    ChangeRefused,
    DyndnsError,
    HetznerBusy,
    HetznerUnreachable,
    SecondaryZone,
    TokenRejected,
    is_old_token,
)
from backend.hetzner.client import AlreadyExists, NotFound, decode, refusal

TOKEN = "t" * 64
JSON = {"content-type": "application/json"}


def error(
    code: str, status: int = 422, headers: Mapping[str, str] = JSON, token: str = TOKEN
) -> DyndnsError:
    answer = {"error": {"code": code, "message": "a message", "details": None}}
    return refusal(status, headers, answer, token)


@pytest.mark.parametrize(
    ("status", "code", "family"),
    [
        # https://docs.hetzner.cloud/reference/cloud, "Errors"
        (400, "json_error", ChangeRefused),
        (401, "unauthorized", TokenRejected),
        (401, "token_readonly", TokenRejected),
        (403, "token_readonly", TokenRejected),  # reported in the FAQ of hetzner-dns-mcp
        (403, "forbidden", TokenRejected),
        (403, "maintenance", HetznerBusy),
        (403, "resource_limit_exceeded", ChangeRefused),
        (404, "not_found", NotFound),
        (405, "method_not_allowed", ChangeRefused),
        (409, "uniqueness_error", AlreadyExists),
        (409, "conflict", HetznerBusy),
        (410, "deprecated_api_endpoint", ChangeRefused),
        (412, "resource_unavailable", HetznerBusy),
        (422, "invalid_input", ChangeRefused),
        (422, "incorrect_zone_mode", SecondaryZone),
        (422, "service_error", HetznerBusy),
        (422, "unsupported_error", ChangeRefused),
        (423, "locked", HetznerBusy),
        (423, "protected", ChangeRefused),
        (423, "resource_locked", ChangeRefused),
        (429, "rate_limit_exceeded", HetznerBusy),
        (500, "server_error", HetznerBusy),
        (502, "bad_gateway", HetznerBusy),
        (503, "unavailable", HetznerBusy),
        (504, "timeout", HetznerBusy),
        # unknown codes
        (422, "brand_new", ChangeRefused),
        (500, "brand_new", HetznerBusy),
        (429, "brand_new", HetznerBusy),
    ],
)
def test_every_code_of_the_api_has_its_error(
    status: int, code: str, family: type[DyndnsError]
) -> None:
    found = error(code, status)
    assert type(found) is family
    assert code in str(found)
    assert '"a message"' in str(found)


@pytest.mark.parametrize(
    ("code", "hint"),
    [
        ("unauthorized", "check HETZNER_TOKEN"),
        ("token_readonly", "Read & Write"),
        ("forbidden", "Read & Write"),
        ("protected", "lift the change protection"),
        ("incorrect_zone_mode", "primary server"),
        ("resource_limit_exceeded", "higher limit"),
        ("resource_locked", "Hetzner's support"),
    ],
)
def test_a_refusal_has_a_hint_for_the_operator(code: str, hint: str) -> None:
    assert hint in str(error(code))


def test_a_refusal_recognizes_tokens_of_the_old_api() -> None:
    text = str(error("unauthorized", 401, token="o" * 32))
    assert "for Hetzner's old DNS API" in text
    assert "console.hetzner.com" in text
    assert "old DNS API" not in str(error("unauthorized", 401))
    assert "old DNS API" not in str(error("protected", 423, token="o" * 32))


@pytest.mark.parametrize(("length", "is_old"), [(31, False), (32, True), (33, False), (64, False)])
def test_only_tokens_of_32_characters_count_as_old(length: int, *, is_old: bool) -> None:
    assert is_old_token("t" * length) is is_old


@pytest.mark.parametrize(
    ("code", "retry_after", "pause"),
    [
        ("rate_limit_exceeded", "7", 7),
        ("rate_limit_exceeded", None, 30),
        ("rate_limit_exceeded", "Wed, 21 Oct 2026 07:28:00 GMT", 30),
        ("rate_limit_exceeded", "0", 1),
        ("rate_limit_exceeded", "-5", 1),
        ("rate_limit_exceeded", "1e9", 3600),
        ("locked", None, 5),
        ("unavailable", "12", 12),
    ],
)
def test_a_busy_api_has_a_pause(code: str, retry_after: str | None, pause: float) -> None:
    headers = {} if retry_after is None else {"retry-after": retry_after}
    found = error(code, 429, headers)
    assert isinstance(found, HetznerBusy)
    assert found.retry_after == pause


@pytest.mark.parametrize("place", ["message", "code"])
def test_an_echoed_token_is_masked_in_errors(place: str) -> None:
    answer = {"error": {"code": "forbidden", "message": "no", place: f"bad token {TOKEN}"}}
    assert TOKEN not in str(refusal(403, JSON, answer, TOKEN))


@pytest.mark.parametrize("place", ["message", "code"])
@pytest.mark.parametrize(
    "quoted", ["two\nlines", "\x1b[31mred", "x" * 5000], ids=["lines", "colour", "length"]
)
def test_an_error_is_one_short_line_of_plain_text(place: str, quoted: str) -> None:
    answer = {"error": {"code": "brand_new", "message": "no", place: quoted}}
    text = str(refusal(422, JSON, answer, TOKEN))
    assert text.isprintable()
    assert len(text) < 500


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"error": None},
        {"error": "no"},
        {"error": []},
        {"error": {}},
        {"error": {"code": 404, "message": "zone not found"}},  # the old API's shape
        {"message": "no"},
    ],
)
@pytest.mark.parametrize("status", [400, 404])
def test_a_failure_of_another_shape_is_not_the_cloud_api(
    status: int, answer: dict[str, Any]
) -> None:
    assert type(refusal(status, JSON, answer, TOKEN)) is HetznerUnreachable


def test_a_json_object_is_decoded() -> None:
    assert decode(200, JSON, '{"zones": ["bücher"]}'.encode(), TOKEN) == {"zones": ["bücher"]}


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"<html>",
        b'{"zones": [',
        b"[]",
        b'"text"',
        b"null",
        b"7",
        b"\xff\xfe",
        b'{"zones": []} trailing',
        pytest.param(b"[" * 100_000, id="deep"),
    ],
)
@pytest.mark.parametrize("status", [200, 404])
def test_an_answer_without_json_object_is_not_the_cloud_api(status: int, text: bytes) -> None:
    with pytest.raises(HetznerUnreachable, match=f"HETZNER_API_URL answers {status}"):
        decode(status, {"content-type": "text/html"}, text, TOKEN)


@pytest.mark.parametrize(
    ("status", "pause"), [(429, 30), (500, 5), (502, 5), (503, 5), (504, 5), (599, 5)]
)
@pytest.mark.parametrize("text", [b"", b"<html>", b"{}", b'{"error": {"code": 502}}'])
def test_a_gateway_without_words_is_busy(status: int, pause: float, text: bytes) -> None:
    with pytest.raises(HetznerBusy, match=f"busy .status {status}") as caught:
        decode(status, {"content-type": "text/html"}, text, TOKEN)
    assert caught.value.retry_after == pause
    assert caught.value.hint == "", "nothing is wrong with the set-up"


@pytest.mark.parametrize("status", [300, 301, 302, 304, 307, 308, 399])
def test_a_redirect_with_any_body_means_a_wrong_url(status: int) -> None:
    headers = {"location": "https://console.hetzner.com/", **JSON}
    with pytest.raises(HetznerUnreachable, match=r"https://console\.hetzner\.com/"):
        decode(status, headers, json.dumps({"zones": []}).encode(), TOKEN)


@pytest.mark.parametrize("header", ["location", "content-type"])
def test_a_quoted_header_is_one_short_line_of_plain_text(header: str) -> None:
    with pytest.raises(HetznerUnreachable) as caught:
        decode(302, {header: "a\x1bb" + "x" * 5000}, b"", TOKEN)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 300


def test_an_echoed_token_is_removed_from_every_answer() -> None:
    text = f'{{"action": {{"error": {{"message": "you sent {TOKEN}"}}}}}}'.encode()
    assert TOKEN not in str(decode(200, JSON, text, TOKEN))
    with pytest.raises(HetznerUnreachable) as caught:
        decode(302, {"location": f"/login?with={TOKEN}"}, b"", TOKEN)
    assert "(token)" in str(caught.value)
    assert TOKEN not in str(caught.value)
