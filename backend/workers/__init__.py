"""What the worker processes share, and the threads in each of them."""
