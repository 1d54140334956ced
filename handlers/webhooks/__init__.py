"""Webhooks over HTTP: who is told of orders, and what became of it."""
