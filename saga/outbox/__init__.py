"""The transactional outbox: from a decision to a message that has left."""
