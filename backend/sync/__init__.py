"""How a desired state becomes a record."""
