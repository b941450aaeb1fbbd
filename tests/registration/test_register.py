"""Registration by the images themselves, and the judgement of what came out."""

import numpy as np
import pytest
from scipy import ndimage

from msibench.errors import ConfigurationError, RegistrationError
from msibench.image import GuideImage, as_stack
from msibench.io.guide.open import read_guide
from msibench.registration import (
    Acceptance,
    Affine,
    Composite,
    assess,
    fit_linear,
    mutual_information,
    read_affine,
    register,
    resample,
    thin_plate,
)
from msibench.registration.projection import guide_picture
from msibench.registration.torch_affine import register_torch
from msibench.registration.transform import pixel_centres
from msibench.testing.mirror import mirrored

SHAPE = (60, 84)
MIDDLE = (29.5, 41.5)
KNOWN = Affine([[1.9, 0.06], [-0.05, 2.0]], [6.0, -3.0])
PERTURBED = KNOWN @ Affine.about(MIDDLE, degrees=3, shift=[2, -2])


def anatomy(shape=(140, 190), seed=0):
    """A lump of smooth texture on an empty background, in [0, 1]."""
    texture = ndimage.gaussian_filter(np.random.default_rng(seed).random(shape), 3)
    texture = 0.3 + 0.7 * (texture - texture.min()) / np.ptp(texture)
    row, column = np.indices(shape)
    inside = ((row / shape[0] - 0.45) / 0.4) ** 2 + ((column / shape[1] - 0.45) / 0.4) ** 2 < 1
    return texture * inside


MOVING = anatomy()


def section(transform=KNOWN, noise=0.0):
    """Three ion images with the anatomy turned into other contrasts."""
    seen = resample(GuideImage(MOVING[None], kind="msi"), transform, SHAPE).values[0]
    rng = np.random.default_rng(9)
    images = np.stack([(1 - seen) ** 2 * (seen > 0), seen**3, np.sqrt(seen)])
    return as_stack(np.maximum(images + noise * rng.normal(size=images.shape), 0))


def worst(transform, known=KNOWN, shape=SHAPE):
    """Largest error in guide pixels over the section."""
    points = pixel_centres(shape)
    return np.linalg.norm(transform(points) - known(points), axis=-1).max()


@pytest.mark.parametrize("model", ["rigid", "similarity", "affine"])
def test_a_known_misregistration_is_recovered_within_half_a_pixel(model):
    assert worst(PERTURBED) > 6
    found = register(MOVING, section(noise=0.02), model=model, start=PERTURBED)
    assert worst(found.transform) < 0.5
    report = found.report
    assert report.accepted
    assert report.mutual_information_after > report.mutual_information_before
    assert report.mutual_information_after > report.mutual_information_chance
    assert report.folding == 0


@pytest.mark.slow
def test_a_bent_section_needs_the_free_form_model():
    rows, columns = np.meshgrid([0, 30, 59], [0, 42, 83], indexing="ij")
    fixed = np.stack([rows.ravel(), columns.ravel()], axis=1).astype(float)
    bend = Composite(thin_plate(fixed + 2.5 * np.sin(fixed[:, ::-1] / 20), fixed), KNOWN)
    image = section(bend)
    stiff = register(
        MOVING, image, model="affine", start=KNOWN, acceptance=Acceptance(always=True)
    ).transform
    bent = register(MOVING, image, model="bspline", start=KNOWN, mesh=(4, 5)).transform
    inner = pixel_centres(SHAPE)[10:45, 15:65]
    errors = [np.linalg.norm(t(inner) - bend(inner), axis=-1).mean() for t in (stiff, bent)]
    assert errors[1] < 0.5 * errors[0]


def test_the_same_input_gives_the_same_map_to_the_last_bit():
    first, again = (
        register(MOVING, section(noise=0.05), model="rigid", start=PERTURBED).transform
        for _ in range(2)
    )
    assert first.parameters() == again.parameters()


@pytest.mark.slow
def test_the_known_map_of_the_bladder_is_recovered_from_three_degrees_and_twenty_pixels():
    # A rigid change: the reference was itself estimated, and a free affine map finds more
    # mutual information 2 ion-image pixels beside it (docs/registration.md).
    with np.load(mirrored("bladder/bladder.npz")) as file:
        image = as_stack(file["cube"])
    known = read_affine(mirrored("bladder/affine.json"))
    guide = read_guide(mirrored("bladder/HE_rgb.png"))
    turned = known @ Affine.about((66.5, 129.5), degrees=3)
    start = Affine(turned.matrix, turned.offset + 20 / np.sqrt(2))
    found = register(guide, image, model="rigid", start=start)
    points = pixel_centres(image.shape)
    errors = np.linalg.norm(found.transform(points) - known(points), axis=-1)
    assert errors.mean() < 2
    assert found.report.accepted


@pytest.mark.slow
@pytest.mark.parametrize("model", ["rigid", "affine"])
def test_the_known_misregistration_of_the_phantom_is_recovered_within_half_a_pixel(model):
    generator = pytest.importorskip("msibench_datasets.phantom.generator")
    made = generator.make_phantom(seed=1, rotation_deg=2.5, shift_px=(4.0, -3.0))
    known = Affine(made.guide_to_section[:, :2], made.guide_to_section[:, 2])
    image = as_stack(made.counts, made.mz, mask=made.mask)
    assert worst(Affine.identity(), known, image.shape) > 9
    found = register(GuideImage(made.guide), image, model=model)
    assert worst(found.transform, known, image.shape) < 0.5
    assert found.report.accepted


