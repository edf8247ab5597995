"""Tries for real what the service needs."""
