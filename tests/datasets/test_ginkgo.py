import dataclasses

import numpy as np
import pytest

from msibench.datasets import load_card
from msibench.errors import MissingDataError
from msibench.plugin_manager.discovery import discover
from msibench_datasets.ginkgo.generator import IONS, make_leaf
from msibench_datasets.ginkgo.reader import in_wider_pixels, read

CARD = load_card(discover().dataset("ginkgo"))


def leaf(seed=1):
    return make_leaf(seed=seed, shape=(270, 120))


def test_the_same_seed_gives_the_same_leaf_and_another_gives_another():
    one = leaf()
    np.testing.assert_array_equal(one.counts, leaf().counts)
    assert (one.guide != leaf(2).guide).mean() > 0.5


def test_cells_are_in_the_guide_and_between_walls_the_concentration_is_one():
    """What the ion lacks (walls) is dark in the guide; a coarse pixel of 20 shows neither."""
    found = leaf()
    grey = found.guide.mean(0)
    signal = found.expected.max(0)
    walls = found.mask & (signal < 0.2 * np.median(signal[found.mask]))
    open_cells = found.mask & (signal > np.median(signal[found.mask]))
    assert grey[walls].mean() < grey[open_cells].mean() - 0.15


def test_outside_the_leaf_nothing_is_counted():
    found = leaf()
    assert 0.5 < found.mask.mean() < 0.85
    assert not found.counts[:, ~found.mask].any()
    assert found.counts.shape[0] == len(IONS)


def test_counts_are_poisson_about_the_signal():
    found = leaf()
    bright = found.expected > 5
    spread = (found.counts[bright] - found.expected[bright]) / np.sqrt(found.expected[bright])
    assert abs(spread.mean()) < 0.05
    assert abs(spread.std() - 1) < 0.05


def test_the_card_has_the_size_of_the_paper():
    assert (CARD.parameters["rows"], CARD.parameters["columns"]) == (2700, 980)
    assert 2700 // 20 == 135
    assert 980 // 20 == 49


def test_a_leaf_that_is_too_small_is_refused():
    with pytest.raises(ValueError, match="at least"):
        make_leaf(seed=1, shape=(90, 200))


def test_wider_pixels_count_what_was_counted_in_them_and_see_the_mean_of_the_light():
    fine = leaf()
    wide = in_wider_pixels(fine, 5)
    assert wide.counts.shape == (len(IONS), 54, 24)
    assert wide.counts.sum() == pytest.approx(fine.counts.sum())
    assert wide.counts[1, 10, 7] == fine.counts[1, 50:55, 35:40].sum()
    assert wide.expected[2, 30, 9] == pytest.approx(fine.expected[2, 150:155, 45:50].sum())
    assert wide.guide[0, 10, 7] == pytest.approx(fine.guide[0, 50:55, 35:40].mean(), rel=1e-6)
    assert wide.mask[27, 12]
    assert not wide.mask[0, 0]
    assert in_wider_pixels(fine, 1) is fine


def test_a_section_has_the_pixels_that_its_name_says():
    small = dataclasses.replace(CARD, parameters={"rows": 270, "columns": 120, "counts": 40.0})
    section = read(small, "leaf-3-5um", CARD.mz_set("all"))
    assert section.image.pixel_size_um == 5.0
    assert section.image.values.shape == (4, 54, 24)
    assert section.guide.values.shape == (3, 54, 24)
    for name, said in (("leaf", "leaf-<seed>"), ("leaf-1-7um", "do not tile")):
        with pytest.raises(MissingDataError, match=said):
            read(small, name, CARD.mz_set("all"))
