"""What a figure of an ion image shows and says of itself."""

import json

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from msibench.errors import ConfigurationError, StoreError
from msibench.image import MSImage
from msibench.io.figure import (
    NOT_MEASURED,
    _drawn,
    add_scale_bar,
    cover_with_veil,
    hotspot_limit,
    scale_bar_um,
    write_png,
)

VALUES = np.arange(1, 13, dtype=np.float32).reshape(1, 3, 4)


def drawn(values=VALUES, clip=0.5, veil=None, **facts):
    image = MSImage(values, np.array([500.0] * len(values)), **facts)
    return _drawn(image, 0, "m/z 500.0000", clip, "viridis", veil, "not trusted")


def shown(figure):
    (picture, *_) = figure.axes[0].images
    return picture


@pytest.mark.parametrize(
    ("width", "length"), [(4, 1), (3.99, 0.5), (8, 2), (7.99, 1), (20, 5), (19.9, 2), (40, 10), (4000, 1000), (0.4, 0.1)]
)  # fmt: skip
def test_a_scale_bar_is_the_longest_round_length_in_a_quarter(width, length):
    assert scale_bar_um(width) == pytest.approx(length)


def test_the_limit_is_a_quantile_of_what_lies_above_a_256th():
    image = np.array([[256.0, 1.0, 1.001, 0.5, np.nan, -3.0]], np.float32)
    assert hotspot_limit(image, 0.0) == pytest.approx(1.001)
    assert hotspot_limit(image, 1.0) == 256
    assert hotspot_limit(np.full((2, 3), np.nan, np.float32)) == 0
    assert hotspot_limit(-image[:, 5:]) > 0
    assert hotspot_limit(image[:, 5:]) == 0
    hundred = np.arange(1, 101, dtype=np.float32)[None]
    assert hotspot_limit(hundred) == pytest.approx(99.01)


def test_colours_go_from_nothing_to_the_limit():
    for clip, limit, extend in ((0.5, 6.5, "max"), (1.0, 12.0, "neither")):
        figure = drawn(clip=clip)
        assert shown(figure).get_clim() == (0, limit)
        assert shown(figure).colorbar.extend == extend
    assert shown(drawn(VALUES - 3, clip=1.0)).get_clim() == (-2, 9)
    empty = shown(drawn(0 * VALUES))
    assert (empty.get_clim(), empty.colorbar.extend) == ((0, 1), "neither")


def test_it_says_what_was_clipped_the_scale_and_what_was_not_measured():
    figure = drawn(pixel_size_um=12.5, ppm=3.0, unit="counts")
    axes, bar = figure.axes
    assert axes.get_title() == "m/z 500.0000"
    assert axes.get_xlabel() == "clipped at the 50% quantile (6.5); 12.5 µm a pixel"
    assert "counts" in bar.get_ylabel()
    assert [text.get_text() for text in axes.texts] == ["10 µm"]
    figure = drawn(clip=1.0)
    assert figure.axes[0].get_title() == "m/z 500.0000"
    assert figure.axes[0].get_xlabel() == "not clipped (12); pixel size unknown: no scale bar"
    assert not figure.axes[0].texts
    holes = VALUES.copy()
    holes[0, 0, 0] = np.nan
    figure = drawn(holes)
    assert figure.axes[0].get_xlabel().endswith("; grey: not measured")
    grey = [int(NOT_MEASURED[at : at + 2], 16) for at in (1, 3, 5)]
    np.testing.assert_array_equal(shown(figure).to_rgba(holes[0], bytes=True)[0, 0, :3], grey)


def test_small_images_are_drawn_larger_and_large_ones_dot_by_dot():
    for shape, dots in (((3, 4), (360, 480)), ((100, 240), (200, 480)), ((600, 960), (600, 960))):
        width, height = drawn(np.ones((1, *shape), np.float32)).get_size_inches()
        assert width == pytest.approx(max(dots[1] / 100, 3.2) + 1.6)
        assert height == pytest.approx(dots[0] / 100 + 1.0)
    narrow = drawn(np.ones((1, 480, 100), np.float32))
    assert narrow.get_size_inches()[0] == pytest.approx(4.8)


