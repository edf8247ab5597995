"""Runs ``python -m backend``, and ``hetzner-dyndns`` in the image."""

from __future__ import annotations

import os
import sys

from backend.cli import run


def main() -> None:
    """Run the command that the arguments name."""
    sys.exit(run(sys.argv[1:], os.environ))


if __name__ == "__main__":
    main()
