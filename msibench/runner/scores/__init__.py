"""From the output of a child to a checked, scored and stored cell."""
