"""The operator's view of the hosts, and the operator's actions."""
