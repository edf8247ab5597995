"""What is too long for the tests: `make fuzz`."""
