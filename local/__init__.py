"""One machine without Docker: a private PostgreSQL, a private RabbitMQ, stand-in Inventory and Billing.

Used by `make run`, the tests and the benchmarks alike; imported by nothing in the service.
"""
