"""Benchmarks. Each compares its results with a baseline from the same run; none is a test."""
