"""Webhooks: what becomes of orders, told to customers' systems as Standard Webhooks has it."""
