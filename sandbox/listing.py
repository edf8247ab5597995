"""Label selectors, sorting and paging of lists."""

from __future__ import annotations

import re
from typing import Any, Callable, Mapping, Sequence, TypeVar

from sandbox.refusal import invalid

T = TypeVar("T")
Labels = Mapping[str, str]
Selects = Callable[[Labels], bool]

_PER_PAGE = 25
_TERM = re.compile(
    r"(?P<absent>!)?(?P<key>[\w./-]+)"
    r"(\s*(?P<equal>==|=|!=)\s*(?P<value>[\w.-]*)|\s+(?P<among>in|notin)\s*\((?P<values>[^()]*)\))?"
)


def selector(text: str) -> Selects:
    """Parse a `label_selector`: `k=v,k!=v,k,!k,k in (a,b),k notin (a,b)`."""
    # A comma within parentheses separates values, not terms.
    terms = [_term(term.strip()) for term in re.split(r",(?![^(]*\))", text) if term.strip()]
    return lambda labels: all(term(labels) for term in terms)


def _term(text: str) -> Selects:
    match = _TERM.fullmatch(text)
    if not match or (match["absent"] and (match["equal"] or match["among"])):
        raise invalid({"label_selector": [f"can't read '{text}'"]})
    key = match["key"]
    if match["equal"]:
        values = {match["value"]}
    elif match["among"]:
        values = {value.strip() for value in match["values"].split(",")}
    else:
        return lambda labels: (key in labels) != bool(match["absent"])
    positive = match["equal"] != "!=" and match["among"] != "notin"
    # Unlike in Kubernetes, "not equal" doesn't match items without the label.
    return lambda labels: key in labels and (labels[key] in values) == positive


def ordered(
    items: Sequence[T], sorts: Sequence[str], fields: Mapping[str, Callable[[T], Any]]
) -> list[T]:
    """Sort by each `field`, `field:asc` or `field:desc`; the first one has the highest priority."""
    result = list(items)
    for sort in reversed(sorts):
        field, _, direction = sort.partition(":")
        if field not in fields or direction not in ("", "asc", "desc"):
            raise invalid({"sort": [f"can't sort by '{sort}'"]})
        result.sort(key=fields[field], reverse=direction == "desc")
    return result


def page(
    items: Sequence[T], query: Mapping[str, str], most: int = 50
) -> tuple[Sequence[T], dict[str, int | None]]:
    """Return one page and its `meta.pagination`; a larger `per_page` is reduced to `most`."""
    number = _positive("page", query.get("page", "1"))
    size = min(_positive("per_page", query.get("per_page", str(_PER_PAGE))), most)
    last = max(1, -(-len(items) // size))
    numbers = {
        "page": number,
        "per_page": size,
        "previous_page": number - 1 if number > 1 else None,
        "next_page": number + 1 if number < last else None,
        "last_page": last,
        "total_entries": len(items),
    }
    return items[(number - 1) * size : number * size], numbers


def _positive(field: str, text: str) -> int:
    if not re.fullmatch(r"0*[1-9][0-9]{0,8}", text):
        raise invalid({field: ["must be an integer above 0"]})
    return int(text)
