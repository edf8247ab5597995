from __future__ import annotations

from typing import List

import pytest
from hypothesis import given, strategies as st

from backend.serving.arrival import MOST, MOST_BODY, MOST_HEAD, TooLong, heard, length_of

GET = b"GET /nic/update?hostname=home.example.com HTTP/1.1\r\nHost: x\r\n\r\n"
HEAD = b"POST /update HTTP/1.1\r\nHost: x\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
WHOLE = [
    GET,
    b"GET / HTTP/1.0\n\n",
    HEAD + b"Content-Length: 5\r\n\r\n12345",
    HEAD + b"content-length:5\r\n\r\n12345",
    HEAD + b"Content-Length: 0\r\n\r\n",
    CHUNKED + b"0\r\n\r\n",
    CHUNKED + b"3\r\nabc\r\n0\r\n\r\n",
    CHUNKED + b"3;note=x\r\nabc\r\nA\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\n",
    CHUNKED + b"1\r\nx\r\n" * 3000 + b"0\r\n\r\n",
]


@pytest.mark.parametrize("request_", WHOLE, ids=range(len(WHOLE)))
def test_a_request_is_whole_at_its_last_byte_and_not_before(request_: bytes) -> None:
    assert length_of(request_) == len(request_)
    assert length_of(request_ + b"GET / HTTP/1.1\r\n") == len(request_), "the next one waits"
    step = max(1, len(request_) // 500)
    parts = range(0, len(request_), step)
    assert [part for part in parts if length_of(request_[:part]) is not None] == []


def test_a_head_without_an_end_is_too_long() -> None:
    endless = HEAD + b"X: y\r\n" * MOST_HEAD
    assert length_of(endless[: MOST_HEAD - 1]) is None
    with pytest.raises(TooLong):
        length_of(endless[:MOST_HEAD])


@pytest.mark.parametrize("length", [MOST_BODY + 1, 10**17])
def test_a_body_that_is_too_large_is_not_waited_for(length: int) -> None:
    head = HEAD + b"Content-Length: %d\r\n\r\n" % length
    assert length_of(head) == len(head)


def test_a_body_in_chunks_is_waited_for_until_it_is_too_large() -> None:
    chunk = b"1000\r\n" + b"x" * 0x1000 + b"\r\n"
    assert length_of(CHUNKED + 4 * chunk) is None
    assert length_of(CHUNKED + 5 * chunk) == len(CHUNKED + 5 * chunk)
    one = CHUNKED + b"fffff\r\n" + b"x" * MOST_BODY
    assert length_of(one) is None
    assert length_of(one + b"x") == len(one) + 1


def test_what_is_no_chunk_is_let_through_to_be_refused() -> None:
    assert length_of(CHUNKED + b"-1\r\n") == len(CHUNKED) + 4


@given(st.lists(st.sampled_from([*WHOLE, b"\r\n\r\n", b"\xff", b"ffffffff\r\n", b"0\r\n"])))
def test_whatever_comes_is_decided_within_bounds(parts: List[bytes]) -> None:
    data = b"".join(parts)
    try:
        length = length_of(data)
    except TooLong:
        assert len(data) >= MOST_HEAD
        return
    assert length is None or 0 < length <= len(data)
    assert length is not None or len(data) < MOST


EXPECTING = HEAD + b"%s: %s\r\nContent-Length: 5\r\n\r\n"


@pytest.mark.parametrize("name", [b"Expect", b"expect", b"EXPECT"])
@pytest.mark.parametrize("value", [b"100-continue", b"100-Continue "])
def test_a_wish_to_be_told_to_go_on_is_heard_once(name: bytes, value: bytes) -> None:
    request_ = EXPECTING % (name, value)
    once = heard(request_)
    assert once is not None
    assert len(once) == len(request_)
    assert b"expect" not in once.lower()
    assert heard(once) is None
    assert length_of(once + b"12345") == len(request_) + 5


@pytest.mark.parametrize(
    "request_",
    [
        EXPECTING % (b"X-Expect", b"100-continue"),
        EXPECTING % (b"Expect", b"something else"),
        (EXPECTING % (b"Expect", b"100-continue"))[:-2],
        (EXPECTING % (b"Expect", b"100-continue")).replace(b"HTTP/1.1", b"HTTP/1.0"),
        HEAD + b"Content-Length: 30\r\n\r\nx\r\nExpect: 100-continue\r\n",
        b"",
    ],
)
def test_where_there_is_no_such_wish_none_is_heard(request_: bytes) -> None:
    assert heard(request_) is None
