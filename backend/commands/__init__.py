"""The commands of ``python -m backend``: one module for each, with `add_arguments` and `run`."""
