import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

from msibench.image import as_stack
from msibench.testing.mirror import mirrored
from msibench.training.fingerprint import find_twin, fingerprint, same_section


def slice_of_brain(number):
    return tifffile.imread(mirrored(f"lbae-mouse-brain/slice_{number}.tiff")).astype(np.float32)


COPIES = {
    "rescaled": lambda image, rng: image * 3.7,
    "gamma": lambda image, rng: (image / 255) ** 1.3,
    "counted": lambda image, rng: rng.poisson(image / 255 * 10),
    "turned": lambda image, rng: np.rot90(image),
    "mirrored": lambda image, rng: image[:, ::-1],
    "cropped": lambda image, rng: image[3:-2, 2:-4],
    "padded": lambda image, rng: np.pad(image, 7),
    "eight bits of another range": lambda image, rng: np.rint(image * 0.6),
}


@pytest.mark.parametrize("copy", COPIES)
@pytest.mark.parametrize("number", [1, 12])
def test_a_copy_of_a_real_section_is_recognised(number, copy):
    image = slice_of_brain(number)
    changed = np.ascontiguousarray(COPIES[copy](image, np.random.default_rng(0)))
    assert same_section(fingerprint(as_stack(changed)), fingerprint(as_stack(image)))


def test_serial_sections_are_not_taken_for_one_another():
    prints = {n: fingerprint(as_stack(slice_of_brain(n))) for n in (1, 2, 5, 6, 23, 27, 30)}
    for number, ours in prints.items():
        others = [(str(n), theirs) for n, theirs in prints.items() if n != number]
        assert find_twin(ours, others) is None


@given(seed=st.integers(0, 1000))
def test_unrelated_images_are_not_alike_and_every_image_is_like_itself(seed):
    rng = np.random.default_rng(seed)
    first, second = (as_stack(rng.random((2, 30, 41))) for _ in range(2))
    assert same_section(fingerprint(first), fingerprint(first)) == "the same values to the last bit"
    assert same_section(fingerprint(first), fingerprint(second)) == ""


def test_a_quarter_of_the_ions_is_enough_and_blank_ions_do_not_count():
    rng = np.random.default_rng(0)
    seen = rng.random((4, 30, 41))
    other = np.concatenate([seen[:1], rng.random((3, 30, 41)), np.zeros((5, 30, 41))])
    ours, theirs = fingerprint(as_stack(other)), fingerprint(as_stack(seen))
    assert len(ours["thumbnails"]) == 4
    assert find_twin(ours, [("seen", theirs)]) == (
        "seen",
        "1 ion images alike (thumbnail correlation up to 1.000)",
    )
