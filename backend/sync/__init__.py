"""How the desired state is published."""
