"""Who may update which host."""
