"""Running the service: gunicorn, threads, logs."""
