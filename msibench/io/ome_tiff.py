"""Write stacks of ion images as OME-TIFF that image software opens with scale and channel names."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import os
import uuid
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from msibench.image import MSImage
from msibench.io.partial import beside

NAMESPACE = "msibench/section"
TILE = 256


def write_ome_tiff(
    path: str | os.PathLike[str],
    image: MSImage,
    *,
    provenance: Mapping[str, object] | None = None,
) -> Path:
    """Write ion images as a tiled, pyramidal OME-TIFF: axes CYX, float32, unclipped and unscaled.

    Channels are named ``m/z 298.0700``; ``PhysicalSizeX`` and ``PhysicalSizeY`` are in µm (left out
    when unknown). The pyramid holds area means by factors of two and is for viewing only. The exact
    m/z, window, unit, mask and `provenance` travel as JSON in an OME annotation of the namespace
    ``msibench/section``. The same image and provenance give the same bytes.

    Raises
    ------
    StoreError
        The file cannot be written.
    """
    import tifffile

    target = Path(path)
    shapes = _level_shapes(image.shape)
    coarser = [np.empty((image.channels, *shape), np.float32) for shape in shapes[1:]]
    digest_of = hashlib.sha256()
    for channel in range(image.channels):  # one at a time: a large stack stays in its file
        pixels = np.ascontiguousarray(image.values[channel])
        digest_of.update(pixels.tobytes())
        for stack in coarser:
            pixels = stack[channel] = _halved(pixels)
    annotation = json.dumps(_annotation(image, provenance), sort_keys=True, default=str)
    digest_of.update(annotation.encode())
    digest = digest_of.digest()
    metadata: dict[str, object] = {
        "axes": "CYX",
        "UUID": str(uuid.UUID(bytes=digest[:16], version=5)),
        "Channel": {"Name": list(image.channel_names())},
        "CommentAnnotation": {"Namespace": NAMESPACE, "Value": annotation},
    }
    options: dict[str, Any] = {
        "photometric": "minisblack",
        "tile": (TILE, TILE),
        "compression": "zlib",
        "predictor": False,
        "maxworkers": 1,
    }
    if math.isfinite(image.pixel_size_um):
        for axis in "XY":
            metadata[f"PhysicalSize{axis}"] = float(image.pixel_size_um)
            metadata[f"PhysicalSize{axis}Unit"] = "µm"
        options["resolutionunit"] = "CENTIMETER"
    big = image.values.nbytes > 1 << 31
    with (
        beside(target) as partial,
        tifffile.TiffWriter(partial, ome=True, bigtiff=big) as file,
    ):
        for level, shape in enumerate(shapes):
            if math.isfinite(image.pixel_size_um):
                per_cm = 1e4 / (image.pixel_size_um * 2**level)
                options["resolution"] = (per_cm, per_cm)
            if level == 0:
                file.write(
                    **_content(image.values, (image.channels, *shape)),
                    metadata=metadata,
                    subifds=len(shapes) - 1,
                    software="msibench",
                    **options,
                )
            else:
                file.write(coarser[level - 1], subfiletype=1, metadata=None, **options)
    return target


def read_annotation(xml: str) -> dict[str, Any]:
    """Return what `write_ome_tiff` left in the OME-XML: mz, ppm, unit, mask, provenance; or nothing."""
    from xml.etree import ElementTree

    for node in ElementTree.fromstring(xml).iter():
        if node.tag.endswith("}CommentAnnotation") and node.get("Namespace") == NAMESPACE:
            text = next((child.text for child in node if child.tag.endswith("}Value")), None)
            try:
                annotation = json.loads(text or "")
            except ValueError:
                return {}
            return annotation if isinstance(annotation, dict) else {}
    return {}


def pack_mask(mask: NDArray[np.bool_]) -> str:
    """Return a mask as text: bits, row by row, zlib, base64."""
    return base64.b64encode(zlib.compress(np.packbits(mask).tobytes())).decode("ascii")


def unpack_mask(text: str, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Undo `pack_mask`.

    Raises
    ------
    ValueError
        The text does not hold a mask of this shape.
    """
    size = (shape[0] * shape[1] + 7) // 8
    try:
        raw = zlib.decompressobj().decompress(base64.b64decode(text, validate=True), size + 1)
    except zlib.error as error:
        raise ValueError(f"the mask is damaged: {error}") from error
    if len(raw) != size:
        raise ValueError(f"the mask holds {len(raw)} bytes, {size} are needed for {shape}")
    bits = np.unpackbits(np.frombuffer(raw, dtype=np.uint8), count=shape[0] * shape[1])
    return bits.reshape(shape).astype(np.bool_)


def _annotation(image: MSImage, provenance: Mapping[str, object] | None) -> dict[str, Any]:
    return {
        "mz": [None if math.isnan(mz) else mz for mz in image.mz.tolist()],
        "ppm": image.ppm,
        "unit": image.unit,
        "mask": None if image.mask is None else pack_mask(image.mask),
        "provenance": dict(provenance or {}),
    }


def _level_shapes(shape: tuple[int, int]) -> list[tuple[int, int]]:
    """Return the sides of the image and of its area means by 2, 4, ... until it fits in one tile."""
    shapes = [shape]
    while max(shapes[-1]) > TILE and min(shapes[-1]) >= 2:
        shapes.append((shapes[-1][0] // 2, shapes[-1][1] // 2))
    return shapes


def _halved(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the area mean of an image by a factor of two."""
    rows, columns = image.shape[0] // 2, image.shape[1] // 2
    cut = image[: 2 * rows, : 2 * columns].reshape(rows, 2, columns, 2)
    return np.asarray(cut.mean(axis=(1, 3), dtype=np.float32))


def _content(values: NDArray[np.float32], shape: tuple[int, int, int]) -> dict[str, Any]:
    """Return the pixels as tifffile takes them: an array, or a stack in its file tile by tile."""
    if isinstance(values, np.ndarray):
        return {"data": np.ascontiguousarray(values)}
    return {"data": _tiles(values), "shape": shape, "dtype": np.float32}


def _tiles(values: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    for image in values:
        for top in range(0, image.shape[0], TILE):
            for left in range(0, image.shape[1], TILE):
                tile = np.zeros((TILE, TILE), np.float32)
                part = image[top : top + TILE, left : left + TILE]
                tile[: part.shape[0], : part.shape[1]] = part
                yield tile
