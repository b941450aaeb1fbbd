"""A synthetic section whose truth is known down to the noise-free signal."""
