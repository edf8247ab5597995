"""A store that must be there already: commands look at the service's store and make none."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy.engine import Engine
from sqlalchemy.exc import SQLAlchemyError

from backend.errors import StoreUnusable
from backend.store.schema import VERSION, reason, version_of


def require(engine: Engine) -> None:
    """Make sure that the store exists in this version, and change nothing.

    Raises:
        StoreUnusable: it doesn't, or it can't be opened.

    """
    file = engine.url.database
    if engine.dialect.name == "sqlite" and not Path(file or "").exists():
        raise StoreUnusable(
            f"STATE_URL: there is no store at {file} yet", mend="start the service once."
        )
    try:
        with engine.connect() as connection:
            found = version_of(connection)
    except SQLAlchemyError as error:
        raise StoreUnusable(f"STATE_URL: the store can't be opened ({reason(error)}).") from None
    if found != VERSION:
        raise StoreUnusable(
            f"STATE_URL: the store has version {found}, this program needs {VERSION}",
            mend="start the service once, which brings an older one up to date.",
        )
