"""What is seen of hosts and of Hetzner."""
