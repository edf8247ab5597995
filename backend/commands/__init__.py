"""The commands of ``python -m backend``: a module each, with `add_arguments` and `run`."""
