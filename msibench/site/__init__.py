"""The static site of a folder of boards: overview, boards, methods, data sets, docs, files to read on."""
