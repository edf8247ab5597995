"""Runs ``python -m backend``, and ``hetzner-dyndns`` in the image."""

from __future__ import annotations

import os
import sys

from backend.cli import run

if __name__ == "__main__":
    sys.exit(run(sys.argv[1:], os.environ))
