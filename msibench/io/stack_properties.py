"""What a stack of ion images in npz or HDF5 says beside its images, under whatever name.

A property that is understood is used; every other array of the file is named in a DataWarning, so that
it is clear which masks and m/z axes were not read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from msibench.errors import DataError
from msibench.io.channel_names import mz_of
from msibench.io.data_warning import warn_about_data

PROPERTIES = ("mz", "mask", "pixel_size_um", "ppm", "unit")
ALSO_CALLED = {
    "mz": ("precursor_mz", "mzs", "mz_values"),
    "mask": ("tissue", "tissue_mask"),
    "pixel_size_um": ("pixel_um", "um_per_pixel", "pixel_size_microns"),
}
"""Other names of a property, used if the property is absent and they hold what it needs."""
NAMES = ("names", "channel_names", "channels", "channel")
"""Names of the channels: used if each gives an m/z."""
OUR_OWN = ("provenance", "predicted_by", "factor", "schema_version", "format")


def other_names(
    shape: Sequence[int],
    held: Iterable[str],
    read: Callable[[str], Any],
    source: str,
    *,
    taken: Iterable[str],
) -> dict[str, Any]:
    """Return the properties that are stored under other names, and warn of what is left.

    Parameters
    ----------
    shape
        ``(channel, row, column)`` of the images.
    held
        Names in the file.
    read
        Returns the value of a name; may raise `Exception` where it cannot be read.
    source
        Name of the file.
    taken
        Names that were used already, those of properties among them.
    """
    left = [name for name in held if name not in {*taken, *OUR_OWN}]
    found: dict[str, Any] = {}
    for wanted, others in ALSO_CALLED.items():
        for name in others:
            if wanted not in {*taken, *found} and name in left:
                value = _value(read, name)
                if _fits(wanted, value, shape):
                    found[wanted] = value
                    left.remove(name)
    for name in NAMES:
        if "mz" not in {*taken, *found} and name in left:
            masses = _named_mz(_value(read, name), shape[0])
            if masses is not None:
                found["mz"] = masses
                left.remove(name)
    if left:
        warn_about_data(
            f"{source}: ignored: {', '.join(sorted(left))}; what is understood is called "
            f"{', '.join(PROPERTIES)}"
        )
    return found


def _value(read: Callable[[str], Any], name: str) -> Any:
    try:
        return np.asarray(read(name))
    except Exception:  # pickled objects, damaged members: the same as not understood
        return None


def _fits(wanted: str, value: Any, shape: Sequence[int]) -> bool:
    if value is None or value.dtype.kind not in "biuf":
        return False
    if wanted == "mask":
        return tuple(value.shape) == tuple(shape[1:])
    return int(value.size) == (1 if wanted == "pixel_size_um" else shape[0])


def _named_mz(names: NDArray[Any] | None, channels: int) -> NDArray[np.float64] | None:
    """Return the m/z in the names of all channels; None where any has none."""
    if names is None or names.shape != (channels,) or names.dtype.kind not in "USO":
        return None
    texts = [
        name.decode(errors="replace") if isinstance(name, bytes) else str(name) for name in names
    ]
    masses = np.array([mz_of(text) for text in texts])
    return None if np.isnan(masses).any() else masses


NARROW = 8
"""Pixels across: of so narrow images, twice as many and twice as high, the last axis is rather that of channels."""


def refuse_other_axes(name: str, shape: Sequence[int], mz: Any, mask: Any) -> None:
    """Raise, or warn, where axes seem to be in another order than ``(channel, row, column)``.

    Raises
    ------
    DataError
        As `other_axes` says.
    """
    if len(shape) != 3:
        return
    count = None if mz is None else int(np.size(mz))
    if why := other_axes(shape, count, None if mask is None else np.shape(mask)):
        raise DataError(f"{name}: {why}")
    channels, rows, columns = shape
    if mz is None and columns <= NARROW and min(channels, rows) >= 2 * NARROW:
        warn_about_data(
            f"{name}: read as {channels} ion images of {rows} x {columns} pixels, as axes are (channel, "
            "row, column); if channels come last, save np.moveaxis(stack, -1, 0)"
        )


def other_axes(shape: Sequence[int], count: int | None, mask: Sequence[int] | None) -> str:
    """Return what to save where axes are in another order; empty where nothing says so.

    There are as many m/z (`count`) as another axis is long, and not as the first; or the mask fits with
    its two axes exchanged.
    """
    channels, *grid = shape
    if count is not None and count != channels and count in grid:
        axis = 1 + grid.index(count)
        return (
            f"the stack is {tuple(shape)} and there are {count} m/z, as many as axis {axis} is long; axes "
            f"must be (channel, row, column): save np.moveaxis(stack, {axis}, 0)"
        )
    if mask is not None and [*mask][::-1] == grid and grid[0] != grid[1]:
        return (
            f"the ion images are {grid[0]} x {grid[1]} pixels (row, column) and the mask is "
            f"{grid[1]} x {grid[0]}: one of them is transposed; save stack.transpose(0, 2, 1), or mask.T"
        )
    return ""
