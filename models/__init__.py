"""The words: states, messages, tables. Imports nothing of ours."""
