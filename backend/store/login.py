"""The login in STATE_URL: whether it is escaped, and that no driver's words show its password."""

from __future__ import annotations

import re

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from backend.errors import StoreUnusable

# Where SQLAlchemy ends it: at the first `@` behind the password.
_LOGIN = re.compile(r"[^:/]*(?::[^@]*)?@")


def require_escaped(url: str) -> None:
    """Refuse a URL whose password would end at a sign of its own: its rest would be the host.

    Raises:
        StoreUnusable: it has another `@` behind its login.

    """
    scheme, _, rest = url.partition("://")
    if "@" in _LOGIN.sub("", rest, count=1) and not scheme.startswith("sqlite"):
        raise StoreUnusable(
            "STATE_URL: it has more than one `@`",
            mend="write `@`, `/`, `:` and `%` of the password as `%40`, `%2F`, `%3A` and `%25`.",
        )


def reason(error: Exception, url: sa.URL) -> str:
    """Say in a few words what the database said; never a statement, parameters or the password."""
    origin = getattr(error, "orig", None) if isinstance(error, SQLAlchemyError) else error
    words = str(origin or "").splitlines()
    if not words or (url.password and url.password in words[0]):
        return type(origin or error).__name__
    return words[0][:200]
