"""A local substitute for Hetzner: the Cloud DNS API, and the same zones as real DNS."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sandbox.controls import DEMO_TOKEN
    from sandbox.journal import Call
    from sandbox.running import Sandbox

__all__ = ["DEMO_TOKEN", "Call", "Sandbox"]

_HOMES = dict(zip(__all__, ("controls", "journal", "running")))


def __getattr__(name: str) -> object:
    """Import a name when it is used first, so that `__main__` can report a missing package."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
