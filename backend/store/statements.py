"""Runs prebuilt statements with the driver alone, since SQLAlchemy takes four times as long."""

from __future__ import annotations

import functools
from typing import Any, Mapping, Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection


def run(connection: Connection, statement: Any, values: Mapping[str, Any]) -> Any:  # noqa: ANN401
    """Run a statement within a transaction, and return the driver's cursor.

    `values` has every column that the statement sets, and its parameters. The statement is compiled
    at its first use with these names.
    """
    text, fixed, order = _compiled(statement, connection.dialect, tuple(values))
    given = {**fixed, **values}
    cursor = connection.connection.cursor()
    try:
        cursor.execute(text, given if order is None else [given[name] for name in order])
    except connection.dialect.loaded_dbapi.Error as error:
        # A connection that was opened while the disk was read-only stays read-only: close it. An
        # open cursor would keep the files open, and read-only for other connections.
        cursor.close()
        if "readonly" in str(error):
            connection.invalidate(error)
        raise
    return cursor


@functools.lru_cache(maxsize=256)
def _compiled(
    statement: Any,  # noqa: ANN401
    dialect: sa.Dialect,
    names: tuple[str, ...],
) -> tuple[str, Mapping[str, Any], Sequence[str] | None]:
    compiled = statement.compile(dialect=dialect, column_keys=list(names))
    return str(compiled), compiled.params, compiled.positiontup
