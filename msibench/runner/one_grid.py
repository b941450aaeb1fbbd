"""Sections of one board have the same ion images and pixels of one size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from msibench.errors import DataError


def require_one_grid(data: Sequence[Path], *, by_mz: bool, pixel_size_um: float | None) -> None:
    """Raise if sections of one board would not have the same ion images, pixel by pixel as large."""
    from msibench.io.read import kind_of, read_section

    sizes: dict[str, float] = {}
    axes: dict[str, np.ndarray] = {}
    for path in data:
        if kind_of(path) == "imzml":
            from msibench.io.imzml.open import open_imzml

            if by_mz:
                raise DataError(
                    f"{path.name}: name the ion images of all sections with --mz, or --peaks N for "
                    f"the N most intense of {data[0].name}"
                )
            sizes[path.name] = open_imzml(path).pixel_size_um
            continue
        image = read_section(path, lazily=True)
        sizes[path.name], axes[path.name] = image.pixel_size_um, np.asarray(image.mz)
    if pixel_size_um is None:
        known = {name: size for name, size in sizes.items() if np.isfinite(size)}
        if known and not np.allclose(list(known.values()), next(iter(known.values())), rtol=0.01):
            raise DataError(
                "sections of one board must have pixels of one size; here are "
                f"{_listed(known)}: run them apart"
            )
    first = next(iter(axes.values()), None)
    if by_mz and first is not None:
        for name, axis in axes.items():
            if np.isnan(axis).any() or not np.array_equal(axis, first):
                raise DataError(
                    f"{name} and {next(iter(axes))} do not have the same m/z values, so their ion images cannot be compared; name m/z that all sections have with --mz"
                )


def _listed(sizes: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {size:g} µm" for name, size in sizes.items())
