"""msibench from Python: read, degrade, upscale, evaluate, run, and look at boards.

Everything here is offered by ``import msibench as mb``; names are imported when they are first used, and
PyTorch only when a network runs.
"""
