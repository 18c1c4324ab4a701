"""Studies are made here: from run folders or images to trials that tell a participant nothing."""
