"""What is seen of hosts and of Hetzner, and who fell silent."""
