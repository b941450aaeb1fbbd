"""Guides: every kind of file becomes channels in [0, 1], and nothing huge is decoded unasked."""

import struct
import zlib

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from msibench.errors import DataError, MissingDataError
from msibench.io.data_warning import DataWarning
from msibench.io.guide.open import read_guide
from msibench.testing.mirror import mirrored

RGB = np.random.default_rng(0).integers(0, 256, (30, 44, 3), dtype=np.uint8)
EXPECTED = np.moveaxis(RGB, -1, 0).astype(np.float32) / np.float32(255)


def save(path, pixels, **options):
    Image.fromarray(pixels).save(path, **options)
    return path


@pytest.mark.parametrize("name", ["a.png", "a.tif", "misnamed.jpg"])
def test_rgb_becomes_three_channels_in_zero_to_one(tmp_path, name):
    path = tmp_path / name
    save(path, RGB, format="TIFF" if name.endswith("tif") else "PNG")
    guide = read_guide(path)
    np.testing.assert_allclose(guide.values, EXPECTED, atol=1e-7)
    assert guide.channel_names == ("red", "green", "blue")
    assert guide.mask is None
    assert np.isnan(guide.pixel_size_um)


def test_a_jpeg_is_read_as_pil_reads_it(tmp_path):
    path = save(tmp_path / "a.jpg", RGB, quality=90)
    expected = np.moveaxis(np.asarray(Image.open(path)), -1, 0) / np.float32(255)
    np.testing.assert_allclose(read_guide(path).values, expected, atol=1e-7)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_grey_is_one_channel_of_the_whole_range_of_its_type(tmp_path, kind, suffix):
    top = np.iinfo(kind).max
    pixels = np.linspace(0, top, 24).astype(kind).reshape(4, 6)
    path = save(tmp_path / f"a.{suffix}", pixels)
    guide = read_guide(path)
    np.testing.assert_allclose(guide.values[0], pixels / top, atol=1e-7)
    assert guide.channel_names == ("grey",)


def test_sixteen_bit_colour_keeps_its_sixteen_bits(tmp_path):
    import imagecodecs

    pixels = np.random.default_rng(1).integers(0, 65536, (5, 7, 3), dtype=np.uint16)
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(pixels))
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb")
    for name in ("a.png", "a.tif"):
        values = read_guide(tmp_path / name).values
        np.testing.assert_allclose(values, np.moveaxis(pixels, -1, 0) / 65535, atol=1e-7)


def rgba():
    pixels = np.dstack([RGB, np.full(RGB.shape[:2], 255, np.uint8)])
    pixels[:10, :, 3] = 0
    return pixels


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_transparency_becomes_white_and_leaves_the_mask(tmp_path, suffix):
    guide = read_guide(save(tmp_path / f"a.{suffix}", rgba()))
    assert guide.values.shape == (3, 30, 44)
    assert not guide.mask[:10].any()
    assert guide.mask[10:].all()
    assert (guide.values[:, :10] == 1).all()
    np.testing.assert_allclose(guide.values[:, 10:], EXPECTED[:, 10:], atol=1e-7)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_a_palette_is_looked_up(tmp_path, suffix):
    image = Image.fromarray(RGB).quantize(16)
    image.save(tmp_path / f"a.{suffix}")
    expected = np.moveaxis(np.asarray(image.convert("RGB")), -1, 0) / 255
    # TIFF stores palettes with 16 bits, PIL writes them times 256.
    np.testing.assert_allclose(read_guide(tmp_path / f"a.{suffix}").values, expected, atol=4.5e-3)


@pytest.mark.parametrize("suffix", ["jpg", "tif"])
def test_cmyk_becomes_rgb(tmp_path, suffix):
    flat = np.zeros((16, 16, 3), np.uint8)
    flat[:, 8:] = (200, 40, 90)
    flat[:8, :8] = 255
    Image.fromarray(flat).convert("CMYK").save(tmp_path / f"a.{suffix}")
    guide = read_guide(tmp_path / f"a.{suffix}")
    np.testing.assert_allclose(guide.values, np.moveaxis(flat, -1, 0) / 255, atol=0.06)


def test_white_is_zero_is_turned_round(tmp_path):
    pixels = np.arange(24, dtype=np.uint8).reshape(4, 6)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="miniswhite")
    np.testing.assert_allclose(read_guide(tmp_path / "a.tif").values[0], 1 - pixels / 255)


def test_one_bit_images_are_black_and_white(tmp_path):
    pixels = np.eye(9, 13, dtype=bool)
    for name in ("a.png", "a.tif"):
        Image.fromarray(pixels).save(tmp_path / name)
        np.testing.assert_array_equal(read_guide(tmp_path / name).values[0], pixels)


def test_floating_point_samples_are_kept_in_range_and_brought_there_with_a_warning(tmp_path):
    inside = np.random.default_rng(2).random((4, 6), dtype=np.float32)
    inside[0, 0] = np.nan
    tifffile.imwrite(tmp_path / "a.tif", inside)
    guide = read_guide(tmp_path / "a.tif")
    np.testing.assert_array_equal(guide.values[0, 1:], inside[1:])
    assert not guide.mask[0, 0]
    tifffile.imwrite(tmp_path / "b.tif", inside * 40)
    with pytest.warns(DataWarning, match="divided by the largest"):
        assert read_guide(tmp_path / "b.tif").values.max() == 1


