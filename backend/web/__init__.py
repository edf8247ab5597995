"""HTTP, and the only package that imports Flask."""
