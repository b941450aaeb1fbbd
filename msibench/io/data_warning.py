"""The category of every warning about measured data."""

from __future__ import annotations

import warnings


class DataWarning(UserWarning):
    """A file was read, but something in it may make an image differ from what was measured.

    ``warnings.filterwarnings("error", category=DataWarning)`` turns each into an exception.
    """


def warn_about_data(message: str) -> None:
    """Emit a DataWarning that points at the caller of the public function."""
    warnings.warn(message, DataWarning, stacklevel=3)