PYRAMID = np.random.default_rng(3).integers(0, 256, (300, 520, 3), dtype=np.uint8)


def write_pyramid(path, **options):
    with tifffile.TiffWriter(path, bigtiff=options.pop("bigtiff", False), ome=True) as tiff:
        facts = {
            "axes": "YXS",
            "PhysicalSizeX": 0.5,
            "PhysicalSizeXUnit": "µm",
            "PhysicalSizeY": 0.5,
            "PhysicalSizeYUnit": "µm",
        }
        tiff.write(PYRAMID, subifds=2, tile=(64, 64), metadata=facts, photometric="rgb", **options)
        for step in (2, 4):
            tiff.write(
                PYRAMID[::step, ::step], subfiletype=1, tile=(64, 64), photometric="rgb", **options
            )
    return path


@pytest.mark.parametrize("compression", [None, "deflate", "lzw"])
@pytest.mark.parametrize("level", [0, 1, 2])
def test_every_level_of_a_pyramid_is_read(tmp_path, level, compression):
    path = write_pyramid(tmp_path / "a.ome.tif", compression=compression)
    guide = read_guide(path, level=level)
    step = 2**level
    np.testing.assert_allclose(
        guide.values, np.moveaxis(PYRAMID[::step, ::step], -1, 0) / 255, atol=1e-7
    )
    assert guide.pixel_size_um == pytest.approx(0.5 * step)


@given(st.data())
@settings(max_examples=30)
def test_a_region_is_what_cropping_the_whole_gives(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("tiles") / "a.tif"
    planar = data.draw(st.booleans())
    kind = data.draw(st.sampled_from([{"tile": (32, 48)}, {"rowsperstrip": 7}]))
    pixels = np.moveaxis(PYRAMID, -1, 0) if planar else PYRAMID
    tifffile.imwrite(
        path, pixels, photometric="rgb", planarconfig="separate" if planar else "contig", **kind
    )
    top = data.draw(st.integers(0, 298))
    left = data.draw(st.integers(0, 518))
    bottom = data.draw(st.integers(top + 1, 300))
    right = data.draw(st.integers(left + 1, 520))
    guide = read_guide(path, region=(slice(top, bottom), slice(left, right)))
    expected = np.moveaxis(PYRAMID[top:bottom, left:right], -1, 0) / 255
    np.testing.assert_allclose(guide.values, expected, atol=1e-7)


def test_a_region_of_a_coarse_level_is_counted_in_fine_pixels(tmp_path):
    path = write_pyramid(tmp_path / "a.ome.tif")
    guide = read_guide(path, level=2, region=(slice(100, 200), slice(40, 80)))
    np.testing.assert_allclose(
        guide.values, np.moveaxis(PYRAMID[::4, ::4][25:50, 10:20], -1, 0) / 255, atol=1e-7
    )


def test_only_the_tiles_of_the_region_are_read(tmp_path, monkeypatch):
    path = write_pyramid(tmp_path / "a.ome.tif")
    read = []
    original = tifffile.FileHandle.read
    monkeypatch.setattr(
        tifffile.FileHandle, "read", lambda self, n=-1: read.append(n) or original(self, n)
    )
    read_guide(path, region=(slice(0, 10), slice(0, 10)))
    assert sum(n for n in read if n >= 64 * 64 * 3) == 64 * 64 * 3


@pytest.mark.parametrize(("wanted", "found"), [(0.4, 0.5), (0.5, 0.5), (1.7, 1.0), (50, 2.0)])
def test_the_coarsest_level_that_is_fine_enough_is_chosen(tmp_path, wanted, found):
    path = write_pyramid(tmp_path / "a.ome.tif")
    assert read_guide(path, target_um=wanted).pixel_size_um == pytest.approx(found)


def test_ome_channels_carry_their_names(tmp_path):
    planes = np.random.default_rng(4).integers(0, 256, (2, 20, 31), dtype=np.uint8)
    tifffile.imwrite(
        tmp_path / "a.ome.tif",
        planes,
        metadata={"axes": "CYX", "Channel": {"Name": ["DAPI", "AF"]}, "PhysicalSizeX": 500,
                  "PhysicalSizeXUnit": "nm", "PhysicalSizeY": 500, "PhysicalSizeYUnit": "nm"},
        photometric="minisblack",
    )  # fmt: skip
    guide = read_guide(tmp_path / "a.ome.tif")
    np.testing.assert_allclose(guide.values, planes / 255, atol=1e-7)
    assert guide.channel_names == ("DAPI", "AF")
    assert guide.pixel_size_um == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("options", "size_um"),
    [
        ({"resolution": (4000, 4000), "resolutionunit": "CENTIMETER"}, 2.5),
        ({"resolution": (25400, 25400), "resolutionunit": "INCH"}, 1.0),
        ({"resolution": (72, 72), "resolutionunit": "INCH"}, np.nan),
        ({"resolution": (300, 300), "resolutionunit": "INCH"}, np.nan),
        ({"resolution": (4000, 4000), "resolutionunit": "NONE"}, np.nan),
        ({"imagej": True, "resolution": (2, 2), "metadata": {"unit": "um"}}, 0.5),
        ({"description": "Aperio Image|AppMag = 40|MPP = 0.2520"}, 0.252),
        ({}, np.nan),
    ],
)
def test_the_pixel_size_comes_from_the_tags_unless_it_is_a_print_resolution(
    tmp_path, options, size_um
):
    tifffile.imwrite(tmp_path / "a.tif", RGB, photometric="rgb", **options)
    np.testing.assert_allclose(read_guide(tmp_path / "a.tif").pixel_size_um, size_um, rtol=1e-4)


