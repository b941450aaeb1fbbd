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
