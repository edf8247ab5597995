"""Hetzner's DNS: calls to its Cloud API, records, and zones."""
