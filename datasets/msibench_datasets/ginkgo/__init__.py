"""A synthetic leaf cross-section in the size of Zou et al. (2025)."""
