"""What any service needs: database connections, background tasks, backoff, startup, TLS."""
