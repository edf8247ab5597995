"""Results as a table, and as JSON for comparisons."""

from __future__ import annotations

import json
import os
import platform
import statistics
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Iterable, Sequence


@dataclass(frozen=True)
class Scale:
    """The duration and size of a benchmark."""

    is_short: bool

    def __call__(self, full: float, short: float) -> float:
        return short if self.is_short else full

    def number(self, full: int, short: int) -> int:
        return short if self.is_short else full


@dataclass
class Figure:
    """A table with results."""

    name: str
    title: str
    heads: Sequence[str]
    rows: list[list[object]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, *cells: object) -> None:
        self.rows.append([round(one, 3) if isinstance(one, float) else one for one in cells])

    def show(self) -> str:
        table = [list(map(str, self.heads)), *([_shown(cell) for cell in row] for row in self.rows)]
        widths = [max(len(row[column]) for row in table) for column in range(len(self.heads))]
        lines = [
            "  ".join(
                cell.ljust(width) if column == 0 else cell.rjust(width)
                for column, (cell, width) in enumerate(zip(row, widths))
            )
            for row in table
        ]
        return "\n".join([f"\n{self.title}", *lines, *self.notes])


def _shown(cell: object) -> str:
    if isinstance(cell, float):
        return f"{cell:,.0f}" if abs(cell) >= 100 else f"{cell:.2f}"
    return str(cell)


def save(path: Path, figures: Iterable[Figure]) -> None:
    machine: dict[str, object] = {
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
    }
    results = {"machine": machine, "figures": [asdict(figure) for figure in figures]}
    path.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


def median(values: Iterable[float]) -> float:
    return statistics.median(values)


def percentile(values: Sequence[float], percent: int) -> float:
    return sorted(values)[min(len(values) - 1, len(values) * percent // 100)]
