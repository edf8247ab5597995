"""How a wish becomes a record at Hetzner, in a request or later."""
