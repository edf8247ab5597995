"""Dynamic DNS for zones at Hetzner: one guarded token, one key for each host."""

__version__ = "0.1.0"
