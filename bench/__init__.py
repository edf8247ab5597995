"""Figures, never a test: each beside a yardstick of the same run."""
