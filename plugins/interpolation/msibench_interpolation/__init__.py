"""Interpolation: what every learned method must beat."""
