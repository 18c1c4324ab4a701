"""Frozen encoders of images and texts, each a file; `registry` gives one for a name."""
