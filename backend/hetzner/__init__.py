"""Hetzner's DNS: what it knows, what it does, and what its answers mean."""
