"""Dead letters: stored, shown, redriven, discarded, deleted."""
