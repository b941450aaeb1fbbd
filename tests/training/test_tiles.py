"""Ion images go through a network and come back as they were meant to."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from msibench.errors import ConfigurationError
from msibench.training.tile_plan import InputNeeds, TileOptions, pad_to, plan_tiles
from msibench.training.tiles import quantise8, to_unit_range, upscale_ions


def nearest(factor):
    return lambda x: F.interpolate(x, scale_factor=factor)


def ions(channels, rows, columns, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.random((channels, rows, columns)) * 1000 + 50).astype(np.float32)


class SmallNet(nn.Module):
    """Sees three pixels far, so tiles with enough overlap lose nothing."""

    def __init__(self, factor):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.factor = factor
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.second = nn.Conv2d(4, 3 * factor**2, 5, padding=2)
        for parameter in self.parameters():
            parameter.data = 0.2 * torch.randn(parameter.shape, generator=generator)

    def forward(self, x):
        return F.pixel_shuffle(self.second(F.gelu(self.first(x))), self.factor) + 0.5


@settings(deadline=None, max_examples=40)
@given(
    rows=st.integers(1, 40),
    columns=st.integers(1, 40),
    factor=st.integers(1, 4),
    channels=st.sampled_from([1, 3]),
    tile=st.sampled_from([0, 5, 8, 20]),
    overlap=st.integers(0, 30),
    multiple=st.sampled_from([1, 4, 8]),
    minimum=st.sampled_from([1, 8, 16]),
)
def test_a_network_that_repeats_pixels_gives_the_ions_back_whatever_the_tiles(
    rows, columns, factor, channels, tile, overlap, multiple, minimum
):
    low = ions(2, rows, columns)
    facts = InputNeeds(factor=factor, channels=channels, multiple_of=multiple, minimum=minimum)
    options = TileOptions(tile=tile, overlap=min(overlap, max(tile - 1, 0)), batch=3)

    fine, _ = upscale_ions(nearest(factor), low, facts, options)

    expected = low.repeat(factor, axis=1).repeat(factor, axis=2)
    assert fine.dtype == np.float32
    np.testing.assert_allclose(fine, expected, rtol=1e-4, atol=1e-2)


@settings(deadline=None, max_examples=60)
@given(
    rows=st.integers(1, 70),
    columns=st.integers(1, 70),
    tile=st.integers(1, 30),
    overlap=st.integers(0, 29),
    multiple=st.sampled_from([1, 2, 8]),
)
def test_tiles_cover_the_image_and_their_weights_are_one_everywhere(
    rows, columns, tile, overlap, multiple
):
    facts = InputNeeds(factor=2, multiple_of=multiple)
    rows, columns = -(-rows // multiple) * multiple, -(-columns // multiple) * multiple
    options = TileOptions(tile=tile, overlap=min(overlap, tile - 1))
    total = np.zeros((2 * rows, 2 * columns), np.float32)

    plan = plan_tiles(rows, columns, facts, options)
    for part in plan:
        part.add(total, np.ones((part.row_weight.size, part.column_weight.size), np.float32), 2)

    np.testing.assert_allclose(total, 1.0, atol=1e-5)
    for part in plan:
        for side in (part.rows, part.columns):
            assert side.start % multiple == 0
            assert (side.stop - side.start) % multiple == 0
    assert len({(p.rows.stop - p.rows.start, p.columns.stop - p.columns.start) for p in plan}) == 1


def test_tiled_equals_whole_where_the_network_looks_no_further_than_the_overlap():
    low = ions(3, 37, 53)
    facts = InputNeeds(factor=2)

    whole, _ = upscale_ions(SmallNet(2), low, facts, TileOptions(tile=0))
    tiled, report = upscale_ions(SmallNet(2), low, facts, TileOptions(tile=20, overlap=13))

    assert report["tiles_per_image"] > 4
    np.testing.assert_allclose(tiled, whole, atol=1e-3)


def test_many_ions_in_a_batch_are_the_ions_one_by_one():
    low = ions(5, 9, 7)
    facts = InputNeeds(factor=2)

    together, _ = upscale_ions(SmallNet(2), low, facts, TileOptions(batch=4))
    alone = [upscale_ions(SmallNet(2), ion[None], facts, TileOptions())[0][0] for ion in low]

    np.testing.assert_allclose(together, alone, rtol=1e-5, atol=1e-3)


def test_the_result_is_never_negative_and_has_the_unit_of_the_input():
    low = ions(1, 6, 8) * 1e6

    fine, _ = upscale_ions(lambda x: x - 2.0, low, InputNeeds(factor=1), TileOptions())
    assert fine.min() == 0

    fine, _ = upscale_ions(lambda x: x, low, InputNeeds(factor=1), TileOptions())
    np.testing.assert_allclose(fine, low, rtol=1e-5)


@pytest.mark.parametrize("value", [0.0, 7.5])
def test_a_constant_ion_stays_constant_whatever_the_network_says(value):
    low = np.full((1, 5, 4), value, np.float32)

    fine, _ = upscale_ions(lambda x: x + 0.3, low, InputNeeds(factor=1), TileOptions())

    np.testing.assert_array_equal(fine, low)


def test_pixels_that_were_not_measured_do_not_spread():
    low = ions(2, 6, 5)
    low[:, :2, :2] = np.nan

    fine, _ = upscale_ions(SmallNet(2), low, InputNeeds(factor=2), TileOptions())

    assert np.isfinite(fine).all()


@pytest.mark.parametrize("scaling", ["minmax", "max", "percentile"])
@given(seed=st.integers(0, 20))
def test_scaling_brings_ions_into_the_unit_range_and_can_be_undone(scaling, seed):
    low = ions(3, 6, 5, seed)
    low[2] = 0

    scaled, offset, gain = to_unit_range(low, scaling)

    assert scaled.min() >= 0
    assert scaled.max() <= 1
    back = scaled * gain[:, None, None] + offset[:, None, None]
    clipped = np.minimum(low, (offset + gain)[:, None, None])
    np.testing.assert_allclose(back, clipped, rtol=1e-4, atol=1e-2)


def test_a_sparse_ion_keeps_its_spots_under_percentile_scaling():
    low = np.zeros((1, 50, 50), np.float32)
    low[0, 3, 4] = 9.0

    scaled, _, gain = to_unit_range(low, "percentile")

    assert gain[0] == 9.0
    assert scaled.max() == 1.0


def test_eight_bits_are_256_levels_and_change_the_result():
    low = ions(1, 20, 20)
    levels = quantise8(np.linspace(0, 1, 9999, dtype=np.float32))
    assert len(np.unique(levels)) == 256

    exact, _ = upscale_ions(nearest(2), low, InputNeeds(factor=2), TileOptions())
    coarse, _ = upscale_ions(nearest(2), low, InputNeeds(factor=2), TileOptions(quantise8=True))

    step = (low.max() - low.min()) / 255
    assert 0.2 * step < np.abs(exact - coarse).max() <= 0.51 * step


class Cramped:
    """A network on a device that holds no more than `room` tiles at once."""

    def __init__(self, room, error):
        self.room, self.error, self.seen = room, error, []

    def __call__(self, x):
        self.seen.append(len(x))
        if len(x) > self.room:
            raise self.error
        return x


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
        MemoryError(),
    ],
)
def test_out_of_memory_halves_the_batch_and_goes_on(error):
    low = ions(11, 4, 6)
    network = Cramped(3, error)

    fine, report = upscale_ions(network, low, InputNeeds(factor=1), TileOptions(batch=16))

    np.testing.assert_allclose(fine, low, rtol=1e-5)
    assert network.seen == [11, 5, 2, 2, 2, 2, 2, 1]
    assert report["batch_used"] == 2
    assert report["out_of_memory_halvings"] == 2


def test_a_tile_that_does_not_fit_alone_is_an_error():
    with pytest.raises(torch.OutOfMemoryError):
        upscale_ions(
            Cramped(0, torch.OutOfMemoryError("out of memory")),
            ions(2, 4, 6),
            InputNeeds(factor=1),
            TileOptions(),
        )


def test_other_errors_are_not_mistaken_for_full_memory():
    with pytest.raises(RuntimeError, match="shape"):
        upscale_ions(
            Cramped(1, RuntimeError("shape mismatch")),
            ions(2, 4, 6),
            InputNeeds(factor=1),
            TileOptions(),
        )


def test_a_network_of_another_factor_is_an_error():
    with pytest.raises(ConfigurationError, match=r"should make \(12, 18\)"):
        upscale_ions(nearest(2), ions(1, 4, 6), InputNeeds(factor=3), TileOptions())


def test_lower_precision_is_used_when_declared():
    seen = []

    class Watching(SmallNet):
        def forward(self, x):
            seen.append(self.first(x).dtype)
            return super().forward(x)

    low, facts = ions(1, 8, 6), InputNeeds(factor=2)
    exact, _ = upscale_ions(Watching(2), low, facts, TileOptions())
    rounded, _ = upscale_ions(Watching(2), low, facts, TileOptions(), precision="bfloat16")

    assert seen == [torch.float32, torch.bfloat16]
    assert rounded.dtype == np.float32
    assert 0 < np.abs(exact - rounded).max() < 0.05 * np.ptp(low)


@given(rows=st.integers(1, 20), columns=st.integers(1, 20))
def test_padding_fits_the_network_and_keeps_the_image(rows, columns):
    images = ions(1, rows, columns)

    padded = pad_to(images, InputNeeds(factor=1, multiple_of=8, minimum=16))

    assert padded.shape[1] % 8 == 0
    assert padded.shape[1] >= 16
    np.testing.assert_array_equal(padded[:, :rows, :columns], images)


@pytest.mark.parametrize(
    "wrong", [{"tile": 8, "overlap": 8}, {"batch": 0}, {"scaling": "log"}, {"tile": -1}]
)
def test_options_that_cannot_be_meant_are_refused(wrong):
    with pytest.raises(ConfigurationError):
        TileOptions(**wrong)
