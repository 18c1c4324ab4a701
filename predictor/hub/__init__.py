"""Checkpoints on the hub: what leaves this machine, and what stays."""
