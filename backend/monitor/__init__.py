"""Watching hosts and Hetzner."""
