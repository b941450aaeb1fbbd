"""Images side by side, on a device with little memory and without one."""

from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest

from msibench.metrics.pairs import (
    BYTES_A_PIXEL,
    ImagePair,
    check_data_range,
    pair_images,
    too_small,
)

torch = pytest.importorskip("torch")


@dataclass
class Stack:
    """Images that say that they lie on some device."""

    values: np.ndarray
    kind: str

    def __len__(self):
        return len(self.values)

    def __getitem__(self, part):
        return Stack(self.values[part], self.kind)

    @property
    def shape(self):
        return self.values.shape

    @property
    def device(self):
        return SimpleNamespace(type=self.kind)


def pair_on(kind, shape=(7, 4, 6)):
    stack = Stack(np.arange(float(np.prod(shape))).reshape(shape), kind)
    return ImagePair(stack, stack, None, np.ones(shape[0], bool), shape[:1], torch)


def sizes(pair, pixels):
    """Return how many images are in each chunk, and hold that together they are all of them."""
    parts = list(pair.chunks(pixels=pixels))
    whole = np.concatenate([part.test.values for part in parts])
    np.testing.assert_array_equal(whole, pair.test.values)
    assert all(len(part.test) == len(part.reference) == len(part.usable) for part in parts)
    return [len(part.test) for part in parts]


def test_an_accelerator_takes_as_many_images_as_pixels_are_asked_for():
    for pixels, wanted in ((71, [2, 2, 2, 1]), (72, [3, 3, 1]), (1, [1] * 7), (1 << 24, [7])):
        assert sizes(pair_on("mps"), pixels) == wanted
    assert sizes(pair_on("cpu"), 1 << 24) == [1] * 7
    assert sizes(pair_on("mps", (2, 0, 6)), 10) == [2]  # of images without a pixel, any number
    assert sizes(pair_on("mps", (3, 0, 6)), 2) == [2, 1]


@pytest.mark.parametrize(
    ("free", "pixels", "room"),
    [
        (3_000_000 * BYTES_A_PIXEL, 1 << 24, 3_000_000),
        (3_000_000 * BYTES_A_PIXEL + BYTES_A_PIXEL - 1, 1 << 24, 3_000_000),
        (3_000_000 * BYTES_A_PIXEL, 2_000_000, 2_000_000),
        (0, 1 << 24, 1 << 20),  # a little is always tried
    ],
)
def test_a_card_takes_what_its_free_memory_holds(monkeypatch, free, pixels, room):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 80 << 30))
    assert pair_on("cuda")._room(pixels) == room
    assert pair_on("mps")._room(pixels) == pixels


def test_an_edge_of_just_the_side_that_is_asked_for_is_not_too_small():
    images = np.ones((2, 4, 6))
    images[1, 0, 0] = np.nan
    pair = pair_images(images, images)
    np.testing.assert_array_equal(too_small(pair, 5), [True, True])
    np.testing.assert_array_equal(too_small(pair, 4), [False, True])


def test_a_range_is_a_positive_number():
    for wrong in (0, -1.0, np.nan, np.inf):
        with pytest.raises(ValueError, match="data_range must be the positive distance"):
            check_data_range(wrong)
    assert check_data_range(np.float32(0.5)) == 0.5


# -- by hand -----------------------------------------------------------------------------------


def random_pair(mask=None, count=3):
    rng = np.random.default_rng(0)
    test, reference = rng.random((2, count, 5, 6))
    return pair_images(test, reference, mask=mask), test, reference


def test_a_pair_is_cut_to_the_box_of_its_mask_and_is_nothing_around_it():
    mask = np.zeros((5, 6), bool)
    mask[1, 2] = mask[3, 4] = True
    pair, test, reference = random_pair(mask)
    cut = pair.cropped()
    assert cut.mask is None
    assert cut.shape == (3, 3)
    for one, whole in ((cut.test, test), (cut.reference, reference)):
        wanted = np.zeros((3, 3, 3))
        wanted[:, 0, 0], wanted[:, 2, 2] = whole[:, 1, 2], whole[:, 3, 4]
        np.testing.assert_array_equal(one, wanted)
    bare, _, _ = random_pair()
    assert bare.cropped() is bare
    empty, _, _ = random_pair(np.zeros((5, 6), bool))
    assert empty.cropped() is empty


