"""Keep a method's process from the network, from the truth and from everybody's files."""
