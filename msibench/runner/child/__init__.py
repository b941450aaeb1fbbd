"""One cell in a process of its own: what it does, who watches it, what its end means."""
