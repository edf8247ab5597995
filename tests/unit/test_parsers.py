"""Each parser accepts or refuses any input without a crash: a bounded search.

`make fuzz` searches longer with the same functions.
"""

from __future__ import annotations

from typing import Callable

import pytest
from hypothesis import HealthCheck, example, given, settings, strategies as st

from fuzz import targets

SPECIAL = (
    *("2001:db8:1:2::/64", "2001:db8:1::/56", "2001:db8:1:2", "/"),
    *(
        "home.example.com",
        "*.xn--gre-6ka8i.example.com",
        "größe.example.com",
        "a..b",
        "198.51.100.7",
    ),
    *(
        "::ffff:198.51.100.7",
        "[2001:db8::1]:80",
        "fe80::1%eth0",
        "10.0.0.0/8",
        "%",
        "\ud800",
        "\x00",
    ),
    *(
        "https://u:p@h:1/",
        "sqlite:///x",
        "postgresql://",
        "\N{LATIN SMALL LETTER LONG S}",
        "İ",
        "e\u0301",
    ),
    *(
        "\u3002",
        "\u2028",
        "\x85",
        "Basic dTpw",
        "Basic ====",
        "user:",
        ",",
        "#",
        "\n",
        " ",
        "=",
        "&",
    ),
)
TEXTS = st.one_of(st.text(), st.lists(st.sampled_from(SPECIAL) | st.text(max_size=5)).map("".join))
WORDS = (
    *(
        b"hostname=",
        b"myip=",
        b"home.example.com",
        b"&",
        b"\n",
        b"=",
        b"%",
        b"%ff",
        b"+",
        b";",
        b",",
    ),
    *(b'{"fqdn": "', b'"', b"}", b"[", b"]", b":", b"{", b"1e999", b"NaN", b"\xff", b"--b\r\n"),
    *(b"Content-Disposition: form-data; name=x\r\n\r\n", b"0\r\n\r\n", b"ffff\r\n", b"\r\n"),
)
BYTES = st.one_of(st.binary(), st.lists(st.sampled_from(WORDS)).map(b"".join))
# Objects with the field names of Hetzner's answers and arbitrary values.
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(), max_size=5)
    | st.sampled_from(["A", "AAAA", "CNAME", "home", "primary", "\ud800", "198.51.100.1", 2**64])
)
NAMES = st.sampled_from(
    [
        *(
            "zones",
            "rrsets",
            "actions",
            "action",
            "meta",
            "pagination",
            "next_page",
            "name",
            "mode",
        ),
        *("type", "ttl", "records", "value", "comment", "id", "status", "error", "code", "message"),
    ]
)
OBJECTS = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=8),
    max_leaves=25,
)
ANSWERS = st.dictionaries(NAMES, OBJECTS, max_size=6)
RRSETS = st.fixed_dictionaries(
    {
        "name": st.just("home") | SCALARS,
        "type": st.sampled_from(["A", "AAAA", "CNAME"]) | SCALARS,
        "ttl": SCALARS,
        "records": st.lists(st.fixed_dictionaries({"value": SCALARS, "comment": SCALARS})),
    }
)
LIKELY = st.fixed_dictionaries(
    {
        "zones": st.lists(st.fixed_dictionaries({"name": SCALARS, "mode": SCALARS}), max_size=3),
        "meta": st.just({"pagination": {"next_page": None}}),
        "rrsets": st.lists(RRSETS, max_size=3),
        "action": st.fixed_dictionaries({"id": SCALARS}),
        "actions": st.lists(
            st.fixed_dictionaries(
                {"id": SCALARS, "status": SCALARS, "error": st.dictionaries(NAMES, SCALARS)}
            ),
            max_size=3,
        ),
    }
)

bounded = settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
named = {"ids": lambda target: target.__name__}


@pytest.mark.parametrize("target", targets.TEXTS, **named)
@given(text=TEXTS)
@bounded
def test_any_text_is_parsed_or_refused(target: Callable[[str], None], text: str) -> None:
    target(text)


@pytest.mark.parametrize("target", targets.BYTES, **named)
@given(data=BYTES)
@bounded
def test_any_bytes_are_parsed_or_refused(target: Callable[[bytes], None], data: bytes) -> None:
    target(data)


@given(answer=ANSWERS | LIKELY)
@example({"action": {"id": float("inf")}})
@example({"action": {"id": 2**64}})
@example({"actions": [{"id": 1, "status": "error", "error": {"message": "\ud800"}}]})
@example({"rrsets": [{"name": "home", "type": "A", "ttl": 1, "records": [{"value": "\ud800"}]}]})
@bounded
def test_any_answer_of_hetzner_is_parsed_or_refused(answer: dict) -> None:
    targets.hetzner_object(answer)
