"""How people write numbers of things."""

from __future__ import annotations


def counted(number: int, thing: str, things: str = "") -> str:
    """Write how many there are: ``1 zone``, ``2 zones``."""
    return f"{number} {thing if number == 1 else things or f'{thing}s'}"
