"""Figures, never a test."""
