"""From what a child left behind to a checked, scored and stored cell."""
