"""Webhooks as Standard Webhooks describes them: order events, delivered to customers' systems."""
