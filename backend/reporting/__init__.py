"""What the operator is told, and how it gets there."""
