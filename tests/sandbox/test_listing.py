"""Queries filter, sort and page lists."""

from __future__ import annotations

import pytest

from sandbox.listing import ordered, page, selector
from sandbox.refusal import ApiError

LABELS = ({"env": "prod", "dc": "a"}, {"env": "test", "dc": "b"}, {"dc": ""}, {})


@pytest.mark.parametrize(
    ("text", "chosen"),
    [
        ("", [0, 1, 2, 3]),
        ("env=prod", [0]),
        ("env==prod", [0]),
        ("env = prod", [0]),
        ("env!=prod", [1]),
        ("env", [0, 1]),
        ("!env", [2, 3]),
        ("dc=", [2]),
        ("env in (prod,test)", [0, 1]),
        ("env in (prod, other)", [0]),
        ("env notin (prod,other)", [1]),
        ("env,dc=a", [0]),
        ("env in (prod,test),dc!=a", [1]),
    ],
)
def test_labels_are_selected(text: str, chosen: list[int]) -> None:
    selects = selector(text)
    assert [place for place, labels in enumerate(LABELS) if selects(labels)] == chosen


@pytest.mark.parametrize("text", ["=", "a=b=c", "!a=b", "a in", "a in b", "a b", "a in (b", "(a)"])
def test_a_selector_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(ApiError, match="label_selector"):
        selector(text)


def test_lists_are_sorted_by_the_named_fields_in_order() -> None:
    items = [(1, "b"), (2, "a"), (1, "a"), (10, "c")]
    fields = {"id": lambda item: item[0], "name": lambda item: item[1]}
    assert ordered(items, [], fields) == items
    assert ordered(items, ["id:desc", "name"], fields) == [(10, "c"), (2, "a"), (1, "a"), (1, "b")]
    for sort in ("colour", "id:up"):
        with pytest.raises(ApiError, match="sort"):
            ordered(items, [sort], fields)


def test_pages_have_their_numbers() -> None:
    items = list(range(60))
    part, numbers = page(items, {"page": "2", "per_page": "25"})
    assert part == items[25:50]
    assert numbers == {
        "page": 2,
        "per_page": 25,
        "previous_page": 1,
        "next_page": 3,
        "last_page": 3,
        "total_entries": 60,
    }
    assert page(items, {"page": "3"})[1]["next_page"] is None


def test_an_empty_list_has_one_page() -> None:
    part, numbers = page([], {})
    assert (list(part), numbers["last_page"], numbers["next_page"]) == ([], 1, None)


def test_a_too_large_page_size_counts_as_the_maximum() -> None:
    assert page(range(200), {"per_page": "200"})[1]["per_page"] == 50
    assert page(range(200), {"per_page": "200"}, most=100)[1]["per_page"] == 100


@pytest.mark.parametrize("text", ["0", "-1", "x", "", "1.5", "٣"])
def test_page_numbers_are_positive(text: str) -> None:
    for field in ("page", "per_page"):
        with pytest.raises(ApiError, match=field):
            page([], {field: text})
