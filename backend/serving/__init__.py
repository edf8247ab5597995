"""Builds the service out of its settings, and runs it under gunicorn."""
