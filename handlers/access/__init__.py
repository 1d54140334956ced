"""Authentication and authorization: who asks, and what they may do."""
