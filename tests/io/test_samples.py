"""What the samples of an image file mean, for sections and guides alike."""

import struct
import warnings
from pathlib import Path
from types import SimpleNamespace

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms

from msibench.errors import DataError
from msibench.io import DataWarning, read_section
from msibench.io.guide import read_guide
from msibench.io.samples import tiff_samples

GREY = (np.arange(480).reshape(20, 24) % 256).astype(np.uint8)
COLOURS = np.dstack([GREY, GREY // 2, 255 - GREY])
RAMP = np.linspace(0, 65_535, 256).astype(np.uint16)
CONTIG, SEPARATE = "contig", "separate"


def tiff(path, pixels, **options):
    tifffile.imwrite(path, pixels, metadata=None, **options)
    return path


# Colour pictures are no ion images -----------------------------------------------------------


@pytest.mark.parametrize(
    ("pixels", "options"),
    [
        (COLOURS, {"photometric": "rgb"}),
        (COLOURS.transpose(2, 0, 1), {"photometric": "rgb", "planarconfig": SEPARATE}),
        (np.dstack([COLOURS, GREY]), {"photometric": "rgb", "extrasamples": ["unassalpha"]}),
        (np.stack([COLOURS, COLOURS]), {"photometric": "rgb"}),
        (np.dstack([COLOURS, GREY]), {"photometric": "separated"}),
        (np.dstack([COLOURS, GREY, GREY]), {"photometric": "separated", "extrasamples": ["unassalpha"]}),
        (COLOURS, {"photometric": "ycbcr"}),
        (COLOURS, {"photometric": "cielab"}),
        (COLOURS, {"photometric": "icclab"}),
        (GREY, {"photometric": "palette", "colormap": np.stack([RAMP, RAMP, RAMP[::-1]])}),
    ],
)  # fmt: skip
def test_what_shows_colours_is_no_section(tmp_path, pixels, options):
    with pytest.raises(DataError, match="one intensity a pixel"):
        read_section(tiff(tmp_path / "a.tif", pixels, **options))


@pytest.mark.parametrize("planar", [CONTIG, SEPARATE])
def test_rgb_of_greys_is_one_ion_image(tmp_path, planar):
    pixels = np.stack([GREY] * 3, axis=-1 if planar == CONTIG else 0)
    found = read_section(tiff(tmp_path / "a.tif", pixels, photometric="rgb", planarconfig=planar))
    np.testing.assert_array_equal(found.values, GREY[None])


def test_a_palette_of_greys_gives_its_greys(tmp_path):
    path = tiff(
        tmp_path / "a.tif", GREY, photometric="palette", colormap=np.stack([RAMP[::-1]] * 3)
    )
    np.testing.assert_array_equal(read_section(path).values[0], RAMP[::-1][GREY])


def test_white_as_zero_cannot_be_told(tmp_path):
    with pytest.raises(DataError, match="MinIsWhite"):
        read_section(tiff(tmp_path / "a.tif", GREY, photometric="miniswhite"))


@pytest.mark.parametrize("alpha", ["unassalpha", "assocalpha"])
@pytest.mark.parametrize("planar", [CONTIG, SEPARATE])
def test_opacity_is_no_ion_image_but_a_mask(tmp_path, alpha, planar):
    opacity = np.full_like(GREY, 255)
    opacity[:5] = 0
    shown = np.where(opacity > 0, GREY, 0) if alpha == "assocalpha" else GREY
    pixels = np.stack([shown, opacity], axis=-1 if planar == CONTIG else 0)
    found = read_section(
        tiff(tmp_path / "a.tif", pixels, photometric="minisblack", extrasamples=[alpha],
             planarconfig=planar)
    )  # fmt: skip
    np.testing.assert_array_equal(found.values, shown[None])
    np.testing.assert_array_equal(found.mask, opacity > 0)


def test_samples_that_say_nothing_are_channels(tmp_path):
    stack = np.random.default_rng(0).random((20, 24, 7), dtype=np.float32)
    for planar, pixels in ((CONTIG, stack), (SEPARATE, np.moveaxis(stack, -1, 0))):
        path = tiff(tmp_path / "a.tif", pixels, photometric="minisblack", planarconfig=planar)
        np.testing.assert_array_equal(read_section(path).values, np.moveaxis(stack, -1, 0))


# Pages, series, images, frames ----------------------------------------------------------------


def test_appended_pages_are_channels(tmp_path):
    stack = np.random.default_rng(0).random((3, 20, 24), dtype=np.float32)
    for image in stack:
        tifffile.imwrite(tmp_path / "a.tif", image, append=True)
    np.testing.assert_array_equal(read_section(tmp_path / "a.tif").values, stack)


def test_ome_images_are_channels_with_their_names(tmp_path):
    stack = np.random.default_rng(0).random((3, 20, 24), dtype=np.float32)
    with tifffile.TiffWriter(tmp_path / "a.ome.tif") as writer:
        for number, image in enumerate(stack):
            writer.write(image, metadata={"axes": "YX", "Name": f"m/z {500 + number},25"})
    found = read_section(tmp_path / "a.ome.tif")
    np.testing.assert_array_equal(found.values, stack)
    np.testing.assert_array_equal(found.mz, [500.25, 501.25, 502.25])


@pytest.mark.parametrize("suffix", ["gif", "png"])
def test_frames_are_channels(tmp_path, suffix):
    frames = [Image.fromarray(np.full((20, 24), level, np.uint8)) for level in (0, 50, 100, 150)]
    frames[0].save(tmp_path / f"a.{suffix}", save_all=True, append_images=frames[1:])
    found = read_section(tmp_path / f"a.{suffix}")
    np.testing.assert_array_equal(found.values[:, 0, 0], [0, 50, 100, 150])


def test_frames_that_would_fill_the_memory_are_refused(tmp_path):
    path = tmp_path / "a.gif"
    first, *more = (Image.new("L", (40, 40), level) for level in range(8))
    first.save(path, save_all=True, append_images=more)
    content = bytearray(path.read_bytes())
    assert content[6:10] == struct.pack("<HH", 40, 40)
    content[6:10] = struct.pack("<HH", 4000, 4000)  # the screen that all frames are drawn on
    path.write_bytes(content)
    with pytest.raises(DataError, match="8 x 4000 x 4000 pixels"):
        read_section(tmp_path / "a.gif")


def thumbnail_first(path):
    tiff(path, GREY[::4, ::4].copy(), subfiletype=1)
    tifffile.imwrite(path, GREY, append=True, metadata=None)


def thumbnail_with_its_image_in_a_sub_file(path):
    with tifffile.TiffWriter(path) as writer:
        writer.write(GREY[::4, ::4].copy(), subfiletype=1, subifds=1, metadata=None)
        writer.write(GREY, subfiletype=0, metadata=None)


def mask_after(path):
    tiff(path, GREY)
    tifffile.imwrite(path, GREY > 9, append=True, subfiletype=4, metadata=None)


@pytest.mark.parametrize(
    "write", [thumbnail_first, thumbnail_with_its_image_in_a_sub_file, mask_after]
)
def test_thumbnails_and_masks_are_not_the_image(tmp_path, write):
    write(tmp_path / "a.tif")
    np.testing.assert_array_equal(read_section(tmp_path / "a.tif").values, GREY[None])
    np.testing.assert_allclose(read_guide(tmp_path / "a.tif").values[0], GREY / 255, atol=1e-6)


def test_images_of_another_grid_are_named(tmp_path):
    tiff(tmp_path / "a.tif", GREY[:7].copy())
    tifffile.imwrite(tmp_path / "a.tif", GREY, append=True, metadata=None)
    for read in (read_section, read_guide):
        with pytest.warns(DataWarning, match=r"1 further images.*7 x 24"):
            assert read(tmp_path / "a.tif").shape == (20, 24)


def test_a_guide_names_the_pictures_that_it_does_not_read(tmp_path):
    for _ in range(2):
        tifffile.imwrite(tmp_path / "a.tif", COLOURS, append=True, photometric="rgb")
    with pytest.warns(DataWarning, match="1 further images"):
        assert read_guide(tmp_path / "a.tif").shape == (20, 24)


def test_an_animation_is_no_guide_of_many_frames(tmp_path):
    frames = [Image.fromarray(GREY), Image.fromarray(GREY[::-1].copy())]
    frames[0].save(tmp_path / "a.png", save_all=True, append_images=frames[1:])
    with pytest.warns(DataWarning, match="1 further frames"):
        read_guide(tmp_path / "a.png")


# Depth -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("samples", [1, 2, 3, 4])
def test_png_of_sixteen_bits_keeps_them(tmp_path, samples):
    fine = (np.arange(1600).reshape(40, 40) * 40).astype(np.uint16)
    opaque = np.full_like(fine, 65_535)
    layers = {1: [fine], 2: [fine, opaque], 3: [fine] * 3, 4: [fine, fine, fine, opaque]}[samples]
    path = tmp_path / "a.png"
    path.write_bytes(imagecodecs.png_encode(np.squeeze(np.dstack(layers))))
    np.testing.assert_array_equal(read_section(path).values, fine[None])


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_png_of_few_bits(tmp_path, bits):
    levels = 2**bits
    index = (np.arange(480).reshape(20, 24) % levels).astype(np.uint8)
    picture = Image.fromarray(index, mode=None)
    picture = picture.convert("P")
    picture.putpalette([level for level in range(levels) for _ in range(3)])
    picture.save(tmp_path / "a.png", bits=bits)
    np.testing.assert_array_equal(read_section(tmp_path / "a.png").values, index[None])


@pytest.mark.parametrize(
    "kind", ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8", ">u2", ">f4", ">f8", "?"]
)  # fmt: skip
def test_every_number_type_is_read_as_written(tmp_path, kind):
    values = (np.arange(480).reshape(20, 24) % 100).astype(kind)
    order = ">" if kind.startswith(">") else "<"
    path = tiff(tmp_path / "a.tif", values, byteorder=order, photometric="minisblack")
    np.testing.assert_array_equal(read_section(path).values, values[None].astype(np.float32))


def test_infinity_and_what_float32_cannot_hold_are_refused(tmp_path):
    for number in (np.inf, -np.inf, 1e39):
        values = np.ones((20, 24))
        values[3, 4], values[0, 0] = number, np.nan
        with pytest.raises(DataError, match="1 intensities are infinite or larger"):
            read_section(tiff(tmp_path / "a.tif", values, photometric="minisblack"))
        np.savez(tmp_path / "a.npz", cube=values[None])
        with pytest.raises(DataError, match="1 intensities are infinite or larger"):
            read_section(tmp_path / "a.npz")


# Guides: light ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("top", [255, 65_535])
def test_a_colour_map_may_have_eight_bits(tmp_path, top):
    ramp = np.linspace(0, top, 256).astype(np.uint16)
    path = tiff(tmp_path / "a.tif", GREY, photometric="palette", colormap=np.stack([ramp] * 3))
    np.testing.assert_allclose(read_guide(path).values, np.stack([GREY] * 3) / 255, atol=1e-4)


def test_a_palette_of_two_colours(tmp_path):
    white = GREY > 100
    colours = np.array([[0, 65_535], [65_535, 0], [0, 0]], np.uint16)
    tiff(tmp_path / "b.tif", white.astype(np.uint8), photometric="palette",
         colormap=np.pad(colours, ((0, 0), (0, 254))))  # fmt: skip
    found = read_guide(tmp_path / "b.tif").values
    np.testing.assert_array_equal(found, [white, ~white, np.zeros_like(white)])


def test_an_index_beyond_the_palette_is_said(tmp_path):
    from msibench.io.samples import PixelSamples, additive

    facts = PixelSamples("palette", palette=np.zeros((4, 3), np.uint16))
    with pytest.raises(DataError, match="palette index 7"):
        additive(np.full((2, 2, 1), 7, np.uint8), facts, "a.tif")


def test_cielab_is_the_colour_that_a_colour_engine_gives(tmp_path):
    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    picture = Image.fromarray(COLOURS)
    coded = ImageCms.applyTransform(picture, ImageCms.buildTransform(srgb, lab, "RGB", "LAB"))
    coded.save(tmp_path / "a.tif")  # signed a* and b*, as TIFF asks
    found = np.moveaxis(read_guide(tmp_path / "a.tif").values, 0, -1)
    back = ImageCms.applyTransform(coded, ImageCms.buildTransform(lab, srgb, "LAB", "RGB"))
    far = np.abs(found - np.asarray(back) / 255)
    assert far.mean() < 0.006
    assert np.quantile(far, 0.95) < 0.04  # the rest is what 8 bits lose at the edge of the gamut


def test_ycbcr_is_the_colour_that_pillow_gives(tmp_path):
    coded = np.asarray(Image.fromarray(COLOURS).convert("YCbCr"))
    path = tiff(tmp_path / "a.tif", coded, photometric="ycbcr")
    with tifffile.TiffFile(path) as file:
        assert tuple(file.pages[0].subsampling) == (1, 1)
    expected = np.asarray(Image.fromarray(coded, "YCbCr").convert("RGB")) / 255
    np.testing.assert_allclose(np.moveaxis(read_guide(path).values, 0, -1), expected, atol=0.006)


@pytest.mark.parametrize("subsampling", [(1, 1), (2, 1), (2, 2)])
def test_ycbcr_in_jpeg_tiles(tmp_path, subsampling):
    smooth = np.repeat(np.repeat(COLOURS, 8, 0), 8, 1)
    path = tiff(tmp_path / "a.tif", smooth, photometric="rgb", compression="jpeg",
                subsampling=subsampling, tile=(16, 16))  # fmt: skip
    with tifffile.TiffFile(path) as file:
        assert file.pages[0].photometric == 6
    found = np.moveaxis(read_guide(path).values, 0, -1)
    assert np.abs(found - smooth / 255).mean() < 0.03


@pytest.mark.parametrize("planar", [CONTIG, SEPARATE])
def test_cmyk_with_opacity(tmp_path, planar):
    inks = np.dstack([GREY, GREY // 2, GREY // 3, GREY // 4])
    opacity = np.full_like(GREY, 255)
    opacity[:5] = 0
    pixels = np.dstack([inks, opacity])
    if planar == SEPARATE:
        pixels = np.moveaxis(pixels, -1, 0).copy()
    guide = read_guide(tiff(tmp_path / "a.tif", pixels, photometric="separated",
                            extrasamples=["unassalpha"], planarconfig=planar))  # fmt: skip
    light = (1 - inks[..., :3] / 255) * (1 - inks[..., 3:] / 255)
    light[:5] = 1
    np.testing.assert_allclose(guide.values, np.moveaxis(light, -1, 0), atol=1e-6)
    np.testing.assert_array_equal(guide.mask, opacity > 0)


def test_white_as_zero_with_opacity_is_white_where_nothing_is_seen(tmp_path):
    opacity = np.full_like(GREY, 255)
    opacity[:5] = 0
    path = tiff(tmp_path / "a.tif", np.dstack([GREY, opacity]), photometric="miniswhite",
                extrasamples=["unassalpha"], planarconfig=CONTIG)  # fmt: skip
    expected = 1 - GREY / 255
    expected[:5] = 1
    np.testing.assert_allclose(read_guide(path).values[0], expected, atol=1e-6)


@pytest.mark.parametrize("kind", ["i1", "i2", "i4"])
def test_signed_samples_of_a_guide(tmp_path, kind):
    values = np.arange(-240, 240).reshape(20, 24) // 4
    path = tiff(tmp_path / "a.tif", values.astype(kind), photometric="minisblack")
    with pytest.warns(DataWarning, match="below 0"):
        found = read_guide(path).values[0]
    np.testing.assert_allclose(found, np.clip(values / np.iinfo(kind).max, 0, 1), atol=1e-6)


@pytest.mark.parametrize("photometric", [4, 10, 32_803, 32_844, 32_845, 34_892, 999])
def test_other_kinds_of_light_are_refused(tmp_path, photometric):
    path = tiff(tmp_path / "a.tif", GREY)
    with tifffile.TiffFile(path, mode="r+b") as file:
        file.pages[0].tags["PhotometricInterpretation"].overwrite(photometric)
    for read in (read_guide, read_section):
        with pytest.raises(DataError, match="not supported; save it as RGB or greyscale"):
            read(path)


# Orientation -------------------------------------------------------------------------------------------

SEEN = COLOURS.repeat(8, 0).repeat(8, 1)[:, :150]
STORED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, 1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a, -1),
}


@pytest.mark.parametrize("turned", STORED)
@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_the_orientation_of_a_camera_is_applied(tmp_path, turned, suffix):
    noted = Image.Exif()
    noted[0x0112] = turned
    stored = np.ascontiguousarray(STORED[turned](SEEN))
    Image.fromarray(stored).save(tmp_path / f"a.{suffix}", exif=noted, quality=95)
    found = np.moveaxis(read_guide(tmp_path / f"a.{suffix}").values, 0, -1)
    assert found.shape == SEEN.shape
    assert np.abs(found - SEEN / 255).mean() < (1e-6 if suffix == "png" else 0.05)


def test_a_greyscale_png_is_turned_as_a_section_too(tmp_path):
    noted = Image.Exif()
    noted[0x0112] = 6
    stored = np.ascontiguousarray(np.rot90(GREY, 1))
    Image.fromarray(stored).save(tmp_path / "a.png", exif=noted)
    np.testing.assert_array_equal(read_section(tmp_path / "a.png").values, GREY[None])


@pytest.mark.parametrize("read", [read_guide, read_section])
def test_the_orientation_tag_of_tiff_is_said(tmp_path, read):
    path = tiff(tmp_path / "a.tif", GREY, extratags=[(274, "H", 1, 3, True)])
    with pytest.warns(DataWarning, match="the orientation tag says 3"):
        read(path)


def test_damaged_exif_costs_the_orientation_only(tmp_path):
    Image.fromarray(COLOURS).save(tmp_path / "a.png", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_guide(tmp_path / "a.png").shape == (20, 24)


@pytest.mark.parametrize(
    ("model", "samples", "extras", "said"),
    [
        (2, 3, (1,), "is a colour picture and has 2 colour samples a pixel, 3 are needed"),
        (2, 4, (1, 2), "has 2 colour samples a pixel, 3 are needed"),
        (5, 3, (), "has 3 colour samples a pixel, 4 are needed"),
        (1, 1, (2,), "is a greyscale picture and has 0 colour samples a pixel, 1 are needed"),
    ],
)
def test_colours_that_are_lacking_are_counted_without_what_is_beside_them(
    model, samples, extras, said
):
    page = SimpleNamespace(
        photometric=model, compression=1, samplesperpixel=samples, extrasamples=extras
    )
    with pytest.raises(DataError, match=said):
        tiff_samples(Path("a.tif"), page)
