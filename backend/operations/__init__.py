"""How all is at the moment, and what the operator may do about it."""
