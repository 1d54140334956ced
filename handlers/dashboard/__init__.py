"""The operators' pages: rendered here, without a script as good as with one."""
