"""What runs and watches the service; nothing in it is imported by the service."""
