"""Projects, zones and quotas as Hetzner reported them last, the same for all processes."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Iterable, Sequence

import sqlalchemy as sa

from backend.rate import Quota
from backend.store.database import Database, excluded
from backend.store.schema import metadata

# Projects are numbered as HETZNER_TOKEN lists them.
projects = sa.Table(
    "projects",
    metadata,
    sa.Column("project", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("error", sa.String, nullable=False),  # why its zones could not be listed
    sa.Column("at", sa.Float, nullable=False),
)

zones = sa.Table(
    "zones",
    metadata,
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("project", sa.Integer, nullable=False),
    sa.Column("mode", sa.String, nullable=False),
    sa.Column("delegation", sa.String, nullable=False),
)

quotas = sa.Table(
    "quotas",
    metadata,
    sa.Column("project", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("limit", sa.Integer, primary_key=True, autoincrement=False),  # of calls an hour
    sa.Column("remaining", sa.Integer, nullable=False),
    sa.Column("at", sa.Float, nullable=False),
)


@dataclass(frozen=True)
class Project:
    """The project of a token, numbered from 1; `error`: why its zones could not be listed."""

    project: int
    error: str
    at: float  # UTC seconds


@dataclass(frozen=True)
class SeenZone:
    """A zone, and whether it is delegated to Hetzner."""

    name: str
    project: int
    mode: str
    delegation: str  # as Hetzner calls it; empty if unknown


class Projects:
    """The projects. Every method raises `StoreUnavailable`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def listed_at(self) -> float:
        """Return when the zones were listed last (UTC seconds); 0 before the first time."""
        with self._database.read() as connection:
            return float(connection.execute(sa.select(sa.func.max(projects.c.at))).scalar() or 0)

    def all(self) -> list[Project]:
        with self._database.read() as connection:
            rows = connection.execute(sa.select(projects).order_by(projects.c.project)).all()
        return [Project(*row) for row in rows]

    def zones(self) -> list[SeenZone]:
        with self._database.read() as connection:
            rows = connection.execute(sa.select(zones).order_by(zones.c.name)).all()
        return [SeenZone(*row) for row in rows]

    def quotas(self) -> list[Quota]:
        """Return the latest quotas of all projects. Their times are UTC seconds."""
        query = sa.select(quotas).order_by(quotas.c.project, quotas.c.limit)
        with self._database.read() as connection:
            return [Quota(**row) for row in connection.execute(query).mappings()]

    def store_zones(self, listed: Sequence[tuple[Project, Sequence[SeenZone]]]) -> None:
        """Store the zones of all projects; keep those of a project whose listing failed."""
        failed = [project.project for project, _ in listed if project.error]
        found = {zone.name: asdict(zone) for _, some in listed for zone in some}
        gone = sa.or_(zones.c.project.not_in(failed), zones.c.name.in_(list(found)))
        with self._database.write() as connection:
            connection.execute(projects.delete())
            connection.execute(projects.insert(), [asdict(project) for project, _ in listed])
            connection.execute(zones.delete().where(gone))
            if found:
                connection.execute(zones.insert(), list(found.values()))

    def store_quotas(self, seen: Iterable[Quota]) -> None:
        """Store quotas; an older answer doesn't replace a newer one."""
        new = excluded(quotas)
        changes = {"remaining": new.remaining, "at": new.at}
        statement = self._database.upsert(quotas, changes, quotas.c.at < new.at)
        with self._database.write() as connection:
            connection.execute(statement, [asdict(quota) for quota in seen])
