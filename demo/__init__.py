"""Shows the whole product at work on one machine, with the sandbox in Hetzner's place."""
