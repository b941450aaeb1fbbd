"""What samples mean as light and as intensities, against other programs and published colours."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from msibench.errors import DataError
from msibench.io.data_warning import DataWarning
from msibench.io.samples import PixelSamples, additive, intensities, tiff_samples, unit_range

PRIMARIES = {
    "red": ((1, 0, 0), (54.29, 80.80, 69.89)),
    "green": ((0, 1, 0), (87.82, -79.27, 80.99)),
    "blue": ((0, 0, 1), (29.57, 68.30, -112.03)),
    "white": ((1, 1, 1), (100, 0, 0)),
    "black": ((0, 0, 0), (0, 0, 0)),
    "half grey": ((0.4663, 0.4663, 0.4663), (50, 0, 0)),
    "dark grey": ((0.0170, 0.0170, 0.0170), (1.19, 0, 0)),
}
"""sRGB and L*a*b* under D50 (B. Lindbloom's calculator)."""


def shown(pixels, model, **facts):
    return additive(np.asarray(pixels), PixelSamples(model, **facts), "a.tif")


@pytest.mark.parametrize("name", PRIMARIES)
@pytest.mark.parametrize(
    ("model", "kind"),
    [*((model, kind) for model in ("cielab", "icclab") for kind in ("u1", "u2")),
     ("cielab", "i1"), ("cielab", "i2")],
)  # fmt: skip
def test_lab_is_turned_into_srgb(name, model, kind):
    rgb, (lightness, a, b) = PRIMARIES[name]
    wide = kind[1] == "2"
    full, unit, half = (65_535, 256, 32_768) if wide else (255, 1, 128)
    stored = np.round([lightness * full / 100, a * unit, b * unit]).astype(np.int64)
    if model == "icclab":
        stored[1:] += half
    pixels = stored.astype(f"u{kind[1]}").view(kind)[None, None]
    light, opacity = shown(pixels, model)
    assert opacity is None
    np.testing.assert_allclose(light[0, 0], rgb, atol=3e-3 if wide else 0.04)


@pytest.mark.parametrize("kind", ["u4", "f4"])
def test_lab_of_other_types_is_not_read(kind):
    with pytest.raises(DataError, match="are not read"):
        shown(np.zeros((1, 1, 3), kind), "cielab")


def test_ycbcr_is_turned_into_rgb_as_pillow_does():
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    expected = np.asarray(Image.fromarray(pixels, "YCbCr").convert("RGB")) / 255
    np.testing.assert_allclose(shown(pixels, "ycbcr")[0], expected, atol=1.01 / 255)
    corners = np.array([[[255, 128, 128], [0, 128, 128]]], np.uint8)
    np.testing.assert_allclose(shown(corners, "ycbcr")[0][0], [[1, 1, 1], [0, 0, 0]], atol=1e-6)


def test_inks_take_light_away():
    inks = np.array([[[0, 0, 0, 0], [255, 0, 0, 0], [0, 51, 0, 51], [0, 0, 0, 255]]], np.uint8)
    expected = [[1, 1, 1], [0, 1, 1], [0.8, 0.64, 0.8], [0, 0, 0]]
    np.testing.assert_allclose(shown(inks, "cmyk")[0][0], expected, atol=1e-6)
    more = np.dstack([inks, np.full((1, 4), 9, np.uint8)])
    np.testing.assert_allclose(shown(more, "cmyk")[0][0], expected, atol=1e-6)
    with pytest.raises(DataError, match="expected 4 inks of CMYK, got 3"):
        shown(inks[..., :3], "cmyk")


def test_opacity_is_taken_out_wherever_it_stands_and_undone_where_it_was_multiplied():
    pixels = np.array([[[10, 40, 20], [0, 0, 30], [51, 255, 51]]], np.uint8)
    light, opacity = shown(pixels, "grey", alpha=1)
    np.testing.assert_allclose(opacity, np.array([[40, 0, 255]]) / 255, rtol=1e-6)
    np.testing.assert_allclose(light, pixels[..., [0, 2]] / 255, rtol=1e-6)
    light, _ = shown(pixels, "grey", alpha=1, premultiplied=True)
    np.testing.assert_allclose(light[0], [[0.25, 0.5], [0, 0], [0.2, 0.2]], rtol=1e-6)
    light, _ = shown(pixels, "white-is-zero", alpha=1, premultiplied=True)
    np.testing.assert_allclose(light[0], [[0.75, 0.5], [1, 1], [0.8, 0.8]], rtol=1e-6)
    plain, none = shown(pixels, "grey", premultiplied=True)
    assert none is None
    np.testing.assert_allclose(plain, pixels / 255, rtol=1e-6)


def test_a_palette_is_looked_up_to_its_last_colour_and_no_further():
    palette = np.array([[0, 0, 0], [255, 51, 102]], np.uint8)
    facts = {"palette": palette, "palette_scale": 255.0}
    found, _ = shown([[[0], [1]]], "palette", **facts)
    np.testing.assert_allclose(found[0], [[0, 0, 0], [1, 0.2, 0.4]], rtol=1e-6)
    for index in (2, -1):
        with pytest.raises(DataError, match="its palette has 2 colours"):
            shown(np.array([[[0], [index]]], np.int16), "palette", **facts)


# Intensities ----------------------------------------------------------------------------------


def measured(pixels, model="grey", **facts):
    return intensities(np.asarray(pixels), PixelSamples(model, **facts), "a.tif")


def test_pixels_that_are_less_than_half_opaque_leave_the_mask():
    pixels = np.array([[[9, 4], [8, 2], [7, 1], [6, 0]]], np.float32) / [1, 4]
    values, mask = measured(pixels, alpha=1)
    np.testing.assert_array_equal(values, [[[9, 8, 7, 6]]])
    np.testing.assert_array_equal(mask, [[True, True, False, False]])
    assert measured(pixels[:, :2], alpha=1)[1] is None
    values, _ = measured(pixels, alpha=1, premultiplied=True)
    np.testing.assert_allclose(values, [[[9, 16, 28, 0]]])
    whole = np.array([[[9, 255], [8, 255], [0, 0]]], np.uint8)
    values, _ = measured(whole, alpha=1, premultiplied=True)
    assert values.dtype == np.uint8
    np.testing.assert_array_equal(values, [[[9, 8, 0]]])


def test_colours_that_are_all_grey_are_one_intensity():
    grey = np.repeat(np.arange(6, dtype=np.uint16).reshape(2, 3, 1), 3, axis=-1)
    np.testing.assert_array_equal(measured(grey, "rgb")[0], grey[None, ..., 0])
    for at in range(3):
        coloured = grey.copy()
        coloured[1, 2, at] += 1
        with pytest.raises(DataError, match="one intensity a pixel"):
            measured(coloured, "rgb")
    with pytest.raises(DataError, match="one intensity a pixel"):
        measured(np.dstack([grey, grey[..., :1]]), "rgb")
    np.testing.assert_array_equal(
        measured(np.dstack([grey, grey]))[0], np.moveaxis(np.dstack([grey, grey]), -1, 0)
    )
    palette = np.array([[5, 5, 5], [9, 9, 9]], np.uint16)
    np.testing.assert_array_equal(measured([[[1], [0]]], "palette", palette=palette)[0], [[[9, 5]]])
    for model in ("cmyk", "ycbcr", "cielab", "icclab"):
        with pytest.raises(DataError, match="one intensity a pixel"):
            measured(np.zeros((1, 1, 4), np.uint8), model)


# Ranges ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["u1", "u2", "u4", "i1", "i2", "i4"])
def test_whole_numbers_are_shares_of_the_largest_of_their_type(kind):
    top = np.iinfo(kind).max
    pixels = np.array([[0, top // 2, top]], kind)
    np.testing.assert_allclose(unit_range(pixels, None, "a"), [[0, top // 2 / top, 1]], rtol=1e-6)
    np.testing.assert_allclose(unit_range(np.array([[0, 50, 127]], kind), 100.0, "a"), [[0, 0.5, 1]])  # fmt: skip


def test_negative_whole_numbers_are_said_and_zero_is_not():
    with pytest.warns(DataWarning, match="down to -1"):
        found = unit_range(np.array([[-1, 0, 127]], np.int8), None, "a")
    np.testing.assert_array_equal(found, [[0, 0, 1]])
    unit_range(np.zeros((0, 3), np.int8), None, "a")
    assert unit_range(np.array([True, False]), None, "a").tolist() == [1, 0]


@pytest.mark.parametrize(
    ("pixels", "said", "found"),
    [
        ([0, 0.5, 1], "", [0, 0.5, 1]),
        ([0, 1, 4], "from 0 to 4", [0, 0.25, 1]),
        ([-1, 0, 0.5], "from -1 to 0.5", [0, 0, 1]),
        ([-2, -1, -1], "from -2 to -1", [0, 0, 0]),
        ([-2, -1, 0], "from -2 to 0", [0, 0, 0]),
        ([0.5, np.nan, np.inf], "", [0.5, np.nan, np.nan]),
        ([2, np.nan, -np.inf], "from 2 to 2", [1, np.nan, 0]),
        ([np.nan, np.nan, np.nan], "", [np.nan] * 3),
    ],
)
@pytest.mark.parametrize("kind", ["f4", "f8"])
def test_floats_are_kept_or_divided_by_their_largest(recwarn, pixels, said, found, kind):
    result = unit_range(np.array(pixels, kind), None, "a")
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, found)
    assert len(recwarn) == bool(said)
    if said:
        assert said in str(recwarn[0].message)


def test_what_is_no_number_is_no_image():
    with pytest.raises(DataError, match="complex64 are not an image"):
        unit_range(np.zeros(3, np.complex64), None, "a")


# TIFF's tags ----------------------------------------------------------------------------------


def page(**facts):
    plain = {
        "photometric": 1, "compression": 1, "samplesperpixel": 1, "extrasamples": (), "tags": {},
        "subsampling": None, "bitspersample": 8, "dtype": np.dtype("u1"), "colormap": None,
    }  # fmt: skip
    return SimpleNamespace(**(plain | facts))


def told(**facts):
    return tiff_samples(Path("a.tif"), page(**facts))


@pytest.mark.parametrize(
    ("facts", "model"),
    [
        ({"photometric": 0}, "white-is-zero"), ({}, "grey"), ({"samplesperpixel": 5}, "grey"),
        ({"photometric": 2, "samplesperpixel": 3}, "rgb"),
        ({"photometric": 5, "samplesperpixel": 4}, "cmyk"),
        ({"photometric": 5, "samplesperpixel": 4, "tags": {"InkSet": SimpleNamespace(value=1)}}, "cmyk"),
        ({"photometric": 6, "samplesperpixel": 3}, "ycbcr"),
        ({"photometric": 6, "samplesperpixel": 3, "subsampling": (1, 1)}, "ycbcr"),
        ({"photometric": 6, "samplesperpixel": 3, "compression": 7, "subsampling": (2, 2)}, "rgb"),
        ({"photometric": 6, "samplesperpixel": 3, "compression": 34712}, "rgb"),
        ({"photometric": 8, "samplesperpixel": 3}, "cielab"), ({"photometric": 9, "samplesperpixel": 3}, "icclab"),
    ],
)  # fmt: skip
def test_colour_models_of_tiff_are_known_by_their_number(facts, model):
    found = told(**facts)
    assert (found.model, found.alpha, found.premultiplied, found.full_scale) == (model, None, False, None)  # fmt: skip


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"photometric": 4}, "a transparency mask"), ({"photometric": 77}, "interpretation 77"),
        ({"photometric": 32803}, "a raw mosaic"),
        ({"photometric": 2, "samplesperpixel": 2}, "has 2 colour samples a pixel, 3 are needed"),
        ({"photometric": 2, "samplesperpixel": 3, "extrasamples": (2,)}, "has 2 colour samples"),
        ({"samplesperpixel": 1, "extrasamples": (2,)}, "a greyscale picture and has 0"),
        ({"photometric": 5, "samplesperpixel": 4, "tags": {"InkSet": SimpleNamespace(value=2)}}, "inks other than CMYK"),
        ({"photometric": 6, "samplesperpixel": 3, "subsampling": (2, 1)}, "subsampled"),
        ({"photometric": 3}, "without its palette"),
    ],
)  # fmt: skip
def test_what_is_not_supported_is_named(facts, said):
    with pytest.raises(DataError, match=said):
        told(**facts)


@pytest.mark.parametrize(
    ("count", "extras", "alpha", "premultiplied"),
    [
        (4, (2,), 3, False), (4, (1,), 3, True), (5, (0, 1), 4, True), (5, (2, 1), 3, False),
        (5, (0, 0), None, False), (3, (), None, False),
    ],
)  # fmt: skip
def test_the_first_extra_sample_that_is_opacity_is_found(count, extras, alpha, premultiplied):
    found = told(photometric=2, samplesperpixel=count, extrasamples=extras)
    assert (found.alpha, found.premultiplied) == (alpha, premultiplied)


@pytest.mark.parametrize(
    ("bits", "kind", "scale"),
    [(8, "u1", None), (16, "u2", None), (32, "u4", None), (64, "u8", None), (12, "u2", 4095.0),
     (1, "u1", 1.0), (4, "u1", 15.0), (10, "i2", 1023.0), (24, "f4", None), ((5, 6, 5), "u1", None)],
)  # fmt: skip
def test_an_odd_number_of_bits_has_its_own_full_scale(bits, kind, scale):
    assert told(bitspersample=bits, dtype=np.dtype(kind)).full_scale == scale
    assert told(bitspersample=bits, dtype=None).full_scale is None


@pytest.mark.parametrize(("top", "scale"), [(255, 255.0), (256, 65_535.0), (65_535, 65_535.0)])
def test_a_palette_of_eight_bits_is_known_by_its_largest(top, scale):
    colours = np.array([[0, top], [0, 1], [0, 2]], np.uint16)
    found = told(photometric=3, colormap=colours)
    assert found.palette_scale == scale
    np.testing.assert_array_equal(found.palette, [[0, 0, 0], [top, 1, 2]])
