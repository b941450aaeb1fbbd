"""One cell in a process of its own: what it does, what watches it, what its exit means."""
