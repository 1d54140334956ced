"""The doors: parse, call the engine or a query, answer."""
