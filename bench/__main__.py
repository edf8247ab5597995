"""Benchmarks with one table each: `make bench`, or

python -m bench [--short] [--only NAME …] [--json FILE]
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Callable, Mapping

from bench import changes, cost, growth, reconnect, slow_hetzner, unchanged
from bench.parts import require_wrk
from bench.report import Figure, Scale, save

FIGURES: Mapping[str, Callable[[Path, Scale], Figure]] = {
    "unchanged": unchanged.beside_flask,
    "slow_hetzner": slow_hetzner.beside_quiet,
    "cost": cost.counted,
    "change": changes.one_change,
    "families": changes.both_families,
    "reconnect": reconnect.beside_least,
    "backlog": reconnect.backlog,
    "growth": growth.by_hosts,
    "pages": growth.beside_pages,
    "postgresql": unchanged.on_postgresql,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--short", action="store_true", help="take a few minutes only")
    parser.add_argument("--only", nargs="+", choices=FIGURES, default=list(FIGURES), metavar="NAME")
    parser.add_argument("--json", type=Path, default=Path("bench.json"), metavar="FILE")
    options = parser.parse_args()
    require_wrk()
    done: list[Figure] = []
    for name in options.only:
        with tempfile.TemporaryDirectory(prefix="dyndns-bench-") as folder:
            done.append(FIGURES[name](Path(folder), Scale(options.short)))
        print(done[-1].show(), flush=True)
        save(options.json, done)


if __name__ == "__main__":
    main()
