"""Frozen encoders of images and texts; `registry` finds one by its name."""
