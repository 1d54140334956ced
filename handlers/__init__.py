"""The doors, one package each: they parse, call the engine or a query, and answer."""