@pytest.mark.parametrize(("size", "dots", "label"), [(1.0, 20, "20 µm"), (50.0, 20, "1 mm"), (30.0, 500 / 30, "500 µm"), (0.05, 20, "1 µm")])  # fmt: skip
def test_the_bar_is_as_long_as_it_says(size, dots, label):
    axes = Figure().add_subplot()
    add_scale_bar(axes, size, 160, 80)
    (bar,), (text,) = axes.patches, axes.texts
    assert bar.get_width() == pytest.approx(dots)
    assert bar.get_height() == pytest.approx(2)
    assert bar.get_x() == pytest.approx(0.04 * 80 - 0.5)
    assert bar.get_y() + bar.get_height() == pytest.approx(0.95 * 160 - 0.5)
    assert text.get_text() == label
    assert text.get_position()[0] == pytest.approx(bar.get_x() + dots / 2)
    assert text.get_position()[1] == pytest.approx(bar.get_y() - 2)
    axes = Figure().add_subplot()
    add_scale_bar(axes, size, 4, 80)
    assert axes.patches[0].get_height() == pytest.approx(0.15)


def test_a_veil_keeps_the_lightness_and_hatches_whole_pixels():
    axes = Figure().add_subplot()
    veil = np.array([[True, False, False], [False, False, True]])
    colours = np.zeros((2, 3, 4))
    colours[0, 0, :3] = (1, 0, 0)
    colours[0, 1, :3] = (0, 1, 0)
    colours[1, 2, :3] = (1, 1, 1)
    cover_with_veil(axes, colours, veil)
    (cover,) = axes.images
    pixels = np.asarray(cover.get_array())
    np.testing.assert_array_equal(pixels[..., 3], veil)
    # luminance of sRGB's primaries (ITU-R BT.709)
    np.testing.assert_allclose(pixels[0, 0, :3], 0.25 + 0.6 * 0.2126)
    np.testing.assert_allclose(pixels[0, 1, :3], 0.25 + 0.6 * 0.7152)
    np.testing.assert_allclose(pixels[1, 2, :3], 0.85)
    (hatched,) = axes.collections
    parts = [path.get_extents() for path in hatched.get_paths() if len(path.vertices)]
    boxes = np.array([[part.x0, part.y0, part.x1, part.y1] for part in parts])
    assert boxes[:, :2].min() > -0.5
    assert boxes[:, 2].max() == pytest.approx(2.375)
    assert boxes[:, 3].max() == pytest.approx(1.375)
    clear = Figure().add_subplot()
    cover_with_veil(clear, colours, np.zeros((2, 3), bool))
    assert not clear.collections


def test_the_veil_of_each_channel_is_drawn_and_explained(tmp_path):
    assert drawn().axes[0].get_legend() is None
    figure = drawn(veil=np.eye(3, 4, dtype=bool))
    assert [one.get_text() for one in figure.axes[0].get_legend().get_texts()] == ["not trusted"]
    image = MSImage(np.ones((2, 3, 4), np.float32), np.array([500.0, 500.0]))
    veil = np.zeros((2, 3, 4), bool)
    veil[1] = True
    written = write_png(tmp_path / "a.png", image, veil=veil)
    assert [path.name for path in written] == ["a_mz500.0000.png", "a_mz500.0000_1.png"]
    plain, veiled = (np.asarray(Image.open(path).convert("RGB")) for path in written)
    assert plain.shape != veiled.shape or not (plain == veiled).all()


def test_a_name_without_a_suffix_and_facts_are_kept(tmp_path):
    image = MSImage(np.ones((2, 3, 4), np.float32), np.array([500.0, 600.0]))
    written = write_png(tmp_path / "a", image, provenance={"b": 1, "a": tmp_path})
    assert [path.name for path in written] == ["a_mz500.0000.png", "a_mz600.0000.png"]
    with Image.open(written[0]) as picture:
        assert picture.text["msibench:provenance"] == json.dumps({"a": str(tmp_path), "b": 1})
        assert picture.text["Software"] == "msibench"
    for clip in (0, -0.1, 1.01, float("nan")):
        with pytest.raises(ConfigurationError, match="clip is a quantile"):
            write_png(tmp_path / "a.png", image, clip=clip)
    with pytest.raises(StoreError, match="cannot be written"):
        write_png(tmp_path / "none" / "a.png", image)


@pytest.mark.parametrize(
    ("facts", "predicted", "title"),
    [
        ({"ppm": 3.0}, "", "m/z 500.0000 ± 3 ppm"), ({}, "", "m/z 500.0000"),
        ({"ppm": 3.0}, "bicubic", "m/z 500.0000 ± 3 ppm, by bicubic"), ({}, "bicubic", "m/z 500.0000, by bicubic"),
    ],
)  # fmt: skip
def test_the_title_says_mz_window_and_method(tmp_path, monkeypatch, facts, predicted, title):
    titles = []
    monkeypatch.setattr(
        Figure, "savefig", lambda figure, *_, **__: titles.append(figure.axes[0].get_title())
    )
    image = MSImage(VALUES, np.array([500.0]), **facts)
    write_png(tmp_path / "a.png", image, predicted=predicted)
    assert titles == [title]
