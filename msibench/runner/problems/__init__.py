"""Make a problem once, and keep what methods may see apart from the truth."""