def test_means_and_what_is_alike_are_those_of_the_evaluated_pixels():
    mask = np.random.default_rng(1).random((5, 6)) > 0.5
    for chosen in (None, mask):
        pair, test, reference = random_pair(chosen)
        inside = np.ones((5, 6), bool) if chosen is None else mask
        wanted = (test - reference)[:, inside].mean(1)
        np.testing.assert_allclose(pair.mean(pair.test - pair.reference), wanted)
        same = reference.copy()
        same[1][inside] = 0.5
        same[2][inside] = 0.25
        same[2, *np.argwhere(inside)[-1]] = 0.5
        test = same.copy()
        test[0, *np.argwhere(inside)[0]] += 1
        if chosen is not None:
            test[:, ~mask] = 9.0
        pair = pair_images(test, same, mask=chosen)
        np.testing.assert_array_equal(pair.constant(pair.reference), [False, True, False])
        np.testing.assert_array_equal(pair.identical(), [False, True, True])
    none = pair_images(np.zeros((2, 0, 4)), np.zeros((2, 0, 4)))
    assert np.isnan(none.mean(none.test)).all()
    assert not none.constant(none.test).any()
    assert none.undefined().shape == (2,)


@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_what_cannot_be_evaluated_is_nothing_and_said(monkeypatch, library):
    monkeypatch.setattr("msibench.metrics.pairs.HOST_TENSORS_AS_ARRAYS", False)
    made = np.asarray if library == "numpy" else torch.as_tensor
    mask = np.ones((5, 6), bool)
    mask[0, 0] = False
    _, test, reference = random_pair()
    test[0, 0, 0] = reference[1, 0, 0] = np.nan  # outside: no fault
    test[2, 1, 1] = np.inf
    pair = pair_images(made(test), made(reference), mask=made(mask))
    assert pair.xp is (np if library == "numpy" else torch)
    assert pair.usable.tolist() == [True, True, False]
    for one, whole in ((pair.test, test), (pair.reference, reference)):
        shown = np.asarray(one)
        assert not shown[:2, 0, 0].any()  # in both images, where one of them is unknown
        np.testing.assert_array_equal(shown[:2, 1:], whole[:2, 1:])
        assert not shown[2].any()
    finding = made(np.array([False, True, True])), "odd"
    later = made(np.array([True, True, True])), "last"
    assert pair.reasons(finding, later) == ["last", "odd", "a pixel is NaN or infinite"]
    values = np.asarray(pair.values(made(np.array([1.0, np.inf, 2.0]))))
    np.testing.assert_array_equal(values, [1.0, np.nan, np.nan])
    for other in (made(np.zeros((5, 6), bool)), None):
        grid = (slice(None), slice(None) if other is not None else slice(0))
        empty = pair_images(made(reference[grid]), made(reference[grid]), mask=other)
        assert not empty.usable.any()
        assert set(empty.reasons()) == {"no pixel to evaluate: the image or the mask is empty"}
    with pytest.raises(ValueError, match=r"mask must be bool \(row, column\) = \(5, 6\)"):
        pair_images(made(test), made(reference), mask=made(mask[:4]))
    with pytest.raises(ValueError, match="mask must be bool"):
        pair_images(made(test), made(reference), mask=made(mask.astype(np.uint8)))
    for wrong in (reference[:, :4], reference[:2]):
        with pytest.raises(ValueError, match="of one shape"):
            pair_images(made(test), made(wrong))
    line = made(np.ones(4))
    with pytest.raises(ValueError, match="of one shape"):
        pair_images(line, line)
