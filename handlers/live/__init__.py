"""Following an order: server-sent events, WebSockets, answers that wait."""
