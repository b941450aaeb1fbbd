"""Damaged pictures are read as another decoder reads them, or refused with words: never a crash."""

import io
import warnings

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from msibench.errors import DataError
from msibench.io import DataWarning, read_section
from msibench.io.guide import read_guide

GREY = (np.add.outer(np.arange(40), 3 * np.arange(56)) % 256).astype(np.uint8)
COLOURS = np.dstack([GREY, GREY // 2, 255 - GREY])
RAMP = np.linspace(0, 65_535, 256).astype(np.uint16)


def tiff(pixels, **options):
    stream = io.BytesIO()
    tifffile.imwrite(stream, pixels, metadata=None, **options)
    return stream.getvalue()


def pyramid():
    stream = io.BytesIO()
    with tifffile.TiffWriter(stream, ome=True) as writer:
        writer.write(COLOURS, subifds=1, tile=(16, 16), photometric="rgb", compression="zlib",
                     metadata={"axes": "YXS", "PhysicalSizeX": 0.5, "PhysicalSizeXUnit": "µm"})  # fmt: skip
        writer.write(COLOURS[::2, ::2].copy(), subfiletype=1, tile=(16, 16), photometric="rgb",
                     compression="zlib", metadata=None)  # fmt: skip
    return stream.getvalue()


def saved(pixels, kind, **options):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind, **options)
    return stream.getvalue()


def turned():
    noted = Image.Exif()
    noted[0x0112] = 6
    return saved(COLOURS, "JPEG", exif=noted)


BASES = {
    "grey.tif": tiff(GREY),
    "rgb.tif": tiff(COLOURS, photometric="rgb", compression="zlib", rowsperstrip=7),
    "planar.tif": tiff(np.moveaxis(COLOURS, -1, 0), photometric="rgb", planarconfig="separate"),
    "palette.tif": tiff(GREY, photometric="palette", colormap=np.stack([RAMP, RAMP, RAMP[::-1]])),
    "alpha.tif": tiff(np.dstack([COLOURS, GREY]), photometric="rgb", extrasamples=["unassalpha"]),
    "cmyk.tif": tiff(np.dstack([COLOURS, GREY]), photometric="separated", compression="lzw"),
    "lab.tif": tiff(COLOURS, photometric="cielab"),
    "jpeg.tif": tiff(COLOURS, photometric="rgb", compression="jpeg", tile=(16, 16)),
    "bits.tif": tiff(GREY > 100, photometric="minisblack"),
    "float.tif": tiff(GREY.astype(np.float32) / 255, byteorder=">", predictor=True, compression="zlib"),
    "stack.tif": tiff(np.stack([GREY] * 3).astype(np.uint16), photometric="minisblack"),
    "pyramid.tif": pyramid(),
    "rgb.png": saved(COLOURS, "PNG"),
    "grey.png": saved(GREY, "PNG"),
    "deep.png": imagecodecs.png_encode(COLOURS.astype(np.uint16) * 257),
    "rgb.jpg": saved(COLOURS, "JPEG"),
    "grey.jpg": saved(GREY, "JPEG"),
    "turned.jpg": turned(),
}  # fmt: skip


def mutated(base, rng):
    """Change, cut out, double or cut off some bytes: mostly near the ends, where the headers are."""
    raw = bytearray(base)
    for _ in range(int(rng.integers(1, 5))):
        place = int(len(raw) * rng.random() ** 2)
        place = len(raw) - 1 - place if rng.random() < 0.4 else min(place, len(raw) - 1)
        what = rng.integers(8)
        if what < 5:
            raw[place] = int(
                rng.choice([0, 1, 2, 255, 128, int(rng.integers(256)), raw[place] ^ 1])
            )
        elif what == 5:
            del raw[place : place + int(rng.integers(1, 9))]
        elif what == 6:
            raw[place:place] = raw[place : place + int(rng.integers(1, 9))]
        else:
            raw = raw[: max(8, place)]
        if not raw:
            raw = bytearray(b"\0")
    return bytes(raw)


def outcome(read, path):
    """Return what a reader makes of a file, or None where it refuses; any other error is a fault."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", DataWarning)
        try:
            return read(path)
        except DataError as error:
            words = str(error)
    assert len(words) > 20
    assert "\x1b" not in words
    return None


def fuzz(folder, count, seed):
    rng = np.random.default_rng(seed)
    names = list(BASES)
    tally = {"read": 0, "refused": 0, "compared": 0}
    for number in range(count):
        name = names[number % len(names)]
        raw = mutated(BASES[name], rng)
        path = folder / name
        path.write_bytes(raw)
        guide, section = outcome(read_guide, path), outcome(read_section, path)
        for found in (guide, section):
            tally["refused" if found is None else "read"] += 1
        if guide is not None:
            assert np.isfinite(guide.values).all(), (number, name)
            assert guide.values.min() >= 0
            assert guide.values.max() <= 1
            assert guide.mask is None or guide.mask.shape == guide.shape
        if section is not None:
            assert not np.isinf(section.values).any(), (number, name)
        if guide is not None and (other := another_decoder(raw, name)) is not None:
            tally["compared"] += 1
            assert guide.values.shape == other.shape, (number, name)
            far = np.abs(guide.values - other)
            assert far.mean() < 0.02, (number, name, far.mean())
    return tally


def another_decoder(raw, name):
    """Return light ``(channel, row, column)`` by imagecodecs, where it reads a flat picture; or None."""
    try:
        if name in ("rgb.png", "grey.png", "deep.png"):
            pixels = imagecodecs.png_decode(raw)
        elif name in ("rgb.jpg", "grey.jpg"):
            pixels = imagecodecs.jpeg8_decode(raw)
        else:
            return None
    except Exception:
        return None
    pixels = np.atleast_3d(pixels)
    if pixels.shape[-1] not in (1, 3):
        return None
    return np.moveaxis(pixels, -1, 0) / np.iinfo(pixels.dtype).max


def test_the_pictures_are_sound_before_they_are_damaged(tmp_path):
    for name, raw in BASES.items():
        (tmp_path / name).write_bytes(raw)
        assert read_guide(tmp_path / name).values.ndim == 3 if name != "stack.tif" else True


def test_damaged_pictures_are_read_or_refused(tmp_path):
    tally = fuzz(tmp_path, 180, 0)
    assert tally["refused"] > 40
    assert tally["read"] > 40
    assert tally["compared"] > 5


@pytest.mark.slow
def test_many_damaged_pictures_are_read_or_refused(tmp_path):
    tally = fuzz(tmp_path, 5000, 1)
    assert tally["read"] > 1000
