"""The house: table, decision, engine, store, outbox, relay. Read it in that order."""
