"""The command line: `main` finds one click command in each file of this folder."""
