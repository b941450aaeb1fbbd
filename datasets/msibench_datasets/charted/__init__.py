"""A synthetic section whose ion images are known functions of its guide, or known not to be."""
