"""Optical images as guides, whole or one region of one pyramid level at a time."""
