"""Ion images as the objects that neighbouring tools exchange: xarray, AnnData, SpatialData.

Nothing is scaled, interpolated or reordered. The packages are extras (``pip install 'msibench[neighbours]'``) and are
imported when a function here is called.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from msibench.errors import ConfigurationError, DataError
from msibench.image import GuideImage, MSImage

if TYPE_CHECKING:
    import anndata
    import spatialdata
    import xarray

ON_GRID = 1e-3
"""Of a pixel: how far coordinates may lie from whole steps."""
LARGEST = 2**28
"""Pixels of a grid that coordinates may span: more means that they are no pixel coordinates."""


def to_xarray(image: MSImage) -> xarray.DataArray:
    """Return ion images as an ``xarray.DataArray`` with the dimensions ``(mz, y, x)``.

    Returns
    -------
    The same intensities; ``mz`` in Da, ``y`` and ``x`` the centres of the pixels in µm from the upper
    left corner of the image (pixel numbers where the pixel size is unknown), the tissue mask as the
    coordinate ``tissue`` ``(y, x)``, and ``units``, ``pixel_size_um`` and ``ppm`` as attributes.

    Raises
    ------
    ConfigurationError
        xarray is not installed.
    """
    package = _package("xarray")
    rows, columns = image.shape
    known = np.isfinite(image.pixel_size_um)
    y, x = (
        (np.arange(side) + 0.5) * image.pixel_size_um if known else np.arange(side, dtype=float)
        for side in (rows, columns)
    )
    unit = {"units": "µm" if known else "pixel"}
    coordinates: dict[str, tuple[object, object, dict[str, str]]] = {
        "mz": ("mz", image.mz, {"units": "Da"}),
        "y": ("y", y, unit),
        "x": ("x", x, unit),
    }
    if image.mask is not None:
        coordinates["tissue"] = (("y", "x"), image.mask, {})
    made: xarray.DataArray = package.DataArray(
        np.asarray(image.values),
        dims=("mz", "y", "x"),
        coords=coordinates,
        name="intensity",
        attrs={"units": image.unit, **_numbers(image)},
    )
    return made


def from_xarray(array: xarray.DataArray) -> MSImage:
    """Return what `to_xarray` made, or any array with the dimensions mz, y and x, as ion images.

    Raises
    ------
    DataError
        A dimension is missing, or the pixels are not square and of one size.
    """
    if missing := {"mz", "y", "x"} - {str(name) for name in array.dims}:
        raise DataError(
            f"expected an array with the dimensions mz, y and x, got {', '.join(map(str, array.dims))}: "
            f"{', '.join(sorted(missing))} is missing; rename dimensions with array.rename(...)"
        )
    array = array.transpose("mz", "y", "x")
    mz = array.coords["mz"].to_numpy() if "mz" in array.coords else np.full(len(array), np.nan)
    tissue = array.coords.get("tissue")
    return MSImage(
        array.to_numpy(),
        mz,
        pixel_size_um=_step(array),
        mask=None if tissue is None else tissue.transpose("y", "x").to_numpy().astype(bool),
        ppm=_number(array.attrs.get("ppm")),
        unit=str(array.attrs.get("units", "arbitrary")),
    )


def to_anndata(image: MSImage) -> anndata.AnnData:
    """Return ion images as an ``anndata.AnnData``: one observation a measured pixel, one variable an ion.

    Returns
    -------
    ``X`` ``(pixel, ion)`` float32; ``var["mz"]`` in Da; ``obsm["spatial"]`` the pixel's ``(x, y)``, its column and
    row counted from 0, also in ``obs["x"]`` and ``obs["y"]``; ``obs["tissue"]`` where the mask is known;
    ``uns["msibench"]`` with the grid's ``shape``, ``unit``, ``pixel_size_um`` and ``ppm``. A pixel that is NaN in every
    ion image was not measured and is left out.

    Raises
    ------
    ConfigurationError
        anndata is not installed.
    """
    import pandas as pd

    package = _package("anndata")
    values = np.asarray(image.values)
    there = ~np.isnan(values).all(axis=0)
    row, column = np.nonzero(there)
    names = [f"{y}:{x}" for y, x in zip(row, column, strict=True)]
    obs = pd.DataFrame({"x": column, "y": row}, index=names)
    if image.mask is not None:
        obs["tissue"] = image.mask[there]
    made: anndata.AnnData = package.AnnData(
        X=np.ascontiguousarray(values[:, there].T),
        obs=obs,
        var=pd.DataFrame({"mz": image.mz}, index=_unique(image.channel_names())),
        obsm={"spatial": np.stack([column, row], axis=1).astype(np.float64)},
        uns={"msibench": {"shape": np.array(image.shape), "unit": image.unit, **_numbers(image)}},
    )
    return made


def from_anndata(
    table: anndata.AnnData,
    *,
    layer: str | None = None,
    step: float = 1.0,
    pixel_size_um: float | None = None,
) -> MSImage:
    """Return a table of pixels as ion images: what `to_anndata` made, or another tool's.

    Parameters
    ----------
    table
        ``var["mz"]``, and the pixels' coordinates ``(x, y)`` in ``obsm["spatial"]`` or in ``obs["x"]``, ``obs["y"]``. Take
        the ions that you want before: ``table[:, columns]``.
    layer
        Of the intensities; None: ``X``.
    step
        Distance of two neighbouring pixels in the unit of the coordinates: 1 for pixel numbers.
    pixel_size_um
        Where the table does not say.

    Returns
    -------
    A pixel that is not in the table is NaN. Without a grid's shape in the table, the grid begins at the
    smallest coordinates.

    Raises
    ------
    DataError
        Coordinates or m/z are missing, do not lie on a grid of `step`, or two pixels lie on one place.
    """
    if "mz" not in table.var:
        raise DataError(
            f"expected m/z in var['mz'], got the columns {list(table.var.columns)}: add it, in Da"
        )
    told = table.uns.get("msibench", {})
    place = _places(_coordinates(table), step, keep_origin="shape" in told)
    shape = tuple(int(side) for side in told.get("shape", place.max(axis=0) + 1))
    if (place >= np.array(shape)).any():
        raise DataError(f"pixels lie outside the grid of {shape[0]} x {shape[1]} that uns states")
    flat = np.ravel_multi_index((place[:, 0], place[:, 1]), shape)
    if len(np.unique(flat)) < len(flat):
        raise DataError(
            f"{len(flat) - len(np.unique(flat))} pixels share their position with another; use one section at a time, e.g. table[table.obs['region'] == 'a']"
        )
    held = table.X if layer is None else table.layers[layer]
    dense = held.toarray() if hasattr(held, "toarray") else np.asarray(held)
    values = np.full((table.n_vars, shape[0] * shape[1]), np.nan, dtype=np.float32)
    values[:, flat] = dense.T
    mask = None
    if "tissue" in table.obs:
        mask = np.zeros(shape, dtype=bool)
        mask.ravel()[flat] = table.obs["tissue"].to_numpy(dtype=bool)
    size = told.get("pixel_size_um") if pixel_size_um is None else pixel_size_um
    return MSImage(
        values.reshape(-1, *shape),
        table.var["mz"].to_numpy(dtype=np.float64),
        pixel_size_um=float("nan") if size is None else float(size),
        mask=mask,
        ppm=_number(told.get("ppm")),
        unit=str(told.get("unit", "arbitrary")),
    )


def to_spatialdata(
    image: MSImage, name: str = "section", *, guide: GuideImage | None = None
) -> spatialdata.SpatialData:
    """Return ion images as ``spatialdata.SpatialData``: an image, a table of its pixels, and how both lie in µm.

    Parameters
    ----------
    image, name
        Ion images, and what their element is called.
    guide
        A stained image of the same field of view, as the element ``NAME_guide``.

    Returns
    -------
    Image ``NAME`` ``(c, y, x)``; labels ``NAME_pixels``, in which each pixel has a number of its own from 1 on;
    table ``NAME_table``, which is `to_anndata` and annotates these labels. The coordinate system ``global`` is in
    µm from the upper left corner; in pixels where the pixel size is unknown.

    Raises
    ------
    ConfigurationError
        spatialdata is not installed, or the guide has another field of view.
    """
    package = _package("spatialdata")
    scaled = import_module("spatialdata.transformations").Scale
    models = import_module("spatialdata.models")
    size = image.pixel_size_um if np.isfinite(image.pixel_size_um) else 1.0
    lies = {"global": scaled([size, size], axes=("y", "x"))}
    rows, columns = image.shape
    numbers = 1 + np.arange(rows * columns, dtype=np.int64).reshape(rows, columns)
    table = to_anndata(image)
    pixels = f"{name}_pixels"
    table.obs["region"] = pixels
    table.obs["region"] = table.obs["region"].astype("category")
    table.obs["pixel"] = numbers[table.obs["y"], table.obs["x"]]
    images = {
        name: models.Image2DModel.parse(
            np.asarray(image.values),
            dims=("c", "y", "x"),
            c_coords=list(table.var_names),
            transformations=lies,
        )
    }
    if guide is not None:
        images[f"{name}_guide"] = models.Image2DModel.parse(
            guide.values,
            dims=("c", "y", "x"),
            c_coords=list(guide.channel_names) or None,
            transformations={"global": scaled(_guide_steps(guide, image, size), axes=("y", "x"))},
        )
    made: spatialdata.SpatialData = package.SpatialData(
        images=images,
        labels={
            pixels: models.Labels2DModel.parse(numbers, dims=("y", "x"), transformations=dict(lies))
        },
        tables={
            f"{name}_table": models.TableModel.parse(
                table, region=pixels, region_key="region", instance_key="pixel"
            )
        },
    )
    return made


def _unique(names: Sequence[str]) -> list[str]:
    """Return names of which none is twice: m/z that are alike to four decimals get a number."""
    return [
        name if names.count(name) == 1 else f"{name} ({1 + names[:place].count(name)})"
        for place, name in enumerate(names)
    ]


def _guide_steps(guide: GuideImage, image: MSImage, size: float) -> list[float]:
    """Return the size of a guide's pixel along y and x, so that it covers the section."""
    steps = [size * mine / its for mine, its in zip(image.shape, guide.shape, strict=True)]
    if not np.isclose(steps[0], steps[1], rtol=1e-6):
        raise ConfigurationError(
            f"the guide of {guide.shape[0]} x {guide.shape[1]} pixels does not show the field of view of "
            f"{image.shape[0]} x {image.shape[1]}: bring it there first (msibench register)"
        )
    return steps


