"""Keep a method's process from the network, from the truth and from everybody's files."""

import sys

from msibench.errors import ConfigurationError

if sys.platform == "win32":  # every way to run a method in a process of its own comes by here
    raise ConfigurationError(
        "this needs Linux or macOS: each method runs in a process of its own, under limits that Windows "
        "does not have. Use the Windows Subsystem for Linux (WSL), or stay in this process: mb.read, "
        "mb.upscale, mb.evaluate and mb.load_board work on Windows, too"
    )
