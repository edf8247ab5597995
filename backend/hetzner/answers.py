"""Values out of an answer of the Cloud API, sound whatever the answer holds."""

from __future__ import annotations

import contextlib
from typing import Any, Iterator, Mapping

from backend.errors import HetznerUnreachable

_LONGEST_TEXT = 1000


def text_of(value: object) -> str:
    """Read a text; JSON may hold halves of characters and NUL, which not every store takes."""
    whole = str(value).encode("utf-8", "replace").decode("utf-8")
    return whole.replace("\0", "")[:_LONGEST_TEXT]


def plain(text: str) -> str:
    """Make a text fit for a log line."""
    return "".join(c if c.isprintable() else " " for c in text)


def id_of(action: Mapping[str, Any]) -> int:
    """Read the id of an action: 53 bits by the API's promise, 63 fit into every store."""
    number = int(action["id"])
    if not 0 <= number < 1 << 63:
        raise ValueError("no id")
    return number


@contextlib.contextmanager
def understood() -> Iterator[None]:
    """Turn whatever goes wrong in reading an answer into one error.

    Raises:
        HetznerUnreachable: the answer hasn't the shape it should have.

    """
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError):
        raise HetznerUnreachable(
            "Hetzner's API answers JSON of a shape this version doesn't know",
            mend="check HETZNER_API_URL, or look for an update of hetzner-dyndns.",
        ) from None
