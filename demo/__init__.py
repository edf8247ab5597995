"""A demonstration of backend and client on one machine, with the sandbox instead of Hetzner."""
