"""What is compared in a registration: darkness of the guide, and the ions' picture of it."""

import numpy as np
import pytest
from scipy import ndimage

from msibench.errors import RegistrationError
from msibench.image import GuideImage, as_stack
from msibench.registration import Affine
from msibench.registration.intensity import _levels, default_start
from msibench.registration.projection import (
    follow,
    guide_picture,
    ion_components,
    look,
    smooth_to,
)

RNG = np.random.default_rng(0)


def test_a_stain_is_its_darkness_and_another_guide_the_mean_of_its_channels():
    values = RNG.uniform(0.3, 1, (3, 6, 8)).astype(np.float32)
    picture, slide = guide_picture(GuideImage(values))
    np.testing.assert_allclose(picture, 1 - values.mean(axis=0), atol=1e-6)
    assert slide.all()
    for other in (GuideImage(values, kind="msi"), GuideImage(values[:2])):
        np.testing.assert_allclose(guide_picture(other)[0], other.values.mean(axis=0), atol=1e-6)
    dark = values.copy()
    dark[:, 0] = 0.1  # a black rim is one of a stained slide only
    assert guide_picture(GuideImage(dark, kind="msi"))[1].all()


def test_what_the_mask_leaves_out_is_filled_from_the_nearest_pixel():
    values = RNG.uniform(0.3, 1, (1, 6, 8)).astype(np.float32)
    mask = np.ones((6, 8), bool)
    mask[:, 5:] = False
    picture, slide = guide_picture(GuideImage(values, mask=mask))
    np.testing.assert_array_equal(slide, mask)
    np.testing.assert_array_equal(picture[:, 5:], np.repeat(picture[:, 4:5], 3, axis=1))
    with pytest.raises(RegistrationError, match="mask is empty"):
        guide_picture(GuideImage(values, mask=np.zeros((6, 8), bool)))


@pytest.mark.parametrize("side", range(4))
def test_black_on_any_border_is_a_rim_that_fades_over_three_pixels(side):
    stain = np.ones((3, 30, 30), np.float32)
    stain[0, 3, 20] = 0.0  # red is missing: a colour, not black
    stain[:, :2] = 0.2
    stain[:, 2, 2] = 0.2
    stain[:, 3, 3] = 0.2  # joined to the rim by corners
    stain = np.rot90(stain, side, axes=(1, 2)).copy()
    _, slide = guide_picture(GuideImage(stain))
    slide = np.rot90(slide, -side)
    assert not slide[:5].any()
    assert not slide[6, 3]  # three pixels below the corner at (3, 3)
    assert slide[7:].all()
    assert slide[5, 20]


def test_what_is_as_dark_as_black_tissue_is_no_rim():
    stain = np.full((3, 20, 20), 0.25, np.float32)
    stain[:, 8, 8] = 1.0
    assert guide_picture(GuideImage(stain))[1].all()


@pytest.mark.parametrize(
    ("picture", "said"),
    [
        (np.ones((4, 5)), "constant"),
        (np.full((4, 5), np.nan), "NaN"),
        (np.ones((2, 4, 5)), "must be \\(row, column\\)"),
    ],
)
def test_a_picture_without_content_is_refused(picture, said):
    with pytest.raises(RegistrationError, match=said):
        guide_picture(picture)


def test_the_basis_is_orthonormal_and_holds_the_constant_and_the_square_roots():
    stack = RNG.poisson(5.0, (3, 7, 9)).astype(float)
    basis = ion_components(as_stack(stack))
    assert basis.shape == (63, 4)
    np.testing.assert_allclose(basis.T @ basis, np.eye(4), atol=1e-10)
    inside = basis @ basis.T
    for wanted in (np.ones(63), *np.sqrt(stack).reshape(3, -1)):
        np.testing.assert_allclose(inside @ wanted, wanted, atol=1e-9)


