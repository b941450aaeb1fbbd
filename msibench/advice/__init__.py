"""What sharpening would gain, and what measuring finer would, told from the coarse image alone."""
