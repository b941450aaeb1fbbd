"""Plan cells, run each in a process of its own, score and store what comes back."""
