"""``prediction.h5`` while it is written: each predicted ion in its place among all ions of a section."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from msibench.results.arrays import array_file, write_arrays
from msibench.runner.child.in_groups import Writable


class PredictionFile:
    """Takes groups of ion images; the channels are those that are present in a section.

    Of several groups each is written at once. One group is kept and written at the end (`finish`), so that
    no method meets its own prediction half-written. Either way the same content gives the same bytes.
    """

    def __init__(
        self, shape: tuple[int, int, int], channels: Sequence[int], stack: Writable | None
    ) -> None:
        self._shape, self._channels, self._stack = shape, channels, stack
        self._arrays: dict[str, NDArray[Any]] = {}

    def __setitem__(self, group: slice, values: NDArray[np.float32]) -> None:
        if self._stack is None:  # the group is the section
            self.keep("prediction", values, absent=0.0)
            return
        for channel, image in zip(self._channels[group], values, strict=True):
            self._stack[slice(channel, channel + 1)] = image[None]

    def keep(self, name: str, values: NDArray[Any], absent: float) -> None:
        """Keep an array; ion images of present ions are put among all, `absent` for the others.

        What is not of that shape is kept as it is: the supervisor says what is wrong with it.
        """
        present = (len(self._channels), *self._shape[1:])
        if present != self._shape and values.shape == present:
            among = np.full(self._shape, absent, dtype=values.dtype)
            among[list(self._channels)] = values
            values = among
        self._arrays[name] = values

    def kept(self, name: str) -> NDArray[Any] | None:
        """Return what was kept under a name."""
        return self._arrays.get(name)

    def finish(self, path: Path, arrays: Mapping[str, Any], about: Mapping[str, Any]) -> None:
        """Write what was kept."""
        if self._arrays:
            write_arrays(path, {**self._arrays, **arrays}, about)


@contextmanager
def prediction_file(
    path: Path,
    shape: tuple[int, int, int],
    channels: Sequence[int],
    mz: NDArray[np.float64],
    about: dict[str, Any],
    *,
    whole: bool,
) -> Iterator[PredictionFile]:
    """Open the file of a prediction; `whole`: one group holds it.

    Parameters
    ----------
    shape
        ``(channel, row, column)`` of all ions.
    channels
        Those that are predicted.
    about
        Attributes of the file, read when it is written.
    """
    if whole:
        file = PredictionFile(shape, channels, None)
        yield file
        file.finish(path, {"mz": mz}, about)
        return
    with array_file(path, about) as stream:
        stream.write("mz", mz)
        yield PredictionFile(shape, channels, stream.stack("prediction", shape))
