"""The operators' command line: `python -m handlers.cli`."""
