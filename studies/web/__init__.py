"""The study as people take it, in a browser."""
