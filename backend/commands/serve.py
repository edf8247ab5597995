"""Serves until told to stop: what happens when no command is named."""

from __future__ import annotations

import argparse
from typing import Mapping

from backend.serving.server import serve


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Take none: everything is a setting."""


def run(_arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Serve; return when the service was told to stop."""
    serve(environ)
    return 0
