"""Each step of the guide's leakage against plain loops, on images of a few tiles."""

import re
from importlib import import_module
from itertools import product

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, sobel, uniform_filter

from msibench.contracts.metric import Evaluation
from msibench.degradation import protocol
from msibench.image import GuideImage, as_stack
from msibench.metrics.detail_ceiling import ceilings_by_estimate, detail_ceiling
from msibench.metrics.detail_specs import NO_DETAIL, NO_SPLIT
from msibench.metrics.kept import Kept, bytes_of
from msibench.metrics.upsampling import bicubic

leakage, lending = (
    import_module(f"msibench.metrics.{name}") for name in ("guide_leakage", "guide_lending")
)
RNG = np.random.default_rng(0)
ALL = list(product(range(-2, 3), repeat=2))
FAR = list(product((-2, 0, 2), repeat=2))
NEAR = [(0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)]
SQUARE = list(product((-1, 0, 1), repeat=2))


def split_by(factor):
    """Return the split of the area mean: the mean of each coarse pixel, and what is left."""

    def split(image):
        rows, columns = image.shape[-2:]
        blocks = image.reshape(
            *image.shape[:-2], rows // factor, factor, columns // factor, factor
        ).mean((-3, -1))
        seen = blocks.repeat(factor, -2).repeat(factor, -1)
        return seen, image - seen

    return split


def blur(image):
    """Split by a blur, which looks beyond its own pixel."""
    seen = uniform_filter(image, 3, axes=(-2, -1), mode="nearest")
    return seen, image - seen


def moved(image, by):
    rows, columns = np.indices(image.shape)
    at = np.clip(rows + by[0], 0, rows.max()), np.clip(columns + by[1], 0, columns.max())
    return image[at]


def unit(images):
    return np.array([one / np.sqrt((one**2).mean()) for one in images])


# -- what is invented --------------------------------------------------------------------------


def test_what_filters_of_the_true_detail_and_the_low_image_explain_is_not_invented():
    added, wanted, enlarged = gaussian_filter(RNG.standard_normal((3, 24, 32)), (0, 1, 1))
    mask = RNG.random((24, 32)) > 0.3
    split = split_by(4)
    own = np.array([*(moved(wanted, by) for by in ALL), *(moved(enlarged, by) for by in SQUARE)])
    lines = own[:, mask]
    # Directions of less than a hundredth of the strongest energy are left out: a tenth of its size.
    weights = np.linalg.lstsq(lines.T, added[mask], rcond=0.1)[0]
    assert np.linalg.matrix_rank(lines, tol=0.1 * np.linalg.norm(lines, 2)) < 34
    found = leakage._invented(added, wanted, enlarged, mask, split, 0.0)
    np.testing.assert_allclose(found, added - np.tensordot(weights, own, 1), atol=1e-9)

    white = split(np.random.default_rng(0).standard_normal((24, 32)) * mask)[1]
    blank = np.array([moved(white, by) for by in ALL])[:, mask]
    gram, of_noise = lines @ lines.T, blank @ blank.T
    middle = ALL.index((0, 0))
    gram[:25, :25] -= 0.2 * of_noise / of_noise[middle, middle] * gram[middle, middle]
    strength, direction = np.linalg.eigh(gram)
    inverse = np.where(strength > 0.01 * strength.max(), 1 / strength, 0)
    weights = (direction * inverse) @ direction.T @ lines @ added[mask]
    found = leakage._invented(added, wanted, enlarged, mask, split, 0.2)
    np.testing.assert_allclose(found, added - np.tensordot(weights, own, 1), atol=1e-9)


def judged(image, truth, noise=0.0, mask=None):
    split = split_by(4)
    low = truth.reshape(6, 4, 8, 4).mean((1, 3))
    mask = np.ones((24, 32), bool) if mask is None else mask
    return leakage._judged(image, truth, low, lending.Judged(mask, split, 4), noise), low


