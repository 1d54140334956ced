"""What people want to know of a saga: what comes next, what can be done, what happened. Pure functions."""