def _coordinates(table: anndata.AnnData) -> NDArray[np.float64]:
    """Return ``(y, x)`` of every pixel, ``(pixel, 2)``."""
    if "spatial" in table.obsm:
        found = np.asarray(table.obsm["spatial"], dtype=np.float64)
        if found.ndim == 2 and found.shape[1] >= 2:
            return found[:, 1::-1]
    elif {"x", "y"} <= set(table.obs.columns):
        return np.asarray(table.obs[["y", "x"]].to_numpy(dtype=np.float64))
    raise DataError(
        "expected the pixels' coordinates (x, y) in obsm['spatial'] or in obs['x'] and obs['y'], got obsm "
        f"{list(table.obsm)} and the columns {list(table.obs.columns)}"
    )


def _places(
    coordinates: NDArray[np.float64], step: float, *, keep_origin: bool
) -> NDArray[np.int64]:
    """Return the row and column of every pixel, ``(pixel, 2)``."""
    if not len(coordinates) or not np.isfinite(coordinates).all():
        raise DataError("expected finite coordinates of at least one pixel")
    steps = coordinates / step if keep_origin else (coordinates - coordinates.min(0)) / step
    place = np.rint(steps).astype(np.int64)
    away = float(np.abs(steps - place).max())
    if away > ON_GRID or (place < 0).any():
        raise DataError(
            f"coordinates do not lie on a grid of step {step:g}: one is {away:.3g} steps away from it. "
            "Give the distance of two neighbouring pixels as step"
        )
    apart = 1 if keep_origin else np.gcd.reduce((place - place[0]).ravel())
    sides = place.max(axis=0) + 1
    if apart > 1 or float(sides[0]) * float(sides[1]) > LARGEST:
        raise DataError(
            f"coordinates lie at least {apart} steps of {step:g} apart, on a grid of {sides[0]} x {sides[1]}: "
            f"they do not count pixels. Give the distance of two neighbouring pixels, such as step={apart * step:g}"
        )
    return place


