"""A transform made on one level of a slide serves all of them, and no other picture."""

import json

import numpy as np
import pytest
import tifffile
from PIL import Image
from scipy import ndimage

from msibench.cli.main import main
from msibench.datasets import guide_on_grid
from msibench.errors import DataError
from msibench.io.guide.levels import guide_levels, needed_level
from msibench.registration import Affine, BSpline, Composite, Transform
from msibench.registration.levels import between_levels, guide_shape_of, made_for, on_level

TILE = 512
HUGE = 10_240


def pattern(side):
    texture = ndimage.gaussian_filter(np.random.default_rng(3).random((32, 32)), 1.5)
    texture = (texture - texture.min()) / np.ptp(texture)
    fine = ndimage.zoom(
        texture * (texture > 0.4), side / 32, order=1, grid_mode=True, mode="nearest"
    )
    return np.repeat(np.round(255 * (1 - fine))[..., None], 3, axis=2).astype(np.uint8), texture


def write_pyramid(path, levels, finest_um=1.25, first=None):
    options = {"photometric": "rgb", "tile": (TILE, TILE), "compression": "zlib"}
    facts = {"axes": "YXS"}
    for axis in "XY":
        facts |= {f"PhysicalSize{axis}": finest_um, f"PhysicalSize{axis}Unit": "µm"}
    with tifffile.TiffWriter(path, ome=True) as writer:
        whole = {"data": levels[0]} if first is None else first
        rest = levels[1:] if first is None else levels
        writer.write(**whole, subifds=len(rest), metadata=facts, **options)
        for level in rest:
            writer.write(level, subfiletype=1, metadata=None, **options)
    return path


