"""What advice is made of: energies of noise and detail, against closed forms."""

from dataclasses import replace

import numpy as np
import pytest

import msibench as mb
from msibench.advice.energies import (
    fullest,
    piece_of,
    skill_one_scale_up,
    window,
    window_about,
)
from msibench.advice.expected import expected_detail
from msibench.degradation import area_mean
from msibench.uncertainty.noise import counting_variance, noise_variance
from msibench.uncertainty.octaves import finest_octaves, repeated


def section(values, mask=None):
    values = np.asarray(values, dtype=np.float32)
    return mb.MSImage(values, 400.0 + np.arange(len(values)), 20.0, mask=mask)


def coarse(fine, factor):
    low = area_mean(fine.values, factor).astype(np.float32)
    return mb.MSImage(low, fine.mz, fine.pixel_size_um * factor)


def test_the_noise_of_the_finer_detail_is_that_of_the_counts():
    rng = np.random.default_rng(1)
    flat = mb.MSImage(rng.poisson(40, (1, 160, 160)).astype(np.float32), np.arange(1.0), 20.0)
    low = coarse(flat, 4)
    told = expected_detail(finest_octaves(low), noise_variance(low), 4)
    seen = float(((flat.values - low.values.repeat(4, 1).repeat(4, 2)) ** 2).mean())
    assert told.whole[0] == pytest.approx(seen, rel=0.15)
    assert told.ceiling[0] < 0.05


def test_the_octaves_of_a_chessboard_and_of_stripes_are_where_they_belong():
    """A chessboard of pixels is gone in means of 2 x 2; one of squares of 2 x 2 in the octave below."""
    rows, columns = np.indices((8, 12))
    fine = 3.0 * (-1.0) ** (rows + columns)
    wide = 2.0 * (-1.0) ** (rows // 2 + columns // 2)
    found = finest_octaves(section([fine, wide, np.ones((8, 12))]))
    np.testing.assert_allclose(found, [[9, 0, 0], [0, 4, 0]], atol=1e-12)


def test_pure_counting_noise_is_told_as_such_and_structure_of_a_pixel_is_not():
    rng = np.random.default_rng(3)
    counted = section(rng.poisson(25, (2, 96, 96)))
    np.testing.assert_allclose(noise_variance(counted), 25, rtol=0.1)
    np.testing.assert_allclose(counting_variance(counted), 25, rtol=0.15)
    nothing = section(np.zeros((1, 12, 12)))
    assert counting_variance(nothing)[0] == 0


def test_a_piece_is_where_the_ions_are_strongest_and_its_guide_goes_with_it():
    values = np.zeros((2, 40, 50), np.float32)
    values[0, 30:35, 8:12] = 5
    values[1, 31:36, 7:13] = 900
    low = section(values)
    rows, columns = window(low, 16)
    assert rows.start <= 30
    assert rows.stop >= 36
    assert columns.start <= 7
    assert columns.stop >= 13
    assert (rows.stop - rows.start, columns.stop - columns.start) == (16, 16)
    assert window_about(low, 16, (0, 49)) == (slice(0, 16), slice(34, 50))
    guide = np.arange(80 * 100, dtype=np.float32).reshape(1, 80, 100)
    problem = mb.Problem(low=low, factor=2, guide=mb.GuideImage(guide))
    piece = piece_of(problem, rows, columns)
    expected = guide[:, 2 * rows.start : 2 * rows.stop, 2 * columns.start : 2 * columns.stop]
    np.testing.assert_array_equal(piece.guide.values, expected)
    assert fullest(problem, 50) is problem
    np.testing.assert_array_equal(fullest(problem, 16).low.values, piece.low.values)


def test_skill_one_scale_up_is_one_for_the_truth_and_none_for_repeated_pixels():
    truth = section(np.random.default_rng(0).random((2, 8, 12)))
    up = mb.Problem(low=coarse(truth, 2), factor=2)
    np.testing.assert_allclose(skill_one_scale_up(lambda problem: truth.values, up, truth), 1.0)
    plain = skill_one_scale_up(lambda problem: repeated(problem.low.values, 2), up, truth)
    np.testing.assert_allclose(plain, 0.0, atol=1e-6)
    flat = replace(truth, values=np.ones_like(truth.values))
    assert np.isnan(skill_one_scale_up(lambda problem: flat.values, up, flat)).all()