def _step(array: xarray.DataArray) -> float:
    """Return the pixel size in µm; NaN where the coordinates count pixels."""
    stated = _number(array.attrs.get("pixel_size_um"))
    steps: list[float] = []
    for axis in ("y", "x"):
        if axis in array.coords and array.coords[axis].attrs.get("units") == "µm":
            apart = np.diff(array.coords[axis].to_numpy())
            steps.extend([float(apart.min()), float(apart.max())] if len(apart) else [])
    if not steps:
        return float("nan") if stated is None else stated
    if not np.allclose(steps, steps[0], rtol=1e-4):
        raise DataError(
            f"expected square pixels of one size, got steps of {min(steps):g} to {max(steps):g} µm"
        )
    # The attribute is exact, but a coarsened array keeps the attribute of the finer one.
    return stated if stated is not None and np.isclose(stated, steps[0], rtol=1e-4) else steps[0]


def _numbers(image: MSImage) -> dict[str, float]:
    """Return pixel size and m/z window, those that are known."""
    found = {"pixel_size_um": float(image.pixel_size_um)} if image.pixel_size_um > 0 else {}
    return found | ({} if image.ppm is None else {"ppm": float(image.ppm)})


def _number(value: object) -> float | None:
    return None if value is None else float(value)  # type: ignore[arg-type]


def _package(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError as missing:
        raise ConfigurationError(
            f"to_{name} needs {name}, which is not installed here ({missing}): "
            "pip install 'msibench[neighbours]'"
        ) from missing
