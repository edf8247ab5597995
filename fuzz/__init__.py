"""Fuzzing that takes too long for the tests: `make fuzz`."""
