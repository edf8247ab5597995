"""Publishes the desired state of records."""
