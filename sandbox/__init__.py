"""A local stand-in for Hetzner: the Cloud DNS API, and the same zones as real DNS."""

from sandbox.controls import DEMO_TOKEN
from sandbox.journal import Call
from sandbox.running import Sandbox

__all__ = ["DEMO_TOKEN", "Call", "Sandbox"]
