"""``prediction.h5`` while it is written: each predicted ion in its place among all ions of a section."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from msibench.io.stored_stack import groups
from msibench.results.arrays import ArrayFile, array_file, write_arrays


class PredictionFile:
    """Takes groups of ion images; the channels are those that are present in a section.

    Of several groups each is written at once. One group is kept and written at the end (`finish`), so that
    no method meets its own prediction half-written.
    """

    def __init__(
        self, shape: tuple[int, int, int], channels: Sequence[int], stream: ArrayFile | None
    ) -> None:
        self._shape, self._channels, self._stream = shape, channels, stream
        self._arrays: dict[str, NDArray[Any]] = {}
        self._stacks: dict[str, Any] = {}
        if stream is not None:
            self._stacks["prediction"] = stream.stack("prediction", shape)

    def __setitem__(self, group: slice, values: NDArray[np.float32]) -> None:
        self.put("prediction", group, values, absent=0.0)

    def put(self, name: str, group: slice, values: NDArray[np.float32], *, absent: float) -> None:
        """Take a group of the present ion images of a stack; ions that are nowhere are `absent`."""
        if self._stream is None:  # the group is the section
            self.keep(name, values, absent=absent)
            return
        for channel, image in zip(self._channels[group], values, strict=True):
            self._stack(name, absent)[slice(channel, channel + 1)] = image[None]

    def put_among_all(self, name: str, group: slice, values: NDArray[np.float32]) -> None:
        """Take a group of all ion images of a stack."""
        if self._stream is None:
            self._arrays[name] = values
        else:
            self._stack(name, 0.0)[group] = values

    def groups(self) -> list[slice]:
        """Cut all ion images of the section into groups that may be held at once."""
        return [slice(0, self._shape[0])] if self._stream is None else groups(self._shape)

    def predicted(self, group: slice) -> NDArray[np.float32] | None:
        """Return the prediction of a group of all ion images; None where it has another shape than it must."""
        if self._stream is not None:
            return np.asarray(self._stacks["prediction"][group])
        whole = self._arrays.get("prediction")
        return whole if whole is not None and whole.shape == self._shape else None

    def _stack(self, name: str, absent: float) -> Any:
        """Return a stack of the file, made where it is not there yet."""
        if name not in self._stacks:
            assert self._stream is not None
            stack = self._stacks[name] = self._stream.stack(name, self._shape)
            nowhere = set(range(self._shape[0])) - set(self._channels)
            for channel in sorted(nowhere) if absent != 0 else ():
                stack[channel] = np.float32(absent)
        return self._stacks[name]

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

    def finish(self, path: Path, arrays: Mapping[str, Any], about: Mapping[str, Any]) -> None:
        """Write what was kept."""
        if self._stream is None and self._arrays:
            write_arrays(path, {**self._arrays, **arrays}, about)
        elif self._stream is not None:
            for name, values in sorted(self._arrays.items()):
                self._stream.write(name, values)
            for name, value in sorted(about.items()):
                self._stream.note(name, value)


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
        Attributes of the file; what is put in meanwhile is written at the end.
    """
    if whole:
        file = PredictionFile(shape, channels, None)
        yield file
        file.finish(path, {"mz": mz}, about)
        return
    before = dict(about)
    with array_file(path, about) as stream:
        stream.write("mz", mz)
        file = PredictionFile(shape, channels, stream)
        yield file
        file.finish(path, {}, {name: about[name] for name in about if name not in before})
