"""Fuzzes one parser, guided by coverage: `python -m fuzz.parsers TARGET [options of libFuzzer]`."""

from __future__ import annotations

import logging
import sys

import atheris

with atheris.instrument_imports(include=["backend"]):
    from fuzz import targets

BY_NAME = {target.__name__: target for target in (*targets.TEXTS, *targets.BYTES)}


def main() -> None:
    name = sys.argv.pop(1)
    target = BY_NAME[name]
    logging.disable()

    def one_input(data: bytes) -> None:
        if target in targets.BYTES:
            target(data)
        else:
            target(data.decode("utf-8", "surrogateescape"))

    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
