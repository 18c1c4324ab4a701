"""What goes to a hub: folders in one commit, labels for people, and of checkpoints what leaves this machine."""
