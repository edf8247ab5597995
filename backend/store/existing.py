"""A store that must be there already: commands look at the service's store and make none."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy.engine import Engine
from sqlalchemy.exc import SQLAlchemyError

from backend.errors import StoreUnusable
from backend.store.login import reason
from backend.store.schema import VERSION, version_of


def require(engine: Engine) -> None:
    """Make sure that the store exists in this version, and change nothing.

    Raises:
        StoreUnusable: it doesn't, or it can't be opened.

    """
    if engine.dialect.name == "sqlite":
        _require_file(Path(engine.url.database or ""))
    try:
        with engine.connect() as connection:
            found = version_of(connection)
    except SQLAlchemyError as error:
        raise StoreUnusable(
            f"STATE_URL: the store can't be opened ({reason(error, engine.url)})",
            mend="check that the database answers, and that this user may read and write it.",
        ) from None
    if found != VERSION:
        raise StoreUnusable(
            f"STATE_URL: the store has version {found}, this program needs {VERSION}",
            mend="start the service once, which brings an older one up to date.",
        )


def _require_file(file: Path) -> None:
    try:
        file.stat()
    except FileNotFoundError:
        raise StoreUnusable(
            f"STATE_URL: there is no store at {file} yet", mend="start the service once."
        ) from None
    except OSError:
        return  # as where this user may not look: opening it says what is wrong
