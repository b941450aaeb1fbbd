"""What guides lend, against the same regressions and searches written out for one tile and one patch."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from msibench.degradation import protocol
from msibench.metrics import guide_lending
from msibench.metrics.guide_leakage import RIDGE, _explained, _Invented, _taken_by
from msibench.metrics.guide_lending import (
    NEAR_SHIFTS,
    PATCH,
    Judged,
    in_patches,
    kept_for_the_next,
    of_unit_power,
    shifted,
    tiles_of,
)

CHAIN = protocol("area-x3@1")
SHAPE = (51, 45)
"""Neither whole tiles (15 pixels) nor whole patches."""


@pytest.fixture(scope="module")
def rng():
    return np.random.default_rng(3)


@pytest.fixture(scope="module")
def where(rng):
    return Judged(gaussian_filter(rng.random(SHAPE), 3) > 0.495, CHAIN.split, 3)


@pytest.fixture(scope="module")
def guide(rng):
    return [gaussian_filter(rng.standard_normal(SHAPE), 1) for _ in range(2)]


@pytest.fixture(scope="module")
def inventions(rng, guide):
    return [
        _Invented(guide[0] + rng.standard_normal(SHAPE), rng.standard_normal(SHAPE), 1.0)
        for _ in range(2)
    ]


def gain_written_out(lines, left, odd, plain):
    """Squared error without the guide's lines less that with them; each half judged by the other."""
    gain = 0.0
    for half in (False, True):
        errors = []
        for count in (plain, len(lines)):
            fitted, judged = lines[:count, odd != half], lines[:count, odd == half]
            gram = fitted @ fitted.T
            gram += np.eye(count) * RIDGE * np.trace(gram) / count
            weights = np.linalg.solve(gram, fitted @ left[odd != half])
            errors.append(((left[odd == half] - weights @ judged) ** 2).sum())
        gain += errors[0] - errors[1]
    return gain


def test_regressions_are_those_of_every_tile_alone(where, guide, inventions):
    (found,) = _explained(inventions, [guide], where)
    (band, features), tile = next(guide_lending._features(guide, where)), where.tile
    assert band == slice(0, SHAPE[0])
    rows, columns = (np.arange(side) // 3 for side in SHAPE)
    odd = (rows[:, None] + columns) % 2 == 1
    for one, gains in zip(inventions, found, strict=True):
        plain = of_unit_power(np.stack(shifted(one.enlarged, NEAR_SHIFTS)))
        every, expected = np.concatenate([plain, features]), []
        for top in range(0, SHAPE[0], tile):
            for start in range(0, SHAPE[1], tile):
                place = slice(top, top + tile), slice(start, start + tile)
                inside = where.mask[place]
                if inside.sum() >= max(tile * tile / 4, 16):
                    expected.append(
                        gain_written_out(
                            every[:, *place][:, inside],
                            one.left[place][inside],
                            odd[place][inside],
                            len(plain),
                        )
                    )
        assert 3 < len(expected) < 12
        np.testing.assert_allclose(gains, expected, rtol=0, atol=1e-10)


def test_a_patch_takes_the_shift_that_explains_most_of_it(where, guide, inventions, monkeypatch):
    left = np.stack([one.left for one in inventions])
    monkeypatch.setattr(guide_lending, "AT_ONCE", 10 * left[0].size)  # ten shifts at a time
    taken, possible = _taken_by([2 * one for one in guide], left, where)
    details = [
        detail * where.mask
        for detail in guide_lending._moved_details(guide, slice(0, SHAPE[0]), where)
    ]
    assert len(details) == 81 + 5
    number = 0
    for top in range(0, SHAPE[0] - PATCH + 1, PATCH):
        for start in range(0, SHAPE[1] - PATCH + 1, PATCH):
            place = slice(top, top + PATCH), slice(start, start + PATCH)
            if where.mask[place].sum() < PATCH * PATCH / 2:
                continue
            for image, one in enumerate(left * where.mask):
                best = max(
                    (one[place] * d[place]).sum() ** 2 / (d[place] ** 2).sum() for d in details
                )
                assert taken[image, number] == pytest.approx(best)
                assert possible[image, number] == pytest.approx((one[place] ** 2).sum())
            number += 1
    assert taken.shape == possible.shape == (2, number)


def test_patches_are_whole_and_row_by_row():
    image = np.arange(17 * 26.0).reshape(17, 26)
    patches = in_patches(image)
    assert patches.shape == (2 * 3, 64)
    np.testing.assert_array_equal(patches[4], image[8:16, 8:16].ravel())


def test_what_a_guide_lends_is_kept_for_the_same_guide_mask_and_protocol(guide, where):
    made = []

    def lent(colours, judged):
        return kept_for_the_next(
            "test", colours, judged, lambda: made.append(1) or tiles_of(colours, judged)
        )

    first = lent(guide, where)
    again = Judged(where.mask.copy(), protocol("area-x3@1").split, 3)
    assert lent([one.copy() for one in guide], again) is first
    assert len(made) == 1
    others = [
        (guide[::-1], where),
        (guide, Judged(~where.mask, CHAIN.split, 3)),
        (guide, Judged(where.mask, protocol("bicubic8-x3@1").split, 3)),
    ]
    for number, (colours, judged) in enumerate(others, start=2):
        assert lent(colours, judged) is not first
        assert len(made) == number


def test_large_guides_are_not_kept_and_old_ones_leave(guide, where, monkeypatch):
    monkeypatch.setattr(guide_lending._kept, "room", 8)
    parts = kept_for_the_next("large", guide, where, lambda: tiles_of(guide, where))
    assert iter(parts) is parts, "made as they are asked for"
    room = max(guide_lending._kept.held + 1, 9 * 8 * 81 * guide[0].size)
    monkeypatch.setattr(guide_lending._kept, "room", room)
    for number in range(12):
        mask = where.mask.copy()
        mask[number] = False
        judged = Judged(mask, where.split, 3)
        kept_for_the_next(
            "old", guide[:1], judged, lambda judged=judged: tiles_of(guide[:1], judged)
        )
    assert 0 < guide_lending._kept.held <= room
