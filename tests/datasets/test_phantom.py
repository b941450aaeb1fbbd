import numpy as np
import pytest

from msibench.datasets import load_card, read_section
from msibench.plugin_manager.discovery import discover
from msibench_datasets.phantom.generator import CHANNELS, make_phantom


@pytest.fixture(scope="module")
def phantom():
    return make_phantom(seed=1)


def test_one_seed_gives_the_same_bytes(phantom):
    again = make_phantom(seed=1)
    for name in ("counts", "expected", "guide", "uncharted", "second"):
        assert getattr(phantom, name).tobytes() == getattr(again, name).tobytes()


def test_another_seed_is_another_section(phantom):
    assert not np.array_equal(phantom.mask, make_phantom(seed=2).mask)


def test_counts_are_poisson_about_the_expected_signal(phantom):
    bright = phantom.expected > 5
    excess = (phantom.counts - phantom.expected)[bright]
    assert abs((excess**2 / phantom.expected[bright]).mean() - 1) < 0.03
    assert np.all(phantom.counts == np.round(phantom.counts))


def test_every_ion_image_has_a_character_of_its_own(phantom):
    assert len(CHANNELS) >= 12
    flat = phantom.expected.reshape(len(CHANNELS), -1)
    likeness = np.corrcoef(flat) - np.eye(len(CHANNELS))
    assert likeness.max() < 0.99
    first, second = (
        index for index, (_, what) in enumerate(CHANNELS) if what.startswith("anti-correlated")
    )
    inside = phantom.expected[:, phantom.mask]
    assert np.corrcoef(inside[first], inside[second])[0, 1] < -0.8


def test_the_sparse_ion_is_mostly_zero_within_the_tissue(phantom):
    sparse = next(i for i, (_, what) in enumerate(CHANNELS) if what.startswith("sparse"))
    assert (phantom.counts[sparse][phantom.mask] == 0).mean() > 0.5


def test_the_guide_shows_what_no_ion_image_knows(phantom):
    uncharted = phantom.uncharted > 0.5
    assert 0.005 < uncharted[phantom.mask].mean() < 0.3
    darkness = 1 - phantom.guide.mean(axis=0)
    tissue = phantom.mask & ~uncharted
    assert darkness[uncharted].mean() > darkness[tissue].mean() + 0.2
    for image in phantom.expected:
        inside = image[phantom.mask]
        if inside.std():
            link = np.corrcoef(inside, phantom.uncharted[phantom.mask])[0, 1]
            assert abs(link) < 0.35


def test_a_known_misregistration_moves_the_guide_and_nothing_else():
    straight = make_phantom(seed=1)
    moved = make_phantom(seed=1, rotation_deg=2.0, shift_px=(3.0, -2.0))
    np.testing.assert_array_equal(straight.counts, moved.counts)
    assert not np.allclose(straight.guide, moved.guide)
    row, column = 60, 80
    at = moved.guide_to_section @ [row, column, 1]
    y, x = np.round(at).astype(int)
    window = (slice(y - 2, y + 3), slice(x - 2, x + 3))
    near = moved.guide[(slice(None), *window)].mean(axis=(1, 2))
    there = straight.guide[:, row - 2 : row + 3, column - 2 : column + 3].mean(axis=(1, 2))
    np.testing.assert_allclose(near, there, atol=0.08)


def test_bad_sizes_are_refused():
    with pytest.raises(ValueError, match="at least"):
        make_phantom(seed=1, shape=(20, 100))


def test_its_card_says_in_every_place_that_it_is_synthetic():
    card = load_card(discover().dataset("phantom"))
    assert card.synthetic
    assert "synthetic" in card.title
    assert all(name.startswith("synthetic") for name in card.sections)
    section = read_section(card, "synthetic-1")
    assert section.image.channels == len(CHANNELS)
    assert section.second.channels >= 3
    assert section.guide.shape == section.image.shape
    assert "synthetic" in section.notes[0]