def halved(pixels):
    rows, columns, samples = pixels.shape
    blocks = pixels.reshape(rows // 2, 2, columns // 2, 2, samples)
    return blocks.mean((1, 3)).round().astype(np.uint8)


@pytest.fixture
def slide(tmp_path):
    levels = [pattern(512)[0]]
    for _ in range(2):
        levels.append(halved(levels[-1]))
    return write_pyramid(tmp_path / "slide.ome.tif", levels)


def test_levels_are_told_from_the_header(slide, tmp_path):
    assert guide_levels(slide) == ((512, 512), (256, 256), (128, 128))
    Image.new("RGB", (30, 20)).save(tmp_path / "a.png")
    assert guide_levels(tmp_path / "a.png") == ((20, 30),)


@pytest.mark.sweep
@pytest.mark.parametrize("made", [0, 1, 2])
@pytest.mark.parametrize("read", [None, 0, 1, 2])
def test_the_guide_is_the_same_whatever_levels_it_was_made_and_is_read_on(
    slide, tmp_path, made, read
):
    true = Affine(np.diag([8.0, 8.0]), [41.5, 29.5])  # from the section to level 0
    side = 512 >> made
    there = on_level(true, (512, 512), (side, side))
    there.to_file(tmp_path / "t.json", guide_shape=[side, side])
    found = guide_on_grid(slide, tmp_path / "t.json", (40, 40), 1, 10.0, level=read)

    true.to_file(tmp_path / "true.json", guide_shape=[512, 512])
    expected = guide_on_grid(slide, tmp_path / "true.json", (40, 40), 1, 10.0, level=0)
    assert np.abs(found.values - expected.values).mean() < 0.005


def test_a_transform_of_another_picture_is_refused(slide, tmp_path):
    Affine(np.eye(2), [0, 0]).to_file(tmp_path / "t.json", guide_shape=[300, 512])
    with pytest.raises(DataError, match=r"300 x 512.*512 x 512, 256 x 256"):
        guide_on_grid(slide, tmp_path / "t.json", (40, 40), 1, 10.0)


def test_a_transform_that_names_no_guide_speaks_of_the_finest_level(slide, tmp_path):
    (tmp_path / "t.json").write_text(json.dumps({"A": [[8, 0], [0, 8]], "b": [3, 4]}))
    assert guide_shape_of(tmp_path / "t.json") is None
    assert made_for(tmp_path / "t.json", guide_levels(slide), "slide") == (512, 512)


def test_what_is_no_table_names_no_guide(tmp_path):
    (tmp_path / "t.json").write_text("[1, 2]")
    assert guide_shape_of(tmp_path / "t.json") is None


@pytest.mark.parametrize("stated", ["wide", [1], [0, 4], [1.5, 2], [True, 2], {}])
def test_an_odd_guide_shape_is_refused(tmp_path, stated):
    Affine(np.eye(2), [0, 0]).to_file(tmp_path / "t.json", guide_shape=stated)
    with pytest.raises(DataError, match="guide_shape must be"):
        guide_shape_of(tmp_path / "t.json")


def test_any_kind_of_transform_is_rescaled():
    bend = BSpline(np.random.default_rng(0).random((2, 6, 6)), [-9, -9], [9, 9])
    points = np.random.default_rng(1).uniform(0, 20, (30, 2))
    for transform in (
        Affine([[2, 0.1], [0, 3]], [4, 5]),
        Composite(bend, Affine(np.eye(2), [1, 2])),
    ):
        moved = on_level(transform, (400, 600), (100, 150))(points)
        np.testing.assert_allclose((moved + 0.5) * 4 - 0.5, transform(points))
    assert on_level(bend, (4, 6), (4, 6)) is bend
    np.testing.assert_allclose(between_levels((4, 6), (8, 12))([0.0, 0.0]), [0.5, 0.5])


LEVELS = ((40_000, 40_000), (20_000, 20_000), (10_000, 10_000), (5_000, 5_000), (2_500, 2_500))


@pytest.mark.parametrize(
    ("across", "level"),
    [(40, 4), (16, 4), (15, 3), (4, 2), (0.5, 2), (float("nan"), 2)],
)
def test_of_a_slide_too_large_the_coarsest_level_that_is_fine_enough_is_read(across, level):
    assert needed_level(LEVELS, across) == level


def test_a_slide_that_can_be_decoded_is_read_at_its_finest():
    assert needed_level(LEVELS[2:], 1000) == 0
    assert needed_level((), 1) == 0
    assert needed_level(LEVELS[:1], 4) == 0  # refused where it is read


@pytest.fixture(scope="module")
def huge(tmp_path_factory):
    """A slide of 105 megapixels, whose finest level nobody needs, and the section under it."""
    folder = tmp_path_factory.mktemp("huge")
    pixels, texture = pattern(HUGE // 16)
    pixels = np.roll(pixels, (48, -32), (0, 1))
    coarse = [pixels.repeat(2, 0).repeat(2, 1), pixels]
    blank = {
        "data": iter([b""] * (HUGE // TILE) ** 2),
        "shape": (HUGE, HUGE, 3),
        "dtype": np.uint8,
    }
    write_pyramid(folder / "slide.ome.tif", coarse, finest_um=0.125, first=blank)
    cube = (texture * (texture > 0.4) * 100)[None].astype(np.float32)
    np.savez(folder / "section.npz", cube=cube, mz=[500.1], pixel_size_um=40.0)
    return folder


def command_line(*arguments):
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in arguments])
    return ended.value.code


def test_a_whole_slide_goes_through_the_command_line(huge, tmp_path, capsys):
    slide, section, turn = huge / "slide.ome.tif", huge / "section.npz", tmp_path / "t.json"
    assert command_line("register", slide, section, "-o", turn, "--model", "rigid") == 0
    assert json.loads(turn.read_text())["guide_shape"] == [HUGE // 16, HUGE // 16]
    assert isinstance(Transform.from_file(turn), Transform)
    made = []
    for level in ((), ("--level", 1), ("--level", 2)):
        fine = tmp_path / f"fine{len(made)}.npz"
        given = ("--guide", slide, "--transform", turn, *level)
        assert command_line("upscale", "guided-filter", section, *given, "-o", fine) == 0
        made.append(np.load(fine)["cube"])
    np.testing.assert_array_equal(made[0], made[2])
    assert np.abs(made[1] - made[0]).mean() < 0.05 * np.abs(made[0]).mean()
    shared = ("--methods", "guide-only", "--metrics", "psnr")
    results = ("--results", tmp_path / "results")
    run = ("run", "--data", section, "--guide", slide, "--transform", turn, *shared, *results)
    assert command_line(*run) == 0
    assert "guide-only" in capsys.readouterr().out


def test_the_remedy_for_a_level_that_is_too_large_is_on_the_command_line(huge, tmp_path, capsys):
    given = (huge / "section.npz", "--guide", huge / "slide.ome.tif", "--level", 0)
    out = ("-o", tmp_path / "a.npz")
    assert command_line("upscale", "guided-filter", *given, *out) == 2
    assert "--level" in capsys.readouterr().err
