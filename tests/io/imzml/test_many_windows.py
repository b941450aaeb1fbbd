"""Hundreds of windows in one pass give the images of one window at a time, to the byte."""

from __future__ import annotations

import numpy as np
import pytest

from msibench.io import open_imzml
from msibench.io.imzml.writer import ImzMLWriter

SHAPE = (5, 6)


@pytest.fixture
def path(tmp_path):
    """Spectra of many and of few peaks, none, and peaks on the very edges of windows."""
    rng = np.random.default_rng(2)
    with ImzMLWriter(tmp_path / "s.imzML", shape=SHAPE, pixel_size_um=10.0) as writer:
        for place, (row, column) in enumerate(np.ndindex(SHAPE)):
            count = [400, 3, 60, 0, 1][place % 5]
            mz = np.sort(rng.uniform(90, 1010, count))
            if count > 100:
                mz = np.unique(np.concatenate([mz, *edges()]))
            writer.add(row, column, mz, rng.random(mz.size, dtype=np.float32))
    return tmp_path / "s.imzML"


def wanted():
    return np.concatenate([np.linspace(100, 1000, 200), [500.0, 500.001, 500.002, 500.002, 95.0]])


def edges(ppm=50.0):
    mz = wanted()[::7]
    return mz * (1 - ppm * 1e-6), mz, mz * (1 + ppm * 1e-6)


@pytest.mark.parametrize("ppm", [5.0, 50.0, 5000.0])  # apart, and overlapping
def test_many_windows_are_one_window_at_a_time(path, ppm):
    section = open_imzml(path)
    mz = wanted()

    together = section.ion_images(mz, ppm=ppm).values

    alone = np.stack([section.ion_images(one, ppm=ppm).values[0] for one in mz])
    np.testing.assert_array_equal(together, alone)
    assert (alone > 0).any()


def test_the_order_in_which_they_are_asked_for_is_kept(path):
    section = open_imzml(path)
    mz = wanted()
    order = np.random.default_rng(0).permutation(mz.size)

    np.testing.assert_array_equal(
        section.ion_images(mz[order], ppm=50.0).values,
        section.ion_images(mz, ppm=50.0).values[order],
    )


def test_hundreds_of_windows_on_one_mz(path):
    section = open_imzml(path)

    images = section.ion_images(np.full(100, 500.0), ppm=100.0).values

    assert (images == section.ion_images(500.0, ppm=100.0).values).all()
