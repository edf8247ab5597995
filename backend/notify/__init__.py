"""Notifications for the operator."""
