"""What contradicts a measurement, and what only smooths it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from msibench.metrics.contradiction import NEGLIGIBLE, Agreement, agreement
from msibench.metrics.noise_ceiling import noise_map
from msibench.metrics.upsampling import bicubic

RNG = np.random.default_rng(0)


def nearest(image, factor):
    return image.repeat(factor, 0).repeat(factor, 1)


@given(st.integers(0, 99), st.integers(2, 5), st.sampled_from([1.0, 20.0, 1e4]))
def test_interpolation_never_contradicts_the_image_it_is_made_of(seed, factor, counts):
    rng = np.random.default_rng(seed)
    low = rng.poisson(counts * rng.random((9, 12))).astype(np.float32)
    for fine in (nearest(low, factor), bicubic(low.astype(np.float64), factor)):
        told = agreement(fine.astype(np.float32), low, factor)
        assert told is None or not told.contradicts


def test_nothing_is_missed_by_a_picture_whose_means_are_the_image():
    low = RNG.random((6, 8)).astype(np.float32)
    fine = nearest(low, 4)
    fine[::2] += 0.25
    fine[1::2] -= 0.25
    told = agreement(fine, low, 4)
    assert told.missed == pytest.approx(0, abs=1e-6)
    assert not told.contradicts


def test_the_shares_are_norms_written_out():
    low = RNG.poisson(50, (8, 8)).astype(np.float32)
    told = agreement(nearest(low * 1.3, 2), low, 2)
    assert told.missed == pytest.approx(0.3, rel=1e-5)
    plain = bicubic(low.astype(float), 2).reshape(8, 2, 8, 2).mean((1, 3))
    expected = np.linalg.norm(plain - low) / np.linalg.norm(low)
    assert told.interpolation == pytest.approx(expected, rel=1e-6)


def test_another_picture_contradicts_and_a_smoother_one_does_not():
    y, x = np.mgrid[:24, :32]
    clean = 400 * np.exp(-((y - 9) ** 2 + (x - 14) ** 2) / 40) + 20
    low = RNG.poisson(clean).astype(np.float32)
    smooth = bicubic(clean, 4).astype(np.float32)
    assert not agreement(smooth, low, 4).contradicts
    told = agreement(smooth[:, ::-1].copy(), low, 4)
    assert told.contradicts
    assert told.missed > told.allowed >= NEGLIGIBLE


def test_what_was_not_measured_is_not_compared_and_an_empty_image_says_nothing():
    low = RNG.poisson(50, (8, 8)).astype(np.float32)
    low[:3] = np.nan
    fine = nearest(low, 2)
    assert agreement(fine, low, 2).missed == 0
    assert agreement(np.where(np.isnan(fine), 99, fine), low, 2).missed == 0
    assert agreement(np.ones((4, 4), np.float32), np.zeros((2, 2), np.float32), 2) is None
    assert agreement(np.ones((2, 2), np.float32), np.ones((1, 1), np.float32), 2).missed == 0


def test_what_is_missed_is_a_share_of_what_was_measured_by_hand():
    low = RNG.poisson(9, (6, 8)).astype(np.float32) + 1
    low[1, 2] = low[3, :4] = np.nan
    fine = RNG.poisson(9, (12, 16)).astype(np.float32)
    fine[0, 1] = fine[1, 1] = np.nan  # counts as nothing in its coarse pixel
    known = np.isfinite(low)
    measured = np.where(known, low, 0)
    size = np.sqrt((measured**2).sum())

    def share(picture):
        means = np.array([[picture[2 * r : 2 * r + 2, 2 * c : 2 * c + 2].mean() for c in range(8)]
                          for r in range(6)])  # fmt: skip
        return np.sqrt(((means - measured)[known] ** 2).sum()) / size

    weight = bicubic(known.astype(float), 2)
    plain = np.zeros((12, 16))
    seen = weight > 0.1
    plain[seen] = bicubic(measured.astype(float), 2)[seen] / weight[seen]
    assert not seen.all()
    found = agreement(fine, low, 2)
    assert found.missed == pytest.approx(share(np.nan_to_num(fine)))
    assert found.interpolation == pytest.approx(share(plain))
    sigma = np.nan_to_num(noise_map(measured.astype(float), known))
    assert found.noise == pytest.approx(np.sqrt((sigma[known] ** 2).sum()) / size)


def test_noise_needs_two_pixels_along_each_edge():
    image = np.array([[3.0, 1], [1, 1]], dtype=np.float32)
    noise = 1 / 0.6744897501960817  # of one Haar coefficient, in each of four pixels
    found = agreement(nearest(image, 2), image, 2)
    assert found.noise == pytest.approx(2 * noise / np.sqrt(12))
    for line in (image[:1], image[:, :1]):
        assert agreement(nearest(line, 2), line, 2).noise == 0


def test_a_twentieth_twice_interpolation_and_one_and_a_half_times_the_noise_are_allowed():
    for interpolation, noise, allowed in ((0.01, 0.01, 0.05), (0.1, 0.1, 0.2), (0.1, 0.2, 0.3)):
        for missed in (allowed - 1e-9, allowed + 1e-9):
            told = Agreement(missed, interpolation, noise)
            assert told.allowed == pytest.approx(allowed)
            assert told.contradicts == (missed > allowed)
