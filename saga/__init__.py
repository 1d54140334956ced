"""The saga. Read it top down: domain, transitions, table, history, decide; then engine, batch, store, timers."""
