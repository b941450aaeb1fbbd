import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from msibench.errors import ConfigurationError, UnknownNameError
from msibench.image import as_stack
from msibench.training.augmentation import IonImageLook
from msibench.training.degradation import degrade_by
from msibench.training.patches import Patches, block_mean, prefetched, to_unit_scale


def section(shape=(23, 31), channels=2, seed=0):
    return as_stack(np.random.default_rng(seed).random((channels, *shape)))


@given(
    factor=st.integers(1, 4),
    patch=st.integers(1, 9),
    margin=st.integers(0, 2),
    iteration=st.integers(0, 1000),
)
def test_low_is_the_block_mean_of_high_for_every_factor_patch_and_margin(
    factor, patch, margin, iteration
):
    patches = Patches([section()], factor=factor, patch=patch, batch=2, margin=margin)
    batch = patches.batch(iteration)
    assert batch.low.shape == (2, 1, patch, patch)
    assert batch.high.shape == (2, 1, patch * factor, patch * factor)
    for low, high in zip(batch.low, batch.high, strict=True):
        np.testing.assert_array_equal(block_mean(factor)(high, None), low)


@given(seed=st.integers(0, 99), iteration=st.integers(0, 99), world=st.sampled_from([1, 2, 3, 6]))
def test_the_shares_of_all_processes_are_the_batch_of_one(seed, iteration, world):
    patches = Patches([section()], factor=2, patch=4, batch=6, seed=seed, augment=IonImageLook())
    whole = patches.batch(iteration)
    shares = [patches.batch(iteration, rank=rank, world=world) for rank in range(world)]
    np.testing.assert_array_equal(np.concatenate([share.low for share in shares]), whole.low)
    np.testing.assert_array_equal(np.concatenate([share.high for share in shares]), whole.high)


def test_all_eight_turns_of_a_patch_occur():
    image = np.arange(16, dtype=np.float32).reshape(4, 4) / 15
    patches = Patches([as_stack(image)], factor=2, patch=2, batch=1)
    seen = {patches.batch(i).high.tobytes() for i in range(200)}
    turns = {
        np.ascontiguousarray(np.rot90(flip, k)).tobytes()
        for flip in (image, image[::-1])
        for k in range(4)
    }
    assert seen == turns


def test_a_section_smaller_than_a_patch_is_mirrored():
    assert Patches([section((3, 50))], factor=2, patch=8).batch(0).high.shape[-2:] == (16, 16)


def test_windows_without_content_are_mostly_avoided():
    image = np.zeros((64, 64), np.float32)
    image[:16, :16] = 1
    patches = Patches([as_stack(image)], factor=2, patch=4, batch=16)
    empty = [high.max() == 0 for i in range(10) for high in patches.batch(i).high]
    assert np.mean(empty) < 0.75  # without the second looks: 0.91


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ([as_stack(np.zeros((9, 9)))], "no ion image"),
        ([], "0 training sections"),
        ([as_stack(np.full((9, 9), 40.0))], "to_unit_scale"),
    ],
)
def test_sections_that_nothing_can_be_learned_from_are_refused(sections, message):
    with pytest.raises(ConfigurationError, match=message):
        Patches(sections, factor=2)


def test_unit_scale_takes_the_declared_range_or_a_quantile_and_fills_holes():
    values = np.full((1, 20, 30), 51.0, np.float32)
    values[0, 0, 0] = np.nan
    values[0, 0, 1] = 5000
    assert to_unit_scale(as_stack(values), 255.0).values[0, 5, 5] == pytest.approx(0.2)
    by_quantile = to_unit_scale(as_stack(values))
    assert by_quantile.values.max() == 1
    assert by_quantile.values[0, 0, 0] == 0


def test_batches_are_drawn_ahead_in_order_and_errors_arrive_where_they_belong():
    patches = Patches([section()], factor=2, patch=4, batch=1)

    def draw(iteration):
        if iteration == 7:
            raise OSError("gone")
        return patches.batch(iteration)

    stream = prefetched(draw, 2, 12, ahead=3, workers=2)
    assert [next(stream).iteration for _ in range(5)] == [2, 3, 4, 5, 6]
    with pytest.raises(OSError, match="gone"):
        next(stream)


@given(seed=st.integers(0, 10_000))
def test_another_look_of_an_image_is_never_negative_never_blank_and_keeps_its_place(seed):
    image = section((12, 17), 1).values[0]
    image[:, :4] = 0
    look = IonImageLook(unchanged=0.0)(image, np.random.default_rng(seed))
    assert look.shape == image.shape
    assert look.dtype == np.float32
    assert look.min() >= 0
    assert 0 < look.max() <= 1.2
    assert not look[:, :4].any(), "what holds no tissue gets no signal"


def test_protocols_are_drawn_by_their_shares():
    image = section((16, 24), 1).values
    area, bicubic = (degrade_by({f"{kind}-x4@1": 1}, factor=4) for kind in ("area", "bicubic"))
    both = degrade_by({"area-x4@1": 3, "bicubic-x4@1": 1}, factor=4)
    rng = np.random.default_rng(0)
    plain = area(image, rng)
    np.testing.assert_allclose(plain, block_mean(4)(image, rng), atol=1e-6)
    assert np.abs(bicubic(image, rng) - plain).max() > 0.01
    share = np.mean([np.array_equal(both(image, rng), plain) for _ in range(400)])
    assert 0.68 < share < 0.82


def test_counting_noise_of_a_protocol_differs_from_draw_to_draw_and_follows_the_generator():
    noisy = degrade_by({"area-poisson-x2@1": 1}, factor=2)
    image = section((16, 24), 1).values

    def draw(seed):
        return noisy(image, np.random.default_rng(seed))

    np.testing.assert_array_equal(draw(1), draw(1))
    assert not np.array_equal(draw(1), draw(2))


def test_protocols_that_do_not_fit_are_refused():
    with pytest.raises(ConfigurationError, match="has 2"):
        degrade_by({"area-x2@1": 1}, factor=4)
    with pytest.raises(ConfigurationError, match="positive"):
        degrade_by({"area-x4@1": 0}, factor=4)
    with pytest.raises(UnknownNameError):
        degrade_by({"aera-x4@1": 1}, factor=4)