def test_an_image_is_judged_by_what_it_adds_inside_the_mask():
    image, truth = RNG.random((2, 24, 32))
    mask = RNG.random((24, 32)) > 0.3
    split = split_by(4)
    added, wanted = split(image)[1], split(truth)[1]
    estimate = 1 - np.mean(ceilings_by_estimate(truth, split=split, mask=mask))
    match = (added * wanted)[mask].sum() ** 2 / (added[mask] ** 2).sum() / (wanted[mask] ** 2).sum()
    assert 0 < match < 0.1 < estimate < 1
    for told, noise in ((0.3, 0.3), (None, estimate), (np.nan, estimate), (1.0, 1 - match)):
        found, low = judged(image, truth, told, mask)
        enlarged = split(bicubic(low, 4))[1]
        assert found.energy == pytest.approx((added[mask] ** 2).sum())
        np.testing.assert_allclose(found.enlarged, enlarged, atol=1e-12)
        wanted_left = leakage._invented(added, wanted, enlarged, mask, split, noise)
        np.testing.assert_allclose(found.left, wanted_left, atol=1e-9)


def test_what_adds_next_to_nothing_does_not_leak_and_what_is_unknown_has_no_value():
    truth = RNG.random((24, 32))
    seen, unseen = split_by(4)(truth)
    assert judged(seen + 0.0099 * unseen, truth)[0] == leakage.Leakage(0.0, 0.0)
    assert judged(seen + 0.0101 * unseen, truth)[0].energy > 0
    flat = 5 + 1e-7 * unseen  # detail of a ten-millionth is what float32 leaves
    for test, reference in ((truth, flat), (truth, np.full_like(truth, 5.0))):
        found, _ = judged(test, reference)
        assert np.isnan(found.value)
        assert found.error == 0
    assert judged(truth, 5 + 3e-5 * unseen)[0].energy > 0
    for place in (0, 1):
        pair = [truth.copy(), truth.copy()]
        pair[place][3, 4] = np.nan
        found, _ = judged(*pair)
        assert np.isnan(found.value)
        assert found.error == 0


# -- what the guide explains, tile by tile -----------------------------------------------------


@pytest.mark.parametrize(("shape", "tops"), [((80, 36), (0, 32, 64)), ((24, 36), (0,))])
def test_features_of_a_band_are_those_of_the_whole_guide(monkeypatch, shape, tops):
    monkeypatch.setattr(lending, "BAND", 47)  # two tiles, and not three
    colours, where = list(RNG.random((2, *shape))), lending.Judged(np.ones(shape, bool), blur, 4)
    edges = np.hypot(sobel(colours[0], 0), sobel(colours[0], 1))
    shifted = [moved(colours[0], by) for by in ALL]
    shifted += [moved(one, by) for one in (edges, colours[1]) for by in FAR]
    unseen = blur(np.array(shifted))[1]
    bands = list(lending._features(colours, where))
    assert [band for band, _ in bands] == [slice(top, min(top + 32, shape[0])) for top in tops]
    for band, features in bands:
        np.testing.assert_allclose(features, unit(unseen[:, band]), atol=1e-9)
    monkeypatch.setattr(lending, "BAND", 8)  # less than a tile: one tile
    assert next(lending._features(colours, where))[0] == slice(0, 16)


def gain_of(lines, left, odd):
    """Squared error without the guide's lines less that with them, each half judged by the other.

    The first five lines are the enlarged image's.
    """
    gain = 0.0
    for half in (False, True):
        errors = []
        for count in (5, len(lines)):
            fitted = lines[:count, odd != half]
            gram = fitted @ fitted.T
            gram = gram + 0.03 * np.trace(gram) / count * np.eye(count)
            weights = np.linalg.solve(gram, fitted @ left[odd != half])
            errors.append(((left - weights @ lines[:count])[odd == half] ** 2).sum())
        gain += errors[0] - errors[1]
    return gain


def inventions(shape, count=2):
    return [
        leakage._Invented(*RNG.standard_normal((2, *shape)), energy=float(place + 1))
        for place in range(count)
    ]


