"""Recognise a section that a network has seen, under another name, scale, turn or small crop.

A name protects only against an honest mistake in a track; content protects against a copy of a
training section in somebody's test set. Two fingerprints are made: the digest of the exact bytes, and
a thumbnail of every ion image that survives rescaling, re-saving and turning.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from msibench.image import MSImage

EDGE = 24
"""Pixels along each edge of a thumbnail."""
ALIKE = 0.96
"""Correlation of two thumbnails from which they count as one image. Different serial sections of
``lbae-mouse-brain`` reach 0.90; copies with other scaling, half the resolution, ten counts a pixel or
a crop of a few pixels lie above 0.989."""


def fingerprint(image: MSImage) -> dict[str, Any]:
    """Return the JSON-able fingerprint of one section.

    ``sha256`` is that of shape and float32 values; ``thumbnails`` holds one hex string per ion image
    with content (64 at most, evenly spread).
    """
    return fingerprint_of((image.channels, *image.shape), lambda channel: image.values[channel])


def fingerprint_of(
    shape: tuple[int, int, int], image_of: Callable[[int], NDArray[np.float32]]
) -> dict[str, Any]:
    """Return the fingerprint of a section whose ion images come one at a time.

    Parameters
    ----------
    shape
        ``(channel, row, column)``.
    image_of
        Gives the ion image of a channel; called once or twice for each.
    """
    digest = hashlib.sha256(f"{shape}".encode())
    usable = []
    for channel in range(shape[0]):
        image = np.ascontiguousarray(image_of(channel), dtype="<f4")
        digest.update(image.tobytes())
        if np.nan_to_num(image).std() > 0:
            usable.append(channel)
    chosen = np.unique(np.linspace(0, len(usable) - 1, min(64, len(usable))).round().astype(int))
    thumbnails = [
        _to_hex(thumbnail(np.nan_to_num(image_of(usable[place])))) for place in chosen if usable
    ]
    return {"sha256": digest.hexdigest(), "shape": list(shape[1:]), "thumbnails": thumbnails}


def thumbnail(image: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the mean intensity in an `EDGE` x `EDGE` grid over the occupied rectangle, 0..1.

    Square roots are taken, so that one hot spot does not decide, and the frame around the tissue is
    cut off, so that padding or cropping empty pixels changes nothing.
    """
    occupied = np.sqrt(np.maximum(np.asarray(image, dtype=np.float64), 0))
    seen = occupied > 0.05 * occupied.max()
    rows, columns = (np.flatnonzero(seen.any(axis=axis)) for axis in (1, 0))
    occupied = occupied[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    for axis in (0, 1):
        occupied = _bins(occupied, axis)
    highest = float(occupied.max())
    return np.asarray(occupied / highest if highest > 0 else occupied)


def same_section(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> str:
    """Return why two fingerprints are of one section, or an empty string.

    At least a quarter of the ion images of the smaller section must have a twin.
    """
    if ours["sha256"] == theirs["sha256"]:
        return "the same values to the last bit"
    a, b = (_normed(side["thumbnails"]) for side in (ours, theirs))
    if not len(a) or not len(b):
        return ""
    best = np.full((len(a), len(b)), -1.0)
    for turned in _turns(b):
        np.maximum(best, a @ turned.T, out=best)
    twins = min((best.max(axis=1) >= ALIKE).sum(), (best.max(axis=0) >= ALIKE).sum())
    if twins * 4 >= min(len(a), len(b)):
        return f"{twins} ion images alike (thumbnail correlation up to {best.max():.3f})"
    return ""


def find_twin(
    section: Mapping[str, Any], seen: Iterable[tuple[str, Mapping[str, Any]]]
) -> tuple[str, str] | None:
    """Return ``(name, reason)`` of the first seen section that is the same, or None."""
    for name, other in seen:
        reason = same_section(section, other)
        if reason:
            return name, reason
    return None


def _bins(image: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    """Average along one axis into `EDGE` equal bins, pixels on a border shared by area."""
    size = image.shape[axis]
    edges = np.linspace(0, size, EDGE + 1)
    running = np.concatenate(
        [np.zeros_like(image.take([0], axis)), image.cumsum(axis=axis)], axis=axis
    )
    low = np.floor(edges).astype(int)
    share = edges - low
    share = share.reshape([-1 if a == axis else 1 for a in range(2)])
    upto = (
        running.take(low, axis) * (1 - share)
        + running.take(np.minimum(low + 1, size), axis) * share
    )
    return np.asarray(np.diff(upto, axis=axis) * (EDGE / size))


def _to_hex(image: NDArray[np.float64]) -> str:
    return (image * 255).round().astype(np.uint8).tobytes().hex()


def _normed(thumbnails: Iterable[str]) -> NDArray[np.float64]:
    rows = [np.frombuffer(bytes.fromhex(text), dtype=np.uint8) for text in thumbnails]
    stack = np.array(rows, dtype=np.float64).reshape(len(rows), -1)
    return _standard(stack)


def _standard(stack: NDArray[np.float64]) -> NDArray[np.float64]:
    centred = stack - stack.mean(axis=1, keepdims=True)
    norm = np.linalg.norm(centred, axis=1, keepdims=True)
    return np.asarray(centred / np.where(norm > 0, norm, 1.0))


def _turns(stack: NDArray[np.float64]) -> Iterable[NDArray[np.float64]]:
    square = stack.reshape(len(stack), EDGE, EDGE)
    for flip in (square, square[:, ::-1]):
        for quarter in range(4):
            yield np.rot90(flip, quarter, axes=(1, 2)).reshape(len(stack), -1)
