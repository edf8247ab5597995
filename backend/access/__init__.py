"""Who may update what: keys, logins and their failures, and what a request gives."""