@pytest.mark.parametrize(
    ("factor", "tile", "at_once"), [(4, 16, 1 << 22), (3, 15, 1), (10, 20, 1 << 22)]
)
def test_each_tile_with_enough_tissue_is_judged_by_itself(monkeypatch, factor, tile, at_once):
    shape = (3 * tile, 2 * tile)
    split = split_by(factor)
    mask = np.zeros(shape, bool)
    mask[:tile, :tile] = True
    enough = -(-tile * tile // 4)  # a quarter of a tile, and one pixel less
    rows, columns = np.divmod(np.arange(tile * tile), tile)
    mask[tile + rows[:enough], columns[:enough]] = True
    mask[tile + rows[: enough - 1], tile + columns[: enough - 1]] = True
    mask[2 * tile :, tile:] = RNG.random((tile, tile)) > 0.5
    images, colours = inventions(shape), [RNG.random(shape)]
    odd = (np.indices(shape) // factor).sum(0) % 2 == 1
    where = lending.Judged(mask, split, factor)
    monkeypatch.setattr(lending, "BAND", 2 * tile)
    monkeypatch.setattr(leakage, "AT_ONCE", at_once)
    (found,) = leakage._explained(images, [colours], where)
    for one, gains in zip(images, found, strict=True):
        plain = unit([moved(one.enlarged, by) for by in NEAR])
        wanted = []
        for band, features in lending._features(colours, where):
            whole = np.concatenate([plain[:, band], features])
            for top, start in product(range(0, whole.shape[1], tile), (0, tile)):
                place = (slice(top, top + tile), slice(start, start + tile))
                chosen = mask[band][place]
                if chosen.sum() >= enough:
                    lines, left = whole[:, *place][:, chosen], one.left[band][place][chosen]
                    wanted.append(gain_of(lines, left, odd[band][place][chosen]))
        assert len(wanted) == 3
        np.testing.assert_allclose(gains, wanted, atol=1e-8)
    nothing = lending.Judged(np.zeros(shape, bool), split, factor)
    assert leakage._explained(images, [colours], nothing).tolist() == [[[0.0], [0.0]]]


# -- what the guide explains, patch by patch ---------------------------------------------------


@pytest.mark.parametrize(
    ("factor", "bands"),
    [(4, (slice(0, 8), slice(8, 16), slice(16, 24))), (3, (slice(0, 9), slice(9, 24)))],
)
def test_details_are_moved_as_those_of_the_whole_guide(factor, bands):
    first, second = RNG.random((2, 24, 21))

    def split(
        image,
    ):  # of whole coarse rows, from the top of the image, and with a look around them
        assert image.shape[0] % factor == 0
        rows = np.arange(image.shape[0]) % factor
        seen, unseen = blur(image)
        return seen, unseen * (1 + rows[:, None])

    for band in bands:
        where = lending.Judged(np.ones((24, 21), bool), split, factor)
        found = list(lending._moved_details([first, second], band, where))
        shifts = list(product(range(-4, 5), repeat=2))
        wanted = [split(moved(first, by))[1][band] for by in shifts]
        wanted += [split(moved(second, by))[1][band] for by in NEAR]
        assert len(found) == len(wanted) == 86
        inner = slice(1 if band.start else 0, None)  # a blur looks across the edge that is cut
        for one, whole in zip(found, wanted, strict=True):
            np.testing.assert_allclose(one[inner], whole[inner], atol=1e-9)


def best_of_patches(left, guide, mask, rows, split):
    """Return by loops what a guide takes off each patch of some rows, and the most that it could."""
    details = [split(moved(guide, by))[1] * mask for by in product(range(-4, 5), repeat=2)]
    left = left * mask
    tops, starts = range(rows.start, rows.stop - 7, 8), range(0, mask.shape[1] - 7, 8)
    patches = [(slice(top, top + 8), slice(start, start + 8)) for top in tops for start in starts]
    taken, could = [], []
    floors = [1e-4 * np.mean([(one[at] ** 2).sum() for at in patches]) for one in details]
    for at in patches:
        if mask[at].sum() < 32:
            continue
        best, shown = 0.0, False
        for one, floor in zip(details, floors, strict=True):
            energy = (one[at] ** 2).sum()
            if energy > floor:
                best, shown = max(best, (one[at] * left[at]).sum() ** 2 / energy), True
        taken.append(best)
        could.append((left[at] ** 2).sum() * shown)
    return np.array(taken), np.array(could)


@pytest.mark.parametrize(("size", "at_once"), [(1e-3, 1 << 22), (1.0, 1), (1e3, 5000)])
def test_each_patch_takes_the_best_place_in_the_guide_beyond_chance(monkeypatch, size, at_once):
    monkeypatch.setattr(lending, "BAND", 8)
    monkeypatch.setattr(lending, "MOST_SOUGHT", 24 * 32 // 2)
    monkeypatch.setattr(lending, "AT_ONCE", at_once)
    mask = np.ones((28, 32), bool)
    rows, columns = np.divmod(np.arange(64), 8)
    mask[rows[:32], 8 + columns[:32]] = False  # half of a patch is left: enough
    mask[rows[:33], 16 + columns[:33]] = False
    left = RNG.standard_normal((2, 28, 32))
    guides = size * RNG.random((3, 28, 32))
    guides[:, :, :16] = 0.5 * size  # shows nothing there
    split = split_by(4)
    where = lending.Judged(mask, split, 4)
    found = leakage._sought(left, [[guide] for guide in guides], where)
    assert len(found) == 2
    # Bands of 8 rows, every third of four: 28 * 32 pixels are 2.33 times as many as are looked at.
    share = (mask[:8].sum() + mask[24:].sum()) / mask.sum()
    for image, (own, wrong) in zip(left, found, strict=True):
        each = [best_of_patches(image, guide, mask, slice(0, 8), split) for guide in guides]
        np.testing.assert_allclose(own, each[0][0] / share)
        assert len(own) == 3
        assert (own == 0).sum() == 1
        taken, total = (sum(one[place].sum() for one in each[1:]) for place in (0, 1))
        np.testing.assert_allclose(wrong, taken / total * each[0][1] / share)
    flat = [[np.full((28, 32), 0.5)]] * 3
    for own, wrong in leakage._sought(left, flat, where):
        assert not own.any()
        assert not wrong.any()


def test_the_attribution_with_the_higher_lower_end_counts_image_by_image():
    shape, split = (32, 48), split_by(4)
    mask = np.ones(shape, bool)
    colours = [RNG.random(shape)]
    unseen = split(colours[0])[1]
    images = inventions(shape, 3)
    images[1].left[:] = unseen + 0.1 * images[1].left  # paint of one sign, in all tiles
    signs = RNG.choice([-1.0, 1.0], (4, 6)).repeat(8, 0).repeat(8, 1)
    images[2].left[:] = unseen * signs
    given = [
        leakage._Invented(one.left, one.enlarged, float((one.left**2).sum())) for one in images
    ]
    nothing = leakage.Leakage(0.0, 0.0)
    where = lending.Judged(mask, split, 4)
    found = leakage._attributed([given[0], nothing, given[1], given[2]], colours, where)
    assert found[1] is nothing
    guides = [colours, *leakage._wrong(colours)]
    by_guide = leakage._explained(given, guides, where)
    sought = leakage._sought(np.array([one.left for one in given]), guides[:3], where)
    chosen = []
    for place, one in enumerate(given):
        wrong = (by_guide[1][place] + by_guide[2][place] + by_guide[3][place]) / 3
        both = (
            leakage._beyond(by_guide[0][place], wrong, one.energy),
            leakage._beyond(*sought[place], one.energy),
        )
        chosen.append(int(both[1].low > both[0].low))
        assert both[0].low != both[1].low or max(both[0].low, both[1].low) == 0
        wanted = both[chosen[-1]]
        if both[0].low == both[1].low:
            wanted = max(both, key=lambda each: each.value)
        assert found[(0, 2, 3)[place]] == wanted
    assert found[2].low > 0.3
    assert found[3].low > 0.1
    assert chosen[2] == 1
    one, two = leakage.Leakage(0.5, 0.1), leakage.Leakage(0.6, 0.4)
    assert one.low == pytest.approx(0.5 - 0.196)
    assert two.low == 0.0
    assert leakage._attributed([nothing], colours, where) == [nothing]


# -- what is laid out, and kept ---------------------------------------------------------------


def test_a_tile_is_of_two_coarse_pixels_or_more():
    for factor, tile in ((1, 16), (3, 15), (4, 16), (7, 14), (8, 16), (9, 18), (16, 32), (17, 34)):
        assert lending.Judged(np.ones((2, 2), bool), blur, factor).tile == tile


def test_halves_are_a_checkerboard_of_coarse_pixels_inside_the_mask():
    mask = RNG.random((40, 20)) > 0.3
    mask[16:32, :16] = False
    mask[16:20, :16] = True  # a quarter of a tile
    mask[32:, 16:] = False
    found = lending.Judged(mask, blur, 4).halves(slice(16, 40))
    wide = np.zeros((2, 32, 32), bool)
    for row, column in np.argwhere(mask[16:]):
        wide[((row + 16) // 4 + column // 4) % 2, row, column] = True
    places = product((0, 16), (0, 16))
    wanted = [wide[:, top : top + 16, start : start + 16].reshape(2, 256) for top, start in places]
    assert [part.sum() >= 64 for part in wanted] == [True, False, True, False]
    for part, halves in zip(wanted, found, strict=True):
        np.testing.assert_array_equal(halves, part & (part.sum() >= 64))


def kept(number, rows=2):
    """Ask for what a guide lends; return how often it has been made."""
    guide, where = (
        np.full((rows, 3), float(number)),
        lending.Judged(np.ones((rows, 3), bool), blur, 1),
    )
    part = lending.Tiles(np.zeros((1, 2, 5)), np.zeros((1, 2, 2)), np.zeros((1, 2, 2)))  # 112 bytes
    made = []
    lending.kept_for_the_next("a test", [guide, guide], where, lambda: made.append(1) or [part])
    return len(made)


def test_what_was_asked_for_last_is_kept(monkeypatch):
    whole = 8 * (2 * 6 * 8 * 81)  # shifted guides of six pixels may take an eighth
    monkeypatch.setattr(lending, "_kept", Kept(whole))
    assert [kept(1), kept(1), kept(2), kept(1), kept(2)] == [1, 0, 1, 0, 0]
    monkeypatch.setattr(lending, "_kept", Kept(whole - 8))
    assert [kept(1), kept(1)] == [1, 1]  # too large to be kept: made anew
    monkeypatch.setattr(lending, "_kept", Kept(whole))
    monkeypatch.setattr("msibench.metrics.kept.bytes_of", lambda parts: whole // 3)
    assert [kept(1), kept(2), kept(3), kept(1), kept(4)] == [1, 1, 1, 0, 1]  # the second leaves
    assert [kept(1), kept(3), kept(4), kept(2)] == [0, 0, 0, 1]
    monkeypatch.setattr("msibench.metrics.kept.bytes_of", lambda parts: 2 * whole)
    assert [kept(5), kept(5), kept(6), kept(5)] == [1, 0, 1, 1]  # one at least


def test_bytes_are_those_of_all_arrays():
    tiles = lending.Tiles(np.zeros((1, 2, 5)), np.zeros((1, 2, 2)), np.zeros((1, 2, 2)))
    patches = lending.Patches(slice(0, 8), np.zeros((1, 64, 3)), np.zeros(1, bool))
    assert bytes_of([tiles, tiles]) == 2 * (10 + 4 + 4) * 8
    assert bytes_of([patches, patches]) == 2 * (192 * 8 + 1)


def test_what_cannot_be_told_from_another_is_not_kept(monkeypatch):
    monkeypatch.setattr(lending, "_kept", Kept(1 << 20))

    class Unlike:
        __hash__ = None

        def split(self, image):
            return image, image

    where, made = lending.Judged(np.ones((2, 3), bool), Unlike().split, 1), []
    for _ in range(2):
        lending.kept_for_the_next("a test", [np.ones((2, 3))], where, lambda: made.append(1) or [])
    assert len(made) == 2
    assert lending._kept.held == 0


# -- a cell ------------------------------------------------------------------------------------


CHAIN = protocol("area-x4@1")


def section(seed=1):
    rng = np.random.default_rng(seed)
    rows, columns = np.indices((16, 32))
    structure = 1 + np.sin(rows / 1.5) * np.cos(columns / 2)  # what two pixels apart is not noise
    truth = (structure + 0.3 * rng.random((2, 16, 32))).astype(np.float32)
    guide = rng.random((1, 16, 32), dtype=np.float32)
    prediction = (truth + 0.4 * rng.random((2, 16, 32)) + guide).astype(np.float32)
    signal = (truth + 0.1 * rng.random((2, 16, 32))).astype(np.float32)
    return truth, guide, prediction, signal


def cell(*, mask=None, seen=None, **facts):
    truth, guide, prediction, _ = section()
    given = {
        "prediction": prediction, "truth": as_stack(truth, mask=mask),
        "low": as_stack(CHAIN.degrade(truth)), "factor": 4, "degrade": CHAIN.degrade,
        "split": CHAIN.split, "guide": GuideImage(guide, mask=seen),
    }  # fmt: skip
    return Evaluation(**(given | facts))


@pytest.mark.parametrize(
    ("known", "tissue", "shown"),
    [("signal", True, False), ("signal", False, True), ("nothing", True, True)],
)
def test_a_cell_is_judged_on_the_tissue_that_the_guide_shows(known, tissue, shown):
    truth, guide, prediction, signal = section()
    masks = np.random.default_rng(2).random((2, 16, 32)) > 0.1
    mask, seen = (one if there else None for one, there in zip(masks, (tissue, shown), strict=True))
    both = np.logical_and.reduce([one for one in (mask, seen) if one is not None])
    asked = cell(mask=mask, seen=seen, **({"noise_free": signal} if known == "signal" else {}))
    reference, noise = signal, [0.0, 0.0]
    if known == "nothing":
        reference = truth
        noise = [1 - (one.low + one.high) / 2 for one in detail_ceiling(asked)]
        assert 0.01 < min(noise) < max(noise) < 0.5
    wanted = leakage.leakages(
        prediction, reference, CHAIN.degrade(truth), guide, protocol=CHAIN, mask=both, noise=noise
    )
    for end in ("value", "low"):
        scored = leakage.evaluate(asked, end=end)
        np.testing.assert_array_equal(scored.values, [getattr(one, end) for one in wanted])
        assert scored.reasons == ("", "")
    assert max(one.value for one in wanted) > 0.1
    others = leakage.leakages(
        prediction, reference, CHAIN.degrade(truth), guide, protocol=CHAIN, mask=both, noise=0.7
    )
    assert all(one != other for one, other in zip(wanted, others, strict=True))


def test_what_is_known_to_be_uncharted_takes_the_guides_place():
    truth, guide, prediction, signal = section()
    uncharted = np.random.default_rng(5).random((16, 32), dtype=np.float32)
    asked = cell(uncharted=uncharted, noise_free=signal, seen=guide[0] > 0.5)
    found = leakage.evaluate(asked, against="uncharted").values
    wanted = leakage.leakages(
        prediction, signal, CHAIN.degrade(truth), uncharted[None], protocol=CHAIN, noise=0.0
    )
    np.testing.assert_array_equal(found, [one.value for one in wanted])


def test_a_cell_that_cannot_be_judged_says_why():
    truth, _, prediction, _ = section()
    scored = leakage.evaluate(cell(split=None))
    assert scored.reasons == (NO_SPLIT, NO_SPLIT)
    assert np.isnan(scored.values).all()
    flat = truth.copy()
    flat[0] = 0.5
    scored = leakage.evaluate(cell(truth=as_stack(flat), low=as_stack(CHAIN.degrade(flat))))
    assert scored.reasons == (NO_DETAIL, "")
    low = CHAIN.degrade(truth)
    for facts in ({"prediction": prediction.copy()}, {"low": low}):
        next(iter(facts.values()))[1, 2, 3] = np.nan
        if "low" in facts:
            facts = {"low": as_stack(low)}
        scored = leakage.evaluate(cell(**facts))
        assert scored.reasons == ("", "a pixel is NaN or infinite")
        np.testing.assert_array_equal(np.isnan(scored.values), [False, True])


@pytest.mark.parametrize(
    ("noise", "told"),
    [(None, [None, None]), (0.25, [0.25, 0.25]), ([[0.25], [0.5]], [0.25, 0.5])],
)
@pytest.mark.parametrize("masked", [False, True])
def test_each_image_is_judged_with_its_noise_where_guide_and_tissue_are_known(
    monkeypatch, noise, told, masked
):
    truth, guide, prediction, _ = section()
    low = CHAIN.degrade(truth)
    guide[0, :5] = np.nan
    mask = np.random.default_rng(3).random((16, 32)) > 0.3
    seen = []

    def judge(*arguments):
        seen.append(arguments)
        return leakage.Leakage(len(seen) / 4, 0.0)

    monkeypatch.setattr(leakage, "_judged", judge)
    stacks = [one.reshape(2, 1, *one.shape[1:]) for one in (prediction, truth, low)]
    options = {"protocol": CHAIN, "noise": noise, "mask": mask.tolist() if masked else None}
    found = leakage.guide_leakage(*stacks, guide, **options)
    np.testing.assert_array_equal(found, [[0.25], [0.5]])
    for place, (image, other, small, where, share) in enumerate(seen):
        for one, wanted in zip((image, other, small), (prediction, truth, low), strict=True):
            np.testing.assert_array_equal(one, wanted[place])
        known = np.isfinite(guide[0]) & (mask if masked else True)
        np.testing.assert_array_equal(where.mask, known)
        assert (where.split, where.factor, share) == (CHAIN.split, 4, told[place])
    assert len(seen) == 2


def test_a_guide_on_another_grid_is_told_which_one_is_asked_for():
    truth, _, prediction, _ = section()
    message = "on the grid (16, 32), got (1, 8, 32)"
    with pytest.raises(ValueError, match=re.escape(message)):
        leakage.leakages(
            prediction, truth, CHAIN.degrade(truth), np.ones((1, 8, 32)), protocol=CHAIN
        )
