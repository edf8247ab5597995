"""What ``python -m backend`` can do: a module a command, with `add_arguments` and `run`."""
