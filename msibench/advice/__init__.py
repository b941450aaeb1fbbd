"""What sharpening would gain, and what measuring finer would, judged from the coarse image alone."""