def test_few_components_are_the_strongest_and_constant_channels_are_left_out():
    """Two thirds of the channels share one pattern, which is the first component."""
    pattern, other = RNG.random((2, 7, 9))
    stack = np.stack([pattern**2, pattern**2, other**2, np.full((7, 9), 4.0)])
    basis = ion_components(stack, components=1)
    assert basis.shape == (63, 2)
    found = follow(basis, pattern, np.ones((7, 9), bool))
    np.testing.assert_allclose(found, pattern, atol=0.2)
    assert np.corrcoef(found.ravel(), pattern.ravel())[0, 1] > 0.95
    for bright in (1e-4, 1e4):  # an ion counts as any other, however strong it is
        scaled = ion_components(stack * np.array([1, 1, bright, 1])[:, None, None], components=1)
        np.testing.assert_allclose(scaled @ scaled.T, basis @ basis.T, atol=1e-9)
    assert ion_components(stack[0]).shape == (63, 2)
    negative = np.stack([-stack[0], stack[1]])
    assert ion_components(negative).shape == (63, 2)  # what is below 0 counts as nothing
    for wrong, said in (
        (np.ones(5), "expected ion images"),
        (stack[3], "every ion image is constant"),
    ):
        with pytest.raises(RegistrationError, match=said):
            ion_components(wrong)


def test_what_the_ions_say_is_fitted_where_the_guide_is_known():
    stack = RNG.random((2, 6, 8)) + 0.1
    basis = ion_components(stack)
    truth = 3.0 + 2.0 * np.sqrt(stack[0]) - np.sqrt(stack[1])
    known = np.zeros((6, 8), bool)
    known[1:4, 2:7] = True
    seen = np.where(known, truth, 1e6)
    np.testing.assert_allclose(follow(basis, seen, known), truth, atol=1e-8)


def test_a_look_interpolates_the_picture_and_knows_where_it_ends():
    picture = np.add.outer(10.0 * np.arange(5), np.arange(6))
    slide = np.ones((5, 6), bool)
    slide[0] = False
    seen, known = look(picture, slide, Affine(np.eye(2), [0.75, 1.5]), (5, 6))
    rows, columns = np.indices((5, 6)) + np.array([0.75, 1.5])[:, None, None]
    np.testing.assert_allclose(seen, 10 * np.minimum(rows, 4) + np.minimum(columns, 5))
    np.testing.assert_array_equal(known, (rows < 4.5) & (columns < 5.5) & (rows >= 0.5))


@pytest.mark.parametrize("ratio", [1.0, 0.5, 2.0, 5.0])
def test_a_guide_is_blurred_by_half_a_pixel_of_the_grid_less_its_own(ratio):
    picture = RNG.random((40, 40))
    expected = picture
    if ratio > 1:
        expected = ndimage.gaussian_filter(picture, np.sqrt((ratio / 2) ** 2 - 0.5**2))
    np.testing.assert_allclose(smooth_to(picture, ratio), expected, atol=1e-12)


def test_the_first_guess_lays_centres_on_one_another():
    ions = as_stack(RNG.random((1, 10, 21)), pixel_size_um=50.0)
    guide = GuideImage(RNG.random((1, 101, 81), dtype=np.float32), pixel_size_um=10.0)
    sized = default_start(guide, ions)
    np.testing.assert_array_equal(sized.matrix, 5 * np.eye(2))
    np.testing.assert_allclose(sized([4.5, 10.0]), [50, 40])
    stretched = default_start(guide.values[0], ions)
    np.testing.assert_allclose(np.diag(stretched.matrix), [101 / 10, 81 / 21])
    np.testing.assert_allclose(stretched([-0.5, -0.5]), [-0.5, -0.5])
    np.testing.assert_allclose(stretched([9.5, 20.5]), [100.5, 80.5])


@pytest.mark.parametrize(
    ("side", "stage", "passes"),
    [
        (64, "rigid", [(4, 4.0), (2, 2.0), (1, 0.0)]),
        (63, "rigid", [(2, 2.0), (1, 0.0)]),
        (32, "affine", [(2, 2.0), (1, 0.0)]),
        (31, "affine", [(1, 0.0)]),
        (64, "bspline", [(2, 2.0), (1, 0.0)]),
        (15, "rigid", [(1, 0.0)]),
    ],
)
def test_no_pass_looks_at_fewer_than_sixteen_pixels(side, stage, passes):
    assert _levels((side, 200), stage) == passes
    assert _levels((200, side), stage) == passes
