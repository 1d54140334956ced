"""The HTTP API: orders, sagas and what operators do about them."""
