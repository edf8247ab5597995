"""What a caller proves itself with, and how it is compared."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from typing import Optional


@dataclass(frozen=True)
class Credentials:
    """What the caller proves itself with; `user` is `None` when a key came alone."""

    user: Optional[str]
    secret: str

    def __repr__(self) -> str:
        return "Credentials(…)"


def same(one: str, other: str) -> bool:
    """Compare in constant time, whatever the lengths."""
    return hmac.compare_digest(digest(one), digest(other))


def digest(text: str) -> bytes:
    """Return the SHA-256 of a text, whatever characters it holds."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