def test_pictures_that_have_nothing_in_common_are_refused_unless_accepted():
    other = as_stack(np.random.default_rng(3).random((2, *SHAPE)))
    with pytest.raises(RegistrationError, match="--accept-registration"):
        register(MOVING, other, model="rigid", start=PERTURBED)
    taken = register(
        MOVING, other, model="rigid", start=PERTURBED, acceptance=Acceptance(always=True)
    )
    assert not taken.report.accepted
    assert "NOT ACCEPTED" in "\n".join(taken.report.lines())


def judged(transform, start=KNOWN, **options):
    return assess(MOVING, section(), transform, start, **options)


def test_a_map_that_got_worse_is_not_accepted():
    report = judged(PERTURBED, start=KNOWN)
    assert any("mutual information fell" in reason for reason in report.reasons)
    assert judged(KNOWN, start=PERTURBED).accepted


def test_a_map_that_folds_or_leaves_the_guide_is_not_accepted():
    mirror = KNOWN @ Affine([[1, 0], [0, -1]], [0, 83])
    assert any("folds over on 100.00 %" in reason for reason in judged(mirror).reasons)
    beside = Affine(KNOWN.matrix, KNOWN.offset + np.array([100, 0]))
    assert any("lies on the guide" in reason for reason in judged(beside).reasons)


def test_landmarks_that_were_held_out_judge_the_map():
    from msibench.registration import Landmarks

    fixed = np.random.default_rng(1).uniform(5, 55, (9, 2))
    truth = Landmarks(tuple("abcdefghi"), KNOWN(fixed), fixed, np.ones(9, bool))
    good = judged(KNOWN, landmarks=truth, fit=thin_plate, held_out=truth)
    assert good.accepted
    assert max(good.target_errors) < 1e-9
    assert len(good.leave_one_out) == 9
    off = Landmarks(truth.names, KNOWN(fixed) + np.array([20.0, 0.0]), fixed, truth.active)
    bad = judged(KNOWN, held_out=off)
    assert any("held-out landmark error" in reason for reason in bad.reasons)
    few = judged(KNOWN, landmarks=truth.select([0, 1, 2]), fit=lambda p: fit_linear("affine", p))
    assert few.leave_one_out == ()


def test_mutual_information_is_that_of_the_closed_form():
    ranks = np.random.default_rng(0).permutation(3200)
    assert mutual_information(ranks, ranks**3) == pytest.approx(np.log(32))
    noise = np.random.default_rng(1).random((2, 200_000))
    assert mutual_information(*noise) < 0.005
    assert mutual_information(np.ones(9), np.arange(9)) == 0
    rho = 0.8
    normal = np.random.default_rng(2).multivariate_normal([0, 0], [[1, rho], [rho, 1]], 400_000)
    assert mutual_information(*normal.T) == pytest.approx(-0.5 * np.log(1 - rho**2), rel=0.03)


def test_black_at_the_rim_of_a_stained_image_is_no_stain():
    stain = np.ones((3, 30, 40), np.float32)
    stain[:, 10:20, 10:30] = 0.5
    stain[:, 14:16, 14:16] = 0.05  # dark, but inside: a pigment
    stain[:, :4] = 0
    picture, slide = guide_picture(GuideImage(stain))
    assert not slide[:4].any()
    assert slide[10:].all()
    assert picture[0].max() < 0.1
    assert picture[15, 15] > 0.9


@pytest.mark.parametrize(("model", "start"), [("rigid", PERTURBED), ("affine", None)])
def test_the_differentiable_registration_recovers_the_map(model, start):
    fixed = resample(GuideImage(MOVING[None], kind="msi"), KNOWN, SHAPE).values[0]
    found = register_torch(MOVING, fixed, model=model, start=start, steps=80)
    assert worst(found) < 0.5


def test_the_differentiable_rigid_map_stays_rigid():
    fixed = resample(GuideImage(MOVING[None], kind="msi"), KNOWN, SHAPE).values[0]
    found = register_torch(MOVING, fixed, model="rigid", start=PERTURBED, steps=10, loss="mse")
    change = PERTURBED.inverse() @ found
    np.testing.assert_allclose(change.matrix @ change.matrix.T, np.eye(2), atol=1e-9)


def test_what_cannot_be_registered_is_refused():
    flat = np.ones(SHAPE)
    with pytest.raises(RegistrationError, match="constant"):
        register(MOVING, flat)
    with pytest.raises(RegistrationError, match="guide is constant"):
        register(flat, section())
    with pytest.raises(RegistrationError, match="7 x 9 pixels is too small"):
        register(MOVING, np.eye(7, 9))
    with pytest.raises(RegistrationError, match="outside the guide"):
        register(MOVING, section(), start=Affine(np.eye(2), [9999, 0]))
    with pytest.raises(ConfigurationError, match="rigid, similarity, affine, bspline"):
        register(MOVING, section(), model="projective")
    with pytest.raises(RegistrationError, match="some contrast"):
        register_torch(flat, MOVING)
    with pytest.raises(ConfigurationError, match="ncc or mse"):
        register_torch(MOVING, MOVING, loss="l1")


def test_a_guide_of_one_colour_is_refused_with_the_true_reason():
    flat = np.zeros((3, 344, 344), np.float32)
    flat[:, :156, :188] = np.array([0.8, 0.35, 0.6], np.float32)[:, None, None]
    noise = np.random.default_rng(0).random((1, 32, 32), dtype=np.float32)
    section = as_stack(noise, pixel_size_um=86.0)
    with pytest.raises(RegistrationError, match="looks the same everywhere on its tissue"):
        register(GuideImage(flat, pixel_size_um=8.0), section, model="rigid")
