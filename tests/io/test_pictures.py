"""Frames of PNG and JPEG files: how they are turned, what their samples are, their pixel size."""

import numpy as np
import pytest
from PIL import Image, ImageOps

from msibench.errors import DataError
from msibench.io.picture import decode_frame, frames, open_picture, orientation, upright_shape

GREY = np.arange(6, dtype=np.uint8).reshape(2, 3) * 40


def frame(path, index=0):
    with open_picture(path, ("PNG", "JPEG", "GIF", "TIFF")) as image:
        return decode_frame(path, image, index), frames(image), upright_shape(image)


@pytest.mark.parametrize("turned", range(1, 9))
def test_a_picture_is_turned_as_pillow_turns_it(tmp_path, turned):
    exif = Image.Exif()
    exif[0x0112] = turned
    Image.fromarray(GREY).save(tmp_path / "a.png", exif=exif)
    found, count, shape = frame(tmp_path / "a.png")
    expected = np.asarray(ImageOps.exif_transpose(Image.open(tmp_path / "a.png")))
    np.testing.assert_array_equal(found.pixels[..., 0], expected)
    assert shape == expected.shape
    assert count == 1


@pytest.mark.parametrize("turned", [0, 9, -1])
def test_an_orientation_that_does_not_exist_is_none(tmp_path, turned):
    image = Image.fromarray(GREY)
    image.getexif()[0x0112] = turned
    assert orientation(image) == 1
    image.getexif()[0x0112] = "odd"
    assert orientation(image) == 1


@pytest.mark.parametrize(
    ("mode", "model", "samples", "alpha"),
    [
        ("1", "grey", 1, None), ("L", "grey", 1, None), ("LA", "grey", 2, 1), ("RGB", "rgb", 3, None),
        ("RGBA", "rgb", 4, 3), ("P", "rgb", 3, None), ("CMYK", "cmyk", 4, None), ("I;16", "grey", 1, None),
        ("F", "grey", 1, None),
    ],
)  # fmt: skip
def test_samples_of_every_mode_have_their_meaning(tmp_path, mode, model, samples, alpha):
    image = Image.fromarray(GREY)
    image = image.convert("I").convert(mode) if mode == "I;16" else image.convert(mode)
    suffix = {"CMYK": "jpg", "F": "tif"}.get(mode, "png")
    path = tmp_path / f"a.{suffix}"
    image.save(path)
    found, _, _ = frame(path)
    assert (found.samples.model, found.samples.alpha) == (model, alpha)
    assert found.pixels.shape == (2, 3, samples)
    if mode in ("L", "F", "RGB", "RGBA", "LA"):
        np.testing.assert_array_equal(found.pixels[..., 0], GREY)


@pytest.mark.parametrize(("mode", "shape", "alpha"), [("L", (2, 3, 2), 1), ("RGB", (2, 3, 4), 3)])
def test_a_colour_that_stands_for_transparent_is_opacity(tmp_path, mode, shape, alpha):
    transparent = 40 if mode == "L" else (40, 40, 40)
    Image.fromarray(GREY).convert(mode).save(tmp_path / "a.png", transparency=transparent)
    found, _, _ = frame(tmp_path / "a.png")
    assert (found.pixels.shape, found.samples.alpha) == (shape, alpha)
    np.testing.assert_array_equal(found.pixels[..., alpha] == 0, GREY == 40)


@pytest.mark.parametrize(
    ("samples", "model", "alpha"),
    [(1, "grey", None), (2, "grey", 1), (3, "rgb", None), (4, "rgb", 3)],
)
def test_sixteen_bits_are_kept(tmp_path, samples, model, alpha):
    import imagecodecs

    pixels = np.random.default_rng(0).integers(0, 1 << 16, (4, 5, samples), dtype=np.uint16)
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(np.squeeze(pixels)))
    found, _, _ = frame(tmp_path / "a.png")
    np.testing.assert_array_equal(found.pixels, pixels)
    assert (found.samples.model, found.samples.alpha) == (model, alpha)


def test_frames_of_an_animation_come_one_by_one(tmp_path):
    images = [Image.fromarray(np.full((2, 3), value, np.uint8)) for value in (10, 20, 30)]
    images[0].save(tmp_path / "a.png", save_all=True, append_images=images[1:])
    with open_picture(tmp_path / "a.png", ("PNG",)) as image:
        assert frames(image) == 3
        for index in (2, 0, 1):
            found = decode_frame(tmp_path / "a.png", image, index)
            np.testing.assert_array_equal(found.pixels[..., 0], 10 * (index + 1))
        image.seek(2)
        np.testing.assert_array_equal(decode_frame(tmp_path / "a.png", image).pixels[..., 0], 10)


@pytest.mark.parametrize(
    ("dpi", "size"), [((12_700, 12_700), 2.0), ((300, 300), np.nan), (None, np.nan)]
)
def test_a_pixel_size_is_that_of_its_resolution(tmp_path, dpi, size):
    Image.fromarray(GREY).save(tmp_path / "a.png", **({} if dpi is None else {"dpi": dpi}))
    np.testing.assert_allclose(frame(tmp_path / "a.png")[0].pixel_size_um, size, rtol=1e-4)


def test_sixteen_bits_in_an_animation_are_named(tmp_path, monkeypatch):
    import imagecodecs

    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(GREY.astype(np.uint16)))
    with open_picture(tmp_path / "a.png", ("PNG",)) as image:
        image.n_frames = 2
        with pytest.raises(DataError, match="16-bit animations"):
            decode_frame(tmp_path / "a.png", image)
