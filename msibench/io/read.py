"""Read a section from whatever file it is in."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from msibench.errors import ConfigurationError, DataError, MissingDataError
from msibench.image import MSImage
from msibench.io.data_warning import warn_about_data
from msibench.io.mz_windows import check_ppm, mz_windows
from msibench.io.pixel_size import check_pixel_size, refuse_impossible
from msibench.stand_ins import stand_in

if TYPE_CHECKING:
    from msibench.io.imzml.open import ImzMLOptions
    from msibench.io.imzml.section import ImzMLSection
    from msibench.io.imzml.strongest_peaks import StrongestPeaks

SHOWN = 4
"""How many m/z without a peak are named in one message."""
MOST_CHANNELS = 4096
"""Up to this many m/z a shared axis is read as channels when no m/z are asked for."""
SUFFIXES = {
    ".imzml": "imzml",
    ".ibd": "imzml",
    ".h5": "hdf5",
    ".hdf5": "hdf5",
    ".hdf": "hdf5",
    ".npz": "npz",
    ".tif": "tiff",
    ".tiff": "tiff",
    ".btf": "tiff",
    ".png": "picture",
    ".jpg": "picture",
    ".jpeg": "picture",
    ".bmp": "picture",
    ".gif": "picture",
}
SIGNATURES = {
    b"\x89HDF\r\n\x1a\n": "hdf5",
    b"PK\x03\x04": "npz",
    b"II*\0": "tiff",
    b"MM\0*": "tiff",
    b"II+\0": "tiff",
    b"MM\0+": "tiff",
    b"\x89PNG\r\n\x1a\n": "picture",
    b"\xff\xd8\xff": "picture",
}


def read_section(
    path: str | os.PathLike[str],
    *,
    mz: ArrayLike | None = None,
    ppm: float = 5.0,
    pixel_size_um: float | None = None,
    imzml: ImzMLOptions | None = None,
    lazily: bool = False,
    absent: Literal["error", "zero"] = "error",
) -> MSImage:
    """Read the ion images of a section: imzML, HDF5, npz, TIFF, OME-TIFF or one greyscale picture.

    Parameters
    ----------
    path
        The file; its suffix, or failing that its first bytes, tell what it is.
    mz
        m/z in Da: the windows of an imzML file, the channels of a stack. None: all channels of a
        stack, or all values of an m/z axis that an imzML file's spectra share.
    ppm
        Half-width of the closed windows; for a stack, how far a channel may lie from an m/z.
    pixel_size_um
        Edge length of a pixel, where the file does not say or is wrong.
    imzml
        How an imzML pair is opened: slice, repeated pixels, reader, checksum, cache.
    lazily
        Leave a large stack in its HDF5 file (`msibench.io.stored_stack`); other formats are read.
    absent
        An m/z in whose window an imzML file has no peak at all is an error, or an image of zeros: for
        one of several sections, of which another has it.

    Raises
    ------
    MissingDataError, DataError
        The file is not there or cannot be read right.
    ConfigurationError
        It has no channels of its own and no m/z were given, or none of its channels, or peaks, lies
        in the window of an m/z. A window of which every stored intensity is 0 gives an image of zeros.
    """
    if pixel_size_um is not None:
        if not 0 < pixel_size_um < math.inf:
            raise ConfigurationError(
                f"pixel_size_um must be a positive length, got {pixel_size_um}"
            )
        check_pixel_size(pixel_size_um)
    check_ppm(ppm)
    source = Path(path)
    kind = kind_of(source)
    if kind == "imzml":
        from msibench.io.imzml.open import ImzMLOptions

        how = imzml or ImzMLOptions()
        image = _ion_images(how.open(source), mz, ppm, cache=how.cache, all_there=absent == "error")
    else:
        from msibench.io import hdf5, stacks
        from msibench.io.channel_choice import choose_channels

        readers: dict[str, Callable[[Path], MSImage]] = {
            "hdf5": partial(hdf5.read_hdf5, lazily=lazily, pixel_size_um=pixel_size_um),
            "npz": partial(stacks.read_npz, pixel_size_um=pixel_size_um),
            "tiff": partial(stacks.read_tiff, pixel_size_um=pixel_size_um),
            "picture": stacks.read_picture,
        }
        image = choose_channels(readers[kind](source), mz, ppm, source.name)
    if pixel_size_um is not None:
        return replace(image, pixel_size_um=float(pixel_size_um))
    refuse_impossible(image.pixel_size_um, source.name)
    if doubt := check_pixel_size(image.pixel_size_um):
        warn_about_data(f"{source.name}: {doubt} (--pixel-size)")
    return image


def kind_of(path: Path) -> str:
    """Return ``"imzml"``, ``"hdf5"``, ``"npz"``, ``"tiff"`` or ``"picture"``.

    Raises
    ------
    MissingDataError, DataError
    """
    known = SUFFIXES.get(path.suffix.lower())
    if not path.exists():
        raise MissingDataError(f"{path} does not exist; check the path of the section.")
    if path.is_dir():
        raise DataError(f"{path} is a folder; expected one file: {', '.join(sorted(SUFFIXES))}.")
    if instead := stand_in(path):
        raise DataError(f"{path.name} {instead}.")
    if known is not None:
        return known
    with path.open("rb") as file:
        head = file.read(512)
    for signature, kind in SIGNATURES.items():
        if head.startswith(signature):
            return kind
    if b"<mzML" in head or b"<indexedmzML" in head:
        return "imzml"
    raise DataError(
        f"{path.name}: unknown format. A section is imzML (with its .ibd), HDF5, npz (cube, "
        "mz), TIFF, OME-TIFF or a greyscale picture; convert it first."
    )


def most_intense(path: str | os.PathLike[str], count: int, ppm: float = 5.0) -> StrongestPeaks:
    """Return the m/z of the `count` most intense peaks of a section, the strongest first.

    Of an imzML file: peaks of the mean spectrum (`ImzMLSection.strongest_peaks`). Of a stack: its
    channels, by their mean.

    Raises
    ------
    MissingDataError, DataError
        As `read_section`.
    ConfigurationError
        There is no peak, or the channels of a stack have no m/z.
    """
    from msibench.io.imzml.strongest_peaks import StrongestPeaks

    source = Path(path)
    if kind_of(source) == "imzml":
        from msibench.io.imzml.open import open_imzml

        found = open_imzml(source).strongest_peaks(count, ppm)
        if found.offered == 0:
            raise ConfigurationError(f"{source.name} has no peak with an intensity above 0")
        return found
    image = read_section(source, lazily=True)
    if np.isnan(image.mz).any():
        raise ConfigurationError(
            f"{source.name}: its channels have no m/z by which to choose them; leave --peaks out to "
            "take all, or give one m/z per channel with --mz"
        )
    means = np.array([np.nan_to_num(np.nanmean(channel)) for channel in image.values])
    order = np.lexsort((image.mz, -means))
    order = order[means[order] > 0][:count]
    return StrongestPeaks(image.mz[order], means[order], int((means > 0).sum()))


def read_tic(path: str | os.PathLike[str]) -> NDArray[np.float64] | None:
    """Read the total ion count of every whole spectrum, ``(row, column)`` on the grid of the ion images.

    None for a file that holds ion images only: they do not say what else a spectrum held.
    """
    source = Path(path)
    if kind_of(source) != "imzml":
        return None
    from msibench.io.imzml.open import open_imzml

    with open_imzml(source) as section:
        return section.tic()


def _ion_images(
    section: ImzMLSection, mz: ArrayLike | None, ppm: float, *, cache: bool, all_there: bool
) -> MSImage:
    """Return the ion images of an imzML file; without m/z those of its shared axis, if it is short."""
    from msibench.io.cache import cached_ion_images

    if mz is not None:
        images = cached_ion_images(section, mz, ppm) if cache else section.ion_images(mz, ppm)
        if all_there:
            _refuse_absent(section, images, ppm)
        return images
    if section.mode == "continuous" and section.axis_length <= MOST_CHANNELS:
        return section.channel_images()
    low, high = section.mz_range
    hint = "" if np.isnan(low) else f" Its peaks lie between m/z {low:.4f} and {high:.4f}."
    raise ConfigurationError(
        f"{section.path.name}: choose the m/z of the ion images, for instance mz=[798.54, 741.53] with "
        f"ppm=5 (on the command line --mz 798.54,741.53 --ppm 5, --mz "
        f"peaks.csv for a list, or --peaks 50 for the most intense ones).{hint}"
    )


def _refuse_absent(section: ImzMLSection, images: MSImage, ppm: float) -> None:
    """Raise if the file has no peak at all in a window: a mistyped m/z, or too narrow a window."""
    empty = [channel for channel in range(images.channels) if not images.values[channel].any()]
    if not empty:
        return
    windows = mz_windows(images.mz[empty], ppm)
    wanted = windows.mz
    nearest, _ = section.nearest_peaks(wanted)
    low, high = np.empty_like(wanted), np.empty_like(wanted)
    low[windows.order], high[windows.order] = windows.low, windows.high
    absent = np.flatnonzero(~((nearest >= low) & (nearest <= high)))
    if absent.size == 0:
        return  # something was stored there, and all of it is 0
    named = [
        f"m/z {wanted[at]:.4f} (the nearest peak of all spectra is m/z {nearest[at]:.4f}, "
        f"{(nearest[at] - wanted[at]) / wanted[at] * 1e6:+.1f} ppm or "
        f"{nearest[at] - wanted[at]:+.4f} Da away)"
        if np.isfinite(nearest[at])
        else f"m/z {wanted[at]:.4f} (the file has no peaks)"
        for at in absent[:SHOWN]
    ]
    more = f", and of {absent.size - SHOWN} more m/z" if absent.size > SHOWN else ""
    raise ConfigurationError(
        f"{section.path.name} has no peak within {ppm:g} ppm of {', of '.join(named)}{more}. "
        "Correct the m/z, widen the window (--ppm), or leave them out; --peaks 50 takes the 50 most "
        "intense peaks instead."
    )