def test_pixels_that_are_not_square_have_no_single_size(tmp_path):
    facts = {"axes": "YX", "PhysicalSizeX": 1.0, "PhysicalSizeY": 2.0}
    tifffile.imwrite(tmp_path / "a.ome.tif", RGB[..., 0], metadata=facts)
    with pytest.warns(DataWarning, match="not square"):
        assert np.isnan(read_guide(tmp_path / "a.ome.tif").pixel_size_um)


def png_header(columns, rows):
    def chunk(kind, data):
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", columns, rows, 8, 2, 0, 0, 0))
    return (
        b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("side", [11_000, 60_000])
def test_a_decompression_bomb_is_refused_from_its_header(tmp_path, side):
    (tmp_path / "bomb.png").write_bytes(png_header(side, side))
    with pytest.raises(DataError, match=r"too large|max_pixels"):
        read_guide(tmp_path / "bomb.png")


def test_a_huge_tiff_is_refused_whole_and_read_by_region(tmp_path):
    path = tmp_path / "huge.tif"
    with tifffile.TiffWriter(path) as tiff:
        tiff.write(
            iter([b""] * 235**2),
            shape=(60_000, 60_000),
            dtype=np.uint8,
            tile=(256, 256),
            compression="deflate",
        )
    with pytest.raises(DataError, match="max_pixels"):
        read_guide(path)
    part = read_guide(path, region=(slice(59_000, 59_010), slice(3, 24)))
    assert part.values.shape == (1, 10, 21)


def test_max_pixels_is_the_callers_to_set(tmp_path):
    path = save(tmp_path / "a.png", RGB)
    assert read_guide(path, max_pixels=30 * 44).shape == (30, 44)
    with pytest.raises(DataError, match="read a region"):
        read_guide(path, max_pixels=30 * 44 - 1)


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif"])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9])
def test_a_file_that_ends_early_is_refused(tmp_path, suffix, share):
    path = save(tmp_path / f"a.{suffix}", RGB)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(DataError):
        read_guide(path)


@given(
    st.binary(max_size=200),
    st.sampled_from([b"II*\0", b"MM\0*", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"]),
)
@settings(max_examples=60, deadline=None)
def test_garbage_behind_a_good_beginning_is_refused(tmp_path_factory, garbage, magic):
    path = tmp_path_factory.mktemp("garbage") / "a"
    path.write_bytes(magic + garbage)
    with pytest.raises(DataError):
        read_guide(path)


def test_what_cannot_be_meant_is_refused(tmp_path):
    path = write_pyramid(tmp_path / "a.ome.tif")
    png = save(tmp_path / "a.png", RGB)
    with pytest.raises(MissingDataError, match="no guide image"):
        read_guide(tmp_path / "absent.png")
    with pytest.raises(DataError, match="3 levels"):
        read_guide(path, level=3)
    with pytest.raises(DataError, match="either level or target_um"):
        read_guide(path, level=1, target_um=2)
    with pytest.raises(DataError, match="level 0 only"):
        read_guide(png, level=1)
    with pytest.raises(DataError, match="the image has 30"):
        read_guide(png, region=(slice(0, 31), slice(0, 4)))
    with pytest.raises(DataError, match="start < stop"):
        read_guide(path, region=(slice(9, 9), slice(0, 4)))
    tifffile.imwrite(tmp_path / "plain.tif", RGB, photometric="rgb")
    with pytest.raises(DataError, match="does not state its pixel size"):
        read_guide(tmp_path / "plain.tif", target_um=1)
    (tmp_path / "x.gif").write_bytes(b"GIF89a........")
    with pytest.raises(DataError, match="neither PNG"):
        read_guide(tmp_path / "x.gif")
    (tmp_path / "lfs.png").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(DataError, match="git lfs pull"):
        read_guide(tmp_path / "lfs.png")
    tifffile.imwrite(tmp_path / "z.tif", np.zeros((3, 8, 9), np.uint8), imagej=True,
                     metadata={"axes": "ZYX"})  # fmt: skip
    with pytest.raises(DataError, match="single plane"):
        read_guide(tmp_path / "z.tif")


def test_the_bladder_stain_is_read():
    guide = read_guide(mirrored("bladder/HE_rgb.png"))
    assert guide.values.shape == (3, 482, 904)
